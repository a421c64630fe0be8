"""What the validator makes of the corpus, in numbers: `python -m tests.validation.report [--aside]`.

Given: the cases. Decides whether a verdict is right. Hands back the table of recall and false refusals; without
`--aside` of the tuned two thirds and with the cases that are wrong, with it of the third set aside and never a case.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

from tests.validation.corpus import (
    DEFAULT_RULES,
    REFUSED_FORMS,
    STRICT_RULES,
    Case,
    aside,
    load_corpus,
    tuned,
)

if TYPE_CHECKING:
    from arrea._model.verdict import Verdict
    from arrea._prepare.validation.validator import Validator

# --- one case ---------------------------------------------------------------------------------


def judge(case: Case) -> Verdict:
    """The verdict of a validator that is set up as the case says."""
    validator = _validator(case.profile, case.allow_substitution, case.sudo_allowlist)
    try:
        if isinstance(case.command, str):
            return validator.line(case.command)
        return validator.words(case.command)
    except Exception as error:
        error.add_note(f"{case.id}: {shown(case)}")
        raise


@functools.cache
def _validator(profile: str, allow_substitution: bool, sudo_allowlist: tuple[str, ...]) -> Validator:
    from arrea._prepare.validation.validator import DEFAULT_RULES, Validator

    rules = ("strict",) if profile == "strict" else DEFAULT_RULES
    return Validator(rules, allow_substitution=allow_substitution, sudo_allowlist=sudo_allowlist)


def is_right(case: Case, verdict: Verdict) -> bool:
    """Whether the verdict is what the case expects, with a code and a rule that are right."""
    if verdict.allowed or not case.refused:
        return verdict.allowed is not case.refused
    if verdict.code == "dangerous_command":
        return verdict.rule in case.rules
    return verdict.code in case.codes


def shown(case: Case) -> str:
    """The command on one line of printable characters, cut."""
    text = ascii(case.command)
    return text if len(text) <= 150 else f"{text[:120]}... ({len(text)} characters)"


def described(case: Case, verdict: Verdict) -> str:
    """One line about a verdict that is wrong."""
    expected = "/".join((*case.codes, *case.rules)) or "allowed"
    found = "allowed" if verdict.allowed else f"{verdict.code} {verdict.rule or ''} {verdict.fragment!r}"
    return f"{case.id}: {shown(case)}\n    expected {expected}, is {found}"


# --- the table --------------------------------------------------------------------------------


class Row(NamedTuple):
    """How many cases a row holds, and how many of them were refused though allowed, or the other way round."""

    title: str
    cases: int
    missed: int

    def line(self) -> str:
        rate = 100 * (self.cases - self.missed) / self.cases if self.cases else 100.0
        return f"{self.title:34} {self.cases:6} {self.missed:7} {rate:8.2f} %"


Holds = Callable[[Case], bool]


def _of_default_rules(case: Case) -> bool:
    return case.refused and case.profile == "default" and bool(case.rules)


def _by_form(form: str) -> Holds:
    return lambda case: _of_default_rules(case) and case.form == form


def _by_rule(rule: str) -> Holds:
    return lambda case: case.refused and rule in case.rules


def _by_code(code: str) -> Holds:
    return lambda case: case.refused and not case.rules and code in case.codes


def _allowed_in(*files: str) -> Holds:
    return lambda case: not case.refused and case.file in files


def _near_miss(case: Case) -> bool:
    return not case.refused and case.file not in ("ordinary", "text_only")


RECALL: dict[str, Holds] = {
    "refused: default rules": _of_default_rules,
    **{f"  {form}": _by_form(form) for form in REFUSED_FORMS},
    **{f"  {rule}": _by_rule(rule) for rule in DEFAULT_RULES},
    "refused: strict rules": lambda case: not set(STRICT_RULES).isdisjoint(case.rules),
    **{f"  {rule}": _by_rule(rule) for rule in STRICT_RULES},
    "refused: possible_injection": _by_code("possible_injection"),
    "refused: unparseable": _by_code("unparseable"),
}
ALLOWED: dict[str, Holds] = {
    "allowed: ordinary and text only": _allowed_in("ordinary", "text_only"),
    "  ordinary": _allowed_in("ordinary"),
    "  text only": _allowed_in("text_only"),
    "allowed: near misses": _near_miss,
}


def table(cases: Iterable[Case]) -> list[Row]:
    """Each row of recall and of allowed commands. Here a refusal counts whatever its code."""
    judged = [(case, judge(case).allowed) for case in cases]
    return [_row(title, judged, holds) for title, holds in {**RECALL, **ALLOWED}.items()]


def _row(title: str, judged: list[tuple[Case, bool]], holds: Holds) -> Row:
    mine = [(case.refused, allowed) for case, allowed in judged if holds(case)]
    return Row(title, len(mine), sum(refused is allowed for refused, allowed in mine))


def lines(rows: Iterable[Row]) -> list[str]:
    """The table as text."""
    return [f"{'':34} {'cases':>6} {'missed':>7} {'right':>10}", *(row.line() for row in rows)]


def wrong(cases: Iterable[Case]) -> list[str]:
    """A description of each verdict that is wrong, or right where the case is marked as an expected failure."""
    found = []
    for case in cases:
        verdict = judge(case)
        right = is_right(case, verdict)
        if right and case.xfail:
            found.append(f"{case.id}: {shown(case)}\n    is right now; expected to fail: {case.xfail}")
        elif not right and not case.xfail:
            found.append(described(case, verdict))
    return found


def main(arguments: list[str]) -> None:
    """Prints the numbers of the set that was asked for, and the wrong cases of the tuned one."""
    cases = [case for file in load_corpus().values() for case in file]
    if arguments == ["--aside"]:
        print(*lines(table(aside(cases))), sep="\n")
        return
    mine = tuned(cases)
    print(*lines(table(mine)), *wrong(mine), sep="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
