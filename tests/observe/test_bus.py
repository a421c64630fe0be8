"""The bus: who gets what, who is dropped, and what a subscriber who never reads costs."""

import gc
import os
import threading
import time
import tracemalloc

from arrea._model.step import Emit, Log
from arrea._observe.bus import Bus
from arrea._observe.mailbox import Mailbox
from tests.observe.emits import emit, emits, told
from tests.support import wait_until

MIB = 2**20
EACH_TURN = 50


def make_bus() -> Bus:
    return Bus(lambda warned: None)


def raise_it(error: BaseException) -> None:
    raise error


def everything() -> Mailbox:
    return Mailbox(None, None)


def test_every_subscriber_gets_the_events_and_no_other_effect() -> None:
    bus, boxes = make_bus(), [everything() for _ in range(3)]
    for box in boxes:
        bus.add(box)
    bus.publish([emit("finished", 0), Log("task 0", ("warning",)), emit("error", 1)])
    for box in boxes:
        assert told(box) == [("finished", 0), ("error", 1)]
    bus.close()


def test_one_that_closed_is_dropped_and_the_others_stay() -> None:
    bus, ended, abandoned, other = make_bus(), everything(), everything(), everything()
    for box in (ended, abandoned, other):
        bus.add(box)
    bus.remove(ended)
    abandoned.abandon()
    bus.publish([emit("finished", 0)])
    assert bus._boxes == (other,)
    assert told(other) == [("finished", 0)]
    assert told(ended) == told(abandoned) == []


def test_whoever_waits_for_an_abandoned_one_is_woken() -> None:
    bus, box = make_bus(), everything()
    bus.add(box)
    waiting = threading.Thread(target=box.wait, args=(None,))
    waiting.start()
    assert wait_until(lambda: box._bell._waiting)
    box.abandon()
    bus.publish([emit("finished", 0)])
    waiting.join(5)
    assert not waiting.is_alive()


def test_output_is_wanted_while_a_subscriber_of_it_is_there() -> None:
    bus, some, all_of_it = make_bus(), Mailbox(None, frozenset(("finished",))), everything()
    bus.add(some)
    assert not bus.wants_output
    bus.add(all_of_it)
    assert bus.wants_output
    bus.remove(all_of_it)
    assert not bus.wants_output


def test_a_subscriber_that_comes_while_the_bus_closes_ends_too() -> None:
    bus, late = make_bus(), everything()
    bus.close()
    bus.add(late)
    assert late.closed and len(bus) == 0


def test_subscribing_and_leaving_from_many_threads() -> None:
    bus = make_bus()
    stays = everything()
    bus.add(stays)

    def come_and_go() -> None:
        for _ in range(300):
            box = everything()
            bus.add(box)
            bus.remove(box)

    threads = [threading.Thread(target=come_and_go) for _ in range(8)]
    for thread in threads:
        thread.start()
    for index in range(2000):
        bus.publish([emit("finished", index)])
    for thread in threads:
        thread.join(10)
    assert (len(bus), bus._boxes) == (1, (stays,))
    assert told(stays) == [("finished", index) for index in range(2000)]


# ── who never reads ───────────────────────────────────────────────────────────────────────────────


def test_a_million_events_that_nobody_reads_take_bounded_memory() -> None:
    bus, idle, gate = make_bus(), everything(), threading.Event()
    bus.add(idle)
    bus.serve(everything(), lambda event: gate.wait(), raise_it)
    gc.collect()
    before = resident_bytes()
    peak = before
    try:
        for turn in range(1_000_000 // EACH_TURN):
            bus.publish([Emit("finished", 1, "b", 1, 0.0, turn, {"n": turn}) for _ in range(EACH_TURN)])
            if turn % 500 == 0:
                peak = max(peak, resident_bytes())
    finally:
        gate.set()
        bus.close()
    assert peak - before < 32 * MIB, f"{(peak - before) / MIB:.1f} MiB"
    lag = idle.take()
    assert lag is not None
    assert (lag.type, lag.fields) == ("lag", {"count": 1_000_000 - len(idle)})


def resident_bytes() -> int:
    with open("/proc/self/statm") as numbers:
        return int(numbers.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_output_that_nobody_reads_takes_bounded_memory() -> None:
    bus, idle = make_bus(), everything()
    bus.add(idle)
    tracemalloc.start()
    try:
        for index in range(2000):  # 125 MiB
            bus.publish([emit("output", index, chunk=bytes(65_536))])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 16 * MIB, f"{peak / MIB:.1f} MiB"


def test_a_callback_that_never_comes_back_takes_no_more_than_one_that_never_reads() -> None:
    gate = threading.Event()
    stuck, idle = make_bus(), make_bus()
    idle.add(everything())
    stuck.serve(everything(), lambda event: gate.wait(), raise_it)
    stuck.publish([emit("finished", 0)])
    times: dict[str, list[float]] = {"idle": [], "stuck": []}
    try:
        for _ in range(3):
            times["idle"].append(_publish_some(idle))
            times["stuck"].append(_publish_some(stuck))
    finally:
        gate.set()
        stuck.close()
    assert min(times["stuck"]) < 1.5 * min(times["idle"]), times


def _publish_some(bus: Bus) -> float:
    turn = emits("finished", EACH_TURN)
    began = time.perf_counter()
    for _ in range(2000):
        bus.publish(turn)
    return time.perf_counter() - began
