"""Files that came over a worker process's connection, of which a function may have closed the descriptors since.

Source: unix(7), recvmsg(2), memfd_create(2).
"""

from __future__ import annotations

import os
from _socket import MSG_CTRUNC

from arrea._runtime.frames import descriptors_in
from arrea._runtime.surroundings import lifted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


class Held:
    """One of them, by a number that hardly any function closes by the way. It knows which file that was."""

    __slots__ = ("_file", "fd")

    def __init__(self, fd: int) -> None:
        self.fd = lifted(fd)
        self._file = _file(self.fd)

    def is_there(self) -> bool:
        """Still, and no other file by its number."""
        return self._file is not None and _file(self.fd) == self._file

    def close(self) -> None:
        if self.is_there():
            os.close(self.fd)


def received(ancillary: list[tuple[int, int, bytes]], flags: int) -> list[Held]:
    """What came with some bytes; for what this process had no descriptor left for, one that isn't there."""
    held = [Held(fd) for fd in descriptors_in(ancillary)]
    return [*held, Held(-1)] if flags & MSG_CTRUNC else held


def are_there(held: Iterable[Held]) -> bool:
    return all(one.is_there() for one in held)


def _file(fd: int) -> tuple[int, int] | None:
    try:
        status = os.fstat(fd)
    except OSError:
        return None
    return status.st_dev, status.st_ino
