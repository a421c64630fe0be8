"""`arrea.testing`: the fakes that Arrea ships."""

import doctest

import pytest

import arrea.testing
from arrea._model.errors import TimedOut
from arrea._model.plan import Plan
from arrea._model.policy import Policy
from arrea._model.task import Task
from arrea.testing import FakeClock, FakeRuntime, Fate, make_plan
from tests.engine.bench import command

STUBBORN = Fate(runs=None, on_term=None, on_kill=None)
NO_TOOL = FileNotFoundError(2, "No such file or directory", "tool")
FULL = OSError(11, "Resource temporarily unavailable")


def test_the_examples_run() -> None:
    failed, tried = doctest.testmod(arrea.testing)
    assert tried > 5 and failed == 0


@pytest.mark.parametrize(
    ("fate", "code", "duration"),
    [
        (Fate(), None, 10),
        (Fate(runs=0, starts=7), None, 7),
        (Fate(exit_code=3), "exit_status", 10),
        (Fate(signal=11), "killed_by_signal", 10),
        (Fate(status_lost=True), "status_lost", 10),
        (Fate(error=NO_TOOL, starts=2), "spawn_failed", 2),
        (Fate(error=FULL, transient=True), "spawn_failed", 2270),
        (Fate(runs=None), "timeout", 100),
        (Fate(runs=99, drains=50), None, 149),
        (Fate(runs=None, on_term=30), "timeout", 130),
        (Fate(runs=105, on_term=30), "timeout", 105),
        (Fate(runs=None, on_term=None, on_kill=1), "timeout", 2101),
        (STUBBORN, "timeout", 12_100),
        (Fate(warnings=("old",)), None, 10),
    ],
)
def test_fates(fate: Fate, code: str | None, duration: float) -> None:
    runtime = FakeRuntime({"job": fate})
    (result,) = runtime.run(make_plan(["job"], timeout=100, policy="once"))
    assert (result.error and result.error.code, result.duration_ms) == (code, duration)
    assert runtime.running == []


async def job() -> None:
    raise AssertionError("a fake calls nothing")


JOB = f"{job.__module__}.job"


@pytest.mark.parametrize(
    ("fate", "code", "duration"),
    [
        (Fate(returns=7), None, 10),
        (Fate(raises=ValueError("no")), "exception", 10),
        (Fate(starts=5, drains=30), None, 10),
        (Fate(error=NO_TOOL, starts=2), "spawn_failed", 2),
        (Fate(error=FULL, transient=True), "spawn_failed", 2270),
        (Fate(exit_code=3), "worker_crashed", 10),
        (Fate(status_lost=True), "worker_crashed", 10),
        (Fate(dies="before"), "worker_crashed", 0),
        (Fate(dies="after"), None, 10),
        (Fate(runs=None), "timeout", 100),
        (Fate(runs=None, on_term=30), "timeout", 130),
        (Fate(runs=105, on_term=30), "timeout", 105),
        (Fate(runs=None, on_term=None, on_kill=1), "timeout", 2101),
        (STUBBORN, "timeout", 12_100),
        (Fate(warnings=("old",)), None, 10),
    ],
)
def test_fates_of_calls(fate: Fate, code: str | None, duration: float) -> None:
    runtime = FakeRuntime({"sum": fate})
    (result,) = runtime.run(make_plan([Task(sum, [1])], timeout=100, policy="once"))
    assert (result.error and result.error.code, result.duration_ms) == (code, duration)
    assert runtime.running == [] and result.data == (None if code else fate.returns)


@pytest.mark.parametrize(
    ("fate", "duration", "abandoned"),
    [
        (Fate(runs=None), 100, False),
        (Fate(runs=None, on_term=30), 130, False),
        (Fate(runs=None, on_term=None), 2100, True),
    ],
)
def test_fates_of_coroutines(fate: Fate, duration: float, abandoned: bool) -> None:
    (result,) = FakeRuntime({JOB: fate}).run(make_plan([job], timeout=100, policy="once"))
    assert isinstance(result.error, TimedOut) and result.error.abandoned == abandoned
    assert result.duration_ms == duration


def test_a_thread_runs_on() -> None:
    runtime = FakeRuntime({"sum": Fate(runs=300)})
    plan = make_plan([Task(sum, [1], isolation="thread"), "other"], timeout=100, workers=1, policy="once")
    codes = [result.error and result.error.code for result in runtime.run(plan)]
    assert codes == ["timeout", "slots_exhausted"] and len(runtime.running) == 1
    while runtime.turn():
        pass
    assert (runtime.running, runtime.clock.now) == ([], 300)


def test_messages_to_and_from_lanes_take_their_time() -> None:
    runtime = FakeRuntime({"sum": Fate(runs=0.5)}, lag=1, gathers=3)
    result = runtime.run(make_plan([Task(sum, [number]) for number in range(6)], workers=1))
    assert result.success and runtime.clock.now == 8
    assert runtime.lanes.began == [(1, index, 1) for index in range(6)]


def test_a_script_may_be_a_function() -> None:
    runtime = FakeRuntime(lambda spawn, start: Fate(exit_code=int(spawn.command.text == "b" and start < 3)))
    result = runtime.run(make_plan(["a", "b"], policy={"retry_delay": 0}))
    assert [one.attempts for one in result] == [1, 3]


def test_a_batch_may_be_fed() -> None:
    plan = Plan("fed", [], workers=1, policy=Policy(), open=True, window=2)
    result = FakeRuntime().run(plan, (command() for _ in range(5)))
    assert [one.index for one in result] == [0, 1, 2, 3, 4] and result.success


def test_policies_that_ask() -> None:
    def answer(error: object, retry_count: int, context: object) -> str:
        return "retry" if retry_count < 2 else "continue"

    runtime = FakeRuntime({"job": Fate(exit_code=1)}, answer_after=50)
    (result,) = runtime.run(make_plan(["job"], policy=Policy(on_error=answer, retry_delay=0)))
    assert (result.attempts, runtime.clock.now) == (3, 180)
    (late,) = FakeRuntime({"job": Fate(exit_code=1)}, answer_after=None).run(
        make_plan(["job"], policy=Policy(on_error=answer))
    )
    assert late.error is not None and late.error.code == "exception"


def test_cancel_and_two_batches() -> None:
    runtime = FakeRuntime({"long": Fate(runs=None)}, max_workers=2)
    long = runtime.submit(make_plan(["long"] * 3, timeout=None))
    short = runtime.submit(make_plan(["short"]), after=5)
    runtime.cancel(long, after=20)
    while runtime.turn():
        pass
    assert runtime.result(long).stopped_by == "cancelled"
    assert len(runtime.result(long).not_started) == 1
    assert runtime.result(short).stats.duration_ms == 25


def test_what_never_ends_is_said() -> None:
    with pytest.raises(RuntimeError, match="never ends; at 0 ms"):
        FakeRuntime({"job": Fate(runs=None)}).run(make_plan(["job"], timeout=None))


def test_a_clock_cannot_go_back() -> None:
    with pytest.raises(ValueError, match="can't go back"):
        FakeClock(5).advance(-1)
