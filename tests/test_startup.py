"""Start-up stays cheap: told by what a fresh interpreter has loaded, not by the clock."""

import os
import subprocess
import sys

# Each of these costs milliseconds of every start.
NOT_BY_IMPORT = {
    "argparse",
    "asyncio",
    "dataclasses",
    "importlib.metadata",
    "inspect",
    "json",
    "logging",
    "multiprocessing",
    "subprocess",
    "typing",
}

NOT_BY_RUN = {
    "asyncio",
    "dataclasses",
    "difflib",
    "importlib.metadata",
    "inspect",
    "logging",
    "multiprocessing",
    "shutil",
    "subprocess",
    "tempfile",
    "traceback",
}

RUN = """
import sys
from arrea.cli.main import main
try:
    code = main(["run", "-c", "true"])
except SystemExit as exit:
    code = exit.code
assert not code, f"exit code {code}"
"""


def test_import_is_cheap() -> None:
    assert not loaded_by("import arrea") & NOT_BY_IMPORT


def test_run_is_cheap() -> None:
    assert not loaded_by(RUN) & NOT_BY_RUN


def test_fresh_interpreter_has_none_of_them() -> None:
    assert not loaded_by("") & (NOT_BY_IMPORT | NOT_BY_RUN), "the two tests above prove nothing"


def loaded_by(code: str) -> set[str]:
    """The modules loaded after `code` in a fresh interpreter.

    Without `site`: the .pth files of other installed packages may load anything.
    """
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"{code}\nimport sys\nprint()\nprint(*sys.modules)"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())
