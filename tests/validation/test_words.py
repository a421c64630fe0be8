"""Words as bash sees them: quotes, escapes and braces undone, what only exists at run time marked."""

import pytest

from arrea._prepare.validation.words import (
    GLOB,
    LOOSE,
    MAX_WORDS,
    QUOTED,
    Overlooked,
    TooManyWords,
    decode_escapes,
    read_word,
)


def words(text: str, holes: dict[int, int] | None = None) -> list[str]:
    return read_word(text, 0, len(text), holes or {})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("plain", "plain"),
        ("'a b'", "a b"),
        ('"a b"', "a b"),
        ("a'b'\"c\"d", "abcd"),
        ("''", ""),
        ('""', ""),
        (r"r\m", "rm"),
        (r"a\ b", "a b"),
        (r"\\", "\\"),
        (r"'a\b'", r"a\b"),
        (r'"a\b"', r"a\b"),
        (r'"a\"b\\\$\`"', 'a"b\\$`'),
        ("r\\\nm", "rm"),
        ('"r\\\nm"', "rm"),
        ("'r\\\nm'", "r\\\nm"),
        (r"$'\x72\155'", "rm"),
        (r"$'a\'b'", "a'b"),
        (r"$'\u0072m'", "rm"),
        (r"$'a\0b'", "a"),
        ('$"rm"', "rm"),
        ("a$", "a$"),
        ('"$"', "$"),
        ("~/x", "~/x"),
        ("--x='y z'", "--x=y z"),
        ("#x", "#x"),
    ],
)
def test_quotes_are_undone(text: str, value: str) -> None:
    assert words(text) == [value]


@pytest.mark.parametrize(
    ("text", "holes", "value"),
    [
        ("$x", {}, LOOSE),
        ('"$x"', {}, QUOTED),
        ("a$x.b", {}, f"a{LOOSE}.b"),
        ("$1$@$?", {}, LOOSE * 3),
        ("${x:-y}z", {0: 7}, f"{LOOSE}z"),
        ('"${x}"', {1: 5}, QUOTED),
        ("a$(b 'c')d", {1: 9}, f"a{LOOSE}d"),
        ("`b`", {0: 3}, LOOSE),
        ("<(a)", {0: 4}, QUOTED),
        ("'$x'", {}, "$x"),
        (r"\$x", {}, "$x"),
    ],
)
def test_what_only_exists_at_run_time_is_marked(text: str, holes: dict[int, int], value: str) -> None:
    assert words(text, holes) == [value]


@pytest.mark.parametrize("text", ["$(a)", "`a`", "${x}", '"$(a)"', "x$[1]"])
def test_an_expansion_that_the_grammar_overlooked_is_no_text(text: str) -> None:
    with pytest.raises(Overlooked):
        words(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("*.c", f"{GLOB}*.c"),
        ("a?", f"a{GLOB}?"),
        ("r[m]", f"r{GLOB}[m]"),
        ("[", "["),
        ("'*'", "*"),
        (r"\*", "*"),
    ],
)
def test_patterns_are_marked_unless_quoted(text: str, value: str) -> None:
    assert words(text) == [value]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("{rm,-rf,/x}", ["rm", "-rf", "/x"]),
        ("a{b,c}d", ["abd", "acd"]),
        ("{a,b}{c,d}", ["ac", "ad", "bc", "bd"]),
        ("a{b,{c,d}}", ["ab", "ac", "ad"]),
        ("r{m,}", ["rm", "r"]),
        ("{}", ["{}"]),
        ("{a}", ["{a}"]),
        ("{a,b", ["{a,b"]),
        ("a,b}", ["a,b}"]),
        ("{a,{b,c}", ["{a,b", "{a,c"]),
        ("{1..3}", ["1", "2", "3"]),
        ("{c..a}", ["c", "b", "a"]),
        ("{1..9..4}", ["1", "5", "9"]),
        ("{1..100000}", [QUOTED]),
        ("'{a,b}'", ["{a,b}"]),
        (r"\{a,b}", ["{a,b}"]),
        ("{a,'b c'}", ["a", "b c"]),
        ("{r,'x'}m", ["rm", "xm"]),
    ],
)
def test_braces(text: str, values: list[str]) -> None:
    assert words(text) == values


@pytest.mark.parametrize("text", ["{a,b}" * 10, "{" * 5_000, "{" + "a," * (MAX_WORDS + 1) + "}"])
def test_braces_have_a_bound(text: str) -> None:
    with pytest.raises(TooManyWords):
        words(text)


def test_ifs_separates_words() -> None:
    assert words("-r$IFS-f${IFS}/x", {6: 12}) == ["-r", "-f", "/x"]
    assert words('"a$IFS"') == [f"a{QUOTED}"]
    assert words("$IFSx") == [LOOSE]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r"a\tb", "a\tb"),
        (r"\x41\101", "AA"),
        (r"\e[m", "\x1b[m"),
        (r"\q", r"\q"),
        (r"\xff", QUOTED),
        ("a", "a"),
    ],
)
def test_escapes(text: str, value: str) -> None:
    assert decode_escapes(text) == value
