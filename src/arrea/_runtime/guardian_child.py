"""The guardian: it ends what its host left running, should the host be killed.

Runs outside the host, as two processes that watch the host and each other: whoever is killed with the host or
before it, the other one is left, and makes a new twin. Given, as descriptors: the roster (0), and a pipe (1, 2) that
it holds open so that the host sees its end. Decides which processes are of the families of the roster's rows, and
when to signal them: SIGTERM, after half a second SIGKILL, until nobody is left.

It is started by `guardian`, and imports little: what it needs has to be in memory before it is needed.

Source: pidfd_open(2), waitid(2), setsid(2), proc_pid_environ(5).
"""

from __future__ import annotations

import _signal
import os
import select
import sys
from itertools import pairwise
from time import monotonic, sleep

from arrea._runtime.roster import is_closed, is_roster, note_swept, open_process, read_rows, sign_in
from arrea._runtime.tree import Census, environ_of, look_at, parents_first, send, send_group

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from arrea._runtime.roster import Row
    from arrea._runtime.tree import Process

ROSTER = 0
NAME = b"arrea-guardian"  # the kernel keeps 15 bytes
MARKS = (b"ARREA_TASK", b"ARREA_ATTEMPT")
SIGHUP, SIGINT, SIGQUIT, SIGKILL, SIGTERM, SIGCONT = 1, 2, 3, 9, 15, 18
# They are sent to everybody at a logout or a shutdown, to the host too. When it is gone the guardian goes.
IGNORED = (SIGHUP, SIGINT, SIGQUIT, SIGTERM)

TWIN_AGAIN_S = 1.0  # no more than one twin in that time, so that one that can't live costs nothing
HEAD_START_MS = 800.0
GRACE_S = 0.5
# The host may die in the middle of a start, and until that process has exec'd it carries no marks.
# And a look misses one that forks and ends in the middle of it.
CALM_S, CALM_LOOKS = 0.3, 3
MOST_S = 10.0
SOFT_PAUSE_S, HARD_PAUSE_S = 0.05, 0.01
NEVER = -1  # no process has this start time


def main() -> None:
    """The starter: makes the first guardian and ends, for it is a child of the host.

    A host that calls `os.wait()` until it has no child would wait for a guardian that stays one.
    """
    if not is_roster(ROSTER):
        raise SystemExit("Arrea was replaced by another version while it ran")
    _settle()
    host = open_process(int(sys.argv[2]), int(sys.argv[3]))  # for all guardians, by `fork`
    if host < 0:
        sweep()
    elif os.fork() == 0:
        Guard(host).run()
    os._exit(0)


def _settle() -> None:
    os.chdir("/")
    for number in IGNORED:
        _signal.signal(number, _signal.SIG_IGN)
    with open("/proc/self/comm", "wb", buffering=0) as name:
        name.write(NAME)


class Guard:
    """One of the two. Made by the starter, and copied by `fork` whenever one is missing.

    _place: 0 or 1. _host, _twin: pidfds; no twin is -1.
    """

    __slots__ = ("_host", "_place", "_twin", "_twin_after")

    def __init__(self, host: int) -> None:
        self._host = host
        self._place = 0
        self._twin = -1
        self._twin_after = 0.0

    def run(self) -> None:
        """Until the host is gone and swept up after, or until it is dismissed."""
        self._sign_in()
        while not is_closed(ROSTER):
            if self._twin < 0 and monotonic() >= self._twin_after:
                self._make_twin()
                continue  # as another one, perhaps
            ready = self._wait()
            if self._host in ready:
                self._give_head_start()
                break
            if self._twin in ready:
                self._lose_twin()
        if not is_closed(ROSTER):
            sweep()

    def _sign_in(self) -> None:
        os.setsid()  # so that no signal to a group or session meets both
        me = look_at(os.getpid())
        assert me is not None
        sign_in(ROSTER, self._place, me.pid, me.start_time)

    def _make_twin(self) -> None:
        """Forks. In the child everything here is about the child, and the twin is its parent."""
        self._twin_after = monotonic() + TWIN_AGAIN_S
        me = os.pidfd_open(os.getpid())
        try:
            child = os.fork()
        except OSError:  # the limit of processes: later
            os.close(me)
            return
        if child == 0:
            self._twin = me
            self._place = 1 - self._place
            self._sign_in()
        else:
            os.close(me)
            self._twin = os.pidfd_open(child)  # not reaped yet, so nobody else has the number

    def _lose_twin(self) -> None:
        try:
            os.waitid(os.P_PIDFD, self._twin, os.WEXITED | os.WNOHANG)
        except ChildProcessError:
            pass  # it was the parent
        os.close(self._twin)
        self._twin = -1

    def _wait(self) -> list[int]:
        """For the end of the host or of the twin, without a time limit but where there is no twin."""
        if self._twin < 0:
            return _wait_for((self._host,), TWIN_AGAIN_S * 1000.0)
        return _wait_for((self._host, self._twin), None)

    def _give_head_start(self) -> None:
        """One sweeps at a time, for some programs take a second SIGTERM as "never mind the tidying up"."""
        if self._place == 1 and self._twin >= 0:
            _wait_for((self._twin,), HEAD_START_MS)


def _wait_for(pidfds: tuple[int, ...], milliseconds: float | None) -> list[int]:
    poll = select.poll()
    for pidfd in pidfds:
        poll.register(pidfd, select.POLLIN)
    return [pidfd for pidfd, _ in poll.poll(milliseconds)]


# ── Sweeping ─────────────────────────────────────────────────────────────────────────────────────


def sweep() -> None:
    """Ends the families of all attempts that ran when the host died; 10 s at most."""
    families = [Family(row) for row in read_rows(ROSTER)]
    if families:
        _Sweep(families).run()
    note_swept(ROSTER)


class Family:
    """An attempt's leader and whoever belongs to it. Whoever was seen once is remembered, wherever it moves."""

    __slots__ = ("_known", "_row", "group", "key", "since")

    def __init__(self, row: Row) -> None:
        self._row = row
        self._known: set[tuple[int, int]] = set()
        self.key = row.task, b"%d" % row.number
        self.group = row.pid  # the leader's, which it made itself
        self.since = row.opened - 1  # nobody of it can be older

    def members(self, census: Census, marked: Sequence[Process]) -> list[Process]:
        """Who lives of it. `marked`: those that have its marks."""
        self._known.update(process.identity for process in marked)
        self._know_leader(census)
        members = census.family(self._row.pid, (), self._known)
        self._known.update(process.identity for process in members)
        return members + self._leader(census)

    def _know_leader(self, census: Census) -> None:
        """Its start time, for a new bearer of its number is a stranger, and so is one that bears it already."""
        leader = census.processes.get(self._row.pid)
        if leader is not None and leader.pid not in dict(self._known):
            ours = self._row.is_leader(leader.start_time)
            self._known.add((leader.pid, leader.start_time if ours else NEVER))

    def _leader(self, census: Census) -> list[Process]:
        leader = census.processes.get(self._row.pid)
        if leader is None or leader.identity not in self._known or leader.pid in census.untouchable:
            return []
        return [leader] if leader.living else []


class _Sweep:
    """Looks and signals in turn, until nobody is left."""

    __slots__ = ("_asked", "_families", "_since")

    def __init__(self, families: list[Family]) -> None:
        self._families = families
        self._since = min(family.since for family in families)
        self._asked: set[tuple[int, int]] = set()

    def run(self) -> None:
        began = busy = monotonic()
        calm = 0
        while (now := monotonic()) < began + MOST_S and (calm < CALM_LOOKS or now < busy + CALM_S):
            hard = now >= began + GRACE_S
            if self._step(hard):
                busy, calm = now, 0
            else:
                calm += 1
            sleep(HARD_PAUSE_S if hard else SOFT_PAUSE_S)

    def _step(self, hard: bool) -> bool:
        """Whether there may be somebody yet."""
        try:
            found = self._find()
        except OSError:
            return True  # the machine has no descriptor left to look with (ENFILE)
        if hard:
            self._kill(found)
        else:
            self._ask(found)
        return bool(found)

    def _kill(self, found: list[Process]) -> None:
        """The leaders' groups first, each at one stroke."""
        groups = {process.pgid: process for process in found}
        for family in self._families:
            if family.group in groups:
                send_group(groups[family.group], SIGKILL)
        _send_all(found, SIGKILL)

    def _ask(self, found: list[Process]) -> None:
        """SIGTERM, once; and SIGCONT, for a stopped one acts on nothing else."""
        fresh = [process for process in found if process.identity not in self._asked]
        self._asked.update(process.identity for process in fresh)
        _send_all(fresh, SIGTERM)
        _send_all(fresh, SIGCONT)

    def _find(self) -> list[Process]:
        """Who lives of all families, parents first: a shell whose child was ended would take the next command."""
        census = Census()
        marked = self._marked(census)
        found: dict[int, Process] = {}
        for family in self._families:
            for process in family.members(census, marked.get(family.key, ())):
                found[process.pid] = process
        return parents_first(found.values())

    def _marked(self, census: Census) -> dict[tuple[bytes, bytes], list[Process]]:
        """Who carries which marks. One pass for all families: `Census.family` makes one for each.

        Only processes that can be meant: reading an environ takes a lock of that process, which one that is stuck
        in the kernel may hold. Group 0 is the kernel's own.
        """
        marked: dict[tuple[bytes, bytes], list[Process]] = {}
        for process in census.processes.values():
            if process.start_time >= self._since and process.pgid != 0 and process.state not in "ZXx":
                for marks in _marks(process.pid):
                    marked.setdefault(marks, []).append(process)
        return marked


def _marks(pid: int) -> list[tuple[bytes, bytes]]:
    """Tasks and attempts. One of an Arrea within another one's task may carry the marks of both, each side by side."""
    entries = [entry.partition(b"=")[::2] for entry in environ_of(pid).split(b"\0")]
    found = [entry for entry in entries if entry[0] in MARKS]
    if len(found) == len(dict(found)) == len(MARKS):  # whatever came in between
        return [(dict(found)[MARKS[0]], dict(found)[MARKS[1]])]
    pairs = pairwise(found)
    return [(task, attempt) for (one, task), (other, attempt) in pairs if (one, other) == MARKS]


def _send_all(processes: list[Process], number: int) -> None:
    for process in processes:
        try:
            send(process, number)
        except OSError:
            continue  # no descriptor left (ENFILE): the next look sees it again
