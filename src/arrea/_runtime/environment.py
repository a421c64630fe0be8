"""The environment of a child, as the array of pointers that the kernel takes.

Given names and values, and for each start the marks that tell one attempt from another. What many starts share is
encoded once; what differs is written into an array that is used again and again, for to make one costs as much as
a fifth of the call that starts a process.
"""

from __future__ import annotations

import ctypes
import os
from struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import TypeAlias

    Block: TypeAlias = ctypes.Array[ctypes.c_char_p]
    Marks: TypeAlias = tuple[bytes, bytes, bytes, bytes]

# What Arrea gives its own children. An Arrea that runs inside another one's task must not
# hand the outer marks on as if they were its own.
MARKS = (b"ARREA_TASK", b"ARREA_ATTEMPT", b"ARREA_BATCH", b"ARREA_SLOT")
_ENTRY_BYTES = 64  # an entry of each, and NUL at its end
_ENTRIES = Struct(f"{_ENTRY_BYTES}s" * len(MARKS))


class Environment:
    """A child's environment. Names and values are encoded as the file system's (`os.fsencode`), so bytes
    that were no valid text in the host's own environment pass through unchanged.

    Raises `ValueError` for a name that is empty or holds "=", and for a NUL byte anywhere:
    C would end the entry there, silently.
    """

    __slots__ = ("_base", "_image", "_length", "_places", "_spare", "_variables")

    def __init__(self, variables: Mapping[str, str]) -> None:
        entries = {os.fsencode(name): os.fsencode(value) for name, value in variables.items()}
        kept = {name: value for name, value in entries.items() if name not in MARKS}
        self._variables = dict(variables)
        self._places = {name: place for place, name in enumerate(kept)}
        self._length = len(kept)
        # Storing bytes in a c_char_p array stores their address, and a reference to them.
        self._base = (ctypes.c_char_p * len(kept))(*map(_entry, kept, kept.values()))
        self._image = bytes(self._base)
        self._spare: list[Block] = []

    def get(self, name: str) -> str | None:
        """The variable's value, or None; marks are not part of it."""
        return self._variables.get(name)

    def block(self, marks: Sequence[bytes] = ()) -> Block:
        """This environment and `marks` (entries like ``b"ARREA_TASK=7"``), ended by NULL.

        A mark takes the place of a variable with the same name: of two equal names,
        programs disagree which one counts. The names of the marks are distinct.
        """
        block, end = self._copy(len(marks)), self._length
        for mark in marks:
            place = self._places.get(mark.partition(b"=")[0], end)
            block[place] = whole(mark)
            end += place == end
        return block

    def _copy(self, more: int) -> Block:
        """With room for so many more entries, and NULL."""
        missing = ctypes.sizeof(ctypes.c_char_p) * (more + 1)
        block = (ctypes.c_char_p * (self._length + more + 1)).from_buffer_copy(self._image + bytes(missing))
        # The copy has addresses but no references: the base has to live as long.
        block.base = self._base  # type: ignore[attr-defined]
        return block

    # ── used again and again ──────────────────────────────────────────────────────────────────────

    def borrow(self, marks: Marks) -> Block:
        """The same as `block`, with an entry for each of `MARKS`, for one start. To be given back. From any thread."""
        if max(map(len, marks)) >= _ENTRY_BYTES:
            return self.block(marks)
        try:
            block = self._spare.pop()
        except IndexError:
            block = self._with_room()
        _ENTRIES.pack_into(block.room, 0, *marks)  # type: ignore[attr-defined]
        return block

    def give_back(self, block: Block) -> None:
        """Its process has exec'd, or never will: the kernel has copied all of it."""
        if hasattr(block, "room"):
            self._spare.append(block)

    def _with_room(self) -> Block:
        block, room = self._copy(len(MARKS)), ctypes.create_string_buffer(_ENTRIES.size)
        addresses = (ctypes.c_size_t * len(block)).from_buffer(block)
        for number in range(len(MARKS)):
            addresses[self._length + number] = ctypes.addressof(room) + number * _ENTRY_BYTES
        block.room = room  # type: ignore[attr-defined]
        return block


def _entry(name: bytes, value: bytes) -> bytes:
    if not name or b"=" in name:
        raise ValueError(f"not a name for an environment variable: {os.fsdecode(name)!r}")
    return whole(name + b"=" + value)


def whole(text: bytes) -> bytes:
    """The same, if C would take it so. Raises `ValueError` for a NUL byte in it."""
    # The text itself stays out of the message: it may be a secret.
    if b"\0" in text:
        raise ValueError("a NUL byte can't be part of a program's arguments or environment")
    return text
