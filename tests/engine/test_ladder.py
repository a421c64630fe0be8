"""How attempts are ended: timeouts, cancels, deadlines; SIGTERM, SIGKILL, and giving up."""

import pytest

from tests.engine.bench import (
    Bench,
    answers,
    cancel,
    exit_seen,
    exits,
    no_room,
    no_such_file,
    spawned,
    submit,
    vanishes,
)


def ask(*_: object) -> str:
    raise AssertionError("never called by the engine itself")


def test_the_ladder_in_order_with_exact_times() -> None:
    bench = Bench()
    bench.step(0, submit(timeout=100, kill_grace_ms=20))
    assert bench.step(3, spawned("0/1")) == []
    for due, effects in [(103, ["terminate 0/1"]), (123, ["kill 0/1"]), (10_123, ["forget 0/1"])]:
        assert bench.leader.next_due() == due
        assert bench.step(due - 1) == []
        assert bench.step(due) == effects
    assert bench.leader.next_due() is None
    assert bench.step(10_124, vanishes("0/1", forgotten=True)) == ["0 timeout", "close 1: all done"]
    assert "state D" in bench.outcomes[0].error.__notes__[0]


@pytest.mark.parametrize("now", [104, 130])
def test_what_ends_on_the_ladder_has_timed_out(now: float) -> None:
    bench = Bench()
    bench.step(0, submit(timeout=100, kill_grace_ms=20))
    bench.step(1, spawned("0/1"))
    bench.step(101)
    bench.step(now)
    assert bench.step(now, exits("0/1"))[0] == "0 timeout"


def test_an_exit_in_the_turn_of_its_timeout_wins() -> None:
    bench = Bench()
    bench.step(0, submit(timeout=100))
    bench.step(1, spawned("0/1"))
    assert bench.step(500, exits("0/1")) == ["0 succeeds", "close 1: all done"]


def test_what_has_exited_cannot_time_out_while_its_output_is_read() -> None:
    bench = Bench()
    bench.step(0, submit(timeout=100))
    bench.step(1, spawned("0/1"))
    assert bench.step(101, exit_seen("0/1")) == []
    assert bench.leader.next_due() is None
    assert bench.step(200, cancel()) == []
    assert bench.step(351, exits("0/1")) == ["0 succeeds", "close 1: cancelled"]


def test_a_timeout_is_of_each_attempt() -> None:
    bench = Bench()
    bench.step(0, submit(timeout=100, on_timeout="retry", retry_delay=0))
    bench.step(1, spawned("0/1"))
    assert bench.step(101) == ["terminate 0/1"]
    assert bench.step(102, exits("0/1", signal=15)) == ["spawn 0/2"]
    bench.step(110, spawned("0/2"))
    assert bench.leader.next_due() == 210


def test_on_timeout_stop() -> None:
    bench = Bench(max_workers=1)
    bench.step(0, submit(2, timeout=100, on_timeout="stop"))
    bench.step(1, spawned("0/1"))
    bench.step(101)
    assert bench.step(102, exits("0/1", signal=15)) == ["0 timeout", "abandon 1", "close 1: stop"]


# --- cancel ------------------------------------------------------------------------------------


def test_cancel_of_what_waits_and_of_what_is_being_started() -> None:
    bench = Bench(max_workers=1)
    bench.step(0, submit(2))
    assert bench.step(1, cancel()) == ["abandon 1"]
    assert bench.step(2, spawned("0/1")) == ["terminate 0/1"]
    assert bench.step(3, exits("0/1", signal=15)) == ["0 cancelled", "close 1: cancelled"]


@pytest.mark.parametrize("failure", [no_room("0/1"), no_such_file("0/1")])
def test_cancel_of_a_start_that_fails(failure) -> None:
    bench = Bench()
    bench.step(0, submit())
    bench.step(1, cancel())
    assert bench.step(2, failure) == ["0 not_started", "close 1: cancelled"]


def test_hard_cancel_of_what_is_being_started() -> None:
    bench = Bench()
    bench.step(0, submit())
    assert bench.step(1, cancel(hard=True)) == []
    assert bench.step(2, spawned("0/1")) == ["kill 0/1"]


def test_cancel_of_what_runs() -> None:
    bench = Bench()
    bench.step(0, submit(kill_grace_ms=20))
    bench.step(1, spawned("0/1"))
    assert bench.step(2, cancel()) == ["terminate 0/1"]
    assert bench.step(22) == ["kill 0/1"]
    assert bench.step(23, exits("0/1", signal=9)) == ["0 cancelled", "close 1: cancelled"]


def test_hard_cancel_of_what_runs() -> None:
    bench = Bench()
    bench.step(0, submit())
    bench.step(1, spawned("0/1"))
    assert bench.step(2, cancel(hard=True)) == ["kill 0/1"]


def test_cancelled_twice_softly_is_cancelled_once() -> None:
    bench = Bench()
    bench.step(0, submit(kill_grace_ms=20))
    bench.step(1, spawned("0/1"))
    bench.step(2, cancel())
    assert bench.step(12, cancel()) == []
    assert bench.leader.next_due() == 22


def test_a_second_cancel_may_be_hard() -> None:
    bench = Bench()
    bench.step(0, submit())
    bench.step(1, spawned("0/1"))
    bench.step(2, cancel())
    assert bench.step(3, cancel(hard=True)) == ["kill 0/1"]
    assert bench.step(4, cancel(hard=True)) == []


def test_cancel_of_what_is_being_ended_for_its_timeout() -> None:
    bench = Bench()
    bench.step(0, submit(timeout=10, on_timeout="retry"))
    bench.step(1, spawned("0/1"))
    bench.step(11)
    assert bench.step(12, cancel()) == []
    assert bench.step(13, exits("0/1", signal=15)) == ["0 timeout", "close 1: cancelled"]


def test_cancel_of_what_waits_for_its_retry() -> None:
    bench = Bench()
    bench.step(0, submit(on_error="retry", retry_delay=100))
    bench.step(1, spawned("0/1"), exits("0/1", code=1))
    assert bench.step(2, cancel()) == ["0 cancelled", "close 1: cancelled"]
    assert bench.leader.next_due() is None


def test_cancel_of_what_wants_a_slot_for_its_retry() -> None:
    bench = Bench(max_workers=1)
    bench.step(0, submit(on_error="retry", retry_delay=10), submit(batch=2))
    bench.step(1, spawned("0/1"), exits("0/1", code=1))
    assert bench.step(11) == []
    assert bench.step(12, cancel()) == ["0 cancelled", "close 1: cancelled"]


def test_cancel_of_what_is_being_decided() -> None:
    bench = Bench()
    bench.step(0, submit(on_error=ask))
    bench.step(1, spawned("0/1"), exits("0/1", code=1))
    assert bench.step(2, cancel()) == ["0 cancelled", "close 1: cancelled"]
    assert bench.step(3, answers("0/1", "retry")) == []


def test_cancel_of_what_is_over() -> None:
    bench = Bench()
    bench.step(0, submit())
    assert bench.step(1, spawned("0/1"), exits("0/1"), cancel()) == ["0 succeeds", "close 1: all done"]
    assert bench.step(2, cancel()) == []


# --- deadline ----------------------------------------------------------------------------------


def test_deadline() -> None:
    bench = Bench(max_workers=2)
    bench.step(0, submit(4, on_error="retry", retry_delay=500, deadline_ms=100, kill_grace_ms=20))
    bench.step(1, spawned("0/1"), exits("0/1", code=1))
    bench.step(2, spawned("1/1"))
    assert bench.leader.next_due() == 100
    assert bench.step(100) == ["abandon 3", "0 deadline", "terminate 1/1"]
    assert bench.step(101, spawned("2/1")) == ["terminate 2/1"]
    assert bench.step(120) == ["kill 1/1"]
    assert bench.step(121, exits("1/1", signal=9), exits("2/1")) == [
        "1 deadline",
        "2 deadline",
        "close 1: deadline",
    ]


def test_an_exit_in_the_turn_of_the_deadline_wins() -> None:
    bench = Bench()
    bench.step(0, submit(deadline_ms=100))
    bench.step(1, spawned("0/1"))
    assert bench.step(100, exits("0/1")) == ["0 succeeds", "close 1: all done"]


def test_no_process_is_started_at_the_deadline() -> None:
    bench = Bench(max_workers=1)
    bench.step(0, submit(2, deadline_ms=100))
    bench.step(1, spawned("0/1"))
    assert bench.step(100, exits("0/1")) == ["0 succeeds", "abandon 1", "close 1: deadline"]
