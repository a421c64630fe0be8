"""The pool of worker processes, in which functions run: who works for which lane, and what became of it.

Given the orders of the engine (`Dispatch`, `Recall`, `Release`, and to end an attempt), what the readiness loop found,
and the time. Reports `Begun`, `Returned`, `Recalled`, `LaneLost`, `LaneFailed`. All on the reactor's thread.

One process is there that nobody needs yet: when one is killed, the next call runs in that, at once. Processes that
nobody needed for half a minute go.
"""

from __future__ import annotations

import errno
import os
import select
from collections import deque
from time import monotonic

from arrea._model.ending import Crash
from arrea._model.step import Begun, ExitSeen, LaneFailed, LaneLost, Recalled, Returned
from arrea._runtime.family import SIGKILL, SIGTERM
from arrea._runtime.letters import Opened
from arrea._runtime.opener import Opener
from arrea._runtime.pool_child import FORKED, REAPED, STARTED, STATUS_LOST
from arrea._runtime.seed import OUTPUTS, Seed
from arrea._runtime.tree import Census
from arrea._runtime.worker_process import WorkerProcess

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from arrea._model.stats import Running
    from arrea._model.step import AttemptId, Dispatch, Input
    from arrea._runtime.guardian import Guardian
    from arrea._runtime.worker_process import Sealed, Told

IDLE_MS = 30_000.0
EXITS_WITHIN_MS = 100.0  # from the end of its connection: the kernel closes that first
LOOK_AGAIN_MS = 10.0
LEAVE_WITHIN_S, END_WITHIN_S = 0.5, 1.0
TRANSIENT = (errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOMEM)
NEVER = float("inf")


class Pool:
    """Of one reactor, watched by its `epoll`. `report` takes what the engine has to know.

    deliver: what comes from another thread, to be handed to `opened`. offset: from the monotonic clock to engine time.
    """

    def __init__(
        self,
        epoll: select.epoll,
        report: Callable[[Input], None],
        deliver: Callable[[Opened], None],
        guardian: Guardian,
        offset: Callable[[], float],
    ) -> None:
        self._epoll = epoll
        self._report_now = report
        self._guardian = guardian
        self._offset = offset
        self._opener = Opener(deliver)
        self._seed: Seed | None = None
        self._seed_row = 0
        self._mark = os.urandom(5).hex()
        self._numbers = 0
        self._workers: dict[int, WorkerProcess] = {}  # all, by their numbers
        self._by_fd: dict[int, WorkerProcess] = {}
        self._lanes: dict[int, WorkerProcess] = {}
        self._idle: list[WorkerProcess] = []
        self._dying: dict[WorkerProcess, float] = {}
        self._closed: dict[WorkerProcess, float] = {}  # whose connection is, and until when it has to exit
        self._opening: dict[int, deque[Input | Opened]] = {}  # what is held back, by the number of its worker
        self._census: Census | None = None
        self._wants_spare = False
        self._unseen: set[WorkerProcess] = set()

    def __bool__(self) -> bool:
        return bool(self._lanes)

    # ── orders ────────────────────────────────────────────────────────────────────────────────────

    def dispatch(self, order: Dispatch, now: float) -> None:
        """Sends calls to the lane's process; a new lane gets one."""
        worker = self._lanes.get(order.lane)
        try:
            if worker is None:
                worker = self._hire(order.lane)
            self._send(worker, order, now)
        except OSError as error:  # of starting it: to send doesn't fail, it waits
            self._report_now(LaneFailed(order.lane, error, error.errno in TRANSIENT))

    def _send(self, worker: WorkerProcess, order: Dispatch, now: float) -> None:
        if not worker.sent:
            worker.since = now
        worker.batch_id = order.batch_id
        if not worker.send(order.calls):
            self._epoll.modify(worker.fd, select.EPOLLIN | select.EPOLLOUT)

    def _hire(self, lane: int) -> WorkerProcess:
        """One that is idle, or a new one."""
        worker = self._idle.pop() if self._idle else self._start()
        self._wants_spare = not self._idle
        worker.lane = lane
        self._lanes[lane] = worker
        if worker.ready:
            self._report_now(Begun(lane))
        return worker

    def release(self, lane: int, now: float) -> None:
        """Its process is free for another lane."""
        worker = self._lanes.pop(lane, None)
        if worker is not None:
            worker.lane = None
            if not worker.signalled and not worker.sent and worker.exited_at is None and not worker.closed:
                worker.idle_since = now
                self._idle.append(worker)
            elif worker not in self._dying and worker.exited_at is None:
                self._end(worker)

    def recall(self, lane: int, now: float) -> None:
        """Takes back what its process hasn't begun."""
        worker = self._lanes.get(lane)
        if worker is not None:
            self._take_back(worker)

    def _take_back(self, worker: WorkerProcess) -> None:
        worker.take_back()
        self._read(worker, to_end=True)
        if worker.lane is not None:
            self._report(worker, Recalled(worker.lane, worker.keep_begun()))

    def terminate(self, attempt: AttemptId) -> None:
        """SIGTERM to the process that runs it and its family; nothing if it has ended already."""
        worker = self._who_runs(attempt)
        if worker is not None:
            self._signal(worker, SIGTERM)

    def kill(self, attempt: AttemptId, now: float) -> None:
        worker = self._who_runs(attempt)
        if worker is not None:
            self._signal(worker, SIGKILL)
            if worker in self._dying:
                self._dying[worker] = now

    def _who_runs(self, attempt: AttemptId) -> WorkerProcess | None:
        for worker in list(self._lanes.values()):
            if any(sent == attempt for _, sent, _ in worker.sent):
                if not (worker.signalled or worker.signal_wanted):
                    self._take_back(worker)
                return worker if worker.sent and worker.sent[0][1] == attempt else None
        return None

    def _signal(self, worker: WorkerProcess, number: int) -> None:
        if worker.pid == 0:
            worker.signal_wanted = number  # as soon as it is there
        elif number == SIGTERM:
            worker.terminate(self._look_around)
        else:
            worker.kill(self._look_around)

    def forget(self, attempt: AttemptId, now: float) -> None:
        """Not even SIGKILL ended it: it is reported as it is."""
        worker = self._who_runs(attempt)
        if worker is not None and worker.lane is not None:
            crash = Crash(worker.pid, None, 0.0, forgotten=True)
            self._report(worker, LaneLost(worker.lane, attempt, crash))
            self._drop(worker)

    def running(self, now: float) -> list[Running]:
        """From any thread: what runs at the moment."""
        return [running for worker in list(self._lanes.values()) if (running := _running(worker, now))]

    # ── starting ──────────────────────────────────────────────────────────────────────────────────

    def _start(self) -> WorkerProcess:
        """Asks the seed for a process. It can be sent calls at once, before it is there."""
        seed = self._seed or self._start_seed()
        self._numbers += 1
        mark = f"{self._mark}:{self._numbers}".encode()
        row = self._guardian.roster.open(mark, self._numbers)
        try:
            worker = WorkerProcess(self._numbers, mark, row, seed)
        except BaseException:
            self._guardian.roster.close(row)
            raise
        self._workers[worker.number] = self._by_fd[worker.fd] = worker
        self._epoll.register(worker.fd, select.EPOLLIN)
        try:
            seed.fork(worker.number, mark, (worker.child_end.fileno(), worker.page_fd, *OUTPUTS))
        except OSError:
            self._drop(worker)
            self._lose_seed()
            raise
        return worker

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

    def _start_spare(self, now: float) -> None:
        """Not before somebody works, who shall have the machine to himself until then."""
        self._wants_spare = False
        if self._idle:
            return
        try:
            worker = self._start()
        except OSError:
            return  # the machine has no room for it; whoever needs it tries again
        worker.idle_since = now
        self._idle.append(worker)

    # ── what the loop found ───────────────────────────────────────────────────────────────────────

    def on_ready(self, fd: int, mask: int, now: float) -> bool:
        """Something happened at a descriptor; whether it is one of ours."""
        seed = self._seed
        if seed is not None and fd in (seed.fd, seed.starter):
            if fd == seed.starter:
                self._epoll.unregister(fd)
                seed.reap_starter()
            else:
                self._read_reports(now)
            return True
        worker = self._by_fd.get(fd)
        if worker is None:
            return False
        if fd == worker.pidfd:
            self._on_exit(worker, now)
            return True
        if mask & select.EPOLLOUT and worker.send_rest():
            self._epoll.modify(fd, select.EPOLLIN)
        if mask & ~select.EPOLLOUT:
            self._read(worker)
        return True

    def _read(self, worker: WorkerProcess, to_end: bool = False) -> None:
        if worker.fd < 0:
            return
        was_ready = worker.ready
        try:
            all_told = worker.read(self._offset(), to_end)
        except OSError as error:  # Arrea was replaced by another version while it ran
            worker.told = str(error)
            self._end(worker)
            return
        if worker.ready and not was_ready and worker.lane is not None:
            self._report(worker, Begun(worker.lane))
        for told in all_told:
            if told.last is not None:
                self._returned(worker, told)
            if told.skipped is not None and worker.lane is not None:
                self._report(worker, Recalled(worker.lane, None))
        if worker.closed and worker.exited_at is None and worker not in self._closed:
            self._unwatch(worker.fd)
            self._closed[worker] = monotonic() * 1000.0 - self._offset() + EXITS_WITHIN_MS

    def _returned(self, worker: WorkerProcess, told: Told) -> None:
        lane, last = worker.lane, told.returns[-1]
        worker.since = last.ended
        if lane is None:
            return
        if worker.signalled:  # it was to be killed, and its function ended meanwhile: nothing of it is of use
            assert told.last is not None
            worker.put_back(*told.last[1:])
            self._signal(worker, SIGKILL)
            return
        if last.problem is not None or last.warnings:
            worker.take_all_back()  # first the engine decides
            self._report(worker, Recalled(lane, told.attempts[-1]))
        returned = Returned(lane, told.attempts, told.returns)
        if told.sealed:
            self._open(worker, told.sealed, returned)
        else:
            self._report(worker, returned)

    def _open(self, worker: WorkerProcess, sealed: list[Sealed], returned: Returned) -> None:
        for attempt in returned.attempts:
            self._report_now(ExitSeen(attempt))
        opened = Opened(worker.number, sealed, returned)
        self._opening.setdefault(worker.number, deque()).append(opened)
        self._opener.open(opened)

    def _report(self, worker: WorkerProcess, told: Input) -> None:
        """In the order in which it happened: behind what is being opened."""
        waiting = self._opening.get(worker.number)
        if waiting is None:
            self._report_now(told)
        else:
            waiting.append(told)

    def opened(self, opened: Opened) -> None:
        """The opener is done with this: it is told, and what came after it up to the next one that is being opened."""
        waiting = self._opening[opened.number]
        assert waiting[0] is opened
        waiting.popleft()
        self._report_now(opened.told)
        while waiting and not isinstance(waiting[0], Opened):
            self._report_now(waiting.popleft())
        if not waiting:
            del self._opening[opened.number]

    # ── the end of a process ──────────────────────────────────────────────────────────────────────

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
            return
        worker = self._workers.get(number)
        if worker is None:
            return
        if what == FORKED:
            self._came(worker, pid)
        elif what == REAPED:
            self._finish(worker, None if status == STATUS_LOST else status, now)
        else:
            self._never_came(worker, OSError(status, os.strerror(status)))

    def _came(self, worker: WorkerProcess, pid: int) -> None:
        self._guardian.roster.started(worker.row, pid)
        worker.came(pid)
        self._watch(worker)
        if worker.signal_wanted:
            self._signal(worker, worker.signal_wanted)

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

    def _never_came(self, worker: WorkerProcess, error: OSError) -> None:
        lane = worker.lane
        self._drop(worker)
        if lane is not None:
            self._report(worker, LaneFailed(lane, error, error.errno in TRANSIENT))

    def _end(self, worker: WorkerProcess) -> None:
        """It is of no more use: it can't be talked to, or does what nobody waits for."""
        if worker in self._idle:
            self._idle.remove(worker)
        self._signal(worker, SIGKILL)

    def _dismiss(self, worker: WorkerProcess) -> None:
        """Nobody needed it for long: it sees the end of its connection, tidies up and goes."""
        self._unwatch(worker.fd)
        worker.close()

    def _on_exit(self, worker: WorkerProcess, now: float) -> None:
        worker.exited_at = now
        self._closed.pop(worker, None)
        self._unwatch(worker.pidfd)
        self._read(worker, to_end=True)
        if worker in self._idle:
            self._idle.remove(worker)
        if worker.lane is not None or worker.signalled:
            worker.kill(self._look_around)  # nothing of a call that died is left
        self._dying[worker] = now

    def tend(self, now: float) -> None:
        """What has to be done at this time."""
        self._opener.tend()
        if self._wants_spare:
            self._start_spare(now)
        for worker in list(self._unseen):
            self._watch(worker)
        for worker, at in list(self._dying.items()):
            if at <= now:
                self._look_after(worker, now)
        for worker, at in list(self._closed.items()):
            if at <= now:
                del self._closed[worker]
                worker.told = "it closed its connection to Arrea"
                self._end(worker)
        while self._idle and self._idle[0].idle_since + IDLE_MS <= now:
            self._dismiss(self._idle.pop(0))

    def due(self, now: float) -> float:
        """When `tend` has to be called next, in engine time; infinity for never."""
        if self._wants_spare:
            return now
        first = min((*self._dying.values(), *self._closed.values()), default=NEVER)
        if self._idle:
            first = min(first, self._idle[0].idle_since + IDLE_MS)
        if self._unseen:
            first = min(first, now + LOOK_AGAIN_MS)
        opener = self._opener.due()
        return first if opener == NEVER else min(first, opener * 1000.0 - self._offset() + 1.0)

    def turn_ended(self) -> None:
        """What was seen of the machine's processes is old from now on."""
        self._census = None

    def _look_around(self) -> Census:
        if self._census is None:
            self._census = Census()
        return self._census

    def _look_after(self, worker: WorkerProcess, now: float) -> None:
        """It has exited; when nobody of its family is left it is reaped."""
        try:
            is_extinct = not worker.signalled or not worker.family(self._look_around())
        except OSError:  # no descriptor left to look with: again later
            is_extinct = False
        if not is_extinct:
            worker.kill(self._look_around)
            self._dying[worker] = now + LOOK_AGAIN_MS
            return
        self._dying.pop(worker)
        if self._seed is None or worker.seed is not self._seed:
            self._finish(worker, None, now)  # its parent is gone, and nobody learns how it ended
            return
        try:
            self._seed.reap(worker.pid, worker.number)
        except OSError:
            self._finish(worker, None, now)
            self._lose_seed()

    def _finish(self, worker: WorkerProcess, status: int | None, now: float) -> None:
        lane = worker.lane
        if lane is not None:
            crash = Crash(worker.pid, status, 0.0, worker.told)
            self._report(worker, LaneLost(lane, worker.running, crash))
        self._drop(worker)

    def _drop(self, worker: WorkerProcess) -> None:
        """It is no longer of the pool."""
        self._workers.pop(worker.number, None)
        self._dying.pop(worker, None)
        self._closed.pop(worker, None)
        self._unseen.discard(worker)
        self._guardian.roster.close(worker.row)
        if worker.lane is not None:
            self._lanes.pop(worker.lane, None)
            worker.lane = None
        if worker in self._idle:
            self._idle.remove(worker)
        for fd in (worker.fd, worker.pidfd):
            if fd >= 0:
                self._unwatch(fd)
        worker.close()
        if worker.pidfd >= 0:
            os.close(worker.pidfd)
            worker.pidfd = -1

    def _unwatch(self, fd: int) -> None:
        if self._by_fd.pop(fd, None) is not None:
            try:
                self._epoll.unregister(fd)
            except OSError:
                return

    def _lose_seed(self) -> None:
        """It is gone: what it was to fork never comes, and how the others end nobody learns."""
        seed, self._seed = self._seed, None
        if seed is None:
            return
        self._unwatch_seed(seed)
        lost = OSError(errno.EPROTO, "the process that forks worker processes has ended")
        for worker in list(self._workers.values()):
            if worker.pid == 0:
                self._never_came(worker, lost)
            elif worker.exited_at is not None and worker not in self._dying:
                self._finish(worker, None, 0.0)

    def _unwatch_seed(self, seed: Seed) -> None:
        for fd in (seed.fd, seed.starter):
            if fd >= 0:
                self._epoll.unregister(fd)
        seed.close()
        self._guardian.roster.close(self._seed_row)

    # ── the end of the pool ───────────────────────────────────────────────────────────────────────

    def kill_all(self) -> None:
        """After a fault of our own: as little as possible, and nothing is left running."""
        for worker in self._workers.values():
            if worker.pid:
                worker.kill(Census)

    def stop(self) -> None:
        """Nobody works any more: all processes go, those that tidy up within half a second, and the seed."""
        self._opener.stop()
        workers = list(self._workers.values())
        for worker in workers:
            self._dismiss(worker)
        self._wait_for_reports()
        for worker in workers:
            self._await_end(worker)
        seed, self._seed = self._seed, None
        for worker in workers:
            self._drop(worker)
        if seed is not None:
            self._unwatch_seed(seed)

    def _wait_for_reports(self) -> None:
        """Of those that are just being forked."""
        until = monotonic() + END_WITHIN_S
        while self._seed is not None and any(not worker.pid for worker in self._workers.values()):
            if not self._seed.wait_for_report(max(0.0, until - monotonic())):
                return
            self._read_reports(0.0)

    def _await_end(self, worker: WorkerProcess) -> None:
        if worker.pidfd < 0:
            return
        if not _ends_within(worker.pidfd, LEAVE_WITHIN_S):
            worker.kill(Census)
            _ends_within(worker.pidfd, END_WITHIN_S)
        try:
            if self._seed is not None and worker.seed is self._seed:
                self._seed.reap(worker.pid, 0)
        except OSError:
            return  # the seed is gone, and its children with it


def _running(worker: WorkerProcess, now: float) -> Running | None:
    """What it runs, as far as is known."""
    from arrea._model.stats import Running  # few ask

    try:
        _, (_, index, attempt), call = worker.sent[0]
    except IndexError:
        return None
    return Running(worker.batch_id, index, call.name, attempt, now - worker.since)


def _ends_within(pidfd: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(seconds * 1000.0))
