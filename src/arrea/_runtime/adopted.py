"""Orphans of a subreaper: processes whose parent ended, and that the kernel gave to us. Command line only.

A subreaper sees what no other trace shows: a process that left its session, lost its parent and cleared its
environment is still a child of ours. Which attempt it came from nobody can say; so it is taken for one that is
being killed only if every attempt that could have started it is, and none has ended by itself since it started: what
that one left behind may be meant.

Source: prctl(2), PR_SET_CHILD_SUBREAPER.
"""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from arrea._runtime.child import Child
    from arrea._runtime.tree import Census, Process

PR_SET_CHILD_SUBREAPER = 36
ALL_KINDS = 0x40000000  # __WALL of wait(2): children whatever signal they end with
REAP_EVERY_MS = 1000.0


def become_subreaper() -> bool:
    """From now on orphans of our descendants come to us instead of init. Whether the kernel does that."""
    from ctypes import CDLL

    return bool(CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)


class Adopted:
    """The orphans of one reactor. Its thread only."""

    def __init__(self) -> None:
        self._last_end = 0  # in clock ticks since boot, as /proc has start times
        self._tick = 1.0 / os.sysconf("SC_CLK_TCK")
        self._reap_at = 0.0

    def note_end(self) -> None:
        """An attempt ended by itself."""
        self._last_end = int(time.clock_gettime(time.CLOCK_BOOTTIME) / self._tick)

    def of(self, child: Child, running: Collection[Child], census: Census) -> list[Process]:
        """The orphans that can only come from this attempt, or from others that are being killed as well.

        Not while a start is under way: its child would be taken for one.
        """
        since = max(self._last_end + 1, _started(child, census))
        leaders = {other.pid for other in running}
        return [
            orphan
            for orphan in self._orphans(census)
            if orphan.start_time >= since
            and orphan.pid not in leaders
            and _all_killed(orphan, running, census)
        ]

    def _orphans(self, census: Census) -> Iterator[Process]:
        own = os.getpid()
        ours = (process for process in census.kin(own) if process.ppid == own and process.living)
        return (process for process in ours if not _is_guardian(process.pid))

    def reap(self, running: Collection[Child], now: float) -> None:
        """Takes the status of those that ended, so that no zombie is left. Not while a start is under way."""
        if now < self._reap_at:
            return
        self._reap_at = now + REAP_EVERY_MS
        leaders = {child.pid for child in running}
        while (pid := _zombie()) and pid not in leaders:
            os.waitpid(pid, os.WNOHANG | ALL_KINDS)


def _started(child: Child, census: Census) -> int:
    leader = census.processes.get(child.pid)
    return 0 if leader is None else leader.start_time


def _all_killed(orphan: Process, running: Collection[Child], census: Census) -> bool:
    return all(other.signalled or _started(other, census) > orphan.start_time for other in running)


def _is_guardian(pid: int) -> bool:
    """It left its own parent on purpose."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb", buffering=0) as file:
            return file.read().endswith(b"\0arrea-guardian\0")
    except OSError:
        return False


def _zombie() -> int:
    """The pid of a child that ended and wasn't waited for; 0 if there is none."""
    try:
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT | ALL_KINDS)
    except ChildProcessError:
        return 0
    return 0 if found is None else found.si_pid
