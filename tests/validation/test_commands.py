"""From a line to its simple commands: none is left out, none is invented, and each has its words."""

import pytest

from arrea._model.simple_command import SimpleCommand
from arrea._prepare.validation.validator import Validator

LENIENT = Validator(allow_substitution=True)


def seen(line: str) -> tuple[SimpleCommand, ...]:
    assert LENIENT.line(line).allowed, LENIENT.line(line)
    return LENIENT.seen(line)


def names(line: str) -> list[str | None]:
    return sorted(command.name or "" for command in seen(line))


@pytest.mark.parametrize(
    "line",
    [
        "a; b",
        "a && b",
        "a || b",
        "a | b",
        "a |& b",
        "a & b",
        "a\nb",
        "(a; b)",
        "{ a; b; }",
        "! a | b",
        "if a; then b; fi",
        "while a; do b; done",
        "until a; do b; done",
        "for x in 1 2; do a; b; done",
        "for x do a; b; done",
        "for ((;;)); do a; b; done",
        "case x in y) a;; *) b;; esac",
        "case x in (y) a;; esac; b",
        "select x in y; do a; b; done",
        "f() { a; b; }",
        "function f { a; b; }",
        "f() ( a; b )",
        "a $(b)",
        "a `b`",
        'a "$(b)"',
        "a <(b)",
        "a > >(b)",
        "a ${x:-$(b)}",
        'a "${x#$(b)}"',
        "a $((1 + $(b)))",
        "x=$(a) b",
        "x=$(a); b",
        "x=(1 $(a)) b",
        "[[ -n $(a) ]] && b",
        '[ "$(a)" ] || b',
        "[ a = b ] && a && b",
        "((x > $(a))) && b",
        "a <<E\n$(b)\nE\n",
        "a <<E\n`b`\nE\n",
        "a <<E && b\nx ' y\nE\n",
        "a <<E; b\nx ' y\nE\n",
        "a <<'E'\n$(x) '\nE\nb",
        "a <<1 <<2\nx '\n1\ny '\n2\nb",
        "a <<-E\n\tx '\n\tE\nb",
        "a <<< '$(x)'; b",
        "a > $(b)",
        "a `echo \\`b\\``"[:2] + "`b`",
        "a # x; y\nb",
        "a \\\n x; b",
        "time a; b",
        "coproc N { a; }; b",
        "x=1 2>/dev/null; a; b",
        "exec {fd}>x; a; b",
    ],
)
def test_every_command_is_seen(line: str) -> None:
    assert {"a", "b"} <= set(names(line))


@pytest.mark.parametrize(
    "line",
    [
        "a 'b; zap'",
        'a "b; zap"',
        r"a b\; zap",
        "a '$(zap)'",
        r"a \$\(zap\)",
        "a # zap",
        "a #; zap",
        "a <<'E'\n$(zap)\nE\n",
        "a <<E\nzap\nE\n",
        "a <<< zap",
        "a > zap",
        "a {zap,b}",
        "a $'; zap'",
        "a zap",
        "x=zap a",
        "a ${zap}",
        "[[ $x == zap ]]; a",
        "case zap in zap) a;; esac",
        "for zap in zap; do a; done",
        "echo $((zap + 1)); a",
        "zap=1; a",
        "a=(zap b); a",
    ],
)
def test_text_is_no_command(line: str) -> None:
    assert "zap" not in names(line)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("a b  c", ("a", "b", "c")),
        ("r\\\nm x", ("rm", "x")),
        ("a \\\n b", ("a", "b")),
        (r"cp My\ File x", ("cp", "My File", "x")),
        ("a b\\ #c d", ("a", "b #c", "d")),
        ("a '' \"\"", ("a", "", "")),
        ("a x$y z", ("a", None, "z")),
        ('a "$x"/b', ("a", None)),
        ("a *.c", ("a", "*.c")),
        ("a > f b", ("a", "b")),
        ("> f a b", ("a", "b")),
        ("> f > g a b", ("a", "b")),
        ("a 2>f b", ("a", "b")),
        ("a 0<f b", ("a", "b")),
        ("a <<E b\nx\nE\n", ("a", "b")),
        ("a - <<'E'\nx\nE\n", ("a", "-")),
        ("a <<< x b", ("a", "b")),
        ("a &>f b", ("a", "b")),
        ("a {b,c}d", ("a", "bd", "cd")),
        ("a é 'ü ö'", ("a", "é", "ü ö")),
        ("x=$y/$1 a b", ("a", "b")),
        ("x=1 y=2\nz=3\nfor i in 1; do a b; done", ("a", "b")),
        ("x+\\\n=1 a b", ("a", "b")),
        ('echo "`a b`" "` c`"', ("a", "b")),
        ("coproc N { a b; }; c", ("a", "b")),
        ("ls\n\\a b", ("a", "b")),
        ("a x\u00a0y", ("a", "x\u00a0y")),
        ("a x\x0by", ("a", "x\x0by")),
    ],
)
def test_words(line: str, words: tuple[str | None, ...]) -> None:
    assert words in [command.words for command in seen(line)]


def test_assignments_and_redirects() -> None:
    (command,) = seen("A=1 B='x y' C=$z make > log 2>&1 < in")
    assert command.assignments == (("A", "1"), ("B", "x y"), ("C", None))
    assert command.redirects == ((">", "log"), (">&", "1"), ("<", "in"))


def test_spans_are_those_of_the_line() -> None:
    first, second = seen("echo 'é' ; ls  -l")
    assert (first.span, second.span) == ((0, 8), (11, 17))
    (bash, ls) = seen("bash -c 'ls -l'")
    assert (bash.span, ls.span) == ((0, 15), (8, 15))


def test_who_starts_whom() -> None:
    commands = seen("env A=1 sh -c 'nice ls' | xargs -n1 echo")
    assert [(command.name, command.through) for command in commands] == [
        ("env", ()),
        ("sh", ("env",)),
        ("nice", ("env", "sh")),
        ("ls", ("env", "sh", "nice")),
        ("xargs", ()),
        ("echo", ("xargs",)),
    ]


@pytest.mark.parametrize(
    "line",
    [
        "echo $((1<<2))\nzap",
        "((x<<2))\nzap\n2",
        "echo '<<E'\nzap\nE",
        "echo \\<<E\nzap\nE",
        "# <<E\nzap",
        "echo a#<<E\nx\nE\nzap",
        "a <<E1\nx\nE1\nzap",
        "a <<'E'\n'\nE\nzap\n: '\n'",
        "a\\\n#; zap",
        "a\x0b#; zap",
        "a\x0c#; zap",
        "a\u2003#; zap",
        "a\\ #; zap",
        'a"b"#; zap',
        "[ a ]#; zap",
        "a;#\nzap",
        "((zap -rf x))",
        "[ a && zap ]",
        "[[ a ]] && zap",
        "! ! zap",
        "time { zap; }",
        "echo ${x#a}; zap",
        "echo $#; zap",
        "a ${x:-'}'} ; zap",
        "$'a' $'\\'; zap",
        "x() if a; then zap; fi",
    ],
)
def test_nothing_hides_a_command(line: str) -> None:
    """`zap` is no program; in the sum and in `[ ]` only another shell, or a mistake, runs it."""
    found = Validator(
        allow_substitution=True, user_rules={"no_zap": lambda c: "zap" if c.name == "zap" else None}
    )
    verdict = found.line(line)
    assert not verdict.allowed or line.startswith("((")


@pytest.mark.parametrize(
    "line",
    [
        "if a; then",
        "a |",
        "a &&",
        "(a",
        "a)",
        "'a",
        '"a',
        "a <<E\nx",
        "a `b",
        "${a",
        "a;;b;",
        "echo a#b$(",
        "${ a; }",
        "[[ a",
        "case x in",
        "for",
        "a <<<",
        "&\\\n& a",
        "$\\\n(a)",
    ],
)
def test_what_is_not_understood_is_refused(line: str) -> None:
    assert LENIENT.line(line).code == "unparseable"
