"""Orphans of a subreaper: processes whose parent ended, and that the kernel gave to us. Command line only.

A subreaper sees what no other trace shows: a process that left its session, lost its parent and cleared its
environment is still a child of ours. Which attempt it came from nobody can say, and what an attempt that ended by
itself left behind may be meant. So one is taken for an attempt that is being killed only if

* every running attempt that could have started it is being killed,
* none that ended by itself ran at the time of its start,
* it has no marks of another attempt, and
* nothing that may have been left behind on purpose is as old as it, for that may be its ancestor.

Source: prctl(2), PR_SET_CHILD_SUBREAPER; proc_tid_children(5).
"""

from __future__ import annotations

import os
import time

from arrea._runtime.tree import environ_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from arrea._runtime.child import Child
    from arrea._runtime.tree import Census, Process

PR_SET_CHILD_SUBREAPER = 36
REAP_EVERY_MS, REAP_SOON_MS = 1000.0, 100.0
MANY = 50  # zombies at once: somebody forks much, and pids are few
MOST_SPANS = 1000


def become_subreaper() -> bool:
    """From now on orphans of our descendants come to us instead of init. Whether the kernel does that."""
    return _set_subreaper(1)


def _set_subreaper(flag: int) -> bool:
    from ctypes import CDLL

    return bool(CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, flag, 0, 0, 0) == 0)


class Adopted:
    """The orphans of one reactor. Its thread only. Times of processes are clock ticks since boot, as in /proc.

    reap_at: when to look for zombies again, in the engine's time.
    """

    def __init__(self) -> None:
        self._spans: list[
            tuple[int, int]
        ] = []  # when attempts ran that ended by themselves; apart, ascending
        self._ticks_per_ms = os.sysconf("SC_CLK_TCK") / 1000.0
        self.reap_at = 0.0

    def note_end(self, child: Child, now: float) -> None:
        """This attempt ended by itself."""
        end = int(time.clock_gettime(time.CLOCK_BOOTTIME) * 1000.0 * self._ticks_per_ms) + 1
        start = end - int((now - child.started_at) * self._ticks_per_ms) - 3
        while self._spans and self._spans[-1][1] >= start:
            start = min(start, self._spans.pop()[0])
        self._spans.append((start, end))
        if len(self._spans) > MOST_SPANS:
            self._spans[:2] = [(self._spans[0][0], self._spans[1][1])]

    def of(self, child: Child, running: Collection[Child], census: Census) -> list[Process]:
        """The orphans that can only come from this attempt, or from others that are being killed as well.

        Not while a start is under way: its child would be taken for one.
        """
        since = _started(child, census)
        leaders = {other.pid for other in running}
        found: list[Process] = []
        for orphan in sorted(self._orphans(census), key=_age):
            if orphan.pid in leaders:
                continue
            if not self._may_be_killed(orphan, running, census):
                break  # this one stays, and may be the ancestor of all that are younger
            if orphan.start_time >= since:
                found.append(orphan)
        return found

    def _orphans(self, census: Census) -> Iterator[Process]:
        own = os.getpid()
        ours = (process for process in census.kin(own) if process.ppid == own and process.living)
        return (process for process in ours if not _is_guardian(process.pid))

    def _may_be_killed(self, orphan: Process, running: Collection[Child], census: Census) -> bool:
        if not _all_killed(orphan, running, census):
            return False
        if any(start <= orphan.start_time <= end for start, end in self._spans):
            return False
        return _marks_are_of(orphan, running)

    def end(self) -> None:
        """From now on orphans go to init again: this process may live on, and will look for none."""
        _set_subreaper(0)

    def reap(self, running: Collection[Child], now: float) -> None:
        """Takes the status of those that ended, so that no zombie is left. Not while a start is under way."""
        if now < self.reap_at:
            return
        leaders = {child.pid for child in running}
        reaped = sum(_reap(pid) for pid in _children() if pid not in leaders)
        self.reap_at = now + (REAP_SOON_MS if reaped > MANY else REAP_EVERY_MS)


def _age(process: Process) -> tuple[int, int]:
    return process.start_time, process.pid


def _started(child: Child, census: Census) -> int:
    leader = census.processes.get(child.pid)
    return 0 if leader is None else leader.start_time


def _all_killed(orphan: Process, running: Collection[Child], census: Census) -> bool:
    return all(other.signalled or _started(other, census) > orphan.start_time for other in running)


def _marks_are_of(orphan: Process, running: Collection[Child]) -> bool:
    """Whether its marks, if it has any, are of an attempt that is being killed."""
    environ = b"\0" + environ_of(orphan.pid) + b"\0"
    if b"\0ARREA_TASK=" not in environ:
        return True
    return any(
        child.signalled and all(b"\0" + mark + b"\0" in environ for mark in child.marks) for child in running
    )


def _is_guardian(pid: int) -> bool:
    """It left its own parent on purpose."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb", buffering=0) as file:
            return file.read().endswith(b"\0arrea-guardian\0")
    except OSError:
        return False


def _children() -> list[int]:
    """Of all our threads: the kernel gives orphans to any of them. Nobody where it has no such list."""
    found: list[int] = []
    for thread in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{thread}/children", "rb", buffering=0) as file:
                found += map(int, file.read().split())
        except OSError:
            continue
    return found


def _reap(pid: int) -> bool:
    """Whether it had ended."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG) is not None
    except ChildProcessError:
        return False
