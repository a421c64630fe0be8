"""Judges mutants that a shell and shfmt accept: a verb that shfmt sees must be refused, wherever the text is put.

`Report` counts what became of them: hidden (a verb was there, and the line was allowed: a fault), and false refusals
(no verb, no name that only exists at run time, no launcher, and refused all the same: a nuisance). A live substitution
must be refused where they aren't allowed, whatever is in it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from arrea._prepare.validation.validator import MAX_BYTES, Validator
from tests.validation.fuzz.carriers import carried
from tests.validation.fuzz.oracle import BASH, Shell, Sight, sights
from tests.validation.fuzz.seeds import LAUNCHERS, VERBS

if TYPE_CHECKING:
    from arrea._model.simple_command import SimpleCommand
    from arrea._model.verdict import Verdict

Judge = Callable[[str], "Verdict"]

RULE = "no_zap"
WARY = Validator().line  # lets no substitution pass


class Report:
    """What became of the mutants; `hidden`, `live`, `raised` and `blocked` hold them."""

    def __init__(self) -> None:
        self.mutants = 0
        self.accepted = 0
        self.with_verb = 0
        self.unknown = 0
        self.launched = 0
        self.clean = 0
        self.hidden: list[str] = []
        self.live: list[str] = []
        self.raised: list[tuple[str, str]] = []
        self.blocked: list[tuple[str, str]] = []

    @property
    def faults(self) -> int:
        return len(self.hidden) + len(self.live) + len(self.raised)

    @property
    def share_blocked(self) -> float:
        """Of those in which nothing was to be refused."""
        return len(self.blocked) / (self.clean or 1)

    def __str__(self) -> str:
        codes = dict(Counter(code for _, code in self.blocked))
        return (
            f"{self.mutants} mutants, {self.accepted} accepted: {self.with_verb} with a verb, "
            f"{len(self.hidden)} hidden; {len(self.live)} substitutions overlooked; {len(self.raised)} raised; "
            f"{self.unknown} with a name unknown before it runs; {self.launched} behind a launcher; "
            f"{self.clean} clean, {len(self.blocked)} of them refused ({self.share_blocked:.1%}; {codes})"
        )


def no_zap(command: SimpleCommand) -> str | None:
    return "a verb of the fuzzer" if command.name in VERBS else None


def new_judge(longest: int = MAX_BYTES) -> Judge:
    """One that looks for the fuzzer's verbs, in substitutions, too."""
    return Validator(allow_substitution=True, user_rules={RULE: no_zap}, _max_bytes=longest).line


def compare(texts: Sequence[str], judge: Judge, report: Report, shell: Shell = BASH) -> None:
    """Adds what is found in these texts."""
    for text, sight in zip(texts, sights(texts, shell), strict=True):
        report.mutants += 1
        if sight is not None:
            report.accepted += 1
            _count(text, sight, judge, report)


def _count(text: str, sight: Sight, judge: Judge, report: Report) -> None:
    if sight.live and _code(text, WARY, report) is None:
        report.live.append(text)
    if sight.has(VERBS):
        report.with_verb += 1
        wholes = (text, carried(text))
        report.hidden += [whole for whole in wholes if _code(whole, judge, report) is None]
    elif sight.unknown:
        report.unknown += 1
    elif not LAUNCHERS.isdisjoint(sight.names):
        report.launched += 1
    elif sight.names:
        report.clean += 1
        code = _code(text, judge, report)
        if code is not None:
            report.blocked.append((text, code))


def _code(text: str, judge: Judge, report: Report) -> str | None:
    """None for what is allowed."""
    try:
        return judge(text).code
    except Exception as error:  # noqa: BLE001 - no text may raise anything: whatever it is, it is noted
        report.raised.append((text, f"{type(error).__name__}: {error}"))
        return "raised"


# --- smaller ------------------------------------------------------------------------------------


def smaller(text: str, still: Callable[[str], bool]) -> str:
    """The shortest found by leaving out ever smaller parts for which `still` holds."""
    size = len(text) // 2
    while size:
        start = 0
        while start < len(text):
            shorter = text[:start] + text[start + size :]
            if still(shorter):
                text = shorter
            else:
                start += size
        size //= 2
    return text


def hides(judge: Judge, shell: Shell) -> Callable[[str], bool]:
    """Whether the shell and shfmt accept a text, shfmt sees a verb, and the judge doesn't."""

    def hidden(text: str) -> bool:
        if _code(text, judge, Report()) is not None:
            return False
        (sight,) = sights([text], shell)
        return sight is not None and sight.has(VERBS)

    return hidden


def overlooks(shell: Shell) -> Callable[[str], bool]:
    """Whether shfmt sees a live substitution, and one that lets none pass doesn't."""

    def overlooked(text: str) -> bool:
        if _code(text, WARY, Report()) is not None:
            return False
        (sight,) = sights([text], shell)
        return sight is not None and sight.live

    return overlooked


def raises(judge: Judge) -> Callable[[str], bool]:
    return lambda text: _code(text, judge, Report()) == "raised"


def explained(report: Report, judge: Judge, shell: Shell = BASH, most: int = 10) -> str:
    """The first of the faults, each as it was found and as small as it gets."""
    lines = []
    for text in list(dict.fromkeys(report.hidden))[:most]:
        lines.append(f"allowed: {text!r}{_shrunk(text, hides(judge, shell))}")
    for text in report.live[:most]:
        lines.append(f"a substitution overlooked: {text!r}{_shrunk(text, overlooks(shell))}")
    for text, error in report.raised[:most]:
        lines.append(f"{error}: {text!r}{_shrunk(text, raises(judge))}")
    return "\n".join(lines)


def _shrunk(text: str, still: Callable[[str], bool]) -> str:
    return f"\n  smaller: {smaller(text, still)!r}" if still(text) else ""
