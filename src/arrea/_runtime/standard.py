"""The standard descriptors 0, 1 and 2: they are never anything of ours.

In a program that runs without one of them, the next file that anybody opens gets its number, and what is printed goes
there. So Arrea holds such a place with /dev/null while it is at work.
"""

from __future__ import annotations

import errno
import os


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError as error:
        return error.errno != errno.EBADF
    return True


class Placeholders:
    """/dev/null in the place of each standard descriptor that is closed."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held: list[tuple[int, tuple[int, int]]] = []
        for fd in range(3):
            if not is_open(fd):
                self._hold()

    def _hold(self) -> None:
        """The lowest number that is free is the one that is taken (open(2))."""
        fd = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        if fd > 2:
            os.close(fd)
        else:
            self._held.append((fd, _identity(fd)))

    def let_go(self) -> None:
        """Of those that are still ours: the program may have put something else in the place."""
        held, self._held = self._held, []
        for fd, identity in held:
            if is_open(fd) and _identity(fd) == identity:
                os.close(fd)


def _identity(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino
