"""Flags: every form of every flag, their order, and what belongs to the command and not to us."""

import json
import sys

import pytest

from arrea._model.errors import UsageError
from arrea.cli.flags import Arguments, parse
from arrea.cli.run import FLAGS
from tests.cli.door import arrea

SHOW_ARGUMENTS = [sys.executable, "-c", "import json, sys; print(json.dumps(sys.argv[1:]))"]
VALUED = [flag for flag in FLAGS if flag.value is not None]
SWITCHES = [flag for flag in FLAGS if flag.value is None]


def given(*words: str) -> Arguments:
    return parse(words, FLAGS)


@pytest.mark.parametrize("flag", VALUED, ids=lambda flag: flag.name)
@pytest.mark.parametrize("value", ["v", "", "-x", "--", "--quiet", "a=b", "two words", "é\n"])
def test_a_value_is_taken_as_it_is(flag: object, value: str) -> None:
    name, short = flag.name, flag.short  # type: ignore[attr-defined]
    forms = [[name, value], [f"{name}={value}"]]
    if short:
        forms += [[short, value]] + ([[short + value]] if value else [])
    for form in forms:
        assert given(*form).all(name) == [value]
        assert given(*form).program is None


@pytest.mark.parametrize("flag", SWITCHES, ids=lambda flag: flag.name)
def test_a_switch_takes_no_value(flag: object) -> None:
    name, short = flag.name, flag.short  # type: ignore[attr-defined]
    for form in filter(None, (name, short)):
        assert given(form).has(name) and not given().has(name)
    for word in (f"{name}=", f"{name}=yes", *([f"{short}1"] if short else [])):
        with pytest.raises(UsageError, match="takes no value"):
            given(word)


@pytest.mark.parametrize("flag", VALUED, ids=lambda flag: flag.name)
def test_a_flag_without_its_value(flag: object) -> None:
    for name in filter(None, (flag.name, flag.short)):  # type: ignore[attr-defined]
        with pytest.raises(UsageError, match=f"{name} needs a value"):
            given("-q", name)


@pytest.mark.parametrize("flag", FLAGS, ids=lambda flag: flag.name)
def test_a_mistyped_flag_gets_a_suggestion(flag: object) -> None:
    name = flag.name  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match=f"did you mean '{name}'"):
        given(name + "x")


def test_the_last_value_wins_and_repeatable_ones_add_up() -> None:
    words = given("-p1", "-c", "a", "--parallel=2", "-cb", "-p", "3", "--command=c")
    assert words.get("--parallel") == "3"
    assert words.all("--command") == ["a", "b", "c"]


def test_flags_may_come_in_any_order() -> None:
    ran = arrea("run", "-c", "echo 1", "-q", "--output=ordered", "-cecho 2", "-p1", "--command=echo 3")
    assert ran[:3] == (0, b"1\n2\n3\n", "")


@pytest.mark.parametrize(
    "words",
    [[], [""], ["", "", "a b"], ["--timeout", "5"], ["-q"], ["--"], ["-c", "x"], ["--help"], ["é\n", "$HOME", "'"]],
)  # fmt: skip
def test_what_follows_two_dashes_is_passed_exactly(words: list[str]) -> None:
    ran = arrea("run", "-q", "--", *SHOW_ARGUMENTS, *words)
    assert ran.code == 0 and json.loads(ran.out) == words


def test_bytes_that_are_no_text_reach_the_program() -> None:
    ran = arrea("run", "-q", "--", "printf", "%s", b"\xff\xfe".decode("utf-8", "surrogateescape"))
    assert ran[:3] == (0, b"\xff\xfe", "")


@pytest.mark.parametrize(
    ("words", "out", "code"),
    [
        (["-c", "-x"], b"", 127),
        (["-c", "--help"], b"", 127),
        (["-c--version"], b"", 127),
        (["--command=-n"], b"", 127),
        (["--command=echo a=b"], b"a=b\n", 0),
        (["-c=1; echo x"], b"x\n", 0),
        (["-c", "echo é; echo two"], "é\ntwo\n".encode(), 0),
        (["-c", "echo one\necho two"], b"one\ntwo\n", 0),
    ],
)
def test_a_command_is_passed_exactly(words: list[str], out: bytes, code: int) -> None:
    ran = arrea("run", "-q", *words)
    assert (ran.code, ran.out) == (code, out)


@pytest.mark.parametrize("words", [["--command="], ["-c", ""], ["-c", " \t"], ["-c", "echo a", "-c", ""]])
def test_an_empty_command_is_refused_and_nothing_starts(words: list[str]) -> None:
    ran = arrea("run", *words)
    assert (ran.code, ran.out) == (2, b"") and "the command is empty" in ran.err


def test_sources_come_in_their_order(tmp_path: object) -> None:
    first, second = f"{tmp_path}/1", f"{tmp_path}/2"
    for path, word in ((first, "f1"), (second, "f2")):
        with open(path, "w") as file:
            file.write(f"echo {word}\n")
    words = ["-f", first, "-c", "echo c1", "--file", second, "-c", "echo c2", "--output", "ordered"]
    ran = arrea("run", "-q", *words, "--", "echo", "p")
    assert ran.out == b"c1\nc2\nf1\nf2\np\n"
    ran = arrea("run", "-q", "-f", first, "-f", "-", *words[2:], "--", "echo", "p", stdin=b"echo in")
    assert ran.out == b"c1\nc2\nf1\nin\nf2\np\n"


def test_cwd_env_and_shell(tmp_path: object) -> None:
    words = ["--cwd", str(tmp_path), "--env", "A=1=2", "--env=B=", "--env", "A=last = one", "--shell=bash"]
    ran = arrea("run", "-q", *words, "-c", 'pwd; echo "$A|$B|${BASH_VERSION:+bash}"')
    assert ran.out.decode().splitlines() == [str(tmp_path), "last = one||bash"]
    assert arrea("run", "-q", *words, "--", "pwd").out.decode() == f"{tmp_path}\n"


def test_parallel_is_the_most_at_once(tmp_path: object) -> None:
    line = f"mkdir {tmp_path}/busy && sleep 0.05 && rmdir {tmp_path}/busy"
    assert arrea("run", "-p", "1", *["-c", line] * 6).code == 0
    wait = f"seq 400 | while read i; do test -e {tmp_path}/$O && exit 9; sleep 0.02; done; test $? = 9"
    meet = f"touch {tmp_path}/$N; {wait}"
    assert arrea("run", "-p2", "-c", f"N=a O=b; {meet}", "-c", f"N=b O=a; {meet}").code == 0
