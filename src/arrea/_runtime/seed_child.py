"""The seed: the clean process that forks worker processes, and says how they ended.

It is an interpreter of its own: no thread, nothing of the host's but its environment. What every worker needs is in
its memory before they are forked.

Source: fork(2), setsid(2), unix(7).
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from _socket import socket
from mmap import mmap
from struct import Struct

from arrea._runtime import frames
from arrea._runtime.frames import descriptors_in
from arrea._runtime.pool_child import Worker
from arrea._runtime.stamp import Stamp
from arrea._runtime.surroundings import close_all, lifted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

CONTROL = 0  # its connection to the host
FORK, REAP, FORKED, NO_FORK, REAPED, STARTED = 1, 2, 3, 4, 5, 6
STATUS_LOST, STILL_RUNS = -1, -2
PR_SET_PDEATHSIG, SIGKILL = 1, 9  # prctl(2)
ORDER = Struct("<BxxxiQ")  # what, pid, number; to fork: and the mark of the new process
REPORT = Struct("<BxxxiiQ")  # what, pid, wait status or errno, number
MARK_BYTES = 64
_libc = ctypes.CDLL(None)


def seed() -> NoReturn:
    """Forks worker processes and reaps them, as it is told, until the host is gone.

    What the host started forks once more and ends: a host that calls `os.wait()` until it has no child would wait for
    a seed that stays one.
    """
    _name(b"arrea-seed")
    if os.fork():
        os._exit(0)
    os.setsid()
    try:
        _serve(socket(fileno=CONTROL))
    except (BrokenPipeError, ConnectionResetError):
        os._exit(0)  # the host is gone


def _serve(control: socket) -> NoReturn:
    control.send(REPORT.pack(STARTED, os.getpid(), 0, 0))
    stamp = Stamp()
    _prepare_to_fork()
    while True:
        order, descriptors = _receive(control, ORDER.size)
        if not order:
            os._exit(0)
        what, pid, number = ORDER.unpack_from(order)
        if what == REAP:
            control.send(REPORT.pack(REAPED, pid, _reap(pid), number))
        else:
            _fork(control, stamp, number, order[ORDER.size :], descriptors)


def _reap(pid: int) -> int:
    """Never waits: others have to be forked."""
    try:
        reaped, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return STATUS_LOST
    return status if reaped else STILL_RUNS


def _prepare_to_fork() -> None:
    """What every worker needs is here before they are; and the collector leaves it alone, so that they share it."""
    try:
        import cloudpickle  # noqa: F401 - most functions need it
    except ImportError:
        pass
    import traceback  # noqa: F401
    import warnings  # noqa: F401

    import arrea._model.mapped  # noqa: F401

    gc.collect()
    gc.freeze()


def _receive(connection: socket, size: int) -> tuple[bytes, list[int]]:
    data, ancillary, _, _ = connection.recvmsg(size + MARK_BYTES, frames.ANCILLARY_BYTES)
    return data, descriptors_in(ancillary)


def _fork(control: socket, stamp: Stamp, number: int, mark: bytes, descriptors: list[int]) -> None:
    seed = os.getpid()
    try:
        pid = os.fork()
    except OSError as error:
        control.send(REPORT.pack(NO_FORK, 0, error.errno or 0, number))
        close_all(descriptors)
        return
    if pid == 0:
        try:
            _end_with(seed)
            control.close()
            stamp.press((mark, b"%d" % number))
            _become_worker(number, mark, descriptors)
        except BrokenPipeError:
            pass  # the host is gone
        except BaseException:  # noqa: BLE001 - a fault of our own: whatever happens, never the seed's loop
            sys.excepthook(*sys.exc_info())
        os._exit(70)
    close_all(descriptors)
    control.send(REPORT.pack(FORKED, pid, 0, number))


def _end_with(seed: int) -> None:
    """The seed goes when the host is gone: no worker stays behind, whatever the host had come to know of it."""
    _libc.prctl(PR_SET_PDEATHSIG, SIGKILL)
    if os.getppid() != seed:
        os._exit(0)


def _become_worker(number: int, mark: bytes, descriptors: list[int]) -> None:
    os.setsid()
    _name(b"arrea-worker")
    connection, page, *outputs = descriptors
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)  # 0: the seed's connection was that, and is closed
    os.set_inheritable(null, True)
    for own, fd in enumerate(outputs, 1):
        os.dup2(fd, own)
    high = lifted(connection)
    memory = mmap(page, frames.PAGE_BYTES)
    close_all([page, *outputs])
    os.environ["ARREA_TASK"] = mark.decode()
    os.environ["ARREA_ATTEMPT"] = str(number)
    Worker(socket(fileno=high), memoryview(memory).cast("Q")).run()


def _name(name: bytes) -> None:
    """As `ps` and `top` show it; the kernel keeps 15 bytes."""
    with open("/proc/self/comm", "wb", buffering=0) as file:
        file.write(name)
