"""How calls end, and lanes with them: failures, processes that die, and what is ended or given up."""

import pytest

from tests.engine.bench import (
    Bench,
    answers,
    begun,
    calls,
    cancel,
    command,
    exit_seen,
    exits,
    lost,
    measured,
    no_lane,
    recalled,
    returned,
    spawned,
    submit,
)


def ask(*_: object) -> str:
    raise AssertionError("the engine itself never calls a user's function")


# --- failures ----------------------------------------------------------------------------------


def test_after_a_failure_the_lane_gets_no_more_and_the_next_one_does() -> None:
    bench = Bench()
    measured(bench, 9)
    fails = (recalled(1, "1/1"), returned(1, ("1/1", 1, 2), problem="ValueError"))
    assert bench.step(2, *fails) == ["1 exception", "release lane 1", "lane 2: 2/1 3/1 4/1"]


@pytest.mark.parametrize("waiting", [1, 7])
def test_after_a_failure_that_stops_nothing_starts(waiting: int) -> None:
    bench = Bench()
    measured(bench, 2 + waiting, on_error="stop")
    stops = bench.step(2, recalled(1, "1/1"), returned(1, ("1/1", 1, 2), problem="ValueError"))
    assert not any(told.startswith("lane") for told in stops)
    assert stops[-1] == "close 1: stop"
    codes = {outcome.error.code for index, outcome in bench.outcomes.items() if index > 1}
    assert codes <= {"not_started"}
    assert bench.log.events[-1].fields["not_started"] == list(range(2, 2 + waiting))


def test_one_that_failed_with_those_before_it_has_all_its_events() -> None:
    bench = Bench()
    measured(bench, 9)
    ends = returned(1, ("1/1", 1, 1.5), ("2/1", 1.5, 2), problem="ValueError")
    bench.step(2, recalled(1, "2/1"), ends)
    assert bench.log.types(1, 2) == ["worker_started", "error"]
    assert bench.outcomes[2].started_at == 1.5


def test_a_failure_is_retried_elsewhere() -> None:
    bench = Bench()
    measured(bench, 2, on_error="retry", retry_delay=10)
    bench.step(2, recalled(1, "1/1"), returned(1, ("1/1", 1, 2), problem="ValueError"))
    assert bench.step(12) == ["lane 2: 1/2"]


def test_while_a_function_decides_the_lane_is_held() -> None:
    bench = Bench()
    measured(bench, 9, on_error=ask)
    assert bench.step(2, recalled(1, "1/1"), returned(1, ("1/1", 1, 2), problem="E")) == ["ask 1/1"]
    assert bench.step(3) == []
    assert bench.step(4, answers("1/1", "continue")) == [
        "1 exception",
        "release lane 1",
        "lane 2: 2/1 3/1 4/1",
    ]


@pytest.mark.parametrize("dies", [lost(1, "1/1"), lost(1)])
def test_it_is_held_too_where_its_process_is_gone(dies) -> None:
    bench = Bench()
    measured(bench, 3, on_error=ask)
    if dies.ran is None:
        bench.step(2, recalled(1, "1/1"), returned(1, ("1/1", 1, 2), problem="E"))
    asked = bench.step(3, dies)
    assert asked in (["ask 1/1"], []) and bench.leader.registry.processes.used == 1
    stops = bench.step(4, answers("1/1", "stop"))
    assert stops[-2:] == ["release lane 1", "close 1: stop"] and "2 not_started" in stops + asked


def test_a_cancel_ends_the_wait_for_an_answer() -> None:
    bench = Bench()
    measured(bench, 2, on_error=ask)
    bench.step(2, recalled(1, "1/1"), returned(1, ("1/1", 1, 2), problem="E"))
    assert bench.step(3, cancel()) == ["1 cancelled", "release lane 1", "close 1: cancelled"]
    assert bench.leader.registry.slots.used == 0


def test_a_warning_is_no_failure_but_halts_the_lane() -> None:
    bench = Bench()
    measured(bench, 5)
    warns = bench.step(2, recalled(1, "1/1"), returned(1, ("1/1", 1, 2), warns=True))
    assert warns == ["log old", "1 succeeds", "release lane 1", "lane 2: 2/1 3/1 4/1"]


# --- processes that die ------------------------------------------------------------------------


def test_a_crash_takes_only_what_ran() -> None:
    bench = Bench()
    measured(bench, 5)
    assert bench.step(2, lost(1, "1/1")) == ["1 worker_crashed", "release lane 1", "lane 2: 2/1 3/1 4/1"]
    assert (bench.outcomes[1].error.signal, bench.outcomes[1].attempts) == (9, 1)


def test_one_that_died_idle_takes_nobody_unless_that_happens_again_and_again() -> None:
    bench = Bench(max_workers=1)
    bench.step(0, submit(calls("process", 2)))
    for lane in range(1, 8):
        assert bench.step(lane, begun(lane), lost(lane)) == [f"release lane {lane}", f"lane {lane + 1}: 0/1"]
    assert bench.step(9, lost(8)) == ["0 worker_crashed", "release lane 8", "lane 9: 1/1"]
    assert "before it ran anything" in str(bench.outcomes[0].error)


def test_no_process_for_want_of_room_is_no_attempt() -> None:
    bench = Bench(max_workers=2)
    bench.step(0, submit([command(), *calls("process", 1)]))
    bench.step(1, spawned("0/1"))
    assert bench.step(1, no_lane(1, transient=True)) == ["release lane 1"]
    assert bench.step(11) == []
    assert bench.step(12, exits("0/1")) == ["0 succeeds", "lane 2: 1/1"]


def test_alone_and_without_room_it_fails_in_the_end() -> None:
    bench = Bench()
    effects, lane, now = bench.step(0, submit(calls("process", 1))), 1, 0.0
    while effects[-1] == f"lane {lane}: 0/1":
        effects = bench.step(now, no_lane(lane, transient=True))
        if effects == [f"release lane {lane}"]:
            now, lane = bench.leader.next_due() or 0.0, lane + 1
            effects = bench.step(now)
    assert (lane, effects) == (9, ["0 spawn_failed", "release lane 9", "close 1: all done"])
    assert bench.log.types(1, 0) == ["worker_started", "error"]


@pytest.mark.parametrize("transient", [True, False])
def test_no_process_in_a_stopped_batch_is_no_start(transient: bool) -> None:
    bench = Bench()
    bench.step(0, submit(calls("process", 1)))
    assert bench.step(1, cancel()) == ["recall lane 1"]
    assert bench.step(2, no_lane(1, transient)) == ["0 not_started", "release lane 1", "close 1: cancelled"]


# --- ending what runs --------------------------------------------------------------------------


def test_a_process_is_killed_like_that_of_a_command() -> None:
    bench = Bench()
    measured(bench, 3, timeout=10)
    assert bench.step(11) == ["recall lane 1", "terminate 1/1"]
    assert bench.step(11, recalled(1, "1/1"), recalled(1, "1/1")) == []
    assert bench.step(2011) == ["kill 1/1"]
    assert bench.step(12_011) == ["forget 1/1"]
    assert bench.step(12_012, lost(1, "1/1")) == ["1 timeout", "release lane 1", "lane 2: 2/1"]


@pytest.mark.parametrize(("ended", "code"), [(10.9, None), (11, "timeout"), (11.1, "timeout")])
def test_one_that_ended_before_it_was_terminated_has_its_own_end(ended: float, code: str | None) -> None:
    bench = Bench()
    measured(bench, 2, timeout=10)
    assert bench.step(11) == ["terminate 1/1"]
    bench.step(12, returned(1, ("1/1", 1, ended)))
    error = bench.outcomes[1].error
    assert (error and error.code) == code


def test_what_is_being_read_cannot_time_out() -> None:
    bench = Bench()
    measured(bench, 9, timeout=10)
    assert bench.step(2, exit_seen("1/1"), exit_seen("2/1")) == []
    assert bench.step(300, cancel()) == ["abandon 5,6,7,8", "recall lane 1"]
    bench.step(300, recalled(1, "2/1"))
    assert bench.step(301, returned(1, ("1/1", 1, 1.5))) == ["1 succeeds"]
    assert bench.step(302, returned(1, ("2/1", 1.5, 2)))[0] == "2 succeeds"


@pytest.mark.parametrize("hard", [True, False])
def test_what_begins_after_the_cancel_is_ended_too(hard: bool) -> None:
    bench = Bench()
    measured(bench, 3)
    assert bench.step(2, cancel(hard=hard)) == ["recall lane 1", "kill 1/1" if hard else "terminate 1/1"]
    ended = bench.step(2, recalled(1, "2/1"), returned(1, ("1/1", 1, 1.9)))
    assert ended == ["1 succeeds", "kill 2/1" if hard else "terminate 2/1"]


def test_a_thread_that_takes_too_long_is_given_up_and_its_slot_with_it() -> None:
    bench = Bench(max_workers=2)
    bench.step(0, submit(calls("thread", 3, timeout=10, on_timeout="retry"), workers=2))
    bench.step(0, begun(1), begun(2))
    bench.step(5, returned(2, ("1/1", 0, 5)))
    assert bench.step(10) == ["0 timeout"]
    assert bench.outcomes[0].error.abandoned
    assert bench.step(11, returned(2, ("2/1", 5, 11)))[-1] == "close 1: all done"
    assert bench.leader.registry.slots.used == 1
    assert bench.step(99, returned(1, ("0/1", 0, 99))) == ["release lane 1"]
    assert bench.leader.registry.slots.used == bench.leader.registry.slots.lost == 0


def test_an_end_that_is_told_twice_gives_no_slot_back() -> None:
    bench = Bench(max_workers=2)
    bench.step(0, submit(calls("thread", 2, timeout=10), workers=1))
    bench.step(0, begun(1))
    first = returned(1, ("0/1", 0, 1))
    bench.step(1, first)
    bench.step(11)
    assert bench.step(12, first) == [] and bench.leader.registry.slots.lost == 1


@pytest.mark.parametrize("hard", [True, False])
def test_a_cancelled_thread_is_given_up_at_once(hard: bool) -> None:
    bench = Bench()
    bench.step(0, submit(calls("thread", 1)))
    assert bench.step(1, begun(1), cancel(hard=hard)) == ["0 cancelled", "close 1: cancelled"]


def test_a_thread_that_begins_after_the_cancel_is_given_up_too() -> None:
    bench = Bench()
    bench.step(0, submit(calls("thread", 1)))
    assert bench.step(1, cancel()) == []
    assert bench.step(2, begun(1)) == ["0 cancelled", "close 1: cancelled"]


def test_where_all_slots_are_lost_what_waits_fails() -> None:
    bench = Bench(max_workers=1)
    bench.step(0, submit(calls("thread", 2, timeout=10)), submit(3, batch=2, max_failures=1))
    bench.step(0, begun(1))
    exhausted = bench.step(10)
    assert exhausted[:2] == ["0 timeout", "1 slots_exhausted"]
    assert exhausted[2:] == [
        "close 1: all done",
        "2:0 slots_exhausted",
        "abandon 2:1,2",
        "close 2: max_failures",
    ]


def test_what_is_lost_takes_no_room_from_the_rest() -> None:
    bench = Bench(max_workers=3)
    bench.step(0, submit([*calls("thread", 1, timeout=10), *calls("process", 1)]))
    bench.step(1, begun(1), no_lane(2, transient=True))
    assert bench.leader.registry.slots.capacity == 1
    assert bench.step(11) == ["0 timeout", "lane 3: 1/1"]
    assert bench.leader.registry.slots.capacity == 2


def test_what_is_lost_does_not_count_as_company_that_will_make_room() -> None:
    bench = Bench(max_workers=3)
    effects = bench.step(0, submit([*calls("thread", 1, timeout=1), *calls("process", 1)]))
    bench.step(1, begun(1))
    lane = 2
    while effects[-1].startswith("lane"):
        bench.step(2, no_lane(lane, transient=True))
        due = bench.leader.next_due()
        effects, lane = bench.step(due) if due else ["none"], lane + 1
    assert bench.outcomes[1].error.code == "spawn_failed"


def test_a_coroutine_is_cancelled() -> None:
    bench = Bench()
    bench.step(0, submit(calls("coroutine", 1, timeout=10)))
    bench.step(0, begun(1))
    assert bench.step(10) == ["terminate 0/1"]
    ends = bench.step(11, returned(1, ("0/1", 0, 11), problem="CancelledError"))
    assert ends == ["0 timeout", "release lane 1", "close 1: all done"]
    assert not bench.outcomes[0].error.abandoned


def test_a_coroutine_that_does_not_take_it_is_given_up() -> None:
    bench = Bench()
    bench.step(0, submit(calls("coroutine", 1, timeout=10), kill_grace_ms=5))
    bench.step(0, begun(1))
    bench.step(10)
    assert bench.step(15) == ["0 timeout", "close 1: all done"]
    assert bench.outcomes[0].error.abandoned
