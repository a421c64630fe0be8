"""What Arrea and its worker processes tell each other: frames of one format, numbered, with a version.

A frame is a header and so many bytes. It may come with descriptors (SCM_RIGHTS), which are read with the first of its
bytes. Given the bytes of a connection, hands back whole frames; given a frame's parts, hands back bytes.

Each process shares a page of memory with Arrea, of which each side writes one word: in `GENERATION` Arrea says which
frames still hold, in `STARTED` the process says which call it began last. So a call that was sent can be taken back in
no time: the process stores the number, then looks whether the call still holds; Arrea changes the generation, then
looks at the number. Whatever comes first, one of the two sees it, and no call runs in two places.

Source: unix(7), cmsg(3).
"""

from __future__ import annotations

from _socket import SCM_RIGHTS, SOL_SOCKET
from struct import Struct

VERSION = 2
HEADER = Struct("<BBHIQI")  # version, kind, flags, bytes of the body, number, generation

# Kinds. To the process:
SURROUNDINGS = 1  # directory, environment, import path; with the descriptors 1 and 2 of the host, perhaps
PROGRAM = 2  # a function, by its number
CALL = 3  # a function's number and its arguments
FORGET = 4  # all functions
# And from it:
READY = 16
RESULT = 17  # began, ended, perhaps the account before and after, and the value or what was raised
SKIPPED = 18  # a call that was taken back just before it began

# Flags.
FAILED = 1  # the result is what was raised
STUCK = 2  # the result is why the value can't come
IN_MEMORY = 4  # what is pickled is in a file in memory, whose descriptor comes along
PLAIN = 8  # of a result: to unpickle it runs nobody's code
WARNED = 16  # of a result: a list of warnings comes before the value
ACCOUNTED = 32  # of a result: before that comes the account, which short calls don't have

# The two that come by the thousand, with the beginning of their bodies.
CALL_HEADER = Struct("<BBHIQIQ")  # ... number of the program
RESULT_HEADER = Struct("<BBHIQIdd")  # ... began, ended
PROGRAM_NUMBER = Struct("<Q")
# Of the frames that come from a process none is shorter than that header.
NO_BODY = bytes(RESULT_HEADER.size - HEADER.size)
SIZE = Struct("<Q")

PAGE_BYTES = 4096
GENERATION, STARTED = 0, 8  # places in the page, in words of eight bytes: a cache line each
READ_BYTES = 65_536
MOST_DESCRIPTORS, DESCRIPTOR_BYTES = 8, 4
ANCILLARY_BYTES = 64 + MOST_DESCRIPTORS * DESCRIPTOR_BYTES  # and their header (cmsg(3))


def frame(kind: int, number: int, body: bytes = b"", flags: int = 0, generation: int = 0) -> bytes:
    """One frame.

    >>> len(frame(CALL, 7, b"abc")) == HEADER.size + 3
    True
    """
    return HEADER.pack(VERSION, kind, flags, len(body), number, generation) + body


class Reader:
    """Puts frames together from what comes in pieces."""

    __slots__ = ("_missing", "_parts")

    def __init__(self) -> None:
        self._parts: list[bytes] = []  # of a frame that isn't complete
        self._missing = 0  # so many bytes, at least

    def feed(self, data: bytes) -> list[tuple[int, int, int, int, bytes]]:
        """All frames that are complete now: kind, flags, number, generation, body.

        >>> reader = Reader()
        >>> whole = frame(CALL, 7, b"abc")
        >>> reader.feed(whole[:9]), reader.feed(whole[9:])
        ([], [(3, 0, 7, 0, b'abc')])
        """
        if self._parts:
            self._parts.append(data)
            self._missing -= len(data)
            if self._missing > 0:
                return []
            data = b"".join(self._parts)
            self._parts = []
        frames = []
        at, end, size, unpack = 0, len(data), HEADER.size, HEADER.unpack_from
        while at + size <= end:
            version, kind, flags, length, number, generation = unpack(data, at)
            if version != VERSION:
                raise OSError(f"a frame of version {version}, not {VERSION}: Arrea was replaced while it ran")
            until = at + size + length
            if until > end:
                self._missing = until - end
                break
            frames.append((kind, flags, number, generation, data[at + size : until]))
            at = until
        else:
            self._missing = 1
        if at < end:
            self._parts = [data[at:] if at else data]
        return frames


def descriptors_in(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    """What came with some bytes."""
    found: list[int] = []
    for level, kind, data in ancillary:
        if level == SOL_SOCKET and kind == SCM_RIGHTS:
            found += memoryview(data[: len(data) - len(data) % DESCRIPTOR_BYTES]).cast("i")
    return found
