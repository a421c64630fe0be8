"""The door: the order of its checks, its options, plain lines, argument vectors, users' own rules, explanations."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arrea._model.errors import InvalidOption
from arrea._prepare.direct import PLAIN as DIRECT_PLAIN
from arrea._prepare.validation import plain
from arrea._prepare.validation.interpreters import INTERPRETERS
from arrea._prepare.validation.judge import judge_line
from arrea._prepare.validation.launcher_table import USAGES
from arrea._prepare.validation.rules import RULES
from arrea._prepare.validation.special_launchers import SHELLS, SPECIAL
from arrea._prepare.validation.validator import DEFAULT_RULES, MAX_BYTES, Validator
from arrea._prepare.validation.words import PLAIN as WORDS_PLAIN

if TYPE_CHECKING:
    from arrea._model.simple_command import SimpleCommand

DEFAULT = Validator()
LENIENT = Validator(allow_substitution=True)


# ── the order of the checks ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("", "empty_command"),
        (" \n\t", "empty_command"),
        ("$(a)" * MAX_BYTES, "command_too_long"),
        ("x" * MAX_BYTES, None),
        ("x" * (MAX_BYTES + 1), "command_too_long"),
        ("echo '" + "é" * (MAX_BYTES // 2) + "'", "command_too_long"),
        ("$(whoami)", "possible_injection"),
        ("rm -rf / $(whoami)", "possible_injection"),
        ("$x; rm -rf /", "dangerous_command"),
        ("$x", "unparseable"),
        ("rm -rf / (", "unparseable"),
        ("(" * 100, "too_deep"),
        ("rm -rf /x ;" + "$(" * 1_000, "too_deep"),
        ("rm -rf /x ;" + "(" * 1_000, "too_deep"),
        ("rm -rf /x ;" + '"$(' * 1_000, "too_deep"),
        ("# only a comment", None),
    ],
    ids=lambda value: str(value)[:20],
)
def test_order(line: str, code: str | None) -> None:
    assert DEFAULT.line(line).code == code


def test_the_seed() -> None:
    verdict = DEFAULT.line("rm -rf /")
    assert (verdict.code, verdict.rule, verdict.span, verdict.fragment) == (
        "dangerous_command",
        "no_rm_rf",
        (0, 6),
        "rm -rf",
    )
    assert DEFAULT.line("echo hello").allowed
    assert DEFAULT.line("$(whoami)").code == "possible_injection"
    assert DEFAULT.line("sudo rm -rf /").fragment == "rm -rf"


@pytest.mark.parametrize(
    "line",
    [
        "a $(b)", "a `b`", 'a "$(b)"', "a <(b)", "a > >(b)", "x=$(a)", "a ${x:-$(b)}", 'a "${x%%$(b)}"',
        "a ${x:=`b`}",
        "a <<E\n$(b)\nE\n", "a <<E\n`b`\nE\n", "a ${x@P}", "sh -c 'a $(b)'", "a\r", "a \0", "a \u202e", "a '\ud800'",
    ],
)  # fmt: skip
def test_injection(line: str) -> None:
    assert DEFAULT.line(line).code == "possible_injection"


@pytest.mark.parametrize(
    "line",
    [
        "a '$(b)'", r"a \$\(b\)", r'a "\$(b)"', r'a "\`b\`"', "a <<'E'\n$(b) `c`\nE\n", "a <<E\n\\$(b)\nE\n",
        "a $((1 + 2))",
        "a ${b}", "a # $(b)", "a 'b\rc'", "a <<E\nb\rc\nE\n",
    ],
)  # fmt: skip
def test_no_injection(line: str) -> None:
    assert DEFAULT.line(line).allowed


def test_substitutions_that_are_allowed_are_judged() -> None:
    assert LENIENT.line("a $(b)").allowed
    assert LENIENT.line("a $(rm -rf x)").rule == "no_rm_rf"
    assert LENIENT.line("a `echo \\`rm -rf x\\``").rule == "no_rm_rf"


# ── options ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "rules", [("no_such",), "no_sudo", (1,), None, 3, [None], {"no_sudo": 1}, b"no_sudo"]
)
def test_rules_that_do_not_exist(rules: Any) -> None:
    with pytest.raises(InvalidOption) as error:
        Validator(rules)
    assert error.value.option == "validation_rules"


def test_a_misspelt_rule_gets_a_suggestion() -> None:
    with pytest.raises(InvalidOption, match="no_sudo"):
        Validator(("no_sudu",))


def test_chosen_rules() -> None:
    assert Validator(()).line("rm -rf x; sudo ls").allowed
    assert Validator(["no_sudo"]).line("rm -rf x").allowed
    assert Validator(("strict", "no_dd")).line("reboot").rule == "no_shutdown"
    assert Validator(()).line("$x").code == "unparseable"


@pytest.mark.parametrize(
    ("line", "allowed"),
    [
        ("sudo systemctl start x", True),
        ("sudo -n -u root systemctl start x", True),
        ("sudo /bin/systemctl start x", True),
        ("sudo 'systemctl'  start $x", True),
        ("sudo systemctl start x && sudo systemctl start y", True),
        ("sudo apt-get update", True),
        ("sudo systemctl start x; sudo ls", False),
        ("sudo systemctl stop x", False),
        ("sudo systemctl startx", False),
        ("sudo systemctl $x", False),
        ("sudo systemctl", False),
        ("sudo ./systemctl start x", False),
        ("sudo A=1 systemctl start x", False),
        ("sudo -s systemctl start x", False),
        ("sudo env systemctl start x", False),
        ("sudo sh -c 'systemctl start x'", False),
        ("sudo", False),
    ],
)
def test_sudo_allowlist(line: str, allowed: bool) -> None:
    validator = Validator(sudo_allowlist=["systemctl start", "/usr/bin/foo", "apt-get"])
    assert validator.line(line).allowed is allowed


def test_what_an_allowed_sudo_runs_is_judged() -> None:
    assert Validator(sudo_allowlist=["sh", "rm"]).line("sudo sh -c 'rm -rf x'").rule == "no_rm_rf"
    assert Validator(sudo_allowlist=["rm"]).line("sudo rm -rf x").rule == "no_rm_rf"


@pytest.mark.parametrize(
    "options",
    [
        {"sudo_allowlist": "ls"},
        {"sudo_allowlist": [""]},
        {"sudo_allowlist": [1]},
        {"allow_substitution": "yes"},
        {"user_rules": {"no_dd": print}},
        {"user_rules": {"strict": print}},
        {"user_rules": {"": print}},
        {"user_rules": {"x": 1}},
        {"user_rules": [print]},
    ],
)
def test_options_that_will_not_do(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidOption):
        Validator(**options)


# ── plain lines ──────────────────────────────────────────────────────────────────────────────────

_WORDS = """
env nice timeout 5 sh -c eval xargs -I% % ls find git docker run img --rm -rf -r -f A=1 /bin/rm ./rm if=x of=y make -j4
python3.11 mkfs.ext4 parallel =rm alias x=rm sudo command -v trap X=rm - -- 2 time busybox ssh host su watch echo foo +x
rm, @ a/rm .. mkfs.
"""
_INTERESTING = sorted({*plain.VERBS, *plain.KEYWORDS, *_WORDS.split()})


@given(st.lists(st.sampled_from(_INTERESTING), max_size=10), st.booleans())
@settings(max_examples=1_000, deadline=None)
def test_the_quick_way_and_the_long_one_agree(words: list[str], strict: bool) -> None:
    validator = Validator(("strict",)) if strict else DEFAULT
    line = " ".join(words)
    if words:
        assert validator.line(line) == judge_line(line, validator._options, plain=True)


@given(st.lists(st.sampled_from(_INTERESTING), min_size=1, max_size=8))
@settings(max_examples=500, deadline=None)
def test_plain_words_mean_the_same_to_the_grammar(words: list[str]) -> None:
    line = " ".join(words)
    quick, read = DEFAULT.line(line), DEFAULT.line(line + " ''")
    assert not (quick.allowed and read.code == "dangerous_command"), line


def test_the_plain_characters_are_those_of_lines_without_a_shell() -> None:
    assert set(plain.PLAIN) == set(DIRECT_PLAIN) == {*WORDS_PLAIN, " "}


def test_the_watched_words_are_those_of_the_tables() -> None:
    def of(names: tuple[str, ...]) -> set[str]:
        return {program for name in names for program in RULES[name].names or ()}

    heads = {name for name in USAGES if "." not in name} | {*SPECIAL, *SHELLS, *INTERPRETERS, *plain.KEYWORDS}
    heads |= of(DEFAULT_RULES)
    writable = {head for head in heads if not head.strip(plain.PLAIN)}
    assert writable == frozenset(plain.HEADS.split())
    strict = of(tuple(RULES)) | {"tee", "cp", "install", "mv", "ddrescue", "dcfldd", "dd"}
    assert strict - frozenset(plain.HEADS.split()) == frozenset(plain.STRICT_HEADS.split())
    assert of(DEFAULT_RULES) - {"gdd", "dcfldd"} <= plain.VERBS


def test_no_verb_goes_without_a_needle() -> None:
    verbs = {program for name in DEFAULT_RULES for program in RULES[name].names or ()}
    assert all(any(needle in verb for needle in plain.NEEDLES) for verb in verbs)


def test_the_default_rules_are_those_of_the_table() -> None:
    assert set(DEFAULT_RULES) < set(RULES)


def test_a_plain_line_imports_nothing_costly() -> None:
    program = """
import sys
before = set(sys.modules)
from arrea._prepare.validation.validator import Validator
assert Validator().line("make -j4 all").allowed
print(*sorted(set(sys.modules) - before))
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    new = set(found.stdout.split())
    assert not new & {"re", "typing", "dataclasses", "enum", "tree_sitter", "inspect"}
    assert {name for name in new if name.startswith("arrea._prepare.validation.")} == {
        "arrea._prepare.validation.plain",
        "arrea._prepare.validation.validator",
    }


# ── argument vectors ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("rm", "-rf", "/x"), "dangerous_command"),
        (["env", "A=1", "rm", "-r", "-f", "x"], "dangerous_command"),
        (("sh", "-c", "ls; rm -rf x"), "dangerous_command"),
        (("find", ".", "-exec", "rm", "-rf", "{}", ";"), "dangerous_command"),
        (("python", "-c", "import os; os.system('rm -rf x')"), "dangerous_command"),
        (("sh", "-c", "echo $(x)"), "possible_injection"),
        (("sh", "-c", "$0 x"), "unparseable"),
        (("sh", "-c", "if"), "unparseable"),
        (("echo", "rm -rf x"), None),
        (("echo", "$(x)", "`y`", ";", "rm", "-rf", "x"), None),
        (("$x", "*"), None),
        (("if", "a"), None),
        (("ls", "a\rb"), None),
        (("ls", "\u202e"), "possible_injection"),
        (("ls", "x\udcff"), None),
        ((), "empty_command"),
        (("", "x"), "empty_command"),
        (("ls", "a\0b"), "possible_injection"),
        (("ls", "\ud800"), "possible_injection"),
    ],
)
def test_words(words: tuple[str, ...], code: str | None) -> None:
    assert DEFAULT.words(words).code == code


def test_places_of_words_are_those_in_the_joined_text() -> None:
    verdict = DEFAULT.words(("nice", "-n", "5", "rm", "é", "-rf"))
    assert (verdict.span, verdict.fragment) == ((10, 18), "rm é -rf")


@pytest.mark.parametrize("value", [None, b"ls", 3, ["ls"]])
def test_a_line_must_be_text(value: Any) -> None:
    with pytest.raises(InvalidOption):
        DEFAULT.line(value)


@pytest.mark.parametrize("value", [None, "ls", b"ls", 3, ["ls", 1]])
def test_words_must_be_texts(value: Any) -> None:
    with pytest.raises(InvalidOption):
        DEFAULT.words(value)


# ── users' own rules ─────────────────────────────────────────────────────────────────────────────


def no_curl(command: SimpleCommand) -> str | None:
    return "no network here" if command.name == "curl" else None


def test_a_rule_of_ones_own() -> None:
    validator = Validator(user_rules={"no_curl": no_curl})
    for line in (
        "curl x",
        "/usr/bin/curl x",
        "c'ur'l x",
        "ls | env curl x",
        "sh -c 'curl x'",
        "f() { curl x; }",
    ):
        verdict = validator.line(line)
        assert (verdict.code, verdict.rule, verdict.reason) == (
            "dangerous_command",
            "no_curl",
            "no network here",
        )
    assert validator.line("echo curl").allowed
    assert validator.line("rm -rf x").rule == "no_rm_rf"
    assert validator.words(("curl", "x")).rule == "no_curl"


def test_a_rule_of_ones_own_may_be_named_among_the_rules() -> None:
    validator = Validator(("no_curl",), user_rules={"no_curl": no_curl})
    assert validator.line("curl x").rule == "no_curl"
    assert validator.line("rm -rf x").allowed


@pytest.mark.parametrize("answer", [True, 1, b"no", [], 0.0])
def test_a_rule_that_answers_nonsense_refuses(answer: object) -> None:
    verdict = Validator(user_rules={"odd": lambda _: answer}).line("ls")  # type: ignore[arg-type, return-value]
    assert (verdict.code, verdict.rule) == ("rule_failed", "odd")


def test_a_rule_that_raises_refuses() -> None:
    def broken(_: SimpleCommand) -> str | None:
        raise ValueError("secret")

    verdict = Validator(user_rules={"broken": broken}).line("ls 'x'")
    assert (verdict.code, verdict.rule) == ("rule_failed", "broken")
    assert "ValueError" in (verdict.reason or "")
    assert "secret" not in (verdict.reason or "")


def test_what_a_rule_is_given() -> None:
    seen: list[SimpleCommand] = []

    def note(command: SimpleCommand) -> None:
        seen.append(command)

    Validator(user_rules={"note": note}).line("A=1 nice make \"$x\" 'y z' > log")
    first, second = seen
    assert (first.name, first.assignments, first.redirects) == ("nice", (("A", "1"),), ((">", "log"),))
    assert (second.name, second.words, second.through) == ("make", ("make", None, "y z"), ("nice",))


# ── explanations and threads ─────────────────────────────────────────────────────────────────────


def test_what_is_seen() -> None:
    found = DEFAULT.seen("sudo make install && echo 'rm -rf x'")
    assert [(command.name, command.span, command.through) for command in found] == [
        ("sudo", (0, 17), ()),
        ("make", (5, 17), ("sudo",)),
        ("echo", (21, 36), ()),
    ]


@pytest.mark.parametrize(
    ("command", "names"),
    [
        ("", []),
        ("x" * (MAX_BYTES + 1), []),
        ("if", []),
        ("ls", ["ls"]),
        (["sudo", "-n", "ls"], ["sudo", "ls"]),
    ],
)
def test_what_is_seen_of_anything(command: str | list[str], names: list[str]) -> None:
    assert [each.name for each in DEFAULT.seen(command)] == names


def test_several_threads_share_one() -> None:
    lines = ["echo 'x' | cat", "rm -rf 'x'", "a $(b)", "if x; then y; fi"] * 50
    expected = [DEFAULT.line(line) for line in lines]
    found: list[list[object]] = []
    threads = [
        threading.Thread(target=lambda: found.append([DEFAULT.line(line) for line in lines]))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 4
