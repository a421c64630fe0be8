"""Standard output and standard error, as descriptors: bytes in, all of them written or an `OSError`.

Not `print`: what it couldn't write it complains about at the end of the program, in its own words.
"""

from __future__ import annotations

import _thread
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

STDOUT, STDERR = 1, 2
# How a descriptor that was closed is replaced: reading and writing fail as before, but for messages.
REPLACED = {0: os.O_WRONLY, STDOUT: os.O_RDONLY, STDERR: os.O_WRONLY}


def replace_closed() -> None:
    """A closed 0, 1 or 2 would become the number of a file of ours, and commands would write into it."""
    for fd, mode in REPLACED.items():
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, mode)  # takes the lowest free number, which is this one


def say(text: str) -> int:
    """Text that was asked for, on stdout; the exit code."""

    def write_it() -> int:
        write(STDOUT, text.encode("utf-8", "backslashreplace"))
        return 0

    return writing(write_it)


def writing(write_it: Callable[[], int]) -> int:
    """Calls what writes to stdout; its exit code, or the one for output that can't be written."""
    try:
        return write_it()
    except BrokenPipeError:
        return end_for_broken_pipe()
    except OSError as error:
        tell(f"arrea: can't write the output: {error.strerror}")
        return 1


def end_for_broken_pipe() -> int:
    """The reader of our output has gone: what ends every other program then is SIGPIPE."""
    from arrea.cli.signals import SIGPIPE, die_by

    return die_by(SIGPIPE)


def tell(line: str) -> None:
    """A line on stderr. If stderr is closed nobody is there to be told."""
    try:
        write(STDERR, line.encode("utf-8", "backslashreplace") + b"\n")
    except OSError:
        return


# Several threads write; what one of them has to write is not mixed with what another has.
_WRITING = {STDOUT: _thread.allocate_lock(), STDERR: _thread.allocate_lock()}


def write(fd: int, *pieces: bytes | bytearray | memoryview) -> None:
    """Writes all of it to stdout or stderr, in one piece as far as other threads of ours are concerned."""
    with _WRITING[fd]:
        done = _at_once(fd, pieces)
        for piece in pieces:
            if done < len(piece):
                _write(fd, memoryview(piece)[done:])
            done = max(0, done - len(piece))


def _at_once(fd: int, pieces: Sequence[bytes | bytearray | memoryview]) -> int:
    """How many bytes one system call could write."""
    try:
        return os.writev(fd, pieces)
    except BlockingIOError:
        return 0


def write_all(fd: int, pieces: Iterable[bytes]) -> None:
    """The same for what is made while it is written."""
    with _WRITING[fd]:
        for piece in pieces:
            _write(fd, piece)


def _write(fd: int, data: bytes | memoryview) -> None:
    """Writes all of it, also to a descriptor that somebody made non-blocking (terminals are shared)."""
    with memoryview(data) as view:
        done = 0
        while done < len(view):
            try:
                done += os.write(fd, view[done:])
            except BlockingIOError:
                _wait_for_room(fd)


def _wait_for_room(fd: int) -> None:
    import select

    poll = select.poll()  # not `select`: that one takes no descriptor above 1,023
    poll.register(fd, select.POLLOUT)
    poll.poll()


# Short pieces are written together: a system call for each costs more than all else that is done to show it.
WRITTEN_TOGETHER_BYTES = 65_536


class Together:
    """Short pieces for stdout, held back until there are enough of them, or `flush` is called."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._bytes = 0

    def put(self, data: bytes) -> None:
        self._pieces.append(data)
        self._bytes += len(data)
        if self._bytes > WRITTEN_TOGETHER_BYTES:
            self.flush()

    def flush(self) -> None:
        pieces, self._pieces = self._pieces, []
        self._bytes = 0
        write(STDOUT, b"".join(pieces))
