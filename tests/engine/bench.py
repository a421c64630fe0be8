"""One leader, driven by hand: inputs in, effects out, as short words that a table can hold.

Attempts are named "index/attempt" in batch 1 and "batch:index/attempt" in others. Events are left out of what
`step` tells and kept in `log`.
"""

from collections.abc import Sequence
from typing import Any

from arrea._engine.leader import Leader
from arrea._engine.registry import Registry
from arrea._model.call import Call, Target, Work
from arrea._model.ending import Crash, Ending, Raised, Return
from arrea._model.errors import InvalidCommand
from arrea._model.plan import Plan
from arrea._model.policy import Policy
from arrea._model.step import (
    Abandon,
    Answered,
    Ask,
    Begun,
    Cancelled,
    Close,
    Dispatch,
    Effect,
    Emit,
    Exited,
    ExitSeen,
    Fed,
    Input,
    LaneFailed,
    LaneLost,
    Log,
    Recall,
    Recalled,
    Release,
    Resolve,
    Returned,
    Spawned,
    SpawnFailed,
    Submitted,
    Tally,
    Want,
)
from arrea._model.task import Command, Settings, Variables
from arrea.testing import EventLog

NO_FILE = FileNotFoundError(2, "No such file or directory", "tool")
FULL = OSError(11, "Resource temporarily unavailable")


class Bench:
    """`policy` is a `Policy` or its fields; each command gets `timeout`."""

    def __init__(self, max_workers: int = 4, chance: float = 0.5, max_processes: int = 4) -> None:
        self.leader = Leader(Registry(max_workers, max_processes), lambda: chance)
        self.log = EventLog()
        self.outcomes: dict[int, Any] = {}
        self.asks: list[Ask] = []

    def step(self, now: float, *inputs: Input) -> list[str]:
        effects = self.leader.step(now, inputs)
        self.log.observe(effects)
        for effect in effects:
            if isinstance(effect, Resolve):
                self.outcomes.update((outcome.index, outcome) for outcome in effect.outcomes)
            elif isinstance(effect, Ask):
                self.asks.append(effect)
        return [line for effect in effects if not isinstance(effect, (Emit, Tally)) for line in told(effect)]

    def rebuild(self) -> None:
        self.leader = Leader(self.leader.registry, lambda: 0.5)


def told(effect: Effect) -> list[str]:
    """In short words; one for each outcome, and for each call that is given to a lane."""
    match effect:
        case Resolve():
            ends = effect.outcomes
            return [
                f"{_where(effect.batch)}{end.index} {end.error.code if end.error else 'succeeds'}"
                for end in ends
            ]
        case Dispatch():
            return [f"lane {effect.lane}: {' '.join(name(attempt) for attempt, _ in effect.calls)}"]
        case Recall() | Release():
            return [f"{type(effect).__name__.lower()} lane {effect.lane}"]
    return [_told(effect)]


def _told(effect: Effect) -> str:
    match effect:
        case Abandon():
            return f"abandon {_where(effect.batch)}{','.join(str(index) for index, _ in effect.tasks)}"
        case Close():
            return f"close {effect.batch}: {effect.stopped_by or 'all done'}"
        case Want():
            return f"want {effect.count}"
        case Log():
            return f"log {', '.join(effect.lines)}"
    return f"{type(effect).__name__.lower()} {name(effect.attempt)}"


def name(attempt: tuple[int, int, int]) -> str:
    return f"{_where(attempt[0])}{attempt[1]}/{attempt[2]}"


def _where(batch: int) -> str:
    return "" if batch == 1 else f"{batch}:"


# --- inputs ------------------------------------------------------------------------------------


def submit(tasks: int | Sequence[Work] = 1, batch: int = 1, workers: int = 4, **options: Any) -> Submitted:
    """options: of the plan (deadline_ms, kill_grace_ms, open, ...), `timeout`, and fields of the policy."""
    limits = {
        n: options.pop(n)
        for n in ("deadline_ms", "kill_grace_ms", "open", "in_order", "window")
        if n in options
    }
    timeout = options.pop("timeout", None)
    policy = _policy(options)
    made = tasks if not isinstance(tasks, int) else [command(policy, timeout) for _ in range(tasks)]
    return Submitted(batch, Plan(f"b{batch}", made, workers=workers, policy=policy, **limits))


def calls(kind: str, count: int, timeout: float | None = None, **options: Any) -> list[Call]:
    """Functions that run in `kind`; options: of their policy."""
    target = Target(kind, "job", settings(_policy(options), timeout))
    return [Call(target, b"") for _ in range(count)]


def _policy(options: dict[str, Any]) -> Policy:
    return Policy(**{"on_error": "continue", "on_timeout": "continue", **options})


def command(policy: Policy | None = None, timeout: float | None = None, refused: bool = False) -> Command:
    refusal = InvalidCommand("task", "is empty", code="empty_command") if refused else None
    given = settings(policy or Policy(on_error="continue"), timeout)
    return Command("job", ("job",), given, refusal=refusal)


def settings(policy: Policy, timeout: float | None) -> Settings:
    return Settings(
        policy=policy,
        timeout_ms=timeout,
        cwd=None,
        variables=Variables({}),
        stdin=None,
        max_output_bytes=None,
        inherit_output=False,
    )


def _attempt(text: str) -> tuple[int, int, int]:
    """The attempt that "0/1" or "2:0/1" names."""
    batch, _, rest = text.rpartition(":")
    index, number = rest.split("/")
    return int(batch or 1), int(index), int(number)


def spawned(attempt: str) -> Spawned:
    return Spawned(_attempt(attempt))


def no_room(attempt: str) -> SpawnFailed:
    return SpawnFailed(_attempt(attempt), FULL, transient=True)


def no_such_file(attempt: str) -> SpawnFailed:
    return SpawnFailed(_attempt(attempt), NO_FILE, transient=False)


def exits(attempt: str, code: int = 0, signal: int = 0, warnings: tuple[str, ...] = ()) -> Exited:
    return Exited(_attempt(attempt), Ending(100, code << 8 | signal, 1.0, warnings=warnings))


def exit_seen(attempt: str) -> ExitSeen:
    return ExitSeen(_attempt(attempt))


def vanishes(attempt: str, forgotten: bool = False) -> Exited:
    return Exited(_attempt(attempt), Ending(100, None, 1.0, forgotten=forgotten))


def begun(lane: int) -> Begun:
    return Begun(lane)


def returned(lane: int, *ends: tuple[str, float, float], problem: str = "", warns: bool = False) -> Returned:
    """ends: attempt, when it began, when it ended. problem, warns: of the last one."""
    attempts = [_attempt(attempt) for attempt, _, _ in ends]
    returns = [Return(began, ended, 100, None) for _, began, ended in ends]
    returns[-1].problem = Raised(None, problem, "broken", "") if problem else None
    returns[-1].warnings = ("old",) if warns else ()
    return Returned(lane, attempts, returns)


def recalled(lane: int, kept: str | None = None) -> Recalled:
    return Recalled(lane, None if kept is None else _attempt(kept))


def lost(lane: int, ran: str | None = None, signal: int = 9) -> LaneLost:
    return LaneLost(lane, None if ran is None else _attempt(ran), Crash(100, signal, 1.0))


def no_lane(lane: int, transient: bool = False) -> LaneFailed:
    return LaneFailed(lane, FULL if transient else NO_FILE, transient)


def answers(attempt: str, value: object) -> Answered:
    return Answered(_attempt(attempt), value)


def raises(attempt: str, error: Exception) -> Answered:
    return Answered(_attempt(attempt), None, error, f"{type(error).__name__}: {error}")


def cancel(batch: int = 1, hard: bool = False) -> Cancelled:
    return Cancelled(batch, hard)


def feed(tasks: int | Sequence[Work], last: bool = False) -> Fed:
    return Fed(1, [command() for _ in range(tasks)] if isinstance(tasks, int) else tasks, last)


# --- ways there --------------------------------------------------------------------------------


def measured(bench: Bench, count: int, took: float = 0.5, **options: object) -> list[str]:
    """The first of `count` calls ran alone for so long: what the next ones take is known. Hands back what follows."""
    bench.step(0, submit(calls("process", count, **options), workers=1, **options))
    bench.step(0, begun(1))
    return bench.step(1, returned(1, ("0/1", 0, took)))[1:]
