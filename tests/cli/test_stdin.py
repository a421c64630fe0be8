"""--stdin: what the one command reads; without it the end of file."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.cli.door import arrea, shell, started
from tests.cli.terminal import Terminal


def test_a_file(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"\x00\xff one\n")
    for words in (["-c", "cat"], ["--json", "--output=none", "-c", "cat | grep -qa one"], ["--", "cat"]):
        ran = arrea("run", "-q", "--stdin", str(tmp_path / "in"), *words)
        assert ran.code == 0
    assert ran.out == b"\x00\xff one\n"


def test_a_file_is_found_from_where_we_are_and_read_by_each_attempt(tmp_path: Path) -> None:
    (tmp_path / "in").write_text("one\n")
    (tmp_path / "below").mkdir()
    line = f"cat; test -e {tmp_path}/x || {{ touch {tmp_path}/x; exit 3; }}"
    ran = arrea(
        *("run", "-q", "--stdin=in", "--cwd=below", "--retries=1", "--retry-delay=0", "-c", line), cwd=tmp_path
    )  # fmt: skip
    assert ran[:3] == (0, b"one\none\n", "")


@pytest.mark.parametrize("how", ["grouped", "lines"])
def test_ours(how: str) -> None:
    ran = arrea("run", "-q", f"--output={how}", "--stdin=inherit", "-c", "cat; echo end", stdin=b"one\ntwo\n")
    assert ran[:3] == (0, b"one\ntwo\nend\n", "")


def test_ours_as_it_comes() -> None:
    with started("run", "-q", "--stdin=inherit", "-c", "cat", stdin=subprocess.PIPE) as running:
        assert running.process.stdin and running.process.stdout
        for word in (b"one\n", b"two\n"):
            running.process.stdin.write(word)
            running.process.stdin.flush()
            assert running.process.stdout.readline() == word
        assert running.end()[:3] == (0, b"", "")


def test_ours_is_a_terminal() -> None:
    terminal = Terminal("run", "-q", "--stdin=inherit", "-c", 'test -t 0 && read line && echo "got $line"')
    terminal.type("hello\n")
    assert terminal.read_until("got hello")
    assert terminal.end() == 0


def test_ours_is_closed() -> None:
    ran = shell("$ARREA run -q --stdin=inherit -c 'cat; echo end' <&-")
    assert b"end\n" in ran.out


def test_without_it_there_is_nothing_to_read() -> None:
    assert arrea("run", "-q", "-c", "cat; echo end", stdin=b"not for you")[:3] == (0, b"end\n", "")


def test_a_fifo_is_read_once() -> None:
    ran = shell("$ARREA run -q --stdin <(echo one; sleep 0.1; echo two) -c cat")
    assert ran[:3] == (0, b"one\ntwo\n", "")


def test_a_device() -> None:
    assert arrea("run", "-q", "--stdin=/dev/null", "-c", "cat; echo end")[:3] == (0, b"end\n", "")


def test_a_file_named_inherit(tmp_path: Path) -> None:
    (tmp_path / "inherit").write_text("file\n")
    assert arrea("run", "-q", "--stdin=./inherit", "-c", "cat", cwd=tmp_path).out == b"file\n"


def test_a_file_with_the_one_command(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("# one\ncat\n")
    assert arrea("run", "-q", "--stdin=inherit", "-f", str(tmp_path / "f"), stdin=b"x")[:3] == (0, b"x", "")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--stdin=inherit", "-c", "true", "-c", "true"], "--stdin is for exactly one command"),
        (["--stdin=inherit", "-f", "-"], "--stdin is for exactly one command"),
        (["--stdin=inherit", "-f", "-", "-c", "true"], "--stdin is for exactly one command"),
        (["--stdin=/nowhere", "-c", "echo started"], "--stdin /nowhere: No such file or directory"),
        (["--stdin=", "-c", "echo started"], "--stdin : No such file or directory"),
        (["--stdin=/", "-c", "echo started"], "--stdin '/' is not a file that can be read"),
        (["--stdin=a\x1b[2J", "-c", "echo started"], "--stdin a\\x1b[2J: No such file"),
        (["--stdin=-", "-c", "echo started"], "--stdin inherit"),
    ],
)
def test_wrong_usage(words: list[str], told: str) -> None:
    ran = arrea("run", *words, stdin=b"echo started\n")
    assert (ran.code, ran.out) == (2, b"") and told in ran.err and ran.err.count("\n") == 1


def test_a_file_of_several_commands(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("true\ntrue\n")
    ran = arrea("run", "--stdin=inherit", "-f", str(tmp_path / "f"))
    assert ran.code == 2 and "exactly one command" in ran.err


def test_the_rest_is_left_to_who_comes_after() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"one\ntwo\n")
    os.close(writing)
    try:
        with started("run", "-q", "--stdin=inherit", "-c", "read x; echo $x", stdin=reading) as running:
            assert running.end()[:3] == (0, b"one\n", "")
        assert os.read(reading, 100) == b"two\n"
    finally:
        os.close(reading)
