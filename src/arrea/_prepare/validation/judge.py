"""The verdict on one command that isn't plain: limits, what is in it, then the rules. Imported on first use."""

from __future__ import annotations

from arrea._model.simple_command import SimpleCommand
from arrea._model.text import printable
from arrea._model.verdict import ALLOWED, Verdict
from arrea._prepare.validation.bombs import mark_bombs
from arrea._prepare.validation.inspection import Inspection, Problem, places_of
from arrea._prepare.validation.names import names
from arrea._prepare.validation.plain import KEYWORDS, PLAIN
from arrea._prepare.validation.rules import RULES
from arrea._prepare.validation.special_launchers import ELEVATORS, is_assignment
from arrea._prepare.validation.words import GLOB, UNKNOWN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from arrea._prepare.validation.commands import Call
    from arrea._prepare.validation.rules import Rule
    from arrea._prepare.validation.source import Span
    from arrea._prepare.validation.validator import Options, UserRule

_MEANT = "if it is meant: no validation (validate=False, --no-validate)"
_HINTS = {
    "possible_injection": "put it in single quotes if it is only text; to let substitutions pass, and have judged "
    "what is in them: allow_substitution=True, --allow-substitution",
    "character": "leave it out, or write it as an escape, as in $'\\r'",
    "unparseable": f"write it out, or give the words as a list, which no shell reads; {_MEANT}",
    "too_deep": f"put it into a script of its own and run that; {_MEANT}",
}
_SAFE_PATHS = ("/bin", "/sbin", "/usr/bin", "/usr/sbin", "/usr/local/bin")
# Of `sudo`, before the command that is allowed. Others make it a shell, change what it finds, or whom it asks.
_WHO = ("-u", "--user", "-g", "--group")
_KNOWN_NAME = frozenset(PLAIN)
_HARMLESS_OPTIONS = names(
    "-n -E -H -S -k -b -P --non-interactive --preserve-env --set-home --stdin --background --"
)


def judge_line(text: str, options: Options, *, plain: bool, stdin: str | None = None) -> Verdict:
    """The verdict on a shell line. plain: it has only characters that mean themselves."""
    return _judge(inspect_line(text, options, plain=plain, stdin=stdin), options)


def judge_words(words: Sequence[str], options: Options, stdin: str | None = None) -> Verdict:
    """The verdict on an argument vector; places are those in the words joined by blanks."""
    return _judge(inspect_words(words, options, stdin), options)


def inspect_line(text: str, options: Options, *, plain: bool, stdin: str | None = None) -> Inspection:
    inspection = Inspection(len(text), allow_substitution=options.allow_substitution, stdin=stdin)
    words = text.split(" ") if plain else []
    found = [(word, place) for word, place in zip(words, places_of(words), strict=True) if word]
    if not found or not KEYWORDS.isdisjoint(words) or is_assignment(found[0][0]):
        inspection.line(text)
    else:
        inspection.vector([word for word, _ in found], text, [place for _, place in found])
    return inspection


def inspect_words(words: Sequence[str], options: Options, stdin: str | None = None) -> Inspection:
    length = sum(map(len, words))
    inspection = Inspection(length, allow_substitution=options.allow_substitution, stdin=stdin)
    inspection.vector(words, " ".join(words), places_of(words))
    return inspection


def _judge(inspection: Inspection, options: Options) -> Verdict:
    first = {problem.code: problem for problem in reversed(inspection.problems)}
    if problem := first.get("possible_injection"):
        return _refused(problem)
    mark_bombs(inspection.calls, inspection.functions)
    verdict = _by_rules(inspection.calls, options)
    if verdict is None:
        verdict = _by_user_rules(inspection.calls, options.user_rules)
    if verdict is not None:
        return verdict
    problem = first.get("too_deep") or first.get("unparseable")
    return ALLOWED if problem is None else _refused(problem)


def _refused(problem: Problem) -> Verdict:
    return Verdict(
        code=problem.code,
        reason=f"{problem.reason}: {shown(problem.fragment)}" if problem.fragment else problem.reason,
        span=problem.span,
        fragment=problem.fragment,
        hint=_HINTS["character" if problem.is_character else problem.code],
    )


def shown(fragment: str) -> str:
    return repr(fragment if len(fragment) <= 60 else fragment[:57] + "...")


# ── rules ────────────────────────────────────────────────────────────────────────────────────────


def _by_rules(calls: Sequence[Call], options: Options) -> Verdict | None:
    for rule_name in options.rules:
        rule = RULES[rule_name]
        for call in calls:
            if call.name is not None and rule.concerns(call.name):
                found = rule.find(call)
                if found is not None and not _is_exempt(call, options.sudo_allowlist):
                    return _dangerous(rule_name, rule, call, found)
    return None


def _is_exempt(call: Call, allowlist: Sequence[tuple[str, ...]]) -> bool:
    """The words behind this `sudo` begin with allowed ones, all known."""
    if not allowlist or call.name not in ELEVATORS:
        return False
    behind = call.behind
    before = call.words[1 : len(call.words) - len(behind)]
    if not behind or call.name == "sudoedit" or call.assignments or not _are_harmless(before):
        return False
    path, _, name = behind[0].rpartition("/")
    names = (behind[0], name) if path in _SAFE_PATHS else (behind[0],)
    return any((name, *behind[1 : len(allowed)]) == allowed for allowed in allowlist for name in names)


def _are_harmless(options: Sequence[str]) -> bool:
    """Those of `sudo` that change neither what it runs nor how; as whom it does is known."""
    rest = iter(options)
    for option in rest:
        name, equals, value = option.partition("=")
        if name in _WHO:
            value = value if equals else next(rest, "")
            if not value or not _KNOWN_NAME.issuperset(value):
                return False
        elif option not in _HARMLESS_OPTIONS:
            return False
    return True


def _dangerous(rule_name: str, rule: Rule, call: Call, place: Span) -> Verdict:
    span, fragment = call.source.span(*place), call.source.text(*place)
    if rule_name == "no_fork_bomb" and call.bomb is not None:
        span, fragment = call.bomb.span, call.bomb.fragment
    via = f", started by {printable(' '.join(call.through)[:60])}" if call.through else ""
    return Verdict(
        code="dangerous_command",
        rule=rule_name,
        reason=f"{shown(fragment)} {rule.what}{via}",
        span=span,
        fragment=fragment,
        hint=f"{rule.hint}; {_MEANT}, or no rule {rule_name} (validation_rules)",
    )


# ── users' own rules ─────────────────────────────────────────────────────────────────────────────


def _by_user_rules(calls: Sequence[Call], rules: Sequence[tuple[str, UserRule]]) -> Verdict | None:
    for name, rule in rules:
        for call in calls:
            if (call.other or not call.guess) and (verdict := _ask(name, rule, call)) is not None:
                return verdict
    return None


def _ask(name: str, rule: UserRule, call: Call) -> Verdict | None:
    try:
        answer = rule(public(call))
    except Exception as error:  # noqa: BLE001 - whatever a user's rule raises is a refusal, and is told
        return _failed(name, call, f"raised {type(error).__name__}")
    if answer is None:
        return None
    if not isinstance(answer, str):
        return _failed(name, call, f"returned {type(answer).__name__}, not a text or None")
    return Verdict(
        code="dangerous_command",
        rule=name,
        reason=printable(str.__str__(answer)) or "refused without a reason",
        span=call.span(),
        fragment=call.fragment(),
        hint=f"it is a rule of your own, {printable(name)}",
    )


def _failed(name: str, call: Call, what: str) -> Verdict:
    return Verdict(
        code="rule_failed", rule=name, reason=f"the rule {printable(name)} {what}", span=call.span(),
        fragment=call.fragment(), hint="repair the rule: what can't be judged is refused",
    )  # fmt: skip


def public(call: Call) -> SimpleCommand:
    """A call as users see it."""
    return SimpleCommand(
        call.name,
        tuple(map(_known, call.words)),
        assignments=tuple((name, _known(value)) for name, value in call.assignments),
        redirects=tuple((operator, _known(target)) for operator, target, _ in call.redirects),
        span=call.span(),
        through=call.through,
    )


def _known(word: str) -> str | None:
    return None if any(mark in word for mark in UNKNOWN) else word.replace(GLOB, "")
