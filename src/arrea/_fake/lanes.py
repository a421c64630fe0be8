"""The lanes of calls on a fake machine: worker processes, threads and event loops.

Given the engine's orders (`Dispatch`, `Recall`, `Release`, and to end an attempt); tells `Begun`, `Returned`,
`Recalled`, `LaneLost`, `LaneFailed` and `ExitSeen` as the fates of the calls say. A lane that was recalled, or in which
a call failed, runs nothing more: what it is given after that was on its way already, and is taken back with the rest.
"""

from __future__ import annotations

from collections import deque

from arrea._fake.agenda import Happening, call_off
from arrea._fake.fates import Launch
from arrea._fake.processes import SIGTERM
from arrea._model.ending import Crash, Raised, Return
from arrea._model.step import Begun, ExitSeen, LaneFailed, LaneLost, Recalled, Returned
from arrea._model.task import COROUTINE, PROCESS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from arrea._fake.agenda import Agenda
    from arrea._fake.fates import Fates
    from arrea._model.step import AttemptId, Dispatch, Input
    from arrea.testing import Fate


class Lane:
    """queue: what it hasn't begun. coming: the call that it is about to begin; running: the one that it runs.

    sealed: it begins nothing more; skips: not even the one that is coming. untold: ends that it keeps to itself.
    signalled: what it runs was told to die. gone: its process is dead, or nobody's any more.
    """

    __slots__ = (
        "began", "begins", "coming", "dies", "ends", "fate", "gone", "is_new", "kind", "number", "pid", "queue",
        "running", "sealed", "signalled", "skips", "tells", "told_at", "untold",
    )  # fmt: skip

    def __init__(self, number: int, kind: str, pid: int) -> None:
        self.number = number
        self.kind = kind
        self.pid = pid
        self.queue: deque[Launch] = deque()
        self.coming: Launch | None = None
        self.running: AttemptId | None = None
        self.fate: Fate | None = None
        self.began = self.told_at = 0.0
        self.is_new = True
        self.sealed = self.skips = self.signalled = self.gone = False
        self.untold: list[tuple[AttemptId, Return, float]] = []
        self.begins: Happening | None = None
        self.ends: Happening | None = None
        self.dies: tuple[float, Happening] | None = None
        self.tells: Happening | None = None

    @property
    def kept(self) -> AttemptId | None:
        """The last one that it has begun, or is about to, and of which the engine doesn't know the end."""
        if self.running is not None:
            return self.running
        if self.coming is not None:
            return self.coming.attempt
        return self.untold[-1][0] if self.untold else None

    @property
    def busy_with(self) -> list[AttemptId]:
        coming = [] if self.coming is None else [self.coming.attempt]
        running = [] if self.running is None else [self.running]
        return running + coming + [launch.attempt for launch in self.queue]

    def leave(self) -> None:
        self.gone = True
        call_off(self.begins, self.ends, self.tells, self.dies[1] if self.dies else None)


class Lanes:
    """Of one machine. began: every attempt that ever began, in order.

    lag: how long a message takes from the engine to a lane, and back. gathers: for how long a lane keeps to itself
    what ended well while there is more to run.
    """

    __slots__ = ("_agenda", "_fates", "_gathers", "_lag", "_lanes", "_where", "began")

    def __init__(self, agenda: Agenda, fates: Fates, lag: float, gathers: float) -> None:
        self._agenda = agenda
        self._fates = fates
        self._lag = lag
        self._gathers = gathers
        self._lanes: dict[int, Lane] = {}
        self._where: dict[AttemptId, Lane] = {}
        self.began: list[AttemptId] = []

    def __contains__(self, attempt: AttemptId) -> bool:
        return attempt in self._where

    @property
    def running(self) -> list[AttemptId]:
        return [attempt for lane in self._lanes.values() if not lane.gone for attempt in lane.busy_with]

    # ── orders ────────────────────────────────────────────────────────────────────────────────────

    def dispatch(self, order: Dispatch, now: float) -> None:
        launches = [Launch(attempt, order.batch_id, call) for attempt, call in order.calls]
        lane = self._lanes.get(order.lane)
        if lane is None:
            lane = self._lanes[order.lane] = Lane(order.lane, order.kind, 1000 + self._agenda.orders)
            lane.queue += launches
            self._start(lane, now)
        else:
            self._send(lane, now, lambda lane, at: self._arrive(lane, launches, at))
        self._where.update((launch.attempt, lane) for launch in launches)

    def recall(self, number: int, now: float) -> None:
        lane = self._lanes.get(number)
        if lane is not None and lane.kind == PROCESS:
            self._send(lane, now, self._recall)

    def release(self, number: int) -> None:
        lane = self._lanes.pop(number, None)
        if lane is not None:
            lane.leave()

    def signal(self, attempt: AttemptId, number: int, now: float) -> None:
        lane = self._where[attempt]
        if lane.kind == PROCESS:
            self._send(lane, now, lambda lane, at: self._signal(lane, attempt, number, at))
        elif lane.kind == COROUTINE:
            self._send(lane, now, lambda lane, at: self._cancel(lane, attempt, at))

    def forget(self, attempt: AttemptId, now: float) -> None:
        lane = self._where[attempt]
        if not lane.gone and lane.running == attempt:
            self._die(lane, now, None, forgotten=True)

    # ── the way there and back ────────────────────────────────────────────────────────────────────

    def _send(self, lane: Lane, now: float, does: Callable[[Lane, float], None]) -> None:
        def arrives(at: float) -> None:
            if not lane.gone:
                does(lane, at)

        self._agenda.plan(now + self._lag, arrives)

    def _tell(self, lane: Lane, at: float, *inputs: Input) -> None:
        """In order: not before what was told last."""
        lane.told_at = max(lane.told_at, at + self._lag)
        self._agenda.tell(lane.told_at, *inputs)

    def _tell_ends(self, lane: Lane, at: float) -> None:
        """All that it kept to itself; where a value takes time to be read, the engine hears of the ends before."""
        call_off(lane.tells)
        if not lane.untold:
            return
        attempts, returns, reading = zip(*lane.untold, strict=True)
        lane.untold.clear()
        if any(reading):
            self._agenda.tell(at + self._lag, *map(ExitSeen, attempts))
        self._tell(lane, at + max(reading), Returned(lane.number, attempts, returns))

    # ── a lane's life ─────────────────────────────────────────────────────────────────────────────

    def _start(self, lane: Lane, now: float) -> None:
        fate = self._fates.of(lane.queue[0])
        if fate.error is None:
            lane.begins = self._agenda.plan(now + fate.starts, lambda at: self._has_started(lane, at))
            return
        self._fates.use(lane.queue[0])
        told: list[Input] = [] if lane.kind == PROCESS else [Begun(lane.number)]
        lane.leave()
        self._agenda.tell(now + fate.starts, *told, LaneFailed(lane.number, fate.error, fate.transient))

    def _has_started(self, lane: Lane, at: float) -> None:
        self._tell(lane, at, Begun(lane.number))
        self._go_on(lane, at)

    def _arrive(self, lane: Lane, launches: Iterable[Launch], at: float) -> None:
        if not lane.sealed:
            lane.queue += launches
            if not (lane.is_new or lane.coming or lane.running):
                self._go_on(lane, at)

    def _go_on(self, lane: Lane, at: float) -> None:
        """The next one is coming. The first one's time was that of its process."""
        was_new, lane.is_new = lane.is_new, False
        if not lane.queue:
            return
        lane.coming = lane.queue.popleft()
        fate = self._fates.of(lane.coming)
        lane.begins = self._agenda.plan(
            at if was_new else at + fate.starts, lambda at: self._begin(lane, fate, at)
        )

    def _begin(self, lane: Lane, fate: Fate, at: float) -> None:
        assert lane.coming is not None
        launch, lane.coming = lane.coming, None
        if lane.skips:
            self._tell(lane, at, Recalled(lane.number, lane.kept))
            return
        self._fates.use(launch)
        if fate.dies == "before" and lane.kind == PROCESS:
            self._die(lane, at, fate.status)
            return
        self.began.append(launch.attempt)
        lane.running, lane.fate, lane.began = launch.attempt, fate, at
        if fate.runs is not None:
            lane.ends = self._agenda.plan(at + fate.runs, lambda at: self._end(lane, at))

    def _end(self, lane: Lane, at: float) -> None:
        fate = lane.fate
        assert fate is not None
        if lane.kind == PROCESS and (fate.status != 0 or lane.signalled):
            self._die(lane, at, fate.status)
        else:
            self._return(lane, at, fate, None if fate.raises is None else raised(fate.raises))

    def _return(self, lane: Lane, at: float, fate: Fate, problem: Raised | None) -> None:
        assert lane.running is not None
        value = None if problem else fate.returns
        ending = Return(lane.began, at, lane.pid, None, value=value, problem=problem, warnings=fate.warnings)
        lane.untold.append((lane.running, ending, fate.drains if lane.kind == PROCESS else 0.0))
        attempt, lane.running = lane.running, None
        if lane.kind == PROCESS and (problem or fate.warnings):
            lane.sealed = True
            lane.queue.clear()
            self._tell(lane, at, Recalled(lane.number, attempt))
        self._tell_soon(lane, at)
        if fate.dies == "after" and lane.kind == PROCESS:
            self._die(lane, at, fate.status)
        else:
            self._go_on(lane, at)

    def _tell_soon(self, lane: Lane, at: float) -> None:
        if not lane.queue or not self._gathers:
            self._tell_ends(lane, at)
        elif len(lane.untold) == 1:
            lane.tells = self._agenda.plan(at + self._gathers, lambda at: self._tell_ends(lane, at))

    def _recall(self, lane: Lane, at: float) -> None:
        lane.sealed, lane.skips = True, lane.coming is not None
        lane.queue.clear()
        self._tell(lane, at, Recalled(lane.number, lane.kept))

    # ── ends ──────────────────────────────────────────────────────────────────────────────────────

    def _signal(self, lane: Lane, attempt: AttemptId, number: int, at: float) -> None:
        """What is behind it is recalled; it dies if it runs."""
        if lane.coming is not None and lane.coming.attempt == attempt:
            call_off(lane.begins)
            lane.coming = None
        self._recall(lane, at)
        fate = lane.fate
        if lane.running != attempt or fate is None:
            return
        lane.signalled = True
        after = fate.on_term if number == SIGTERM else fate.on_kill
        if after is not None and (lane.dies is None or at + after < lane.dies[0]):
            call_off(lane.dies[1] if lane.dies else None)
            dies = self._agenda.plan(at + after, lambda at: self._die(lane, at, number))
            lane.dies = (at + after, dies)

    def _die(self, lane: Lane, at: float, status: int | None, forgotten: bool = False) -> None:
        self._tell_ends(lane, at)
        crash = Crash(lane.pid, status, at - lane.began, forgotten=forgotten)
        self._tell(lane, at, LaneLost(lane.number, lane.running, crash))
        lane.leave()

    def _cancel(self, lane: Lane, attempt: AttemptId, at: float) -> None:
        if lane.coming is not None and lane.coming.attempt == attempt:
            call_off(lane.begins)
            self._begin(lane, self._fates.of(lane.coming), at)
        fate = lane.fate
        if lane.running == attempt and fate is not None and fate.on_term is not None:
            cancelled = Raised(None, "asyncio.exceptions.CancelledError", "", "")
            self._agenda.plan(at + fate.on_term, lambda at: self._cancelled(lane, attempt, at, cancelled))

    def _cancelled(self, lane: Lane, attempt: AttemptId, at: float, problem: Raised) -> None:
        if lane.running == attempt and lane.fate is not None and not lane.gone:
            call_off(lane.ends)
            self._return(lane, at, lane.fate, problem)


def raised(error: BaseException) -> Raised:
    """As the runtime would tell it; without a traceback, for there is none."""
    kind = type(error)
    home = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return Raised(error, f"{home}{kind.__qualname__}", str(error), "")
