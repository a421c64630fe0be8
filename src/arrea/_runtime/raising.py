"""What a function raised, as texts: always to be had, whatever the exception's own methods do."""

from __future__ import annotations

from arrea._model.text import type_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

# The frames of ours that stand above the user's function.
OWN = ("arrea/_runtime/pool_child.py", "arrea/_runtime/threads.py", "arrea/_runtime/coroutines.py")


def describe(error: BaseException) -> tuple[str, str, str, tuple[str, ...]]:
    """Its type's name, its text, its traceback without our own frames, its notes.

    >>> describe(ValueError("no"))[:2]
    ('ValueError', 'no')
    """
    error.__traceback__ = _without_ours(error.__traceback__)
    return type_name(type(error)), _text(error), _traceback(error), _notes(error)


def _text(error: BaseException) -> str:
    try:
        return str.__str__(str(error))
    except BaseException:  # noqa: BLE001 - an exception whose own text raises
        return "(its text can't be had)"


def _traceback(error: BaseException) -> str:
    import traceback

    try:
        return "".join(traceback.format_exception(error))
    except BaseException:  # noqa: BLE001
        where = "".join(traceback.format_tb(error.__traceback__))
        return f"Traceback (most recent call last):\n{where}{type_name(type(error))}: {_text(error)}\n"


def _notes(error: BaseException) -> tuple[str, ...]:
    notes = getattr(error, "__notes__", ())
    return tuple(str.__str__(note) for note in notes if isinstance(note, str))


def _without_ours(trace: TracebackType | None) -> TracebackType | None:
    while trace is not None and trace.tb_frame.f_code.co_filename.endswith(OWN):
        trace = trace.tb_next
    return trace
