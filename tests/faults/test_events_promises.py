"""What the parts around events owe to them."""

import errno
import functools
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

import arrea
from arrea import Engine, Event
from arrea._app.telling import Telling
from arrea._engine.leader import Leader
from arrea.testing import FakeRuntime, Fate, make_plan
from tests.observe.threads import threads_end
from tests.support import wait_until


@pytest.fixture
def engine() -> Iterator[Engine]:
    with threads_end(), Engine(kill_grace=300) as engine:
        yield engine


def test_whoever_has_his_results_finds_their_events_and_counts(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    observe = Telling.observe

    def late(telling: Telling, effects: Any) -> None:
        time.sleep(0.05)
        observe(telling, effects)

    monkeypatch.setattr(Telling, "observe", late)
    with engine.subscribe(types=["batch_finished"]) as events:
        engine.run(["true"])
    assert (len(list(events)), engine.stats().completed_tasks) == (1, 1)


@pytest.mark.parametrize("on_output", [None, lambda event: None], ids=["plain", "on_output"])
def test_each_element_that_was_pulled_has_its_result(engine: Engine, on_output: Any) -> None:
    pulled = []

    def source() -> Iterator[str]:
        for number in range(5):
            if number == 1:
                assert wait_until(lambda: engine.stats().failed_tasks == 1)  # so it is late
                time.sleep(0.05)
            pulled.append(number)
            yield "exit 1"

    results = engine.run(source(), workers=1, policy="stop", on_output=on_output)
    assert [result.index for result in results] == pulled


def test_closing_does_not_wait_for_a_function_that_is_stuck(engine: Engine) -> None:
    entered, gate = threading.Event(), threading.Event()

    def stuck(event: Event) -> None:
        entered.set()
        gate.wait(20)

    commands = ["head -c 3000000 /dev/zero", *["sleep 0.2; head -c 60000 /dev/zero"] * 5]
    engine.submit(commands, on_output=stuck, policy="once", timeout=None)
    try:
        assert entered.wait(5)
        assert wait_until(lambda: len(engine.running()) == 1)
        began = time.monotonic()
        engine.close()
        took = time.monotonic() - began
        assert engine._reactor is not None and engine._reactor.ended
        assert took < 2
    finally:
        gate.set()
        assert wait_until(lambda: engine._reactor is not None and engine._reactor.ended)


def test_readers_do_not_wait_for_an_engine_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("scripted")

    monkeypatch.setattr(threading, "excepthook", lambda told: None)
    monkeypatch.setattr(Leader, "step", fail)
    with Engine() as engine, engine.subscribe() as events:
        with pytest.raises(arrea.EngineStopped, match="which is a fault of Arrea"):
            engine.run(["true"])
        assert events.get("1s") is None


def test_a_task_that_never_got_a_process_is_one_that_never_started() -> None:
    full = Fate(error=OSError(errno.EAGAIN, "Resource temporarily unavailable"), transient=True)
    runtime = FakeRuntime({"first": Fate(runs=1000), "second": full})
    runtime.submit(make_plan(["first"], policy="once"))
    number = runtime.submit(make_plan(["second"], policy="once"))
    runtime.cancel(number, after=50)
    while runtime.turn():
        pass
    last = runtime.log.of_batch(number)[-1]
    assert [result.index for result in runtime.result(number).not_started] == [0]
    assert last.fields["not_started"] == [0]
    assert runtime.log.types(number, 0) == []


async def _asynchronous(event: Event) -> None: ...


class _Asynchronous:
    async def __call__(self, event: Event) -> None: ...


def _generator(event: Event) -> Iterator[None]:
    yield


@pytest.mark.parametrize("callback", [functools.partial(_asynchronous), _Asynchronous(), _generator])
def test_no_callback_whose_body_would_never_run(engine: Engine, callback: Any) -> None:
    with pytest.raises(arrea.InvalidOption):
        engine.subscribe(callback)
