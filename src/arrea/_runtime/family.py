"""A process and its family: everybody who lives of it, and the ladder that ends them.

Decides nothing about when: it is told. Signals its group at one stroke, and whoever left that one by one.
"""

from __future__ import annotations

import os

from arrea._runtime.tree import Census, parents_first, send

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from arrea._runtime.tree import Process

    Look = Callable[[], Census]

SIGKILL, SIGTERM, SIGCONT, SIGSTOP = 9, 15, 18, 19  # signal(7), asm-generic; importing `signal` costs 4 ms
NEVER = -1  # no process has this start time
STANDING = "TtZX"  # states of processes that are stopped, traced or dead


class Family:
    """Of the process with this pid, which leads a session of its own.

    marks: what its family has in its environment. known: (pid, start time) of members that were seen.
    signalled: the signal the ladder has come to. status_lost: its number may be another process's.
    orphans: finds those of it that came to us when their parent ended.
    """

    __slots__ = ("known", "marks", "orphans", "pid", "signalled", "status_lost")

    def __init__(self, pid: int, marks: tuple[bytes, ...]) -> None:
        self.pid = pid
        self.marks = marks
        self.known: set[tuple[int, int]] = set()
        self.signalled = 0
        self.status_lost = False
        self.orphans: Callable[[Any, Census], list[Process]] | None = None

    def is_ours(self) -> bool:
        """Whether the kernel still holds the pid for us: running, or a zombie that nobody reaped."""
        raise NotImplementedError

    def terminate(self, look: Look) -> None:
        """SIGTERM to the group and to those who left it. SIGCONT, for a stopped one acts on nothing else."""
        self.signalled = SIGTERM
        strays = self._seen(look)
        for signum in (SIGTERM, SIGCONT):
            self._send_all(signum, strays)

    def kill(self, look: Look) -> None:
        """SIGKILL to the group and to all of the family that is seen."""
        self.signalled = SIGKILL
        strays = self._seen(look)
        self._signal_group(SIGKILL)
        for process in strays:
            _send(process, SIGKILL)

    def pause(self, census: Census) -> int:
        """Stops it and its family, where nobody can catch it; how many were seen that weren't stopped yet."""
        leader = census.processes.get(self.pid)
        family = self.family(census) + ([] if leader is None else [leader])
        moving = [process for process in family if process.state not in STANDING]
        if moving:
            self._send_all(SIGSTOP, moving)
        return len(moving)

    def proceed(self, look: Look) -> None:
        self._send_all(SIGCONT, self._seen(look))

    def _send_all(self, signum: int, strays: list[Process]) -> None:
        group = self.pid if self._signal_group(signum) else None
        for process in strays:
            if process.pgid != group:
                _send(process, signum)

    def family(self, census: Census) -> list[Process]:
        """Who else lives of this attempt. Whoever was seen once is remembered, wherever it moves."""
        if not self.known:
            self._know_leader(census)
        members = census.family(self.pid, self.marks, self.known)
        if self.orphans is not None:
            members += self.orphans(self, census)
        members = parents_first(members)
        self.known.update(process.identity for process in members)
        return members

    def _know_leader(self, census: Census) -> None:
        """Its start time, for whoever bears its number once it is reaped is a stranger."""
        leader = census.processes.get(self.pid)
        started = leader.start_time if leader is not None and self.is_ours() else NEVER
        self.known.add((self.pid, started))

    def _seen(self, look: Look) -> list[Process]:
        """The family, or nobody if no descriptor is left to look with (EMFILE): whoever calls looks again."""
        try:
            return self.family(look())
        except OSError:
            return []

    def _signal_group(self, signum: int) -> bool:
        """Only while the leader isn't reaped: until then its number, and so its group's, is ours."""
        if self.status_lost or not self.is_ours():
            self.status_lost = True
            return False
        try:
            os.killpg(self.pid, signum)
        except (ProcessLookupError, PermissionError):
            return False  # nobody left in the group, or only set-uid programs, which we may not signal
        return True


def _send(process: Process, signum: int) -> None:
    try:
        send(process, signum)
    except OSError:
        return  # no descriptor left for its pidfd (EMFILE): whoever calls looks again
