"""Random batches whose course is certain: what each task will do, as shell commands and as fates, and what follows.

Whatever would depend on which of two tasks is quicker is left out: a batch that stops has one worker, or tasks that
never end by themselves.
"""

import errno
from collections.abc import Callable
from random import Random
from typing import Any, NamedTuple

from arrea import Task
from arrea.testing import Fate

TIMEOUT_MS = 40
DEADLINE_MS = 50
SIGTERM = 15
NO_PROGRAM = "arrea-has-no-such-program"

# A worker's event, or a result, as far as the script dictates it.
Told = tuple[object, ...]


class Try(NamedTuple):
    """What one attempt of a task does. ends: "exit", "signal", "hang" or "missing" (there is no such program)."""

    ends: str = "exit"
    number: int = 0
    prints: tuple[str, ...] = ()
    warns: bool = False

    @property
    def line(self) -> str:
        words = [f"printf %s '{text}'" for text in self.prints]
        words += ["echo 'warning: scripted' >&2"] * self.warns
        last = {"exit": f"exit {self.number}", "signal": f"kill -{self.number} $$", "hang": "exec sleep 60"}
        return "; ".join((*words, last[self.ends]))

    @property
    def fate(self) -> Fate:
        missing = self.ends == "missing"
        return Fate(
            runs=None if self.ends == "hang" else 1,
            exit_code=self.number if self.ends == "exit" else 0,
            signal=self.number if self.ends == "signal" else 0,
            error=FileNotFoundError(errno.ENOENT, "No such file or directory") if missing else None,
            prints=tuple(text.encode() for text in self.prints),
            warnings=("warning: scripted",) if self.warns else (),
        )


class Job(NamedTuple):
    """A task: its tries (the last one goes on). refused: an element that can't run. timed: it has a timeout."""

    tries: tuple[Try, ...] = (Try(),)
    refused: bool = False
    timed: bool = False
    plain: bool = False  # as an argument vector, where one does

    def at(self, attempt: int) -> Try:
        return self.tries[min(attempt, len(self.tries)) - 1]

    @property
    def element(self) -> Any:
        """As the caller writes it."""
        if self.refused:
            return " "
        command = self._command()
        return Task(command, timeout=TIMEOUT_MS) if self.timed else command

    def _command(self) -> Any:
        first = self.tries[0]
        if first.ends == "missing":
            return [NO_PROGRAM]
        if self.plain and self.tries in ((Try(),), (Try("hang"),)):
            return ["true"] if first.ends == "exit" else ["sleep", "60"]
        if len(self.tries) == 1:
            return first.line
        cases = (f"{number}) {each.line};;" for number, each in enumerate(self.tries[:-1], 1))
        return f"case $ARREA_ATTEMPT in {' '.join(cases)} *) {self.tries[-1].line};; esac"


class Script(NamedTuple):
    """A batch. ends: None if it goes to its end, else why it stops, after its first `started` tasks."""

    jobs: tuple[Job, ...]
    policy: dict[str, Any]
    workers: int = 1
    fed: bool = False
    deadline: int | None = None
    ends: str | None = None
    started: int = 0

    @property
    def options(self) -> dict[str, Any]:
        plain = {"policy": {"timeout": None, **self.policy}, "workers": self.workers}
        return plain if self.deadline is None else {**plain, "deadline": self.deadline}


class Expected(NamedTuple):
    """results, events: by index; events of started tasks only. finished: what `batch_finished` says."""

    results: list[Told]
    events: dict[int, list[Told]]
    finished: Told


# ── what the script dictates ──────────────────────────────────────────────────────────────────────


def expected(script: Script) -> Expected:
    results: list[Told] = []
    events: dict[int, list[Told]] = {}
    unstarted: list[int] = []
    failed = 0
    for index, job in enumerate(script.jobs):
        if job.refused or (script.ends and index >= script.started):
            results.append(("empty_command" if job.refused else "not_started", 0, None, None, ""))
            unstarted.append(index)
            failed += job.refused
        else:
            result, events[index] = _course(script, job)
            results.append(result)
            failed += result[0] is not None
    return Expected(results, events, (len(script.jobs), failed, tuple(unstarted), script.ends))


def _course(script: Script, job: Job) -> tuple[Told, list[Told]]:
    """The result of a task that starts, and its events."""
    events: list[Told] = [("worker_started",)]
    attempt = 1
    while True:
        what = job.at(attempt)
        if what.prints:
            events.append(("output", attempt, "".join(what.prints).encode()))
        error = _error(script, job, what)
        if error == "timeout":
            events.append(("timeout", attempt))
        if not _retried(script, error, attempt):
            return _end(script, what, error, attempt, events)
        events.append(("retry", attempt, error))
        attempt += 1


def _error(script: Script, job: Job, what: Try) -> str | None:
    if what.ends == "hang" and not job.timed:
        return "deadline" if script.ends == "deadline" else "cancelled"
    if what.ends != "exit":
        return {"signal": "killed_by_signal", "hang": "timeout", "missing": "spawn_failed"}[what.ends]
    if what.number:
        return "exit_status"
    return "warning" if what.warns and script.policy["on_warning"] == "promote_to_error" else None


def _retried(script: Script, error: str | None, attempt: int) -> bool:
    if error in (None, "deadline", "cancelled"):
        return False
    action = script.policy["on_timeout" if error == "timeout" else "on_error"]
    return action == "retry" and attempt <= script.policy["max_retries"]


def _end(
    script: Script, what: Try, error: str | None, attempt: int, events: list[Told]
) -> tuple[Told, list[Told]]:
    exits = {"exit": (what.number, None), "signal": (None, what.number), "hang": (None, SIGTERM)}
    exit_code, signal = exits.get(what.ends, (None, None))
    notified = what.warns and what.ends == "exit" and not what.number
    if notified and script.policy["on_warning"] == "notify":
        events.append(("warning", ("warning: scripted",)))
    if error is None:
        events += [("progress", 100.0, 1, 1), ("result", exit_code), ("finished",)]
    else:
        events.append(("error", error))
    return (error, attempt, exit_code, signal, "".join(what.prints)), events


# ── chance ────────────────────────────────────────────────────────────────────────────────────────

FAILURES = (Try("exit", 1), Try("exit", 7), Try("exit", 255), Try("signal", 9), Try("signal", 11))


def random_script(seed: int) -> Script:
    source = Random(seed)
    kinds: tuple[Callable[[Random], Script], ...] = (_free, _free, _free, _stops, _fails_often, _kills, _late)
    return source.choice(kinds)(source)


def _policy(source: Random, **fixed: Any) -> dict[str, Any]:
    free = {
        "on_error": source.choice(("retry", "retry", "continue")),
        "on_timeout": source.choice(("retry", "continue")),
        "on_warning": source.choice(("log", "notify", "continue", "promote_to_error")),
        "max_retries": source.choice((0, 1, 1, 2)),
        "retry_delay": source.choice((0, 0, 1, 5)),
    }
    return {**free, **fixed}


def _try(source: Random) -> Try:
    what = source.choice((Try(), Try(), Try(), *FAILURES))
    texts = [source.choice(("a", "line\n", "long" * 20)) for _ in range(source.choice((0, 0, 1, 2)))]
    return what._replace(prints=tuple(texts), warns=source.random() < 0.1)


def _job(source: Random) -> Job:
    chance = source.random()
    if chance < 0.06:
        return Job((Try("hang"),), timed=True, plain=source.random() < 0.5)
    if chance < 0.1:
        return Job((Try("missing"),))
    return Job(tuple(_try(source) for _ in range(source.choice((1, 1, 2, 3)))), plain=source.random() < 0.5)


def _jobs(source: Random, *counts: int) -> tuple[Job, ...]:
    return tuple(_job(source) for _ in range(source.choice(counts)))


def _free(source: Random) -> Script:
    """Goes to its end; from an iterator some elements are refused."""
    jobs, fed = list(_jobs(source, 0, 1, 2, 3, 4, 5, 6)), source.random() < 0.4
    if fed and source.random() < 0.5:
        jobs.insert(source.randrange(len(jobs) + 1), Job(refused=True))
    return Script(tuple(jobs), _policy(source), workers=source.choice((1, 2, 3, 4)), fed=fed)


def _stops(source: Random) -> Script:
    """At its first failure; one worker, so what started is certain."""
    policy = _policy(source, on_error="stop", on_timeout=source.choice(("stop", "continue")), max_retries=0)
    script = Script(_jobs(source, 1, 2, 3, 4, 5), policy)
    for index, job in enumerate(script.jobs):
        error = _error(script, job, job.at(1))
        if error is not None and policy["on_timeout" if error == "timeout" else "on_error"] == "stop":
            return script._replace(ends="stop", started=index + 1)
    return script


def _fails_often(source: Random) -> Script:
    """Until there are too many failures; one worker."""
    most = source.choice((1, 2))
    policy = _policy(source, on_error="continue", on_timeout="continue", max_failures=most)
    script = Script(_jobs(source, 1, 2, 3, 4, 5), policy)
    failed = 0
    for index, job in enumerate(script.jobs):
        failed += _error(script, job, job.at(1)) is not None
        if failed == most:
            return script._replace(ends="max_failures", started=index + 1)
    return script


def _kills(source: Random) -> Script:
    """Tasks that hang, all of them killed when the last one that has room fails."""
    workers = source.choice((2, 3, 4))
    hang = [Job((Try("hang"),), plain=source.random() < 0.5) for _ in range(workers - 1)]
    jobs = (*hang, Job((source.choice(FAILURES),)), *_jobs(source, 0, 1, 2))
    return Script(
        jobs, _policy(source, on_error="stop", on_stop="kill"), workers=workers, ends="stop", started=workers
    )


def _late(source: Random) -> Script:
    """The deadline comes while the first task hangs, and nothing else has room."""
    jobs = (Job((Try("hang"),)), *_jobs(source, 0, 1, 2))
    return Script(jobs, _policy(source), deadline=DEADLINE_MS, ends="deadline", started=1)
