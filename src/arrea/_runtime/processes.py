"""The worker processes of a pool, from their fork to their wait status, and the seed that forks them.

Given orders to start one, to let one go and to end one, what the readiness loop found, and the time. Tells the pool,
which decides what they are for, what became of them. All on the reactor's thread.
"""

from __future__ import annotations

import errno
import os
import select
from time import monotonic

from arrea._runtime.family import SIGKILL, SIGTERM
from arrea._runtime.seed import OUTPUTS, SILENT_S, Seed
from arrea._runtime.seed_child import FORKED, REAPED, STARTED, STATUS_LOST, STILL_RUNS
from arrea._runtime.tree import Census
from arrea._runtime.worker_process import WorkerProcess

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from arrea._runtime.guardian import Guardian

    class Pool(Protocol):
        """Is told of them."""

        def read_rest(self, worker: WorkerProcess) -> None: ...
        def never_came(self, worker: WorkerProcess, error: OSError) -> None: ...
        def gone(self, worker: WorkerProcess, status: int | None) -> None: ...


EXITS_WITHIN_MS = 100.0  # from the end of its connection: the kernel closes that first
LEAVES_WITHIN_MS = 5_000.0  # when it is told to: it may have to tidy up
LOOK_AGAIN_MS = 10.0
ROOM = 8  # descriptors: those of one more, and a few for what comes in
LEAVE_WITHIN_S, END_WITHIN_S = 0.5, 1.0
NEVER = float("inf")
SEED_LOST = OSError(errno.EAGAIN, "the process that forks worker processes has ended")


class Processes:
    """Of one pool, watched by its `epoll`."""

    def __init__(self, epoll: select.epoll, guardian: Guardian, pool: Pool) -> None:
        self._epoll = epoll
        self._guardian = guardian
        self._pool = pool
        self._seed: Seed | None = None
        self._seed_row = 0
        self._mark = os.urandom(5).hex()
        self._numbers = 0
        self._all: dict[int, WorkerProcess] = {}  # by their numbers
        self._by_fd: dict[int, WorkerProcess] = {}
        self._unseen: set[WorkerProcess] = set()  # for whose pidfd there was no descriptor yet
        self._closed: dict[WorkerProcess, float] = {}  # whose connection is, and until when it has to exit
        self._dying: dict[WorkerProcess, float] = {}  # that have exited, and when to look after their family
        self._census: Census | None = None
        # Descriptors that are closed when the turn is over: what the loop found in it is told by their numbers.
        self._later: list[Callable[[], object]] = []

    def __len__(self) -> int:
        return len(self._all)

    def descriptors(self) -> list[int]:
        """All that it has open, -1 among them."""
        seed = self._seed
        found = [] if seed is None else [seed.fd, seed.starter]
        for worker in list(self._all.values()):
            found += worker.descriptors()
        return found

    # ── starting ──────────────────────────────────────────────────────────────────────────────────

    def start(self) -> WorkerProcess:
        """Asks the seed for a process. It can be sent calls at once, before it is there. Raises `OSError`."""
        seed = self._seed or self._start_seed()
        self._leave_room(seed)
        self._numbers += 1
        mark = f"{self._mark}:{self._numbers}".encode()
        row = self._guardian.roster.open(mark, self._numbers)
        try:
            worker = WorkerProcess(self._numbers, mark, row, seed)
        except BaseException:
            self._guardian.roster.close(row)
            raise
        self._all[worker.number] = self._by_fd[worker.fd] = worker
        self._epoll.register(worker.fd, select.EPOLLIN)
        seed.fork(worker.number, mark, (worker.child_end.fileno(), worker.page_fd, *OUTPUTS))
        self._watch_seed(seed)
        return worker

    def _leave_room(self, seed: Seed) -> None:
        """Raises `OSError` (EMFILE) if another one took the descriptors by which the values of all come in."""
        if self._all:
            coming = sum(not worker.pid for worker in self._all.values())
            room: list[int] = []
            try:
                for _ in range(ROOM + coming):
                    room.append(os.dup(seed.fd))
            finally:
                for descriptor in room:
                    os.close(descriptor)

    def _watch_seed(self, seed: Seed) -> None:
        """Its reports, and whether it takes more orders."""
        if seed is self._seed:
            self._epoll.modify(seed.fd, select.EPOLLIN | (select.EPOLLOUT if seed.waits else 0))

    def _start_seed(self) -> Seed:
        self._guardian.start()
        self._seed_row = self._guardian.roster.open(f"{self._mark}:0".encode(), 0)
        try:
            self._seed = Seed()
        except OSError:
            self._guardian.roster.close(self._seed_row)
            raise
        for fd in (self._seed.fd, self._seed.starter):
            if fd >= 0:
                self._epoll.register(fd, select.EPOLLIN)
        return self._seed

    def came(self, worker: WorkerProcess, pid: int) -> None:
        """The seed said so, or it did itself: whoever is quicker."""
        if worker.pid:
            return
        self._guardian.roster.started(worker.row, pid)
        worker.came(pid)
        self._watch(worker)
        if worker.signal_wanted:
            self.signal(worker, worker.signal_wanted)

    def _watch(self, worker: WorkerProcess) -> None:
        """Its exit is told from now on. Without a descriptor left for that (EMFILE) it is tried again and again."""
        try:
            worker.pidfd = os.pidfd_open(worker.pid)
        except OSError:
            self._unseen.add(worker)
            return
        self._unseen.discard(worker)
        self._by_fd[worker.pidfd] = worker
        self._epoll.register(worker.pidfd, select.EPOLLIN)

    # ── what the loop found ───────────────────────────────────────────────────────────────────────

    def on_ready(self, fd: int, now: float) -> WorkerProcess | bool:
        """Something happened at a descriptor: the worker whose connection it is; else whether it is one of ours."""
        seed = self._seed
        if seed is not None and fd in (seed.fd, seed.starter):
            self._hear(seed, fd, now)
            return True
        worker = self._by_fd.get(fd)
        if worker is None:
            return False
        if fd != worker.pidfd:
            return worker
        if _ends_until(fd, 0.0):
            self._on_exit(worker, now)
        return True

    def wait_to_write(self, worker: WorkerProcess, waits: bool) -> None:
        """Whether it is to be told when the connection has room."""
        if worker.fd in self._by_fd:
            self._epoll.modify(worker.fd, select.EPOLLIN | (select.EPOLLOUT if waits else 0))

    def _hear(self, seed: Seed, fd: int, now: float) -> None:
        if fd == seed.starter:
            self._forget_descriptor(fd)
            self._later.append(seed.reap_starter)
            return
        self._read_reports(now)
        seed.send_rest()
        self._watch_seed(seed)

    def _read_reports(self, now: float) -> None:
        seed = self._seed
        try:
            while seed is not None and (report := seed.report()) is not None:
                self._take_report(*report, now)
        except EOFError:
            self._lose_seed()

    def _take_report(self, what: int, pid: int, status: int, number: int, now: float) -> None:
        if what == STARTED and self._seed is not None:
            self._seed.started(pid)
            self._guardian.roster.started(self._seed_row, pid)
        worker = self._all.get(number)
        if worker is None:
            return
        if what == FORKED:
            self.came(worker, pid)
        elif what == REAPED and status == STILL_RUNS:
            self._dying[worker] = now + LOOK_AGAIN_MS
        elif what == REAPED:
            self._gone(worker, None if status == STATUS_LOST else status)
        else:
            self._never_came(worker, OSError(status, os.strerror(status)))

    def _never_came(self, worker: WorkerProcess, error: OSError) -> None:
        self._drop(worker)
        self._pool.never_came(worker, error)

    def _lose_seed(self) -> None:
        """It is gone: what it was to fork never comes, and how the others end nobody learns."""
        seed, self._seed = self._seed, None
        if seed is None:
            return
        self._let_go_of(seed)
        for worker in list(self._all.values()):
            if worker.pid == 0:
                # If it was forked after all it begins nothing any more, and goes when it sees its connection's end.
                worker.take_back()
                self._pool.read_rest(worker)
            if worker.pid == 0:
                self._never_came(worker, SEED_LOST)
            elif worker.exited_at is not None and worker not in self._dying:
                self._gone(worker, None)

    # ── ending ────────────────────────────────────────────────────────────────────────────────────

    def signal(self, worker: WorkerProcess, number: int) -> None:
        """To it and its family."""
        if worker.pid == 0:
            worker.signal_wanted = number  # as soon as it is there
        elif number == SIGTERM:
            worker.terminate(self._look_around)
        else:
            worker.kill(self._look_around)

    def kill(self, worker: WorkerProcess, now: float) -> None:
        self.signal(worker, SIGKILL)
        if worker in self._dying:
            self._dying[worker] = now

    def dismiss(self, worker: WorkerProcess, now: float) -> None:
        """Nobody needs it: it sees the end of its connection, tidies up and goes, or is ended."""
        self._unwatch(worker.fd)
        worker.hang_up()
        if worker.exited_at is None:
            self._closed[worker] = now + LEAVES_WITHIN_MS

    def hung_up(self, worker: WorkerProcess, now: float) -> None:
        """It closed its connection, by its end as a rule; if not, it is ended."""
        if worker.exited_at is None and worker not in self._closed:
            self._unwatch(worker.fd)
            self._closed[worker] = now + EXITS_WITHIN_MS

    def is_there(self, worker: WorkerProcess) -> bool:
        """Whether it can be given work."""
        return not (worker.signalled or worker.signal_wanted or worker.closed) and worker.exited_at is None

    def _on_exit(self, worker: WorkerProcess, now: float) -> None:
        worker.exited_at = now
        self._closed.pop(worker, None)
        self._unwatch(worker.pidfd)
        self._pool.read_rest(worker)
        self._unwatch(worker.fd)
        if worker.lane is not None or worker.signalled:
            worker.kill(self._look_around)  # nothing of a call that died is left
        self._dying[worker] = now

    def tend(self, now: float) -> None:
        """What has to be done at this time."""
        for worker in list(self._unseen):
            self._watch(worker)
        if self._seed is not None and self._seed.owes:
            self._seed.send_rest()
            self._seed.wake()
        for worker, at in list(self._dying.items()):
            if at <= now:
                self._look_after(worker, now)
        for worker, at in list(self._closed.items()):
            if at <= now:
                del self._closed[worker]
                worker.told = "it closed its connection to Arrea"
                self.signal(worker, SIGKILL)

    def due(self, now: float) -> float:
        """When `tend` has to be called next, in engine time; infinity for never."""
        first = min((*self._dying.values(), *self._closed.values()), default=NEVER)
        seed = self._seed
        if self._unseen or (seed is not None and seed.waits):
            return min(first, now + LOOK_AGAIN_MS)
        return min(first, now + 1000.0 * SILENT_S) if seed is not None and seed.owes else first

    def turn_ended(self) -> None:
        """What was seen of the machine's processes is old from now on, and so are the numbers of descriptors."""
        self._census = None
        later, self._later = self._later, []
        for close in later:
            close()

    def _look_around(self) -> Census:
        if self._census is None:
            self._census = Census()
        return self._census

    def _look_after(self, worker: WorkerProcess, now: float) -> None:
        """It has exited; when nobody of its family is left it is reaped."""
        if not self._is_extinct(worker):
            worker.kill(self._look_around)
            self._dying[worker] = now + LOOK_AGAIN_MS
            return
        del self._dying[worker]
        if self._seed is None or worker.seed is not self._seed:
            self._gone(worker, None)  # its parent is gone, and nobody learns how it ended
            return
        self._seed.reap(worker.pid, worker.number)
        self._watch_seed(self._seed)

    def _is_extinct(self, worker: WorkerProcess) -> bool:
        try:
            return not worker.signalled or not worker.family(self._look_around())
        except OSError:  # no descriptor left to look with: again later
            return False

    def _gone(self, worker: WorkerProcess, status: int | None) -> None:
        self._drop(worker)
        self._pool.gone(worker, status)

    def forget(self, worker: WorkerProcess) -> None:
        """Nobody waits for it any more."""
        self._drop(worker)

    def _drop(self, worker: WorkerProcess) -> None:
        self._all.pop(worker.number, None)
        self._dying.pop(worker, None)
        self._closed.pop(worker, None)
        self._unseen.discard(worker)
        self._guardian.roster.close(worker.row)
        worker.closed = True
        for fd in (worker.fd, worker.pidfd):
            self._unwatch(fd)
        worker.hang_up()
        self._later.append(worker.close)

    def _unwatch(self, fd: int) -> None:
        if self._by_fd.pop(fd, None) is not None:
            self._forget_descriptor(fd)

    def _forget_descriptor(self, fd: int) -> None:
        try:
            self._epoll.unregister(fd)
        except (OSError, ValueError):  # it isn't in it any more, or never was one
            return

    def _let_go_of(self, seed: Seed) -> None:
        for fd in (seed.fd, seed.starter):
            self._forget_descriptor(fd)
        self._later.append(seed.close)
        self._guardian.roster.close(self._seed_row)

    # ── the end of them all ───────────────────────────────────────────────────────────────────────

    def kill_all(self) -> None:
        """After a fault of our own: as little as possible, and nothing is left running."""
        for worker in self._all.values():
            if worker.pid:
                worker.kill(Census)

    def stop(self) -> None:
        """Nobody works any more: all go, those that tidy up within half a second; and the seed."""
        for worker in list(self._all.values()):
            self.dismiss(worker, NEVER)
        self._wait_for_reports()
        until = monotonic() + LEAVE_WITHIN_S
        for worker in list(self._all.values()):
            self._await_end(worker, until)
        for worker in list(self._all.values()):
            self._drop(worker)
        seed, self._seed = self._seed, None
        if seed is not None:
            self._let_go_of(seed)
        self.turn_ended()

    def _wait_for_reports(self) -> None:
        """Of those that are just being forked."""
        until = monotonic() + END_WITHIN_S
        while self._seed is not None and any(not worker.pid for worker in self._all.values()):
            if not self._seed.wait_for_report(max(0.0, until - monotonic())):
                return
            self._read_reports(0.0)

    def _await_end(self, worker: WorkerProcess, until: float) -> None:
        if worker.pidfd < 0:
            return
        if not _ends_until(worker.pidfd, until):
            worker.kill(Census)
            _ends_until(worker.pidfd, monotonic() + END_WITHIN_S)
        if self._seed is not None and worker.seed is self._seed:
            self._seed.reap(worker.pid, 0)


def _ends_until(pidfd: int, until: float) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(max(0.0, until - monotonic()) * 1000.0))
