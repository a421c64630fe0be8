"""The memory of a file, without a descriptor: whoever holds a thousand arrays has no thousand descriptors to spare.

`mmap.mmap` keeps a copy of the descriptor as long as it lives, before Python 3.13 always; so this is mmap(2) itself.

Source: mmap(2); https://docs.python.org/3/library/mmap.html (trackfd).
"""

from __future__ import annotations

import ctypes
import os
import weakref
from functools import cache
from mmap import MAP_PRIVATE, PROT_READ, PROT_WRITE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FAILED = ctypes.c_void_p(-1).value


def mapped(fd: int) -> memoryview:
    """What is in the file. It can be written to, and nobody else sees that. Raises `OSError`; the file isn't empty.

    >>> fd = os.memfd_create("example")
    >>> _ = os.write(fd, b"abc")
    >>> memory, other = mapped(fd), mapped(fd)
    >>> os.close(fd)
    >>> memory[0] = ord("x")
    >>> bytes(memory), bytes(other)
    (b'xbc', b'abc')
    """
    libc, size = _libc(), os.fstat(fd).st_size
    address = libc.mmap(None, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0)
    if address == FAILED:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    whole = (ctypes.c_char * size).from_address(address)
    # When the last view of it is gone. Not at the end of the program: who still has one then may use it to the last.
    weakref.finalize(whole, libc.munmap, address, size).atexit = False
    return memoryview(whole).cast("B")


@cache
def _libc() -> Any:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    whole = ctypes.c_void_p, ctypes.c_size_t
    libc.mmap.argtypes = (*whole, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
    libc.munmap.argtypes = whole
    return libc
