"""Large things on their way to another process: a file in memory, by its descriptor."""

from __future__ import annotations

import os


class Parcel:
    """A pickle and its buffers in a file in memory. It may be sent more than once; it goes with its last holder."""

    __slots__ = ("_close", "fd")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._close = os.close  # outlives the module's globals

    def __del__(self) -> None:
        self._close(self.fd)
