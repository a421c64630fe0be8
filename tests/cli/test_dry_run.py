"""--dry-run: what would run, as a shell could be given it; nothing starts."""

import json
import subprocess
from pathlib import Path

import pytest

from arrea.cli.quoting import quoted
from tests.cli.door import SLACK, arrea, shell, started


def test_the_final_argument_vector_and_nothing_runs(tmp_path: Path) -> None:
    words = ["-c", f"touch {tmp_path}/x && echo 'a b'", "-c", "-x", "--", "printf", "%s", "it's", ""]
    ran = arrea("run", "--dry-run", *words)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.decode().splitlines() == [
        f"/bin/sh -c 'touch {tmp_path}/x && echo '\\''a b'\\'''",
        "/bin/sh -c -- -x",
        "printf %s 'it'\\''s' ''",
    ]
    assert not (tmp_path / "x").exists()


def test_what_flags_change_is_a_prefix_and_values_are_secret(tmp_path: Path) -> None:
    there = tmp_path / "a dir"
    there.mkdir()
    words = ["--cwd", str(there), "--env", "TOKEN=secret", "--env=B=secret", "--shell=bash", "-c", "make"]
    ran = arrea("run", "--dry-run", *words)
    assert ran.code == 0 and "secret" not in ran.out.decode() + ran.err
    assert ran.out.decode() == f"cd '{there}' && TOKEN=... B=... /usr/bin/bash -c make\n".replace(
        "/usr/bin/bash", shell("type -p bash").out.decode().strip()
    )


def test_as_objects(tmp_path: Path) -> None:
    words = ["--cwd", str(tmp_path), "--env=TOKEN=secret", "--timeout=5s", "--retries=2", "-c", "make \x1b\n"]
    ran = arrea("run", "--dry-run", "--json", *words, "--", "ls", "a b")
    assert ran.code == 0 and ran.out.isascii() and "secret" not in ran.out.decode()
    first, second = map(json.loads, ran.out.splitlines())
    assert first == {
        "index": 0,
        "command": "make \x1b\n",
        "argv": ["/bin/sh", "-c", "make \x1b\n"],
        "cwd": str(tmp_path),
        "env": ["TOKEN"],
        "timeout_ms": 5000.0,
        "retries": 2,
    }
    assert second["index"] == 1 and second["argv"] == ["ls", "a b"] and second["command"] == "ls 'a b'"


def test_without_flags_an_object_has_no_limits() -> None:
    (line,) = arrea("run", "--dry-run", "--json", "-c", "true").out.splitlines()
    found = json.loads(line)
    assert (found["cwd"], found["env"], found["timeout_ms"], found["retries"]) == (None, [], None, 0)


@pytest.mark.parametrize(
    "words",
    [
        ["a", "b c", "", "it's", '"', "\\", "$HOME", "`x`", "*", "~", "#", "!", "é", "-n"],
        ["two\nlines", "tab\t", "\x1b[2J", "\x7f", "a\x01" + "2", "\\n\n", "'\n'", "\u2028", "\u00a0"],
        [b"\xff\xfe\n".decode("utf-8", "surrogateescape"), b"\xff".decode("utf-8", "surrogateescape")],
        ["x" * 100_000],
        ["A=b", "c=d"],
    ],
)
def test_a_shell_reads_the_same_words(words: list[str], tmp_path: Path) -> None:
    """A program that shows its arguments, run by bash from the line that we show."""
    line = quoted(["printf", "%s\\0", *words])
    assert line.count("\n") == 0 and all(c.isprintable() or "\udc80" <= c <= "\udcff" for c in line)
    done = subprocess.run(["bash", "-c", line], capture_output=True, check=True)
    assert done.stdout.split(b"\0")[:-1] == [word.encode("utf-8", "surrogateescape") for word in words]
    ran = arrea("run", "--dry-run", "--", "printf", "%s\\0", *words)
    assert ran.out == line.encode("utf-8", "surrogateescape") + b"\n"


def test_a_program_whose_name_looks_like_a_variable() -> None:
    assert arrea("run", "--dry-run", "--", "A=b", "c=d").out == b"'A=b' c=d\n"


def test_files_and_standard_input(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("echo 1\n# no\n\necho 2\n")
    ran = arrea("run", "--dry-run", "-f", str(tmp_path / "f"), "-f", "-", stdin=b"echo 3\necho 4")
    assert ran[:3] == (0, b"".join(b"/bin/sh -c 'echo %d'\n" % n for n in range(1, 5)), "")


def test_standard_input_is_shown_as_it_comes() -> None:
    with started("run", "--dry-run", "-f", "-", stdin=subprocess.PIPE) as running:
        assert running.process.stdin and running.process.stdout
        running.process.stdin.write(b"echo 1\n")
        running.process.stdin.flush()
        assert running.process.stdout.readline() == b"/bin/sh -c 'echo 1'\n"
        running.process.stdin.write(b"echo 2")
        assert running.end()[:3] == (0, b"/bin/sh -c 'echo 2'\n", "")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["-c", "true", "-c", ""], "-c '': the command is empty"),
        (["--timeout=0", "-c", "true"], "--timeout must be more than 0"),
        (["--cwd=/nowhere", "-c", "true"], "--cwd '/nowhere' does not exist"),
        (["-p", "0", "-c", "true"], "--parallel"),
        (["--deadline", "soon", "-c", "true"], "--deadline"),
        (["--json", "--output=lines", "-c", "true"], "leave out one of them"),
        (["-c", "true"] * 501, "501 commands given with -c"),
        (["--stdin=inherit", "-c", "true", "-c", "true"], "--stdin is for exactly one command"),
        (["-f", "/nowhere"], "--file /nowhere: No such file"),
    ],
)
def test_what_is_wrong_is_told_as_in_a_real_run(words: list[str], told: str) -> None:
    for flags in (["--dry-run"], []):
        ran = arrea("run", *flags, *words)
        assert (ran.code, ran.out) == (2, b"") and told in ran.err and ran.err.count("\n") == 1


def test_bad_lines_of_standard_input_dont_hide_the_others() -> None:
    ran = arrea("run", "--dry-run", "-f", "-", stdin=b"echo 1\necho a\0b\necho \xff\necho 4\n")
    assert (ran.code, ran.out) == (2, b"/bin/sh -c 'echo 1'\n/bin/sh -c 'echo 4'\n")
    assert "echo a\\x00b" in ran.err and "standard input, line 3: not UTF-8" in ran.err


def test_how_it_would_be_shown_changes_nothing() -> None:
    plain = arrea("run", "--dry-run", "-c", "true")
    for flags in (["--output=lines"], ["--tag"], ["-q"], ["--output=none"], ["--halt=now"], ["-p1"]):
        assert arrea("run", "--dry-run", *flags, "-c", "true")[:3] == plain[:3]


def test_a_million_lines_need_no_million_objects(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("true\n" * 200_000)
    with started("run", "--dry-run", "-f", str(tmp_path / "f")) as running:
        assert running.process.stdout
        out = running.process.stdout.read(1_000_000)
        status = Path(f"/proc/{running.process.pid}/status").read_text()
        assert int(status.split("VmHWM:")[1].split()[0]) < 40_000
        out += running.process.stdout.read()
        assert running.end().code == 0
    assert out == b"/bin/sh -c true\n" * 200_000


def test_nobody_takes_it() -> None:
    ran = shell("yes true | head -100000 | $ARREA run --dry-run -f - | head -1; exit ${PIPESTATUS[2]}")
    assert (ran.code, ran.out, ran.err) == (128 + 13, b"/bin/sh -c true\n", "") and ran.seconds < SLACK + 1
    for flags in ("", "--json"):
        ran = shell(f"$ARREA run --dry-run {flags} -c true >/dev/full")
        assert ran.code == 1 and ran.err.count("\n") == 1 and "No space left" in ran.err
    assert shell("$ARREA run --dry-run -c true 2>&-").code == 0


def test_what_a_shell_would_read_otherwise_is_quoted() -> None:
    assert run_dry("--", "if", "x") == "'if' x\n"
    assert run_dry("--env", "a b=1", "-c", "true") == "env 'a b=...' /bin/sh -c true\n"
    assert run_dry("--env", "X$(id)=1", "-c", "true") == "env 'X$(id)=...' /bin/sh -c true\n"


def run_dry(*args: str) -> str:
    return arrea("run", "--dry-run", *args).out.decode()
