"""What a failure leads to: retry, continue, stop, a question."""

import pytest

from arrea._model.policy import Policy
from tests.engine.bench import Bench, answers, command, exits, no_such_file, raises, spawned, submit


def test_success() -> None:
    bench = Bench()
    assert bench.step(0, submit()) == ["spawn 0/1"]
    assert bench.step(1, spawned("0/1")) == []
    assert bench.leader.next_due() is None
    assert bench.step(9, exits("0/1")) == ["0 succeeds", "close 1: all done"]
    outcome = bench.outcomes[0]
    assert (outcome.attempts, outcome.started_at, outcome.ended_at, outcome.queued_ms) == (1, 0, 9, 0)


def test_an_empty_batch_is_over_at_once() -> None:
    assert Bench().step(0, submit(0)) == ["close 1: all done"]


def test_a_retry_waits_without_its_slot() -> None:
    bench = Bench(max_workers=1)
    assert bench.step(0, submit(2, on_error="retry", retry_delay=100)) == ["spawn 0/1"]
    assert bench.step(1, spawned("0/1")) == []
    assert bench.step(5, exits("0/1", code=1)) == ["spawn 1/1"]
    assert bench.leader.next_due() == 105
    assert bench.step(6, spawned("1/1"), exits("1/1")) == ["1 succeeds"]
    assert bench.step(104) == []
    assert bench.step(105) == ["spawn 0/2"]
    assert bench.step(106, spawned("0/2"), exits("0/2")) == ["0 succeeds", "close 1: all done"]
    assert bench.outcomes[0].attempts == 2


def test_what_waits_to_be_retried_comes_before_what_was_never_started() -> None:
    bench = Bench(max_workers=1)
    bench.step(0, submit(3, on_error="retry", retry_delay=0))
    assert bench.step(1, spawned("0/1"), exits("0/1", code=1)) == ["spawn 0/2"]


@pytest.mark.parametrize(
    ("backoff", "chance", "delays"),
    [
        ("constant", 0.5, [100, 100, 100]),
        ("exponential", 0.5, [100, 200, 250]),
        ("constant", 1.0, [110, 110, 110]),
        ("exponential", 0.0, [90, 180, 225]),
    ],
)
def test_delays(backoff: str, chance: float, delays: list[float]) -> None:
    bench, now = Bench(chance=chance), 0.0
    bench.step(0, submit(1, on_error="retry", retry_delay=100, backoff=backoff, jitter=0.1, max_delay=250))
    for attempt, delay in enumerate(delays, 1):
        bench.step(now, spawned(f"0/{attempt}"), exits(f"0/{attempt}", code=1))
        due = bench.leader.next_due()
        assert due is not None and due - now == pytest.approx(delay)
        now = due
        assert bench.step(now) == [f"spawn 0/{attempt + 1}"]


def test_after_the_last_retry_the_batch_goes_on() -> None:
    bench = Bench(max_workers=1)
    bench.step(0, submit(2, on_error="retry", retry_delay=0, max_retries=1))
    bench.step(1, spawned("0/1"), exits("0/1", code=1))
    assert bench.step(2, spawned("0/2"), exits("0/2", code=1)) == ["0 exit_status", "spawn 1/1"]


def test_total_retries_are_shared() -> None:
    bench = Bench()
    bench.step(0, submit(3, on_error="retry", retry_delay=0, total_retries=2))
    started = [spawned(f"{index}/1") for index in range(3)]
    ended = [exits(f"{index}/1", code=1) for index in range(3)]
    assert bench.step(1, *started, *ended) == ["2 exit_status", "spawn 0/2", "spawn 1/2"]
    assert bench.step(2, spawned("0/2"), exits("0/2", code=1)) == ["0 exit_status"]


@pytest.mark.parametrize(
    ("retry_on", "code", "signal", "again"),
    [
        ((1,), 1, 0, True),
        ((1,), 2, 0, False),
        (("SIGSEGV",), 0, 11, True),
        (("exit_status",), 2, 0, True),
        (("timeout",), 2, 0, False),
    ],
)
def test_retry_on(retry_on: tuple[object, ...], code: int, signal: int, again: bool) -> None:
    bench = Bench()
    bench.step(0, submit(1, on_error="retry", retry_delay=0, retry_on=retry_on))
    effects = bench.step(1, spawned("0/1"), exits("0/1", code, signal))
    assert (effects == ["spawn 0/2"]) == again


# --- stop --------------------------------------------------------------------------------------


def test_continue() -> None:
    bench = Bench(max_workers=1)
    bench.step(0, submit(2))
    assert bench.step(1, spawned("0/1"), exits("0/1", code=1)) == ["0 exit_status", "spawn 1/1"]


def test_stop_lets_what_runs_finish() -> None:
    bench = Bench(max_workers=2)
    assert bench.step(0, submit(4, on_error="stop")) == ["spawn 0/1", "spawn 1/1"]
    bench.step(1, spawned("0/1"), spawned("1/1"))
    assert bench.step(2, exits("0/1", code=1)) == ["0 exit_status", "abandon 2,3"]
    assert bench.step(9, exits("1/1")) == ["1 succeeds", "close 1: stop"]


def test_stop_kills_what_runs() -> None:
    bench = Bench(max_workers=2)
    bench.step(0, submit(3, on_error="stop", on_stop="kill"))
    bench.step(1, spawned("0/1"), spawned("1/1"))
    assert bench.step(2, exits("0/1", code=1)) == ["0 exit_status", "abandon 2", "terminate 1/1"]
    assert bench.step(3, exits("1/1", signal=15)) == ["1 cancelled", "close 1: stop"]


def test_nothing_is_retried_after_a_stop() -> None:
    bench = Bench()
    retrying, stopping = Policy(retry_delay=50), Policy(on_error="stop")
    bench.step(0, submit([command(retrying), command(retrying), command(stopping)]))
    bench.step(1, *(spawned(f"{index}/1") for index in range(3)))
    assert bench.step(2, exits("0/1", code=1)) == []
    assert bench.step(3, exits("2/1", code=1)) == ["2 exit_status", "0 exit_status"]
    assert bench.step(4, exits("1/1", code=1)) == ["1 exit_status", "close 1: stop"]


@pytest.mark.parametrize(("limit", "failures"), [(1, 1), (2, 2), (0.5, 2), (0.51, 3), ("25%", 1), (1.0, 4)])
def test_max_failures(limit: object, failures: int) -> None:
    bench = Bench(max_workers=1)
    effects = bench.step(0, submit(4, max_failures=limit))
    for index in range(failures):
        assert effects[-1] == f"spawn {index}/1"
        effects = bench.step(1, spawned(f"{index}/1"), exits(f"{index}/1", code=1))
    assert effects[-1] == "close 1: max_failures"


def test_a_retried_task_is_no_failure_yet() -> None:
    bench = Bench()
    bench.step(0, submit(1, on_error="retry", retry_delay=0, max_failures=1))
    assert bench.step(1, spawned("0/1"), exits("0/1", code=1)) == ["spawn 0/2"]


def test_a_program_that_does_not_exist_is_decided_like_any_failure() -> None:
    bench = Bench(max_workers=1)
    bench.step(0, submit(2, on_error="stop"))
    assert bench.step(1, no_such_file("0/1")) == ["0 spawn_failed", "abandon 1", "close 1: stop"]
    assert bench.outcomes[0].error.filename == "tool"


# --- questions ---------------------------------------------------------------------------------


def ask(*_: object) -> str:
    raise AssertionError("the engine itself never calls a user's function")


def asked(bench: Bench) -> None:
    """The first of two tasks has failed; it keeps its slot until the answer."""
    bench.step(0, submit(2, workers=1, on_error=ask, retry_delay=10))
    assert bench.step(1, spawned("0/1"), exits("0/1", code=1)) == ["ask 0/1"]


@pytest.mark.parametrize(
    ("answer", "effects"),
    [
        (answers("0/1", "continue"), ["0 exit_status", "spawn 1/1"]),
        (answers("0/1", "stop"), ["0 exit_status", "abandon 1", "close 1: stop"]),
        (answers("0/1", "maybe"), ["0 exception", "spawn 1/1"]),
        (answers("0/1", None), ["0 exception", "spawn 1/1"]),
        (raises("0/1", ValueError("broken")), ["0 exception", "spawn 1/1"]),
        (answers("0/1", "retry"), ["spawn 1/1"]),
    ],
)
def test_answers(answer, effects: list[str]) -> None:
    bench = Bench()
    asked(bench)
    assert bench.step(2, answer) == effects


def test_an_answered_retry_is_done_whatever_max_retries() -> None:
    bench = Bench()
    bench.step(0, submit(1, on_error=ask, max_retries=0, retry_delay=10))
    bench.step(1, spawned("0/1"), exits("0/1", code=1))
    assert bench.step(2, answers("0/1", "retry")) == []
    assert bench.step(12) == ["spawn 0/2"]


def test_an_answered_stop_stops() -> None:
    bench = Bench(max_workers=1)
    bench.step(0, submit(3, on_error=ask))
    bench.step(1, spawned("0/1"), exits("0/1", code=1))
    assert bench.step(2, answers("0/1", "stop")) == ["0 exit_status", "abandon 1,2", "close 1: stop"]


def test_what_the_function_is_told() -> None:
    bench = Bench()
    asked(bench)
    function, error, retries, context = bench.asks[0].arguments
    assert (function, error.code, retries) == (ask, "exit_status", 0)
    assert (context.worker_id, context.attempts, context.elapsed_ms) == ("b1:0", 1, 1)


def test_the_error_of_a_broken_function_names_what_it_was_asked_about() -> None:
    bench = Bench()
    asked(bench)
    broken = ValueError("broken")
    bench.step(2, raises("0/1", broken))
    error = bench.outcomes[0].error
    assert error.exception is broken and error.task_error.code == "exit_status"
    assert "raised ValueError: broken" in str(error)


def test_an_answer_that_comes_too_late() -> None:
    bench = Bench()
    asked(bench)
    assert bench.leader.next_due() == 5001
    assert bench.step(5001) == ["0 exception", "spawn 1/1"]
    assert bench.step(5002, answers("0/1", "retry")) == []


def test_an_answer_in_the_instant_of_its_limit_counts() -> None:
    bench = Bench()
    asked(bench)
    assert bench.step(5001, answers("0/1", "continue")) == ["0 exit_status", "spawn 1/1"]


@pytest.mark.parametrize(("value", "again"), [(True, True), (1, True), (False, False), ("", False)])
def test_retry_on_a_function(value: object, again: bool) -> None:
    bench = Bench()
    bench.step(0, submit(1, on_error="retry", retry_delay=0, retry_on=ask))
    assert bench.step(1, spawned("0/1"), exits("0/1", code=1)) == ["ask 0/1"]
    assert (bench.step(2, answers("0/1", value)) == ["spawn 0/2"]) == again
