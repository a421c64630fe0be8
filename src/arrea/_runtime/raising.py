"""What a function raised, as texts: always to be had, whatever the exception's own methods do."""

from __future__ import annotations

from arrea._model.text import type_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

# The frames of ours that stand above the user's function.
OWN = tuple(f"arrea/_runtime/{name}.py" for name in ("pool_child", "surroundings", "threads", "coroutines"))
# Python's own, whatever a class or its metaclass has of the same name.
TRACEBACK: Any = BaseException.__dict__["__traceback__"]


def describe(error: BaseException) -> tuple[str, str, str, tuple[str, ...]]:
    """Its type's name, its text, its traceback without our own frames, its notes. Never raises.

    >>> describe(ValueError("no"))[:2]
    ('ValueError', 'no')
    """
    TRACEBACK.__set__(error, _without_ours(TRACEBACK.__get__(error)))
    return type_name(type(error)), _text(error), _traceback(error), _notes(error)


def _text(error: BaseException) -> str:
    try:
        return str.__str__(str(error))
    except BaseException:  # noqa: BLE001 - an exception whose own text raises
        return "(its text can't be had)"


def _traceback(error: BaseException) -> str:
    try:
        import traceback

        return "".join(traceback.format_exception(error))
    except BaseException:  # noqa: BLE001 - its notes, its cause, or those of its cause
        first = "Traceback (most recent call last):\n"
        return f"{first}{_frames(error)}{type_name(type(error))}: {_text(error)}\n"


def _frames(error: BaseException) -> str:
    try:
        import traceback

        return "".join(traceback.format_tb(TRACEBACK.__get__(error)))
    except BaseException:  # noqa: BLE001 - a source file whose loader raises
        return "  (its frames can't be had)\n"


def _notes(error: BaseException) -> tuple[str, ...]:
    try:
        notes = getattr(error, "__notes__", ())
        return tuple(str.__str__(note) for note in notes if isinstance(note, str))
    except BaseException:  # noqa: BLE001 - no list, or a property that raises
        return ("(its notes can't be had)",)


def _without_ours(trace: TracebackType | None) -> TracebackType | None:
    while trace is not None and str.endswith(trace.tb_frame.f_code.co_filename, OWN):
        trace = trace.tb_next
    return trace
