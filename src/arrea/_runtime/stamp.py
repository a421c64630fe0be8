"""The marks of a process that was forked and doesn't exec, and of all that it forks.

What the kernel shows as a process's environment is the memory that the block of its `exec` was put into, whatever
`setenv` has done since. A fork has a copy of that memory. So the seed is started with entries that hold nothing, and
each process that it forks writes its own marks over them: whoever looks finds it, and what it forks, by these.

Source: proc_pid_environ(5), environ(7).
"""

from __future__ import annotations

import ctypes
import os

NAMES = (b"ARREA_TASK", b"ARREA_ATTEMPT")
WIDTH = 48  # bytes of an entry


def entries() -> list[bytes]:
    """With which the seed is started."""
    return [(name + b"=").ljust(WIDTH, b"-") for name in NAMES]


class Stamp:
    """Of this process, as it was exec'd with `entries`. They are no variables any more then."""

    def __init__(self) -> None:
        environ = ctypes.POINTER(ctypes.c_void_p).in_dll(ctypes.CDLL(None), "environ")
        addresses = iter(environ[place] for place in range(1 << 20))
        there = {ctypes.string_at(address): address for address in iter(addresses.__next__, None)}
        self._places = [there.get(entry) for entry in entries()]
        for name in NAMES:
            os.environb.pop(name, None)

    def press(self, values: tuple[bytes, ...]) -> None:
        """From now on this is what is seen."""
        for name, value, address in zip(NAMES, values, self._places, strict=True):
            entry = name + b"=" + value
            if address is not None and len(entry) <= WIDTH:
                ctypes.memmove(address, entry.ljust(WIDTH, b"\0"), WIDTH)
