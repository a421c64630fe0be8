"""Durations: a bare number is milliseconds; text carries a unit; `timedelta` says it itself.

Given whatever a caller wrote, hands back float milliseconds, or None for "no limit".
"""

from __future__ import annotations

import sys

from arrea._model.checks import shown
from arrea._model.errors import InvalidOption

TYPE_CHECKING = False
if TYPE_CHECKING:
    from datetime import timedelta

    Duration = int | float | str | timedelta | None

UNITS_MS = {"ms": 1.0, "s": 1000.0, "m": 60_000.0, "h": 3_600_000.0}
# A hundred years. Beyond it a number is a mistake (nanoseconds, a time of day), not a limit.
LONGEST_MS = 100 * 365.25 * 24 * 3_600_000.0


def parse_duration(value: object, option: str, *, zero: bool = False, none: bool = True) -> float | None:
    """Milliseconds of a duration that a caller wrote.

    `zero` allows 0 (a delay may be none at all, a limit may not); `none` allows None and "none".
    Raises `InvalidOption` naming `option`.

    >>> parse_duration("1.5h", "timeout"), parse_duration(250, "timeout")
    (5400000.0, 250.0)
    >>> parse_duration("none", "timeout") is None
    True
    """
    if value is None or (isinstance(value, str) and value == "none"):
        _check_none(option, none)
        return None
    milliseconds = _milliseconds(value, option)
    if milliseconds != milliseconds or not 0 <= milliseconds <= LONGEST_MS:
        raise InvalidOption(option, f"{option} is out of range: {shown(value)}; {EXPECTED}")
    if milliseconds == 0 and not zero:
        raise InvalidOption(option, f"{option} must be more than 0; use None for no limit")
    return milliseconds


EXPECTED = 'expected milliseconds, or text with a unit such as "500ms", "5s", "2m", "1.5h"'


def _check_none(option: str, allowed: bool) -> None:
    if not allowed:
        raise InvalidOption(option, f"{option} can't be none; {EXPECTED}")


def _milliseconds(value: object, option: str) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return _bounded_float(value)
    if isinstance(value, str):
        return _from_text(value, option)
    datetime = sys.modules.get("datetime")  # not loaded: then this is no timedelta
    if datetime is not None and isinstance(value, datetime.timedelta):
        return float(value.total_seconds()) * 1000.0
    raise _no_duration(value, option)


def _no_duration(value: object, option: str) -> InvalidOption:
    return InvalidOption(option, f"{option} is not a duration: {shown(value)}; {EXPECTED}")


def _bounded_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # an integer of thousands of digits
        return float("inf")


def _from_text(text: str, option: str) -> float:
    stripped = text.strip()
    unit = stripped.lstrip("0123456789.+- ")  # no exponent, no other digits than ours
    number = stripped[: len(stripped) - len(unit)]
    try:
        return float(number) * UNITS_MS[unit or "ms"]
    except (ValueError, KeyError):
        raise _no_duration(text, option) from None
