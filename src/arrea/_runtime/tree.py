"""Who belongs to an attempt, and how to signal exactly them.

Given: the pid of an attempt's leader (a process that `spawn` started, so it leads a session
of its own), the marks in its environment, and what was known of its family before. Hands
back: the living processes of that family. Decides nothing about when or how hard to signal.

A family is found by four traces, because each one can be lost:

| trace                               | lost when                                         |
| ----------------------------------- | ------------------------------------------------- |
| the leader's session and group      | a process calls setsid (any daemon, `ssh -f`)     |
| the chain of parents                | a parent ends: the orphan's parent is then init   |
| the marks in /proc/PID/environ      | started with a cleared environment (`env -i`)     |
| seen before (`known`)               | it came and changed between two looks             |

**What may escape**: a process that lost all four: new session, parent gone and cleared
environment, never seen in between. And one that we may not look at or signal: set-uid
programs (their environ is unreadable; session and parents still find them, and then the
signal is refused), or everything of other users under `hidepid`. A process that
overwrites its own environ area (to show a title in `ps`) loses its marks too. This is a
net for programs that are careless, not a wall against ones that are hostile; a wall
takes a cgroup or a pid namespace.

`/proc` is read process by process, not at one moment: a process forked during the pass may
be missing. Whoever kills therefore looks again until nothing is found. `Census` is one such
pass, for everybody who asks in the same turn.

Source: proc_pid_stat(5), proc_pid_environ(5), credentials(7), pidfd_open(2).
"""

from __future__ import annotations

import os
from _signal import pidfd_send_signal  # `signal` itself brings `enum`, and names that nobody needs here
from time import sleep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "Census",
    "Process",
    "environ_of",
    "family",
    "look_at",
    "parents_first",
    "send",
    "send_group",
    "snapshot",
]


class Process:
    """One process as /proc/PID/stat showed it; `start_time` is in clock ticks since boot.

    `(pid, start_time)` names a process for good: a number that is given to another process
    later comes with another start time. (Ticks last 10 ms; numbers go round once in at
    least 32,768 starts.)
    """

    __slots__ = ("pgid", "pid", "ppid", "sid", "start_time", "state", "threads")

    def __init__(
        self,
        pid: int,
        ppid: int,
        pgid: int,
        sid: int,
        state: str,
        start_time: int,
        threads: int = 1,
    ) -> None:
        self.pid = pid
        self.ppid = ppid
        self.pgid = pgid
        self.sid = sid
        self.state = state
        self.start_time = start_time
        self.threads = threads

    def __repr__(self) -> str:
        return f"Process(pid={self.pid}, ppid={self.ppid}, sid={self.sid}, state={self.state!r})"

    @property
    def identity(self) -> tuple[int, int]:
        """What `family` takes as `known`."""
        return self.pid, self.start_time

    @property
    def living(self) -> bool:
        """Whether it can still run code.

        A process whose first thread has ended shows "Z" while the others go on working.
        """
        return self.state not in "ZXx" or self.threads > 1


# ── Looking ──────────────────────────────────────────────────────────────────────────────

_LISTINGS = 4  # on a machine where somebody always forks there is no end to them


def snapshot() -> dict[int, Process]:
    """Every process in sight by its pid, zombies included; about 15 µs for each.

    The list is read again until it names nobody new: one who forks and ends would always be missed otherwise.

    >>> snapshot()[os.getpid()].ppid == os.getppid()
    True
    """
    found: dict[int, Process] = {}
    looked_at: set[str] = set()
    for _ in range(_LISTINGS):
        fresh = [name for name in os.listdir("/proc") if name.isdecimal() and name not in looked_at]
        if not fresh:
            break
        looked_at.update(fresh)
        found.update((process.pid, process) for process in map(look_at, fresh) if process is not None)
    return found


def look_at(pid: int | str) -> Process | None:
    """One process, or None if it is gone (or listed but shut, under ``hidepid=1``)."""
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    try:
        return _parse(os.read(fd, 4096))  # a stat line has about 300 bytes and comes at once
    except ProcessLookupError:  # reaped between open and read
        return None
    finally:
        os.close(fd)


def _parse(line: bytes) -> Process:
    """A line of /proc/PID/stat: ``pid (comm) state ppid pgrp session … num_threads … start``.

    A program chooses its comm freely, blanks and parentheses and newlines included, but no
    later field holds a parenthesis: the last one ends it.
    """
    end = line.rindex(b")")
    fields = line[end + 2 :].split(b" ", 20)  # fields[0] is field 3 of the manual page
    return Process(
        pid=int(line[: line.index(b" ")]),
        ppid=int(fields[1]),
        pgid=int(fields[2]),
        sid=int(fields[3]),
        state=fields[0].decode("ascii"),
        threads=int(fields[17]),
        start_time=int(fields[19]),
    )


# ── The family ───────────────────────────────────────────────────────────────────────────


def family(
    processes: dict[int, Process],
    leader: int,
    marks: Sequence[bytes],
    known: Iterable[tuple[int, int]] = (),
) -> list[Process]:
    """`Census.family` for one attempt, in what `snapshot` showed."""
    return Census(processes).family(leader, marks, known)


class Census:
    """One look at all processes, for as many families as are asked for.

    What doesn't depend on the attempt is done once: the pass over /proc, who is related to
    whom, and (when first needed) the reading of an environ.
    """

    __slots__ = ("_environs", "_kin", "processes", "untouchable")

    def __init__(self, processes: dict[int, Process] | None = None) -> None:
        self.processes = snapshot() if processes is None else processes
        self.untouchable = _untouchable(self.processes)
        self._kin = _kin(self.processes)
        self._environs: dict[int, bytes] = {}

    def family(
        self, leader: int, marks: Sequence[bytes], known: Iterable[tuple[int, int]] = ()
    ) -> list[Process]:
        """The living processes that belong to the attempt which `leader` leads, without it.

        `marks` are environment entries that together name the attempt (all must be present;
        without marks no environment is read), `known` holds the `identity` of processes
        seen earlier, and may hold the leader's own.

        Never in it: the calling process, its ancestors, pid 1, and whatever is related to
        the attempt through one of these only.

        The leader's number counts for as long as the leader isn't reaped or its session has
        members: the kernel gives it to nobody else until then. A caller that asks later
        puts the leader's identity into `known`, so that a new bearer of the number isn't
        taken for it.
        """
        if not all(mark.find(b"=") > 0 for mark in marks):
            raise ValueError("a mark is a whole entry: name, '=', value")
        seen = list(known)
        started = dict(seen).get(leader)
        search = _Search(self)
        if _is_same(self.processes.get(leader), started):
            search.follow(leader)
        for pid, start_time in seen:
            search.admit_known(pid, start_time)
        if marks:
            search.admit_marked(marks, started or _started(self.processes, leader))
        return [one for pid, one in search.found.items() if pid != leader and one.living]

    def kin(self, number: int) -> Sequence[Process]:
        """Those that name `number` as their parent, session or group."""
        return self._kin.get(number, ())

    def carries(self, pid: int, marks: Sequence[bytes]) -> bool:
        """Whether every mark is a whole entry of the environment `pid` was exec'd with."""
        environ = self._environs.get(pid)
        if environ is None:
            environ = self._environs[pid] = b"\0" + environ_of(pid) + b"\0"
        return all(b"\0" + mark + b"\0" in environ for mark in marks)


class _Search:
    """The processes found so far, and the traces that lead on from each of them."""

    __slots__ = ("_census", "found")

    def __init__(self, census: Census) -> None:
        self.found: dict[int, Process] = {}
        self._census = census

    def follow(self, pid: int) -> None:
        """Everybody who is child, session or group member of `pid`, or of one found so.

        Zombies are followed too: a dead session leader nobody waits for still names its
        session.
        """
        waiting = [] if pid in self._census.untouchable else [pid]
        while waiting:
            for relative in self._census.kin(waiting.pop()):
                if self._admit(relative):
                    waiting.append(relative.pid)

    def admit_known(self, pid: int, start_time: int) -> None:
        process = self._census.processes.get(pid)
        if process is not None and process.start_time == start_time and self._admit(process):
            self.follow(pid)

    def admit_marked(self, marks: Sequence[bytes], since: int) -> None:
        # Reading an environ is the dear part (it locks the other process's memory map), so
        # it comes last and only for those that can be meant: found by no other trace, not
        # older than the leader, with a memory map (group 0 is the kernel's own threads, and
        # a zombie has given its back).
        for process in self._census.processes.values():
            if process.start_time < since or process.pgid == 0 or process.state in "ZXx":
                continue
            if not self._is_settled(process.pid) and self._census.carries(process.pid, marks):
                self._admit(process)
                self.follow(process.pid)

    def _admit(self, process: Process) -> bool:
        if self._is_settled(process.pid):
            return False
        self.found[process.pid] = process
        return True

    def _is_settled(self, pid: int) -> bool:
        return pid in self.found or pid in self._census.untouchable


def _kin(processes: dict[int, Process]) -> dict[int, list[Process]]:
    """For each number, the processes that name it as their parent, session or group."""
    kin: dict[int, list[Process]] = {}
    for process in processes.values():
        for number in {process.ppid, process.sid, process.pgid}:
            kin.setdefault(number, []).append(process)
    return kin


def _untouchable(processes: dict[int, Process]) -> set[int]:
    """The caller, its ancestors, init, and 0 (the number that kernel threads have as group)."""
    untouchable = {0, 1}
    pid = os.getpid()
    while pid not in untouchable:
        untouchable.add(pid)
        pid = processes[pid].ppid if pid in processes else 0
    return untouchable


def _is_same(process: Process | None, started: int | None) -> bool:
    return process is None or started is None or process.start_time == started


def _started(processes: dict[int, Process], leader: int) -> int:
    return processes[leader].start_time if leader in processes else 0


_LOOKS, _PAUSE_SECONDS = 10, 0.0005  # exec takes far less, unless its file is on a slow disk


def environ_of(pid: int) -> bytes:
    """The environment that `pid` was exec'd with, empty if it is gone or not ours to look at.

    In the middle of exec the new memory map is in place, but the kernel hasn't yet noted
    where the environment lies: for some microseconds it reads as empty, and a marked daemon
    looks like a stranger. Then the command line is empty as well, unlike after `env -i`.
    (fs/exec.c: `begin_new_exec`; fs/binfmt_elf.c: `create_elf_tables`, which sets both.)
    """
    for _ in range(_LOOKS):
        environ = _read(pid, "environ")
        if environ or _read(pid, "cmdline"):
            break
        sleep(_PAUSE_SECONDS)
    return environ or _read(pid, "environ")  # exec may have ended between the two looks


def _read(pid: int, name: str) -> bytes:
    try:
        with open(f"/proc/{pid}/{name}", "rb", buffering=0) as file:
            return file.read()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return b""


def parents_first(processes: Iterable[Process]) -> list[Process]:
    """In the order in which they should be asked to end: a shell whose child was ended would take the next command.

    Not by age: children of the same clock tick may have the lower number, for numbers go round.
    """
    found = {process.pid: process for process in processes}
    depths: dict[int, int] = {}
    return sorted(found.values(), key=lambda process: _depth(process, found, depths))


def _depth(process: Process, found: dict[int, Process], depths: dict[int, int]) -> int:
    """How many of those found are above it. A circle, which only a look that took long can show, ends at itself."""
    chain: list[int] = []
    pid = process.pid
    while pid in found and pid not in depths and pid not in chain:
        chain.append(pid)
        pid = found[pid].ppid
    depth = depths.get(pid, -1)
    for member in reversed(chain):
        depth += 1
        depths[member] = depth
    return depths[process.pid]


# ── Signalling ───────────────────────────────────────────────────────────────────────────


def send(process: Process, signum: int) -> bool:
    """Send a signal to exactly this process; False if it is gone or may not be signalled.

    `kill(pid)` may hit a stranger that got the number meanwhile. A pidfd can't: it stays
    with the process that it was opened for. Which one that was, the start time tells: a
    stranger that took the number before the opening has another one, and after it the pidfd
    leads nowhere.

    Raises `OSError` where the question stays open (no descriptor left: EMFILE, ENFILE).
    """
    try:
        pidfd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return False
    try:
        return _is_still(process) and _signal_pidfd(pidfd, signum)
    finally:
        os.close(pidfd)


def send_group(member: Process, signum: int) -> bool:
    """Send a signal to the whole group of this process in one step; False if it is gone or has left the group.

    One who forks and ends is met in any case: a fork that the signal comes into starts over, or dies.
    The number of a group that has members is given to nobody else, so the member is looked at right before.

    Source: kernel/fork.c, `copy_process`; kill(2).
    """
    now = look_at(member.pid)
    if now is None or not now.living or now.start_time != member.start_time:
        return False
    if now.pgid != member.pgid or now.pgid <= 1:  # kill(-1) and kill(0) mean others
        return False
    try:
        os.kill(-member.pgid, signum)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _is_still(process: Process) -> bool:
    now = look_at(process.pid)
    return now is not None and now.living and now.start_time == process.start_time


def _signal_pidfd(pidfd: int, signum: int) -> bool:
    try:
        pidfd_send_signal(pidfd, signum)
    except (ProcessLookupError, PermissionError):
        return False
    return True
