"""Calls in lanes: what is sent ahead, what is taken back, and whose turn it is.

"lane 2: 0/1 1/1" is a `Dispatch` of two attempts to lane 2.
"""

import pytest

from arrea._engine.monitor import Monitor
from arrea._engine.registry import BatchRecord
from arrea._model.policy import Policy
from tests.engine.bench import (
    Bench,
    begun,
    calls,
    command,
    exits,
    feed,
    lost,
    measured,
    no_lane,
    recalled,
    returned,
    spawned,
    submit,
)

FOUR_AHEAD = "lane 1: 1/1 2/1 3/1 4/1"


def two_lanes(bench: Bench, count: int, took: float = 0.5) -> None:
    """The first one is given all the rest, while the second one still runs its first call."""
    bench.step(0, submit(calls("process", count), workers=2))
    bench.step(0, begun(1), begun(2))
    (given,) = bench.step(1, returned(1, ("0/1", 0, took)))[1:]
    assert len(given.split()) - 2 == count - 2


# --- how many are sent ahead -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("took", "ahead"),
    [(0, 256), (0.01, 200), (0.1, 20), (0.5, 4), (1.9, 2), (20, 2), (20.1, 1)],
)
def test_as_many_are_sent_ahead_as_fill_two_milliseconds(took: float, ahead: int) -> None:
    (given,) = measured(Bench(), 400, took)
    assert len(given.split()) - 2 == ahead


def test_the_first_one_runs_alone() -> None:
    bench = Bench()
    assert bench.step(0, submit(calls("process", 9), workers=2)) == ["lane 1: 0/1", "lane 2: 1/1"]


def test_threads_and_coroutines_get_one_at_a_time_and_are_not_measured() -> None:
    bench = Bench()
    bench.step(0, submit([*calls("thread", 2), *calls("process", 9)], workers=1))
    bench.step(0, begun(1))
    assert bench.step(1, returned(1, ("0/1", 0, 0.1))) == ["0 succeeds", "lane 1: 1/1"]
    ends = bench.step(2, returned(1, ("1/1", 0, 0.1)))
    assert ends == ["1 succeeds", "release lane 1", "lane 2: 2/1"]


def test_what_comes_between_counts_and_the_newest_measurement_weighs_a_third() -> None:
    bench = Bench()
    assert measured(bench, 99) == [FOUR_AHEAD]
    bench.step(2, returned(1, ("1/1", 1, 1.1), ("2/1", 4.9, 5), ("3/1", 8.9, 9.0), ("4/1", 10.9, 11.0)))
    (batch,) = bench.leader.registry.batches.values()
    assert batch.mean_ms == pytest.approx(0.7 * 0.5 + 0.3 * 2.5)


def test_more_is_sent_when_half_is_done() -> None:
    bench = Bench()
    assert measured(bench, 99) == [FOUR_AHEAD]
    assert bench.step(2, returned(1, ("1/1", 1, 1.5))) == ["1 succeeds"]
    assert bench.step(2, returned(1, ("2/1", 1.5, 2))) == ["2 succeeds", "lane 1: 5/1 6/1"]


def test_a_lane_without_calls_gives_its_slot_back() -> None:
    bench = Bench()
    measured(bench, 2)
    ends = bench.step(2, returned(1, ("1/1", 1, 2)))
    assert ends == ["1 succeeds", "release lane 1", "close 1: all done"]
    assert bench.leader.registry.slots.used == bench.leader.registry.processes.used == 0


# --- what is taken back ------------------------------------------------------------------------


def test_what_waits_behind_a_long_one_is_taken_back_after_20_ms() -> None:
    bench = Bench()
    two_lanes(bench, 6)
    bench.step(2, returned(2, ("1/1", 0, 2)))
    assert bench.leader.next_due() == 21
    assert bench.step(20.9) == []
    assert bench.step(21) == ["recall lane 1"]
    assert bench.step(21, recalled(1, "2/1")) == ["lane 3: 3/1 4/1"]
    assert bench.step(40, returned(1, ("2/1", 1, 40))) == ["2 succeeds", "release lane 1", "lane 4: 5/1"]


def test_what_was_sent_behind_one_that_runs_already_is_taken_back_too() -> None:
    bench = Bench()
    measured(bench, 99)
    bench.step(2, returned(1, ("1/1", 1, 1.5), ("2/1", 1.5, 2)))
    assert bench.leader.next_due() == 22


def test_nobody_waits_behind_the_last_one() -> None:
    bench = Bench()
    measured(bench, 2)
    assert bench.leader.next_due() is None


def test_nothing_is_sent_behind_one_that_runs_for_long() -> None:
    bench = Bench()
    measured(bench, 99)
    bench.step(2, returned(1, ("1/1", 1, 1.5)))
    assert bench.step(60, returned(1, ("2/1", 1.5, 2))) == ["2 succeeds", "recall lane 1"]
    assert bench.step(60, recalled(1, "3/1")) == []


def test_a_call_that_was_taken_back_is_the_same_attempt_and_goes_first() -> None:
    bench = Bench()
    measured(bench, 9)
    bench.step(21)
    assert bench.step(21, lost(1, "1/1"))[1:] == ["release lane 1", "lane 2: 2/1 3/1 4/1 5/1"]


def test_a_lane_that_was_asked_gets_no_more() -> None:
    """An answer that comes late could take back what was given after the question, and runs."""
    bench = Bench()
    measured(bench, 99)
    assert bench.step(21) == ["recall lane 1"]
    late = bench.step(21, returned(1, ("1/1", 1, 21), ("2/1", 21, 22)))
    assert late == ["1 succeeds", "2 succeeds"]
    assert bench.step(22, recalled(1, "3/1")) == []
    assert bench.step(23, returned(1, ("3/1", 22, 23)))[1:] == ["release lane 1", "lane 2: 4/1 5/1"]


def test_until_a_lane_answers_nobody_knows_what_runs() -> None:
    bench = Bench()
    measured(bench, 3, timeout=30)
    bench.step(21)
    bench.step(21, returned(1, ("1/1", 1, 21)))
    assert bench.leader.next_due() is None
    assert bench.log.of_worker(1, 2) == []
    bench.step(22, recalled(1, "2/1"))
    assert bench.leader.next_due() == 51


@pytest.mark.parametrize("again", [recalled(1, "2/1"), recalled(1, "1/1"), begun(1), lost(7), no_lane(7)])
def test_what_a_lane_tells_late_or_twice_changes_nothing(again) -> None:
    bench = Bench()
    measured(bench, 5)
    bench.step(21)
    bench.step(21, recalled(1, "2/1"), recalled(1, "1/1"))
    assert bench.step(22, again) == []
    end = returned(1, ("1/1", 1, 1.5))
    assert bench.step(23, end) == ["1 succeeds", "release lane 1", "lane 2: 2/1 3/1 4/1"]
    assert bench.step(24, end, again) == []


def test_an_idle_lane_is_helped() -> None:
    bench = Bench()
    two_lanes(bench, 6)
    ends = bench.step(3, returned(2, ("1/1", 0, 3)))
    assert ends == ["1 succeeds", "release lane 2", "recall lane 1"]
    assert bench.step(3, recalled(1, "2/1")) == ["lane 3: 3/1 4/1"]


def test_very_short_ones_are_not_worth_the_help() -> None:
    bench = Bench()
    two_lanes(bench, 6)
    assert bench.step(3, returned(2, ("1/1", 0, 1))) == ["1 succeeds", "release lane 2"]


# --- whose turn it is --------------------------------------------------------------------------


def test_mixed_kinds_start_in_input_order() -> None:
    bench = Bench()
    mixed = [*calls("process", 2), command(), *calls("thread", 1), *calls("process", 1)]
    assert bench.step(0, submit(mixed, workers=1)) == ["lane 1: 0/1"]
    bench.step(0, begun(1))
    assert bench.step(1, returned(1, ("0/1", 0, 0.1))) == ["0 succeeds", "lane 1: 1/1"]
    assert bench.step(2, returned(1, ("1/1", 1, 2))) == ["1 succeeds", "release lane 1", "spawn 2/1"]
    assert bench.step(3, spawned("2/1"), exits("2/1")) == ["2 succeeds", "lane 2: 3/1"]
    bench.step(3, begun(2))
    assert bench.step(4, returned(2, ("3/1", 3, 4))) == ["3 succeeds", "release lane 2", "lane 3: 4/1"]


def test_a_retry_of_another_kind_goes_before_fresh_calls() -> None:
    bench = Bench()
    retried = command(Policy(on_error="retry", retry_delay=1))
    bench.step(0, submit([retried, *calls("process", 99)], workers=1))
    bench.step(0, spawned("0/1"), exits("0/1", code=1))
    assert bench.step(1, begun(1)) == []
    assert bench.step(2, returned(1, ("1/1", 0, 2))) == ["1 succeeds", "release lane 1", "spawn 0/2"]


def test_a_lane_gives_its_slot_to_another_batch() -> None:
    bench = Bench(max_workers=1)
    measured(bench, 99)
    assert bench.step(2, submit(1, batch=2)) == []
    assert bench.step(3, returned(1, ("1/1", 1, 2), ("2/1", 2, 3), ("3/1", 3, 4))) == [
        "1 succeeds",
        "2 succeeds",
        "3 succeeds",
    ]
    assert bench.step(4, returned(1, ("4/1", 3, 4))) == ["4 succeeds", "release lane 1", "spawn 2:0/1"]


def test_a_lane_gives_its_process_to_another_batch() -> None:
    bench = Bench(max_workers=9, max_processes=1)
    measured(bench, 99)
    bench.step(2, submit(calls("process", 1), batch=2))
    bench.step(3, returned(1, ("1/1", 1, 2), ("2/1", 2, 3), ("3/1", 3, 4)))
    assert bench.step(4, returned(1, ("4/1", 3, 4))) == ["4 succeeds", "release lane 1", "lane 2: 2:0/1"]


def test_who_waits_for_a_process_keeps_nobody_else_waiting_nor_loses_its_turn() -> None:
    bench = Bench(max_workers=3, max_processes=1)
    bench.step(0, submit(calls("process", 1)))
    bench.step(0, begun(1))
    assert bench.step(1, submit([*calls("process", 1), command()], batch=2)) == ["spawn 2:1/1"]
    assert bench.step(1, submit(calls("process", 1), batch=3)) == []
    bench.rebuild()
    ends = bench.step(2, returned(1, ("0/1", 0, 2)))
    assert ends == ["0 succeeds", "release lane 1", "close 1: all done", "lane 2: 2:0/1"]


def test_many_that_wait_for_a_process_are_not_looked_through_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench(max_workers=9, max_processes=1)
    bench.step(0, *(submit(calls("process", 1), batch=number) for number in range(1, 301)))
    looks = []
    look = BatchRecord.startable
    monkeypatch.setattr(BatchRecord, "startable", lambda self, but: looks.append(1) or look(self, but))
    for number in range(1, 301):
        bench.step(number, begun(number), returned(number, (f"{number}:0/1", number, number)))
    assert len(looks) < 300 * 10


# --- streams, listeners, rebuilds --------------------------------------------------------------


def test_a_window_is_filled_again_while_calls_are_sent_ahead() -> None:
    bench = Bench(max_workers=1)
    bench.step(0, submit(0, open=True, window=4))
    assert bench.step(1, feed(calls("process", 4))) == ["lane 1: 0/1"]
    bench.step(1, begun(1))
    more = bench.step(2, returned(1, ("0/1", 1, 1.5)))
    assert more == ["0 succeeds", "lane 1: 1/1 2/1 3/1", "want 4"]


def test_nothing_behind_a_failure_starts_where_results_are_taken_in_order() -> None:
    bench = Bench()
    bench.step(0, submit(calls("process", 9), workers=1, in_order=True))
    bench.step(0, begun(1))
    bench.step(1, returned(1, ("0/1", 0, 0.5)))
    ends = bench.step(2, recalled(1, "2/1"), returned(1, ("1/1", 1, 1.5), ("2/1", 1.5, 2), problem="E"))
    assert [told for told in ends if told.startswith("lane")] == []
    assert bench.log.events[-1].fields["not_started"] == [3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize("heard", [True, False])
def test_the_monitor_counts_calls_whoever_listens(heard: bool) -> None:
    bench = Bench()
    monitor = Monitor(bench.leader.registry)
    bench.leader.registry.heard = heard
    step = bench.leader.step
    monitor.observe(step(0, [submit(calls("process", 3), workers=1)]))
    monitor.observe(step(0, [begun(1)]))
    assert (monitor.total_workers, monitor.active_workers) == (1, 1)
    monitor.observe(step(1, [returned(1, ("0/1", 0, 1))]))
    failing = returned(1, ("1/1", 1, 1.5), ("2/1", 1.5, 2), problem="ValueError")
    monitor.observe(step(2, [recalled(1, "2/1"), failing]))
    assert (monitor.total_workers, monitor.active_workers) == (3, 0)
    assert (monitor.completed_tasks, monitor.failed_tasks) == (2, 1)
