"""The children: all processes that run, from their start to their wait status.

Given what the readiness loop found, the time, and orders to end one. Reads output, waits for the pipes of those that
exited and for the family of those that were killed, and reports to the engine: `Spawned`, `ExitSeen`, `Exited`.
All on the reactor's thread, but for `try_to_watch`.
"""

from __future__ import annotations

import os
import select
from collections import deque

from arrea._model.step import Exited, ExitSeen, Printed, Spawned
from arrea._runtime.adopted import Adopted, become_subreaper
from arrea._runtime.capture import Budget
from arrea._runtime.child import task_of
from arrea._runtime.family import SIGKILL
from arrea._runtime.roster import NO_ROW
from arrea._runtime.spool import Spool
from arrea._runtime.tree import Census

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from arrea._model.stats import Running
    from arrea._model.step import AttemptId, Input, Spawn
    from arrea._runtime.child import Child
    from arrea._runtime.outflow import Outflow
    from arrea._runtime.roster import Roster
    from arrea._runtime.tree import Process

    class Listener(Protocol):
        @property
        def wants_output(self) -> bool: ...


# A process that lives longer has its output watched.
FRESH_MS = 10.0
# After a read of half a pipe, commands are taken to print much, and watched from their start, for so long.
MUCH_BYTES, EAGER_MS = 32_768, 1000.0
MOST_PIPE_READS = 4  # of 256 KiB: the most that a pipe holds (pipe(7), pipe-max-size)
MOST_LOOKS = 20
KILL_AGAIN_MS = 10.0
KILL_AGAIN_MOST_MS = 100.0
READABLE, ENDED = select.EPOLLIN, select.EPOLLHUP | select.EPOLLERR


class Children:
    """Processes of one reactor, watched by its `epoll`; `report` takes what the engine has to know.

    listener: whether anybody wants to be told what commands print. roster: where the guardian looks.
    outflows: by number of the batch, where its
    commands' output goes as it comes.
    """

    def __init__(
        self, epoll: select.epoll, report: Callable[[Input], None], listener: Listener, roster: Roster
    ) -> None:
        self._epoll = epoll
        self._report = report
        self._listener = listener
        self._roster = roster
        self._rows: dict[AttemptId, int] = {}
        self._adopted: Adopted | None = None
        self.outflows: dict[int, Outflow] = {}
        self._held: set[Child] = set()  # whose streams aren't watched, for their outflow is full
        self._running: dict[AttemptId, Child] = {}
        self._watched: dict[int, Child] = {}
        self._fresh: deque[tuple[float, Child]] = deque()  # when to watch the streams of each, in order
        self._draining: set[Child] = set()
        self._dying: dict[Child, float] = {}  # killed, and when to look after its family again
        self._eager_until = 0.0
        self._census: Census | None = None
        self._budget, self._spool = Budget(), Spool()

    def __bool__(self) -> bool:
        return bool(self._running)

    def tend(self, now: float) -> None:
        """What has to be done at this time."""
        self._tend_fresh(now)
        self._tend_draining(now)
        self._tend_dying(now)

    def due(self) -> float:
        """When `tend` has to be called next; infinity for never."""
        first = self._fresh[0][0] if self._fresh else float("inf")
        if self._draining:
            first = min(first, *map(self._drain_due, self._draining))
        return min(first, *self._dying.values()) if self._dying else first

    def turn_ended(self) -> None:
        """What was seen of the machine's processes is old from now on."""
        self._census = None

    # ── from start to exit ────────────────────────────────────────────────────────────────────────

    def try_to_watch(self, child: Child) -> bool:
        """From any thread: whether its exit will be told.

        False: it was reaped already, or the kernel has no room (ENOMEM, ENOSPC), and it is tried again later.
        """
        if child.pidfd < 0:
            return False
        try:
            self._epoll.register(child.pidfd, READABLE)
        except OSError:
            return False
        child.watched = True
        return True

    def expect(self, spawn: Spawn) -> int:
        """A process is going to be started: its row in the roster."""
        row = self._rows[spawn.attempt] = self._roster.open(task_of(spawn), spawn.attempt[2])
        return row

    def never_came(self, attempt: AttemptId) -> None:
        """It couldn't be started."""
        self._roster.close(self._rows.pop(attempt, NO_ROW))

    def welcome(self, child: Child, now: float) -> None:
        """A new process. Its exit is watched at once, its output only if it lives for some milliseconds.

        Most commands end sooner, and what they wrote waits in the pipes: two descriptors less to register, and
        no turn for each of their writes, which is a quarter of all work for a short command.
        """
        self._running[child.spawn.attempt] = child
        if self._adopted is not None:
            child.orphans = self._orphans_of
        child.outflow = self.outflows.get(child.spawn.attempt[0]) if self.outflows else None
        self._report(Spawned(child.spawn.attempt))
        if child.pidfd < 0:
            child.status_lost = True
            self._on_exit(child, now)
            return
        self._watched[child.pidfd] = child
        if now < self._eager_until:
            self._watch_streams(child)
        if child.streams_open or not child.watched:
            self._fresh.append((now + FRESH_MS, child))

    def _tend_fresh(self, now: float) -> None:
        fresh = self._fresh
        while fresh and (fresh[0][0] <= now or fresh[0][1].exited_at is not None):
            child = fresh.popleft()[1]
            if child.exited_at is None and child.pidfd >= 0:
                self._watch_streams(child)
                if not child.watched and not (child.tried and self.try_to_watch(child)):
                    fresh.append((now + FRESH_MS, child))  # or its spawner is just about to register it

    def _watch_streams(self, child: Child) -> None:
        if child.outflow is not None and child.outflow.full:
            self._held.add(child)
            return
        for fd in (child.out_fd, child.err_fd):
            if fd >= 0 and fd not in self._watched:
                self._watched[fd] = child
                self._epoll.register(fd, READABLE)

    def on_ready(self, fd: int, mask: int, now: float) -> bool:
        """Something happened at a descriptor; not ours, or not any more: nothing. Whether a process exited."""
        child = self._watched.get(fd)
        if child is None:
            return False
        if fd == child.pidfd:
            self._on_exit(child, now)
            return True
        if child.outflow is not None and child.outflow.full:
            self._hold(child, now)
            return False
        self._read(child, fd, now, bool(mask & ENDED))
        return False

    def _read(self, child: Child, fd: int, now: float, to_end: bool) -> None:
        before = child.bytes_read
        if child.read(fd, self._budget, self._spool, to_end, self._teller(child, now)):
            self._close_stream(child, fd)
        if child.outflow is not None and child.outflow.full:
            self._hold(child, now)
        if child.bytes_read - before >= MUCH_BYTES:  # it may have waited for us: nobody else shall
            self._eager_until = now + EAGER_MS

    def _teller(self, child: Child, now: float) -> Callable[[str, bytes], None] | None:
        """Tells who listens what is read; None where nobody does."""
        attempt, outflow = child.spawn.attempt, child.outflow
        listened = self._listener.wants_output
        if outflow is None and not listened:
            return None

        def tell(stream: str, chunk: bytes) -> None:
            if outflow is not None:
                outflow.put(attempt, stream, chunk, now)
            if listened:
                self._report(Printed(attempt, stream, chunk))

        return tell

    def _hold(self, child: Child, now: float) -> None:
        """Reads no more of it until its outflow has room."""
        if child.held_at is None:
            child.held_at = now
        self._held.add(child)
        for fd in (child.out_fd, child.err_fd):
            if fd in self._watched:
                self._forget_descriptor(fd)

    def resume(self, outflow: Outflow, now: float) -> None:
        """There is room: goes on with whom it held up. Their time to drain is so much longer."""
        for child in [child for child in self._held if child.outflow is outflow]:
            self._held.discard(child)
            if child.held_at is not None and child.drain_until is not None:
                child.drain_until += now - child.held_at
            child.held_at = None
            self._watch_streams(child)

    def _held_up(self, child: Child, now: float) -> bool:
        """It ended, and isn't told yet, for its output would pile up.

        Not one that was killed, and not for ever where the reader is stuck.
        """
        outflow = child.outflow
        return outflow is not None and outflow.full and not child.signalled and not outflow.stuck(now)

    def _drain_due(self, child: Child) -> float:
        until = child.drain_until or 0.0
        held = child.outflow is not None and child.outflow.full and not child.signalled
        return max(until, child.outflow.stuck_at) if held and child.outflow is not None else until

    def _close_stream(self, child: Child, fd: int) -> None:
        self._unwatch(fd)
        if fd == child.out_fd:
            child.out_fd = -1
        else:
            child.err_fd = -1

    def _unwatch(self, fd: int) -> None:
        # Unregistering comes first: a process that is just being started has copies of all our descriptors until
        # it execs, and epoll goes on reporting a closed one while any copy lives (epoll(7), Q6).
        if fd in self._watched:
            self._forget_descriptor(fd)
        os.close(fd)

    def _forget_descriptor(self, fd: int) -> None:
        del self._watched[fd]
        try:
            self._epoll.unregister(fd)
        except FileNotFoundError:  # there was no room to register it (`try_to_watch`)
            pass

    def _on_exit(self, child: Child, now: float) -> None:
        if child.pidfd >= 0:
            self._unwatch(child.pidfd)
            child.pidfd = -1
        child.note_exit(now)
        self._read_rest(child, now)
        if child.streams_open or child.signalled or self._held_up(child, now):
            self._report(ExitSeen(child.spawn.attempt))
            self._watch_streams(child)
            self._draining.add(child)
        else:
            self._finish(child, now)

    def _read_rest(self, child: Child, now: float) -> None:
        for fd in (child.out_fd, child.err_fd):
            if fd >= 0:
                self._read(child, fd, now, to_end=True)

    def _tend_draining(self, now: float) -> None:
        over = [child for child in self._draining if child.drained(now) and not self._held_up(child, now)]
        for child in over:
            for _ in range(MOST_PIPE_READS):  # the clock ends the waiting, not the reading of what is there
                self._read_rest(child, now)
            self._draining.discard(child)
            if child.signalled:
                self._dying[child] = now
            else:
                self._finish(child, now)

    def _finish(self, child: Child, now: float, forgotten: bool = False) -> None:
        # Before it is reaped: what it leaves running is left on purpose from here on.
        self._roster.close(self._rows.pop(child.spawn.attempt, NO_ROW))
        if self._adopted is not None and not child.signalled:
            self._adopted.note_end(child, now)
        ending = child.reap(now, forgotten)
        for fd in (child.out_fd, child.err_fd, child.pidfd):
            if fd >= 0:
                self._unwatch(fd)
        child.out_fd = child.err_fd = child.pidfd = -1
        self._held.discard(child)
        del self._running[child.spawn.attempt]
        self._report(Exited(child.spawn.attempt, ending))

    # ── orphans ───────────────────────────────────────────────────────────────────────────────────

    def adopt_orphans(self) -> None:
        """Orphans of our descendants come to us, if the kernel does that."""
        if become_subreaper():
            self._adopted = Adopted()

    def end_adoption(self) -> None:
        if self._adopted is not None:
            self._adopted.end()

    def reap_adopted(self, now: float) -> None:
        """Not while a start is under way: whose child is new is not told yet."""
        if self._adopted is not None:
            self._adopted.reap(self._running.values(), now)

    def reap_due(self) -> float:
        """When `reap_adopted` has something to do; infinity for never."""
        return float("inf") if self._adopted is None or not self._running else self._adopted.reap_at

    def _orphans_of(self, child: Child, census: Census) -> list[Process]:
        assert self._adopted is not None
        if len(self._rows) > len(self._running):
            return []  # a start is under way
        return self._adopted.of(child, self._running.values(), census)

    # ── killing ───────────────────────────────────────────────────────────────────────────────────

    def _look_around(self) -> Census:
        """All processes of the machine, looked at once a turn at most, however many are killed in it."""
        if self._census is None:
            self._census = Census()
        return self._census

    def _tend_dying(self, now: float) -> None:
        """A killed attempt is over when its process has exited and nobody of its family lives."""
        for child, at in list(self._dying.items()):
            if at <= now:
                self._look_after(child, now)

    def _look_after(self, child: Child, now: float) -> None:
        if self._is_extinct(child):
            del self._dying[child]
            self._read_rest(child, now)  # the last words of whoever died since we looked at the pipes
            self._finish(child, now)
            return
        if child.signalled == SIGKILL:
            child.kill(self._look_around)  # somebody forked while we looked
        assert child.exited_at is not None
        pause = min(KILL_AGAIN_MOST_MS, KILL_AGAIN_MS + (now - child.exited_at) / 4)
        self._dying[child] = now + pause

    def _is_extinct(self, child: Child) -> bool:
        try:
            return not child.family(self._look_around())
        except OSError:
            return False  # no descriptor left to look with (EMFILE): again later

    def terminate(self, attempt: AttemptId) -> None:
        """SIGTERM to it and its family. Nothing, here and below, if it is over and told."""
        child = self._running.get(attempt)
        if child is not None:
            child.terminate(self._look_around)

    def kill(self, attempt: AttemptId, now: float) -> None:
        """SIGKILL to it and its family, until nobody of it is left."""
        child = self._running.get(attempt)
        if child is not None:
            child.kill(self._look_around)
            if child in self._dying:
                self._dying[child] = now

    def stop_all(self) -> None:
        """SIGSTOP to all that runs. Not SIGTSTP: the kernel keeps that from sessions without a terminal."""
        for _ in range(MOST_LOOKS):  # somebody may fork while we look
            self._census = None
            if not sum(child.pause(self._look_around()) for child in self._running.values()):
                break
        self._census = None

    def continue_all(self) -> None:
        for child in self._running.values():
            child.proceed(self._look_around)
        self._census = None

    def snapshot(self, now: float) -> list[Running]:
        """From any thread: what runs at the moment."""
        children = list(self._running.values())
        return [child.running(now) for child in children if child.exited_at is None]

    def forget(self, attempt: AttemptId, now: float) -> None:
        """Not even that ended it: it is reported as it is."""
        child = self._running.get(attempt)
        if child is not None:
            self._draining.discard(child)
            self._dying.pop(child, None)
            self._finish(child, now, forgotten=True)

    def kill_all(self) -> None:
        """After a fault of our own, which may be anywhere here: as little as possible, and nothing is left running."""
        for child in list(self._running.values()):
            child.kill(Census)

    def close(self, strays: list[Child], now: float) -> None:
        """Lets go of all descriptors. `strays`: processes that were started and never welcomed; they are killed."""
        for child in strays:
            child.kill(Census)
        for child in [*strays, *self._running.values()]:
            self._let_go(child, now)
        self._spool.close()

    def _let_go(self, child: Child, now: float) -> None:
        for fd in (child.out_fd, child.err_fd, child.pidfd):
            if fd >= 0:
                os.close(fd)
        child.reap(now)
