"""The processes of commands on a fake machine.

Given `Spawn`s and signals; tells `Spawned`, `SpawnFailed`, `Printed`, `ExitSeen` and `Exited` as their fates say.
"""

from __future__ import annotations

from arrea._fake.agenda import Happening, call_off
from arrea._fake.fates import Launch
from arrea._model.ending import Ending
from arrea._model.step import Exited, ExitSeen, Printed, Spawned, SpawnFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from arrea._fake.agenda import Agenda
    from arrea._fake.fates import Fates
    from arrea._model.step import AttemptId, Input, Spawn
    from arrea.testing import Fate

SIGTERM, SIGKILL = 15, 9


class Process:
    """It runs, or is being started; it will end at `ends`, as things stand, and then `seen` and `exit` are told."""

    __slots__ = ("ends", "exit", "fate", "pid", "seen", "started")

    def __init__(self, fate: Fate, pid: int) -> None:
        self.fate = fate
        self.pid = pid
        self.started = 0.0
        self.ends = float("inf")
        self.seen: Happening | None = None
        self.exit: Happening | None = None


class Processes:
    """Of one machine. running: those that run or are being started."""

    __slots__ = ("_agenda", "_fates", "running")

    def __init__(self, agenda: Agenda, fates: Fates) -> None:
        self._agenda = agenda
        self._fates = fates
        self.running: dict[AttemptId, Process] = {}

    def spawn(self, spawn: Spawn, now: float) -> None:
        fate = self._fates.use(Launch(spawn.attempt, spawn.batch_id, spawn.command))
        at = now + fate.starts
        if fate.error is not None:
            self._agenda.tell(at, SpawnFailed(spawn.attempt, fate.error, fate.transient))
            return
        process = self.running[spawn.attempt] = Process(fate, 1000 + self._agenda.orders)
        self._agenda.plan(at, lambda at: self._begin(process, spawn.attempt, at))

    def _begin(self, process: Process, attempt: AttemptId, at: float) -> Sequence[Input]:
        process.started = at
        fate = process.fate
        for piece in fate.prints:
            self._agenda.tell(at, Printed(attempt, "stdout", piece))
        if fate.runs is not None:
            self._end(process, attempt, at + fate.runs, fate.status)
        return (Spawned(attempt),)

    def _end(
        self, process: Process, attempt: AttemptId, at: float, status: int | None, forgotten: bool = False
    ) -> None:
        """The process ends then; its output once it was drained, unless it is forgotten."""
        call_off(process.seen, process.exit)
        process.ends = at
        warnings = process.fate.warnings if status == 0 else ()
        ending = Ending(process.pid, status, at - process.started, warnings=warnings, forgotten=forgotten)
        drains = 0.0 if forgotten else process.fate.drains
        if drains:
            process.seen = self._agenda.tell(at, ExitSeen(attempt))
        process.exit = self._agenda.plan(at + drains, lambda _: self._exit(attempt, ending))

    def _exit(self, attempt: AttemptId, ending: Ending) -> Sequence[Input]:
        del self.running[attempt]
        return (Exited(attempt, ending),)

    def signal(self, attempt: AttemptId, number: int, now: float) -> None:
        process = self.running.get(attempt)
        if process is None:
            return  # its exit is among the inputs of the next turn
        after = process.fate.on_term if number == SIGTERM else process.fate.on_kill
        if after is not None and now + after < process.ends:
            self._end(process, attempt, now + after, number)

    def forget(self, attempt: AttemptId, now: float) -> None:
        process = self.running.get(attempt)
        if process is not None:
            self._end(process, attempt, now, None, forgotten=True)
