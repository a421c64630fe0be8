"""The types that users see, checked as they would check them."""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent


def test_api_as_users_call_it() -> None:
    """Also fails when a line that should be wrong is accepted: strict warns of an ignore that ignores nothing."""
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=pyproject.toml", str(HERE / "api.py")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_package_says_that_it_is_typed() -> None:
    import arrea

    assert (Path(arrea.__file__).parent / "py.typed").is_file()
