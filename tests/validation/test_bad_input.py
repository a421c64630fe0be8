"""Bad input: a code and a message each, never a traceback, never "allowed". The verb `zap` is invented."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from arrea._model.errors import InvalidOption
from arrea._prepare.validation.validator import MAX_BYTES, Validator
from tests.validation.fuzz.differential import no_zap
from tests.validation.fuzz.oracle import accepts
from tests.validation.sound import must_be_sound

if TYPE_CHECKING:
    from collections.abc import Callable

    from arrea._model.verdict import Verdict


def code(line: str, **options: Any) -> str | None:
    """Of a line, which `allow_substitution` must not make any better where nothing is substituted."""
    verdict = Validator(user_rules={"no_zap": no_zap}, **options).line(line)
    must_be_sound(verdict, len(line))
    return verdict.code


def lenient(line: str) -> str | None:
    return code(line, allow_substitution=True)


# --- empty and long -----------------------------------------------------------------------------


@pytest.mark.parametrize("line", ["", " ", "\t", "\n", " \t\n \n"])
def test_empty(line: str) -> None:
    assert code(line) == "empty_command"


def test_the_limit() -> None:
    assert MAX_BYTES == 65_536


def test_the_longest_line_is_allowed_and_one_byte_more_is_not() -> None:
    line = "echo " + "x" * (MAX_BYTES - 5)
    assert code(line) is None
    assert code(line + "x") == "command_too_long"


def test_the_length_is_in_bytes() -> None:
    assert code("echo '" + "é" * (MAX_BYTES // 2)) == "command_too_long"
    assert code("echo '" + "é" * (MAX_BYTES // 2 - 10) + "'") is None


@pytest.mark.parametrize("more", ["$(", "\0", "\ud800", "'", "zap; "])
def test_length_comes_before_all_but_emptiness(more: str) -> None:
    assert code(more * (MAX_BYTES + 1)) == "command_too_long"
    assert code(" " * (MAX_BYTES + 1)) == "empty_command"


# --- too deep -----------------------------------------------------------------------------------

NESTS = {
    "subshells": ("( ", "ls", " )"),
    "groups": ("{ ", "ls", "; }"),
    "substitutions": ("$(", "ls", ")"),
    "quoted substitutions": ('"$(', "ls", ')"'),
    "processes": ("cat <(", "ls", ")"),
    "expansions": ("${x:-", "y", "}"),
    "arithmetic": ("$((", "1", "))"),
    "ifs": ("if ls; then ", "ls", "; fi"),
    "whiles": ("while ls; do ", "ls", "; done"),
    "cases": ("case x in x) ", "ls", ";; esac"),
    "functions": ("f() { ", "ls", "; }"),
    "documents": ("bash <<A\n", "ls", "\nA"),
}


@pytest.mark.parametrize(("opening", "inner", "closing"), NESTS.values(), ids=NESTS)
def test_a_thousand_levels_are_refused(opening: str, inner: str, closing: str) -> None:
    line = "echo " * opening.startswith(("$", '"')) + opening * 1_000 + inner + closing * 1_000
    assert lenient(line) in ("too_deep", "unparseable")


@pytest.mark.parametrize("levels", [1, 2, 5, 8, 9, 20, 63, 64, 65, 66, 200, 1_000])
@pytest.mark.parametrize(("opening", "_", "closing"), NESTS.values(), ids=NESTS)
def test_no_level_hides_a_verb(opening: str, _: str, closing: str, levels: int) -> None:
    verb = "$(zap)" if opening in ("${x:-", "$((") else "zap"
    line = "echo " * opening.startswith(("$", '"')) + opening * levels + verb + closing * levels
    assert lenient(line) is not None


ROWS = {
    "assignments": "A=1 ",
    "time": "time ",
    "negations": "! ",
    "lists": "ls; ",
    "pipes": "ls | ",
    "ands": "ls && ",
    "lines": "ls\n",
    "redirects": "> x ",
    "evals": "eval ",
}
LAUNCHERS = (
    "env ",
    "command ",
    "nohup ",
    "timeout 5 ",
    "find . -exec ",
    "xargs ",
    "sudo ",
    "env A=1 nice -n 5 timeout -k 1 5 ",
)
TIMES = (1, 7, 8, 9, 63, 64, 65, 1_000, 3_000)


@pytest.mark.parametrize("times", TIMES)
@pytest.mark.parametrize("before", [*ROWS.values(), *LAUNCHERS], ids=[*ROWS, *LAUNCHERS])
def test_no_row_hides_a_verb(before: str, times: int) -> None:
    assert lenient(before * times + "zap -rf /x") is not None


@pytest.mark.parametrize("times", TIMES)
@pytest.mark.parametrize("before", LAUNCHERS)
def test_no_row_of_words_hides_a_verb(before: str, times: int) -> None:
    verdict = Validator(user_rules={"no_zap": no_zap}).words([*(before * times).split(), "zap"])
    must_be_sound(verdict)
    assert not verdict.allowed


@pytest.mark.parametrize("levels", [1, 2, 5, 8, 9, 20, 100, 1_000])
def test_text_that_is_read_again_and_again(levels: int) -> None:
    """Here-documents into a shell, one in the other."""
    opening = "".join(f"bash <<'A{n}'\n" for n in range(levels))
    closing = "".join(f"\nA{n}" for n in reversed(range(levels)))
    assert lenient(f"{opening}zap{closing}") is not None
    if levels > 100:
        assert lenient(f"{opening}ls{closing}") == "too_deep"


# --- what never ends ----------------------------------------------------------------------------

OPEN = r"""
'
"
`
$'
$"
$(
${
${x
"${a
$((
((
(
(ls
{ ls
{ ls;
[[ a
[[ a &&
if
if a
if a; then
if a; then b
if a; then b; else
if a; then b; elif
while
while a; do b
until a
for
for i in
for i in a; do
for ((;;
case
case x
case x in
case x in a)
case x in a) b ;;
select i in a; do
f() {
f() (
f()
function f {
a &&
a ||
a |
a <
a >
a <<
a <<<
a >&
a=(
a=(b
cat <(ls
x "a 'b' $(c
echo $(ls `
)
;;
;
&
&& a
|| a
| a
a & & b
a | | b
( )
(( a
"""

# The grammar knows no reserved words out of place. bash does and runs nothing, so all that counts is what is behind.
MISPLACED = ("}", "fi", "done", "esac", "then", "a ;; b", "{ }", "if a; then fi", "a(b)", "]] [[ a")

# bash takes what is there as the document, and warns.
OPEN_DOCUMENTS = ("cat <<A", "cat <<'A'\nx", "cat <<-A\n\tx\n\t\tB", "cat <<A <<B\nA\n", "cat <<A\n A\n")


@pytest.mark.parametrize("end", OPEN.split("\n")[1:-1])
def test_what_bash_refuses_is_refused(end: str) -> None:
    assert not accepts(end)
    for before in ("", "ls; ", "ls -l\n", "ls | "):
        assert lenient(before + end) == "unparseable"


@pytest.mark.parametrize("start", MISPLACED)
def test_what_is_misplaced_hides_nothing(start: str) -> None:
    assert not accepts(start)
    for line in (f"{start}; zap", f"{start}\nzap", f"zap; {start}", f"{start} && zap"):
        assert lenient(line) in ("unparseable", "dangerous_command")


@pytest.mark.parametrize("end", OPEN_DOCUMENTS)
def test_a_document_without_an_end_is_refused(end: str) -> None:
    assert lenient(end) == lenient("ls; " + end) == "unparseable"


# --- characters ---------------------------------------------------------------------------------

# Unicode's Bidi_Control: they show a line in another order than it is read in (CVE-2021-42574).
BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


@pytest.mark.parametrize(
    "place", ["ls {}", "ls x{}y", "{}", "ls '{}'", 'ls "{}"', "ls # {}", "cat <<A\n{}\nA", "{}ls"]
)
@pytest.mark.parametrize("character", ["\0", "\ud800", "\udfff", "\udcff", "\udc80", *BIDI], ids=ascii)
def test_characters_that_deceive(place: str, character: str) -> None:
    line = place.replace("{}", character)
    assert code(line) == lenient(line) == "possible_injection"


def test_bytes_that_are_no_text() -> None:
    line = b"ls \xff\xfe".decode("utf-8", "surrogateescape")
    assert code(line) == "possible_injection"


@pytest.mark.parametrize(
    "line", ["ls\r", "ls\r\nls", "\rls", "ls \r x", "zap\r -rf /x", "ls;\rzap", "ls #\rx"]
)
def test_a_carriage_return_outside_of_quotes(line: str) -> None:
    assert code(line) == lenient(line) == "possible_injection"


@pytest.mark.parametrize("line", ["printf 'a\rb'", 'printf "a\rb"', r"printf 'a\r\n'", "tr -d '\r' < f"])
def test_a_carriage_return_in_quotes_is_text(line: str) -> None:
    assert code(line) is None


@pytest.mark.parametrize("words", [("ls", "\0"), ("ls", "a\0b"), ("\0",), ("\ud800",), ("ls\0", "x")])
def test_characters_no_word_can_have(words: tuple[str, ...]) -> None:
    verdict = Validator().words(words)
    must_be_sound(verdict)
    assert verdict.code == "possible_injection"


@pytest.mark.parametrize(
    "character", ["é", "\U0001f600", "\x7f", "\x1b", "\x01", "\ufeff", "\u200b", "\u2028", "\x85", "\xa0"]
)
def test_other_odd_characters_are_no_blank_and_hide_nothing(character: str) -> None:
    assert code(f"echo '{character}'") is None
    assert lenient(f"zap -rf {character}") == "dangerous_command"
    assert lenient(f"ls{character}; zap -rf /x") in ("dangerous_command", "unparseable")


# --- rules --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rules", [("no_such",), ("no_sudo", "no_such"), ("",), ("NO_SUDO",), (1,), (None,), "no_sudo", 3, None]
)
def test_rules_that_are_none(rules: Any) -> None:
    with pytest.raises(InvalidOption) as found:
        Validator(rules)
    assert found.value.code == "invalid_option"
    assert str(found.value).isprintable()


@pytest.mark.parametrize(
    "options",
    [
        {"user_rules": {"x": 1}},
        {"user_rules": {"no_sudo": no_zap}},
        {"user_rules": {1: no_zap}},
        {"user_rules": [no_zap]},
        {"sudo_allowlist": "systemctl"},
        {"sudo_allowlist": (1,)},
    ],
    ids=range(6),
)
def test_options_that_make_no_sense(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidOption):
        Validator(**options)


@pytest.mark.parametrize("line", [None, b"ls", 3, ["ls"]])
def test_a_line_that_is_no_text(line: Any) -> None:
    with pytest.raises(InvalidOption):
        Validator().line(line)


@pytest.mark.parametrize("words", [None, "ls", b"ls", 3, [1], ["ls", None], [b"ls"]])
def test_words_that_are_no_texts(words: Any) -> None:
    with pytest.raises(InvalidOption):
        Validator().words(words)


class SilentError(Exception):
    """Not even its text can be had."""

    def __str__(self) -> str:
        raise ValueError("no text")


def raising(error: BaseException) -> Callable[[Any], str | None]:
    def rule(_: Any) -> str | None:
        raise error

    return rule


def returning(value: Any) -> Callable[[Any], Any]:
    return lambda _: value


BROKEN = {
    "raises": raising(ValueError("secret")),
    "raises without a text": raising(SilentError()),
    "asserts": raising(AssertionError()),
    "stops": raising(StopIteration()),
    "needs more room": raising(RecursionError()),
    "needs more memory": raising(MemoryError()),
    "takes nothing": lambda: None,
    "yes": returning(True),
    "no": returning(False),
    "number": returning(0),
    "bytes": returning(b"no"),
    "list": returning(["no"]),
}


def judged(rule: Any) -> list[Verdict]:
    """By a rule of one's own: a plain line, one that needs the grammar, and words."""
    judge = Validator(user_rules={"mine": rule})
    return [judge.line("ls -l"), judge.line("ls 'x' | cat"), judge.words(("ls",))]


@pytest.mark.parametrize("rule", BROKEN.values(), ids=BROKEN)
def test_a_rule_that_is_broken_refuses(rule: Any) -> None:
    for verdict in judged(rule):
        must_be_sound(verdict)
        assert verdict.code == "rule_failed"
        assert verdict.rule == "mine"
        assert "secret" not in str(verdict.reason)


def test_a_rule_that_is_broken_says_how() -> None:
    for verdict in judged(BROKEN["raises"]):
        assert "ValueError" in str(verdict.reason)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_ends_the_program_is_let_through(error: type[BaseException]) -> None:
    with pytest.raises(error):
        Validator(user_rules={"mine": raising(error())}).line("ls")


def test_a_reason_of_a_rule_is_the_reason() -> None:
    for verdict in judged(returning("not today")):
        must_be_sound(verdict)
        assert (verdict.code, verdict.rule) == ("dangerous_command", "mine")
        assert "not today" in str(verdict.reason)


@pytest.mark.parametrize("reason", ["", "a\nb", "\x1b[31m", "\ud800", "\u202e"])
def test_an_odd_reason_refuses_too(reason: str) -> None:
    for verdict in judged(returning(reason)):
        must_be_sound(verdict)
        assert not verdict.allowed
