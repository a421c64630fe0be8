"""What holds for every verdict, whatever was judged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from arrea._model.verdict import Verdict

CODES = frozenset(
    (
        "empty_command",
        "command_too_long",
        "possible_injection",
        "dangerous_command",
        "unparseable",
        "too_deep",
        "rule_failed",
    )
)
WITH_RULE = frozenset(("dangerous_command", "rule_failed"))


def fields(verdict: Verdict) -> tuple[Any, ...]:
    return (
        verdict.allowed,
        verdict.code,
        verdict.rule,
        verdict.reason,
        verdict.span,
        verdict.fragment,
        verdict.hint,
    )


def must_be_sound(verdict: Verdict, length: int | None = None) -> None:
    """Raises where a verdict contradicts itself; `length` is that of the line it is about."""
    assert verdict.allowed is (verdict.code is None), verdict
    if verdict.allowed:
        assert verdict.rule is None, verdict
        return
    assert verdict.code in CODES, verdict
    assert (verdict.rule is not None) is (verdict.code in WITH_RULE), verdict
    _must_be_for_people(verdict.reason)
    _must_be_for_people(verdict.hint)
    if verdict.span is not None and length is not None:
        start, end = verdict.span
        assert 0 <= start <= end <= length, verdict


def _must_be_for_people(text: str | None) -> None:
    """One line that every terminal can show: what was found in a command isn't pasted raw."""
    assert text
    assert text.isprintable(), ascii(text)
    assert "Traceback" not in text
