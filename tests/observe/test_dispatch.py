"""The observer thread: order, one at a time, what raises, what blocks, and the end."""

import threading
import time
from collections.abc import Callable

import pytest

from arrea._model.step import Emit, Log
from arrea._observe.bus import Bus
from arrea._observe.dispatch import AT_ONCE, MOST_CALLS, STOP_WITHIN_S
from arrea._observe.mailbox import Mailbox
from tests.observe.emits import emit, emits
from tests.support import wait_until


class Told:
    """A callback that keeps what it is told, on which thread, and what it raised."""

    def __init__(self, raises: BaseException | None = None, at: int = 0) -> None:
        self.indexes: list[int | None] = []
        self.threads: set[str] = set()
        self.errors: list[BaseException] = []
        self._raises = raises
        self._at = at

    def __call__(self, event: Emit) -> None:
        self.indexes.append(event.index)
        self.threads.add(threading.current_thread().name)
        if self._raises is not None and len(self.indexes) > self._at:
            raise self._raises

    def report(self, error: BaseException) -> None:
        self.errors.append(error)


def make_bus(log: Callable[[Log], None] = lambda warned: None) -> Bus:
    return Bus(log)


def serve(bus: Bus, callback: Told) -> Mailbox:
    box = Mailbox(None, None, callback)
    bus.serve(box, callback, callback.report)
    return box


def test_callbacks_are_told_in_order_on_one_thread() -> None:
    bus, one, other = make_bus(), Told(), Told()
    serve(bus, one)
    serve(bus, other)
    for start in range(0, 3000, 100):
        bus.publish(emits("finished", 3000)[start : start + 100])
    bus.close()
    assert one.indexes == other.indexes == list(range(3000))
    assert one.threads == other.threads == {"arrea-observer"}


def test_a_long_queue_of_one_callback_lets_the_others_in_between() -> None:
    bus, gate = make_bus(), threading.Event()
    order: list[str] = []

    def one(event: Emit) -> None:
        gate.wait()
        order.append("one")

    bus.serve(Mailbox(None, None, one), one, order.append)  # type: ignore[arg-type]
    bus.serve(Mailbox(None, None, order.append), lambda event: order.append("other"), order.append)  # type: ignore[arg-type]
    bus.publish(emits("finished", 10 * AT_ONCE))
    gate.set()
    bus.close()
    assert len(order) == 20 * AT_ONCE
    assert order.index("other") <= AT_ONCE


@pytest.mark.parametrize("error", [ValueError(), SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
def test_one_that_raises_is_reported_once_and_told_no_more(error: BaseException) -> None:
    bus, broken, other = make_bus(), Told(error, at=2), Told()
    box = serve(bus, broken)
    serve(bus, other)
    bus.publish(emits("finished", 10))
    assert wait_until(lambda: len(other.indexes) == 10)
    bus.publish(emits("finished", 10))
    bus.close()
    assert broken.indexes == [0, 1, 2]
    assert broken.errors == [error]
    assert box.closed and len(box) == 0
    assert len(other.indexes) == 20


def test_one_that_is_discarded_within_a_call_is_not_called_again() -> None:
    bus = make_bus()
    called: list[int | None] = []
    box: Mailbox

    def once(event: Emit) -> None:
        called.append(event.index)
        box.discard()

    box = Mailbox(None, None, once)
    bus.serve(box, once, lambda error: None)
    bus.publish(emits("finished", 100))
    bus.close()
    assert called == [0]


def test_lines_of_the_log_are_written_there_and_of_too_many_the_oldest_go() -> None:
    lines: list[str] = []
    gate = threading.Event()

    def log(warned: Log) -> None:
        gate.wait()
        lines.append(warned.task)

    bus = make_bus(log)
    bus.publish([Log("first", ())])
    assert wait_until(lambda: not bus._dispatcher._calls)
    bus.publish([Log(str(number), ()) for number in range(MOST_CALLS + 10)])
    gate.set()
    bus.close()
    assert lines == ["first", *(str(number) for number in range(10, MOST_CALLS + 10))]


# ── the end ───────────────────────────────────────────────────────────────────────────────────────


def test_closing_tells_what_is_there() -> None:
    bus, told = make_bus(), Told()
    serve(bus, told)
    bus.publish(emits("finished", 5000))
    bus.close()
    assert told.indexes == list(range(5000))
    assert bus._dispatcher.ended


def test_closing_waits_a_second_and_what_is_not_told_then_never_is() -> None:
    bus, told = make_bus(), Told()

    def slowly(event: Emit) -> None:
        told(event)
        time.sleep(0.03)

    box = Mailbox(None, None, told)
    bus.serve(box, slowly, told.report)
    bus.publish(emits("finished", 200))
    began = time.monotonic()
    bus.close()
    assert time.monotonic() - began < STOP_WITHIN_S + 0.5
    assert wait_until(lambda: bus._dispatcher.ended, timeout=1)
    assert len(told.indexes) < 60
    assert len(box) == 0


def test_closing_from_a_callback_tells_the_rest_and_ends_the_thread() -> None:
    bus, told = make_bus(), Told()

    def close_it(event: Emit) -> None:
        told(event)
        bus.close()

    bus.serve(Mailbox(None, None, told), close_it, told.report)
    bus.publish(emits("finished", 50))
    assert wait_until(lambda: bus._dispatcher.ended)
    assert told.indexes == list(range(50))
    bus.close()


def test_without_a_callback_there_is_no_thread() -> None:
    bus = make_bus()
    bus.add(Mailbox(None, None))
    bus.publish(emits("finished", 5))
    bus.close()
    assert bus._dispatcher._thread is None


def test_no_room_for_a_thread_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    bus, told = make_bus(), Told()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", _no_room)
        serve(bus, told)
        bus.publish([emit("finished", 0)])
    bus.publish([emit("finished", 1)])
    bus.close()
    assert told.indexes == [0, 1]


def _no_room(thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")
