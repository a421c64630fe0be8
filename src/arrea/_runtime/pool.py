"""The pool of worker processes, in which functions run: who works for which lane, and what became of it.

Given the orders of the engine (`Dispatch`, `Recall`, `Release`, and to end an attempt), what the readiness loop found,
and the time. Reports `Begun`, `Returned`, `Recalled`, `LaneLost`, `LaneFailed`. All on the reactor's thread.

One process is there that nobody needs yet: when one is killed, the next call runs in that, at once. Processes that
nobody needed for half a minute go.
"""

from __future__ import annotations

import errno
import select
from collections import deque

from arrea._model.ending import Crash
from arrea._model.step import Begun, ExitSeen, LaneFailed, LaneLost, Recalled, Returned
from arrea._runtime.family import SIGKILL, SIGTERM
from arrea._runtime.letters import Opened
from arrea._runtime.opener import Opener
from arrea._runtime.processes import Processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from arrea._model.stats import Running
    from arrea._model.step import AttemptId, Dispatch, Input
    from arrea._runtime.guardian import Guardian
    from arrea._runtime.worker_process import Sealed, Told, WorkerProcess

IDLE_MS = 30_000.0
AGAIN_MS = 10.0
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
        self.processes = Processes(epoll, guardian, self)
        self._report_now = report
        self._offset = offset
        self._opener = Opener(deliver)
        self._lanes: dict[int, WorkerProcess] = {}
        self._idle: list[WorkerProcess] = []
        self._opening: dict[int, deque[Input | Opened]] = {}  # what is held back, by the number of its worker
        self._wants_spare = False
        self._stalled: set[WorkerProcess] = (
            set()
        )  # for whom the kernel has no room, and won't say when it has

    # ── orders ────────────────────────────────────────────────────────────────────────────────────

    def dispatch(self, order: Dispatch, now: float) -> None:
        """Sends calls to the lane's process; a new lane gets one."""
        worker = self._lanes.get(order.lane)
        if worker is None:
            try:
                worker = self._hire(order.lane)
            except OSError as error:
                self._report_now(LaneFailed(order.lane, error, error.errno in TRANSIENT))
                return
        if not worker.sent:
            worker.since = now
        worker.batch_id = order.batch_id
        if not worker.send(order.calls):
            self._wait_to_write(worker)

    def _wait_to_write(self, worker: WorkerProcess) -> None:
        if worker.stalled:
            self._stalled.add(worker)
        else:
            self.processes.wait_to_write(worker, True)

    def _send_rest(self, worker: WorkerProcess) -> None:
        if worker.send_rest():
            self.processes.wait_to_write(worker, False)
        else:
            self._wait_to_write(worker)

    def _hire(self, lane: int) -> WorkerProcess:
        """One that is idle, or a new one."""
        idle = [worker for worker in self._idle if self.processes.is_there(worker)]
        worker = idle.pop() if idle else self.processes.start()
        self._idle, self._wants_spare = idle, not idle
        worker.lane = lane
        self._lanes[lane] = worker
        if worker.ready:
            self._report_now(Begun(lane))
        return worker

    def release(self, lane: int, now: float) -> None:
        """Its process is free for another lane."""
        worker = self._lanes.pop(lane, None)
        if worker is None:
            return
        worker.lane = None
        if worker.sent:  # it does what nobody waits for
            self.processes.kill(worker, now)
        elif self.processes.is_there(worker):
            worker.idle_since = now
            self._idle.append(worker)

    def recall(self, lane: int) -> None:
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
            self.processes.signal(worker, SIGTERM)

    def kill(self, attempt: AttemptId, now: float) -> None:
        worker = self._who_runs(attempt)
        if worker is not None:
            self.processes.kill(worker, now)

    def _who_runs(self, attempt: AttemptId) -> WorkerProcess | None:
        """What it was sent behind that is taken back."""
        for worker in list(self._lanes.values()):
            if any(sent == attempt for _, sent, _ in worker.sent):
                if not (worker.signalled or worker.signal_wanted):
                    self._take_back(worker)
                return worker if worker.sent and worker.sent[0][1] == attempt else None
        return None

    def forget(self, attempt: AttemptId) -> None:
        """Not even SIGKILL ended it: it is reported as it is."""
        worker = self._who_runs(attempt)
        lane = None if worker is None else self._leaves(worker)
        if worker is not None and lane is not None:
            self.processes.forget(worker)
            self._report(worker, LaneLost(lane, attempt, Crash(worker.pid, None, 0.0, forgotten=True)))

    def running(self, now: float) -> list[Running]:
        """From any thread: what runs at the moment."""
        return [running for worker in list(self._lanes.values()) if (running := _running(worker, now))]

    # ── what processes tell ───────────────────────────────────────────────────────────────────────

    def on_ready(self, fd: int, mask: int, now: float) -> bool:
        """Something happened at a descriptor; whether it is one of ours."""
        worker = self.processes.on_ready(fd, now)
        if isinstance(worker, bool):
            return worker
        if mask & select.EPOLLOUT:
            self._send_rest(worker)
        if mask & ~select.EPOLLOUT:
            self._read(worker)
            if worker.closed:
                self.processes.hung_up(worker, now)
        return True

    def read_rest(self, worker: WorkerProcess) -> None:
        self._read(worker, to_end=True)

    def _read(self, worker: WorkerProcess, to_end: bool = False) -> None:
        if worker.fd < 0:
            return
        was_ready = worker.ready
        try:
            all_told = worker.read(self._offset(), to_end)
        except OSError as error:  # Arrea was replaced by another version while it ran
            worker.told = str(error)
            self.processes.signal(worker, SIGKILL)
            return
        if worker.ready and not was_ready:
            self._is_ready(worker)
        for told in all_told:
            if told.last is not None:
                self._returned(worker, told)
            if told.skipped is not None and worker.lane is not None:
                self._report(worker, Recalled(worker.lane, None))

    def _is_ready(self, worker: WorkerProcess) -> None:
        self.processes.came(worker, worker.own_pid)
        if worker.lane is not None:
            self._report(worker, Begun(worker.lane))

    def _returned(self, worker: WorkerProcess, told: Told) -> None:
        lane, last = worker.lane, told.returns[-1]
        worker.since = last.ended
        if lane is None:
            return
        if worker.signalled:  # it was to be killed, and its function ended meanwhile: nothing of it is of use
            assert told.last is not None
            worker.put_back(*told.last[1:])
            self.processes.signal(worker, SIGKILL)
            return
        if last.problem is not None or last.warnings:
            worker.take_all_back()  # first the engine decides
            self._report(worker, Recalled(lane, told.attempts[-1]))
        returned = Returned(lane, told.attempts, told.returns)
        if told.sealed:
            self._open(worker, told.sealed, returned)
        else:
            self._report(worker, returned)

    # ── what has to be opened first ───────────────────────────────────────────────────────────────

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

    def never_came(self, worker: WorkerProcess, error: OSError) -> None:
        """The seed couldn't fork it."""
        if worker.lane is not None:
            self._report(worker, LaneFailed(worker.lane, error, error.errno in TRANSIENT))
        self._leaves(worker)

    def gone(self, worker: WorkerProcess, status: int | None) -> None:
        """It is dead, and all of its family."""
        lane = self._leaves(worker)
        if lane is not None:
            crash = Crash(worker.pid, status, 0.0, worker.told)
            self._report(worker, LaneLost(lane, worker.running, crash))

    def _leaves(self, worker: WorkerProcess) -> int | None:
        """It is no longer of the pool; the lane that it worked for."""
        self._stalled.discard(worker)
        lane, worker.lane = worker.lane, None
        if lane is not None:
            self._lanes.pop(lane, None)
        return lane

    # ── the time ──────────────────────────────────────────────────────────────────────────────────

    def tend(self, now: float) -> None:
        """What has to be done at this time."""
        self._opener.tend()
        if self._wants_spare:
            self._start_spare(now)
        stalled, self._stalled = self._stalled, set()
        for worker in stalled:
            self._send_rest(worker)
        self.processes.tend(now)
        while self._idle and self._idle[0].idle_since + IDLE_MS <= now:
            self.processes.dismiss(self._idle.pop(0), now)

    def _start_spare(self, now: float) -> None:
        """Not before somebody works, who shall have the machine to himself until then."""
        self._wants_spare = False
        if self._idle:
            return
        try:
            worker = self.processes.start()
        except OSError:
            return  # the machine has no room for it; whoever needs it tries again
        worker.idle_since = now
        self._idle.append(worker)

    def due(self, now: float) -> float:
        """When `tend` has to be called next, in engine time; infinity for never."""
        if self._wants_spare:
            return now
        first = self.processes.due(now)
        if self._stalled:
            first = min(first, now + AGAIN_MS)
        if self._idle:
            first = min(first, self._idle[0].idle_since + IDLE_MS)
        opener = self._opener.due()
        return first if opener == NEVER else min(first, opener * 1000.0 - self._offset() + 1.0)

    def turn_ended(self) -> None:
        self.processes.turn_ended()

    def kill_all(self) -> None:
        self.processes.kill_all()

    def stop(self) -> None:
        """Nobody works any more, and nobody is left."""
        self._opener.stop()
        self.processes.stop()
        self._idle.clear()  # with them go the pages that they shared


def _running(worker: WorkerProcess, now: float) -> Running | None:
    """What it runs, as far as is known."""
    from arrea._model.stats import Running  # few ask

    try:
        _, (_, index, attempt), call = worker.sent[0]
    except IndexError:
        return None
    return Running(worker.batch_id, index, call.name, attempt, now - worker.since)
