"""The exit code is a function of the results, and of nothing else.

One command: its own code; 124 timed out; 126 refused, or found but not executable; 127 not found; 128+n killed by
signal n.
Several: 1 if any failed.
"""

from __future__ import annotations

import errno

from arrea._model.errors import ExitStatus, InvalidCommand, KilledBySignal, SpawnFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from arrea._model.errors import TaskError

FAILED, WRONG_USAGE, TIMED_OUT, NOT_EXECUTABLE, NOT_FOUND, BY_SIGNAL = 1, 2, 124, 126, 127, 128
REFUSED = NOT_EXECUTABLE  # as a shell says it of what it may not execute


def exit_code(total: int, failed: int, last_error: TaskError | None) -> int:
    """`last_error`: of any failed task; it decides when there was only one."""
    if not failed:
        return 0
    return _own_code(last_error) if total == 1 else FAILED


def _own_code(error: TaskError | None) -> int:
    match error:
        case ExitStatus(exit_code=code):
            return int(code)
        case KilledBySignal(signal=number):
            return BY_SIGNAL + int(number)
        case InvalidCommand() if error.verdict is not None:
            return REFUSED
        case SpawnFailed(errno=errno.ENOENT | errno.ENOTDIR):
            return NOT_FOUND
        case SpawnFailed():  # no right to, not a program, too many arguments
            return NOT_EXECUTABLE
        case _:
            return TIMED_OUT if error is not None and error.code in ("timeout", "deadline") else FAILED
