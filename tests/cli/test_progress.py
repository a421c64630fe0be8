"""What is told on stderr: plain lines, nothing that moves a terminal, and not too many."""

from pathlib import Path

import pytest

from tests.cli.door import arrea
from tests.cli.terminal import Terminal


def test_a_line_for_each_of_a_few_commands() -> None:
    ran = arrea("run", "-p1", "-c", "echo one", "-c", "exit 2", "-c", "true")
    lines = ran.err.splitlines()
    assert [line.split()[0] for line in lines] == ["[1/3]", "[2/3]", "[3/3]", "arrea:"]
    assert lines[1] == "[2/3] task 1 (exit 2): exit code 2"
    assert lines[3].startswith("arrea: 3 commands, 2 succeeded, 1 failed, in ")


def test_counts_for_many(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("true\n" * 200 + "exit 7\n" + "true\n" * 200)
    ran = arrea("run", "-f", str(tmp_path / "f"))
    lines = ran.err.splitlines()
    assert len(lines) < 20 and ran.err.count("task 200 (exit 7): exit code 7") == 2  # at once, and at the end
    assert lines[-1].startswith("arrea: 401 commands, 400 succeeded, 1 failed")


@pytest.mark.parametrize("words", [[], ["--output=ordered"], ["--halt=now"]])
def test_no_escape_sequences_and_no_control_characters(words: list[str]) -> None:
    line = "true \x1b[2J \x07 \r\x9b31m \u202e; exit 3"
    ran = arrea("run", *words, "-c", line, "-c", line + "\nexit 4")
    assert not [c for c in ran.err if c != "\n" and not c.isprintable()]
    assert "\\x1b[2J" in ran.err and "\\u202e" in ran.err


def test_one_command_is_not_talked_over() -> None:
    assert arrea("run", "-c", "echo a; echo b >&2").err.splitlines()[0] == "b"


def test_long_commands_are_shortened() -> None:
    ran = arrea("run", "-c", "true " + "x" * 5000, "-c", "exit 3 # " + "y" * 5000)
    assert max(map(len, ran.err.splitlines())) < 120


def test_singular_and_plural() -> None:
    assert "arrea: 1 command, 1 succeeded" in arrea("run", "-c", "true").err


def test_retries_are_no_commands() -> None:
    ran = arrea("run", "--retries=3", "--retry-delay=0", "-c", "exit 1", "-c", "true")
    assert "2 commands, 1 succeeded, 1 failed" in ran.err


@pytest.mark.parametrize(
    "variables", [{"TERM": "dumb"}, {"TERM": "xterm", "NO_COLOR": "1"}, {"LANG": "C", "LC_ALL": "C"}]
)
def test_a_terminal_gets_plain_lines_too(variables: dict[str, str]) -> None:
    terminal = Terminal("run", "-p1", "-c", "echo é", "-c", "echo two", env=variables)
    assert terminal.end() == 0
    assert "\x1b" not in terminal.text
    assert terminal.text.startswith("é\r\n[1/2] task 0 (") and "2 succeeded" in terminal.text


def test_text_that_the_locale_cant_show() -> None:
    ran = arrea(
        "run",
        "-c",
        "exit 3 # é",
        "-c",
        "true",
        env={"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    )
    assert ran.code == 1 and "exit code 3" in ran.err
