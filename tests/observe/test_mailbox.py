"""A subscriber's queue: order, bounds, what is lost first, and how its reader is told."""

import threading
import time
from itertools import chain
from random import Random

import pytest

from arrea._model.event import LOSSY
from arrea._model.step import Emit
from arrea._observe.mailbox import MOST_BYTES, MOST_EVENTS, Mailbox
from tests.observe.emits import emit, emits, told


def box(most: int = MOST_EVENTS, **wishes: object) -> Mailbox:
    types = wishes.get("types")
    assert types is None or isinstance(types, frozenset)
    batch_id = wishes.get("batch_id")
    assert batch_id is None or isinstance(batch_id, str)
    return Mailbox(batch_id, types, most=most)


# ── order and filters ─────────────────────────────────────────────────────────────────────────────


def test_events_come_out_in_the_order_in_which_they_went_in() -> None:
    full = box()
    full.put([emit("worker_started", 0), emit("output", 0)])
    full.put([emit("progress", 0), emit("finished", 0), emit("output", 1)])
    types = ["worker_started", "output", "progress", "finished", "output"]
    assert len(full) == 5
    assert [type for type, _ in told(full)] == types
    assert full.take() is None and len(full) == 0


def test_only_the_types_that_are_wanted() -> None:
    some = box(types=frozenset(("error",)))
    some.put([emit("worker_started", 0), emit("error", 0), emit("finished", 1)])
    assert told(some) == [("error", 0)]
    assert some.wants("error") and not some.wants("output")


def test_only_the_batch_that_is_wanted_and_its_end_closes() -> None:
    one = box(batch_id="b")
    one.put([emit("finished", 0, "a"), emit("finished", 1, "b"), emit("batch_finished", None, "a")])
    assert not one.closed
    one.put([emit("batch_finished", None, "b")])
    assert one.closed
    assert told(one) == [("finished", 1), ("batch_finished", None)]


def test_the_end_of_the_batch_closes_also_where_it_is_filtered_out() -> None:
    rung: list[bool] = []
    one = box(batch_id="b", types=frozenset(("error",)))
    one.watchers.append(lambda: rung.append(one.closed))
    one.put([emit("finished", 0), emit("batch_finished")])
    assert (told(one), one.closed, rung) == ([], True, [True])


def test_after_the_end_nothing_comes_in() -> None:
    shut = box()
    shut.put([emit("finished", 0)])
    shut.close()
    shut.put([emit("finished", 1)])
    assert not shut.wants("finished")
    assert told(shut) == [("finished", 0)]


def test_discarding_leaves_nothing() -> None:
    gone = box(most=2)
    gone.put([*emits("finished", 3), *emits("output", 3)])
    gone.discard()
    assert (len(gone), gone.take(), gone.closed) == (0, None, True)


# ── bounds ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("lossy", sorted(LOSSY))
def test_the_oldest_lossy_ones_go_first(lossy: str) -> None:
    full = box(most=4)
    full.put([emit("worker_started", 0), emit(lossy, 1), emit(lossy, 2), emit("finished", 3)])
    full.put([emit("error", 4), emit(lossy, 5)])
    assert told(full) == [("lag", 2), ("worker_started", 0), ("finished", 3), ("error", 4), (lossy, 5)]


def test_then_the_oldest_of_the_rest() -> None:
    full = box(most=3)
    full.put([emit("output", 9), *emits("finished", 5)])
    assert told(full) == [("lag", 3), ("finished", 2), ("finished", 3), ("finished", 4)]


def test_one_lag_event_for_each_time_that_the_reader_fell_behind() -> None:
    full = box(most=2)
    full.put(emits("finished", 5))
    first = full.take()
    assert first is not None
    assert (first.type, first.fields, first.sequence, first.index) == ("lag", {"count": 3}, 0, None)
    full.put([emit("finished", 5)])
    assert told(full) == [("lag", 1), ("finished", 4), ("finished", 5)]


def test_exactly_as_many_as_fit_are_no_lag() -> None:
    full = box(most=3)
    full.put(emits("finished", 3))
    assert told(full) == [("finished", 0), ("finished", 1), ("finished", 2)]


def test_lag_says_when_and_of_which_batch() -> None:
    full = box(most=1, batch_id="b")
    lost, kept = emits("finished", 2)
    full.put([lost, kept])
    lag = full.take()
    assert lag is not None
    assert (lag.batch_id, lag.at) == ("b", lost.at)


def test_output_is_bounded_in_bytes_too() -> None:
    full = box()
    piece = b"x" * 65_536
    full.put(emits("output", 1000, chunk=piece))
    lag, *rest = told(full)
    assert (lag, len(rest)) == (("lag", 1000 - MOST_BYTES // 65_536), MOST_BYTES // 65_536)
    full.put([emit("output", 0, chunk=b"x" * (MOST_BYTES + 1)), emit("finished", 0)])
    assert told(full) == [("lag", 1), ("finished", 0)]


def test_bytes_that_were_read_count_no_more() -> None:
    full = box()
    for index in range(300):
        full.put([emit("output", index, chunk=b"x" * 65_536)])
        assert told(full) == [("output", index)]


@pytest.mark.parametrize("seed", range(20))
def test_like_a_plain_model(seed: int) -> None:
    """Against the rule, written down naively: whatever is put and taken in whatever order."""
    source = Random(seed)
    full, model, lost = box(most=5), list[Emit](), 0
    for _ in range(2000):
        if source.random() < 0.6:
            event = emit(source.choice(("output", "progress", "finished", "error", "retry")), chunk=b"")
            full.put([event])
            model.append(event)
            if len(model) > 5:
                model.remove(next((old for old in model if old.type in LOSSY), model[0]))
                lost += 1
        else:
            taken = full.take()
            if lost:
                assert taken is not None and taken.type == "lag" and taken.fields["count"] == lost
                lost = 0
            else:
                assert taken is (model.pop(0) if model else None)
        assert len(full) == len(model) + bool(lost)


# ── waiting ───────────────────────────────────────────────────────────────────────────────────────


def test_whoever_waits_is_woken_by_an_event_and_by_the_end() -> None:
    full = box()
    woken: list[bool] = []
    waiting = [threading.Thread(target=lambda: woken.append(full.wait(None))) for _ in range(3)]
    for thread in waiting:
        thread.start()
    while len(full._bell._waiting) < 3:
        time.sleep(0.001)
    full.put([emit("finished", 0)])
    for thread in waiting:
        thread.join(5)
    assert woken == [True] * 3
    assert full.take() is not None
    last = threading.Thread(target=lambda: woken.append(full.wait(None)))
    last.start()
    full.close()
    last.join(5)
    assert woken == [True] * 4


def test_waiting_ends_at_its_time() -> None:
    assert not box().wait(time.monotonic() + 0.01)
    assert not box().wait(time.monotonic() - 1)


def test_nothing_is_lost_or_doubled_between_threads() -> None:
    """Three readers and a writer; what the readers get together is all of it, each in order."""
    full = box()
    got: list[list[int]] = [[], [], []]

    def read(mine: list[int]) -> None:
        while not full.closed or len(full):
            if full.wait(time.monotonic() + 0.01) and (event := full.take()) is not None:
                mine.append(event.sequence)

    readers = [threading.Thread(target=read, args=(mine,)) for mine in got]
    for reader in readers:
        reader.start()
    events = emits("finished", 5000)
    for start in range(0, 5000, 50):
        full.put(events[start : start + 50])
    full.close()
    for reader in readers:
        reader.join(10)
    assert all(mine == sorted(mine) for mine in got)
    assert sorted(chain(*got)) == [event.sequence for event in events]
