"""What must hold of the registry and the leader's indexes after every step: they say what the books say."""

from __future__ import annotations

from typing import Protocol

from arrea._engine.leader import Leader
from arrea._engine.registry import BatchRecord, Lane, Registry
from tests.simulation.books import NEVER, BatchBook, LaneBook, check


class Lanes(Protocol):
    open: dict[int, LaneBook]
    max_processes: int

    @property
    def processes(self) -> int: ...


class Watch(Protocol):
    """The books."""

    now: float
    open: dict[int, BatchBook]
    lanes: Lanes
    live: int
    deciding: int
    came: int
    failed_to_come: int
    given_up: bool
    resized: bool
    max_workers: int
    capacity: float
    used: int
    most_timers: int


def check_registry(watch: Watch, leader: Leader) -> None:
    registry = leader.registry
    check(registry.batches.keys() == watch.open.keys(), "batches", list(registry.batches), list(watch.open))
    numbers: list[int] = []
    for number, record in registry.batches.items():
        numbers += _check_batch(watch, record, watch.open[number])
    check(registry.lanes.keys() == watch.lanes.open.keys(), "lanes", list(registry.lanes))
    for number, lane in registry.lanes.items():
        book = watch.lanes.open[number]
        if book.told_at == watch.now:
            book.asked = (
                lane.asked
            )  # what came first, the question or an answer, is known to the engine alone
        _check_lane(lane, book)
        numbers.append(lane.tokens[0].number)
    _check_slots(watch, registry, numbers)


def _check_slots(watch: Watch, registry: Registry, numbers: list[int]) -> None:
    slots, lanes = registry.slots, watch.lanes.open.values()
    held = watch.live + watch.deciding + len(lanes)
    check(slots.used == held == len(numbers), "slots", slots.used, "held", held, "tokens", len(numbers))
    check(slots.capacity <= slots.limit == watch.max_workers, "slots", slots.capacity, slots.limit)
    check(slots.used <= max(slots.capacity, watch.used), "slots", slots.used, slots.capacity)
    check(len(set(numbers)) == len(numbers), "engine slots", numbers)
    lost = sum(lane.lost is not None for lane in lanes)
    check(slots.lost == lost, "lost", slots.lost, "instead of", lost)
    check(slots.capacity >= min(lost + 1, slots.limit), "no room beside what is lost:", slots.capacity)
    processes = registry.processes
    check(processes.used == watch.lanes.processes, "processes", processes.used)
    check(processes.limit == watch.lanes.max_processes, "processes", processes.limit)
    if not (watch.failed_to_come or watch.given_up or watch.resized) and watch.capacity < NEVER:
        grown = min(slots.limit, watch.capacity + watch.came)
        check(slots.capacity == grown, "room for", slots.capacity, "instead of", grown)
    watch.capacity, watch.used = slots.capacity, slots.used


def _check_lane(lane: Lane, book: LaneBook) -> None:
    calls = [record.attempt_id for record in lane.calls]
    check(calls == book.calls, "calls of lane", lane.number, calls, "instead of", book.calls)
    check(all(record.lane is lane for record in lane.calls), "whose call is it, in lane", lane.number)
    check(lane.begun == book.begun, "lane", lane.number, lane.begun)
    check(lane.asked == book.asked, "lane", lane.number, "asked", lane.asked)
    check(lane.closing >= book.sealed or book.lost, "lane gets more:", lane.number)
    check(lane.deciding == book.deciding, "lane", lane.number, "deciding", lane.deciding, book.deciding)
    check(lane.lost == book.lost, "lane", lane.number, "lost", lane.lost, "instead of", book.lost)
    check((lane.number in lane.batch.lanes) == (lane.lost is None), "whose lane is it:", lane.number)


def _check_batch(watch: Watch, record: BatchRecord, book: BatchBook) -> list[int]:
    """The numbers of the engine's slots that its commands hold."""
    held = [worker for worker in record.live.values() if worker.tokens]
    lanes = sum(lane.batch is book for lane in watch.lanes.open.values())
    check(len(held) == len(book.holders), "slots of batch", record.number, record.slots.used)
    check(record.slots.used == len(held) + lanes, "slots of batch", record.number, record.slots.used)
    check(record.slots.used <= record.slots.limit, "slots of batch", record.slots.used)
    check(record.slots.lost == book.lost, "lost of batch", record.number, record.slots.lost)
    check(
        book.holders.keys() == {worker.index for worker in held}, "who holds a slot in batch", record.number
    )
    same = all(worker.tokens[1].number == book.holders[worker.index].slot for worker in held)
    check(same, "slot numbers")
    _check_counts(watch, record, book)
    return [worker.tokens[0].number for worker in held]


def _check_counts(watch: Watch, record: BatchRecord, book: BatchBook) -> None:
    left, waiting = record.total - len(book.settled), record.waiting
    check(left == len(record.live) + waiting.count, "lost or doubled tasks in batch", record.number)
    check(waiting.count == sum(map(len, waiting.fresh.values())), "count of those that wait")
    check(waiting.returning == sum(map(len, waiting.again.values())), "count of those that wait again")
    check(record.done == len(book.settled) and record.failed == book.failed, "counts of", record.number)
    check(record.stopping is None or not (waiting.has(None) or record.open), "stopped, but waits")
    check(not book.stopped or record.stopping is not None, "goes on after its stop:", record.number)
    if record.stopping is not None:
        book.stop(watch.now)


def check_indexes(watch: Watch, leader: Leader) -> None:
    registry = leader.registry
    _check_turns(leader)
    due = leader.next_due()
    check(due is None or due >= watch.now, "due in the past:", due)
    check(due == _due(leader), "due", due, "instead of", _due(leader))
    live = len(registry.batches) + sum(len(batch.live) for batch in registry.batches.values())
    watch.most_timers = max(watch.most_timers, live)
    check(len(leader.timers) <= 64 + 4 * watch.most_timers, "timers pile up:", len(leader.timers))


def _check_turns(leader: Leader) -> None:
    registry, turns = leader.registry, leader.turns
    queued = {batch.turn: batch for batch in registry.batches.values() if batch.turn}
    ready = [entry[0] for entry in turns._ready if entry[2].turn == entry[0]]
    barred = [batch.turn for batch in turns._barred.values()]
    check(sorted(ready + barred) == sorted(queued), "turns", ready, barred, list(queued))
    check(len(turns) == len(queued), "turns", len(turns))
    check(ready == sorted(ready) and barred == sorted(barred), "turns", ready, barred)
    for batch in registry.batches.values():
        check(bool(batch.turn) == batch.startable(None), "turn of batch", batch.number, batch.turn)
        idle = not registry.slots.full and batch.startable(registry.barred)
        check(not idle, "slots are free, and nothing starts of batch", batch.number)


def _due(leader: Leader) -> float | None:
    dues = [
        worker.state.due
        for batch in leader.registry.batches.values()
        for worker in batch.live.values()
        if worker.state.due is not None
    ]
    dues += (b.deadline_at for b in leader.registry.batches.values() if b.deadline_at is not None)
    return min(dues, default=None)
