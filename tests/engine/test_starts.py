"""What starts when: slots, fairness, a machine without room, windows, refusals, rebuilds."""

import pytest

from arrea._engine.gates import SLOT_FREED, Slots, Token
from arrea._engine.timers import Timers
from arrea._model.policy import Policy
from tests.engine.bench import Bench, cancel, command, exits, feed, no_room, spawned, submit


def run_through(bench: Bench, now: float, attempt: str) -> list[str]:
    return bench.step(now, spawned(attempt), exits(attempt))


# --- slots -------------------------------------------------------------------------------------


def test_slots_give_the_lowest_free_number() -> None:
    slots = Slots(3)
    first, second = slots.admit(0), slots.admit(0)
    assert isinstance(first, Token) and isinstance(second, Token)
    assert (first.number, second.number, slots.full) == (1, 2, False)
    slots.give_back(first)
    again = slots.admit(0)
    assert isinstance(again, Token) and again.number == 1
    slots.admit(0)
    assert slots.full and slots.admit(0) is SLOT_FREED


def test_squeezed_slots_widen_one_by_one() -> None:
    slots = Slots(4)
    slots.admit(0)
    slots.squeeze()
    assert (slots.capacity, slots.full) == (1, True)
    slots.widen()
    assert (slots.capacity, slots.full) == (2, False)


def test_workers_of_a_batch_limit_it() -> None:
    bench = Bench(max_workers=4)
    assert bench.step(0, submit(3, workers=2)) == ["spawn 0/1", "spawn 1/1"]
    assert run_through(bench, 1, "1/1") == ["1 succeeds", "spawn 2/1"]


def test_two_batches_take_turns() -> None:
    bench = Bench(max_workers=2)
    assert bench.step(0, submit(3), submit(3, batch=2)) == ["spawn 0/1", "spawn 2:0/1"]
    assert run_through(bench, 1, "0/1") == ["0 succeeds", "spawn 1/1"]
    assert run_through(bench, 2, "1/1") == ["1 succeeds", "spawn 2:1/1"]
    assert run_through(bench, 3, "2:0/1") == ["2:0 succeeds", "spawn 2/1"]


def test_a_small_batch_does_not_wait_for_a_big_one() -> None:
    bench = Bench(max_workers=2)
    bench.step(0, submit(1000))
    bench.step(1, submit(1, batch=2))
    started = run_through(bench, 2, "0/1") + run_through(bench, 3, "1/1")
    assert "spawn 2:0/1" in started


# --- a machine without room --------------------------------------------------------------------


def test_a_start_without_room_waits_and_is_no_attempt() -> None:
    bench = Bench(max_workers=3)
    bench.step(0, submit(2))
    bench.step(1, spawned("0/1"))
    assert bench.step(2, no_room("1/1")) == []
    assert (bench.leader.registry.slots.capacity, bench.leader.next_due()) == (1, 12)
    assert bench.step(12) == []
    assert bench.step(13, exits("0/1")) == ["0 succeeds", "spawn 1/1"]
    assert bench.step(14, spawned("1/1"), exits("1/1")) == ["1 succeeds", "close 1: all done"]
    assert bench.outcomes[1].attempts == 1
    assert bench.log.types(1, 1) == ["worker_started", "progress", "result", "finished"]


def test_room_comes_back_with_each_start_that_works() -> None:
    bench = Bench(max_workers=4)
    bench.step(0, submit(9))
    bench.step(1, *(no_room(f"{index}/1") for index in range(4)))
    slots, room, now = bench.leader.registry.slots, [], 1.0
    started = ["spawn 4/1"]
    for _ in range(4):
        now += 100
        effects = bench.step(now, *(spawned(told.split()[1]) for told in started))
        started = [told for told in effects if told.startswith("spawn")]
        room.append(slots.capacity)
    assert room == [2, 3, 4, 4]


def test_alone_and_without_room_it_fails_in_the_end() -> None:
    bench = Bench()
    effects, waits = bench.step(0, submit()), []
    now = 0.0
    while effects == ["spawn 0/1"]:
        effects = bench.step(now, no_room("0/1"))
        if (due := bench.leader.next_due()) is not None:
            waits.append(due - now)
            now, effects = due, bench.step(due)
    assert effects == ["0 spawn_failed", "close 1: all done"]
    assert waits == [10, 20, 40, 80, 160, 320, 640, 1000]


# --- windows -----------------------------------------------------------------------------------


def test_a_window_is_kept_half_full() -> None:
    bench = Bench(max_workers=1)
    assert bench.step(0, submit(0, open=True, window=4)) == ["want 4"]
    assert bench.step(1, feed(4)) == ["spawn 0/1"]
    assert run_through(bench, 2, "0/1") == ["0 succeeds", "want 2", "spawn 1/1"]
    assert bench.step(3, feed(1)) == []
    assert run_through(bench, 4, "1/1") == ["1 succeeds", "spawn 2/1"]


def test_an_open_batch_ends_after_the_last_feed() -> None:
    bench = Bench()
    bench.step(0, submit(0, open=True, window=4))
    bench.step(1, feed(1))
    assert run_through(bench, 2, "0/1") == ["0 succeeds"]
    assert bench.step(3, feed(0, last=True)) == ["close 1: all done"]


def test_what_is_fed_after_the_stop_is_not_taken() -> None:
    bench = Bench(max_workers=1)
    bench.step(0, submit(0, open=True, window=4))
    bench.step(1, feed(2))
    bench.step(2, spawned("0/1"))
    assert bench.step(3, cancel()) == ["abandon 1", "terminate 0/1"]
    assert bench.step(4, feed(2)) == []
    assert bench.step(5, exits("0/1", signal=15)) == ["0 cancelled", "close 1: cancelled"]
    assert bench.step(6, feed(1, last=True)) == []


# --- refusals ----------------------------------------------------------------------------------


def test_a_refused_command_fails_without_a_start_and_without_a_retry() -> None:
    bench = Bench(max_workers=1)
    policy = Policy(on_error="retry")
    effects = bench.step(0, submit([command(policy, refused=True), command(policy)]))
    assert effects == ["0 empty_command", "spawn 1/1"]
    assert (bench.outcomes[0].attempts, bench.outcomes[0].started_at) == (0, None)
    assert bench.log.of_worker(1, 0) == []


def test_refusals_count_as_failures() -> None:
    bench = Bench(max_workers=1)
    refused = [command(refused=True)] * 2
    effects = bench.step(0, submit([*refused, command()], max_failures=2))
    assert effects == ["0 empty_command", "1 empty_command", "abandon 2", "close 1: max_failures"]


# --- what comes late or twice ------------------------------------------------------------------


@pytest.mark.parametrize(
    "late",
    [spawned("0/1"), exits("0/1", code=7), exits("0/1"), no_room("0/1"), exits("5/1"), spawned("9:0/1")],
)
def test_what_is_late_doubled_or_foreign_changes_nothing(late) -> None:
    bench = Bench()
    bench.step(0, submit(on_error="retry", retry_delay=10))
    bench.step(1, spawned("0/1"), exits("0/1", code=1))
    assert bench.step(2, late) == []
    assert bench.step(11, late) == ["spawn 0/2"]
    assert bench.step(12, late, late) == []
    bench.step(13, spawned("0/2"))
    assert bench.step(14, late) == []
    assert bench.step(15, exits("0/2"), late, exits("0/2")) == ["0 succeeds", "close 1: all done"]
    assert bench.step(16, late) == []


def test_inputs_of_a_turn_may_come_in_any_order() -> None:
    bench = Bench()
    bench.step(0, submit())
    assert bench.step(1, cancel(), exits("0/1"), spawned("0/1")) == ["0 succeeds", "close 1: all done"]


# --- rebuilds and indexes ----------------------------------------------------------------------


def test_a_rebuilt_leader_goes_on() -> None:
    bench = Bench(max_workers=1)
    bench.step(0, submit(3, on_error="retry", retry_delay=10, deadline_ms=500), submit(1, batch=2))
    bench.step(1, spawned("0/1"), exits("0/1", code=1))
    bench.rebuild()
    assert bench.leader.next_due() == 11
    bench.step(11)
    bench.rebuild()
    assert bench.step(12, spawned("2:0/1"), exits("2:0/1")) == [
        "2:0 succeeds",
        "close 2: all done",
        "spawn 0/2",
    ]
    bench.rebuild()
    assert bench.leader.next_due() == 500


def test_timers_of_what_is_over_do_not_pile_up() -> None:
    bench = Bench(max_workers=1)
    bench.step(0, submit(1000, timeout=60_000))
    for index in range(1000):
        run_through(bench, index, f"{index}/1")
        assert len(bench.leader.timers) <= 70


def test_many_that_wait_are_not_looked_through_at_every_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(max_workers=1)
    sweeps = []
    sweep = bench.leader.timers._all
    monkeypatch.setattr(Timers, "_all", lambda self: sweeps.append(1) or sweep())
    bench.step(0, submit(2000, on_error="retry", retry_delay=1_000_000))
    for index in range(2000):
        bench.step(index, spawned(f"{index}/1"), exits(f"{index}/1", code=1))
    assert len(sweeps) < 10
