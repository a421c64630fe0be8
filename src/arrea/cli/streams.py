"""Standard output and standard error, as descriptors: bytes in, all of them written or an `OSError`.

Not `print`: what it couldn't write it complains about at the end of the program, in its own words.
"""

from __future__ import annotations

import os

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
    try:
        write(STDOUT, text.encode("utf-8", "backslashreplace"))
    except BrokenPipeError:
        return end_for_broken_pipe()
    except OSError as error:
        tell(f"arrea: can't write the output: {error.strerror}")
        return 1
    return 0


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


def write(fd: int, data: bytes) -> None:
    """Writes all of it, also to a descriptor that somebody made non-blocking (terminals are shared)."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(fd, rest) :]
        except BlockingIOError:
            _wait_for_room(fd)


def _wait_for_room(fd: int) -> None:
    import select

    poll = select.poll()  # not `select`: that one takes no descriptor above 1,023
    poll.register(fd, select.POLLOUT)
    poll.poll()
