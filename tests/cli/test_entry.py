"""The outermost layer: sub-commands, --help and --version, wrong usage, and what a start loads."""

import subprocess
import sys

import pytest

from arrea._version import __version__
from tests.cli.door import arrea, run, shell

# Each of these costs milliseconds, and none is needed to read flags.
SLOW = {"re", "enum", "signal", "argparse", "typing", "dataclasses", "difflib", "ctypes", "arrea._app.engine"}


def test_the_example_of_the_issue() -> None:
    ran = arrea("run", "-c", "echo a", "-c", "exit 3", "-c", "sleep 60", "--timeout", "500")
    assert (ran.code, ran.out) == (1, b"a\n")
    assert "exit code 3" in ran.err and "timed out after 500 ms" in ran.err
    assert "3 commands, 1 succeeded, 2 failed" in ran.err
    assert ran.seconds < 3


def test_version() -> None:
    assert arrea("--version")[:3] == (0, f"arrea {__version__}\n".encode(), "")


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["help"]])
def test_help(words: list[str]) -> None:
    ran = arrea(*words)
    assert ran.code == 0 and b"arrea run" in ran.out and not ran.err


@pytest.mark.parametrize("words", ["run --help", "run -h", "run -c true --help", "help run"])
def test_help_of_run_names_every_flag(words: str) -> None:
    ran = arrea(*words.split())
    flags = (
        "--command --file --parallel --timeout --deadline --policy --retries --retry-delay --retry-on --backoff "
        "--halt --max-failures --output --tag --json --dry-run --stdin"
    )
    assert ran.code == 0 and not ran.err
    for flag in [*flags.split(), "--shell", "--cwd", "--env", "--quiet", "--help", "exit code"]:
        assert flag in ran.out.decode()


@pytest.mark.parametrize("words", [["--version"], ["--help"], ["run", "--help"], ["run", "make"]])
def test_needs_nothing_slow(words: list[str]) -> None:
    code = f"import sys; from arrea.cli.main import main; main({words!r}); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert not set(done.stdout.splitlines()[-1].split()) & SLOW


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["rnu"], "unknown command 'rnu'; did you mean 'run'?"),
        (["--versoin"], "unknown flag '--versoin'; did you mean '--version'?"),
        (["xyzzy"], "unknown command 'xyzzy'\n"),
        (["-c", "echo a"], "unknown flag '-c'; other flags come after a command: arrea run ..."),
        ([], "usage: arrea run"),
        ([""], "usage: arrea run"),
        (["run"], "no command: give one with -c"),
        (["run", "--"], "no program after --"),
        (["run", "--tiemout", "5"], "unknown flag '--tiemout'; did you mean '--timeout'?"),
        (["run", "--tiemout=5"], "unknown flag '--tiemout'; did you mean '--timeout'?"),
        (["run", "-timeout", "5"], "unknown flag '-timeout'; did you mean '--timeout'?"),
        (["run", "-x"], "unknown flag '-x'"),
        (["run", "-c"], "-c needs a value: -c CMD"),
        (["run", "-c", "true", "--timeout"], "--timeout needs a value: --timeout TIME"),
        (["run", "-c", "true", "-p"], "-p needs a value: -p N"),
        (["run", "--quiet=yes", "-c", "true"], "--quiet takes no value, but was given 'yes'"),
        (["run", "-qc", "true"], "-q takes no value, but was given 'c'"),
        (["run", "make", "test"], "unexpected argument 'make'; a command is given with -c, or after --"),
        (["run", "-c", "true", "stray"], "unexpected argument 'stray'"),
        (["run", "-"], "unexpected argument '-'"),
        (["run", ""], "unexpected argument ''"),
        (["run", "a\x1b[2Jb"], "unexpected argument 'a\\x1b[2Jb'"),
    ],
)
def test_wrong_usage_is_told_in_one_line(words: list[str], told: str) -> None:
    ran = arrea(*words)
    assert (ran.code, ran.out) == (2, b"")
    assert told in ran.err
    if words and words[0] == "run":
        assert ran.err.startswith("arrea run: ") and ran.err.count("\n") == 1


def test_python_m_arrea_is_the_same() -> None:
    words = ["run", "-q", "-c", "echo a; exit 3"]
    assert run([sys.executable, "-m", "arrea", *words])[:3] == arrea(*words)[:3] == (3, b"a\n", "")
    assert run([sys.executable, "-m", "arrea", "--version"])[:2] == arrea("--version")[:2]


@pytest.mark.parametrize("words", ["--help", "--version", "run --help"])
def test_help_that_nobody_can_read(words: str) -> None:
    full = shell(f"$ARREA {words} >/dev/full")
    assert full.code == 1 and full.err.count("\n") == 1 and "No space left" in full.err
    gone = shell(f"(sleep 0.2; exec $ARREA {words}) | true; exit ${{PIPESTATUS[0]}}")
    assert gone.code == 128 + 13 and not gone.err
    assert shell(f"$ARREA {words} >&-").code in (0, 1)
