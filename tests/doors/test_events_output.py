"""`on_output`: all that commands print, as it comes, whole and in order, before their results; and what it may do."""

import asyncio
import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import arrea
from arrea import Engine, Event
from tests.observe.threads import threads_end
from tests.support import wait_until

MIB = 2**20


@pytest.fixture
def engine() -> Iterator[Engine]:
    with threads_end(), Engine(kill_grace=300) as engine:
        yield engine


class Shown:
    """A function for `on_output`: keeps what it is shown, of each command and stream."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.threads: set[str] = set()

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        self.threads.add(threading.current_thread().name)

    def of(self, index: int, stream: str = "stdout", attempt: int | None = None) -> bytes:
        return b"".join(
            event.chunk
            for event in self.events
            if (event.index, event.stream) == (index, stream) and attempt in (None, event.attempt)
        )


# ── whole, and in order ───────────────────────────────────────────────────────────────────────────


def test_what_each_command_prints(engine: Engine) -> None:
    shown = Shown()
    results = engine.run([f"echo out {n}; echo err {n} >&2" for n in range(20)], on_output=shown, workers=4)
    for index, result in enumerate(results):
        assert shown.of(index) == result.unwrap().stdout_bytes == b"out %d\n" % index
        assert shown.of(index, "stderr") == b"err %d\n" % index
    assert shown.threads == {"arrea-output"}
    event = shown.events[0]
    assert (event.type, event.batch_id, event.attempt, event.sequence) == ("output", results.batch_id, 1, 0)
    assert event.worker_id == f"{results.batch_id}:{event.index}"
    assert event.at.tzinfo is not None


def test_a_hundred_million_bytes_are_shown_whole(engine: Engine) -> None:
    size, seen, digest = 100_000_000, 0, hashlib.sha256()

    def take(event: Event) -> None:
        nonlocal seen
        seen += len(event.chunk)
        digest.update(event.chunk)

    line = f"yes 'a line of text' | head -c {size}"
    result = engine.run([line], on_output=take, max_output_bytes=1000, timeout=None)[0].unwrap()
    assert (seen, result.stdout_total_bytes) == (size, size)
    text = b"a line of text\n"
    assert digest.digest() == hashlib.sha256((text * (size // len(text) + 1))[:size]).digest()


def test_byte_by_byte(engine: Engine) -> None:
    shown = Shown()
    engine.run(["for i in 0 1 2 3 4 5 6 7 8 9; do printf $i; sleep 0.01; done"], on_output=shown)
    assert shown.of(0) == b"0123456789"
    assert len(shown.events) > 1


@pytest.mark.parametrize(
    "line",
    [
        r"printf '\377\376\000\303\n\200'",
        "head -c 300000 /dev/urandom",
        f"head -c {10 * MIB} /dev/zero | tr '\\0' x",
        "printf ''",
        "printf 'no newline at the end'",
    ],
    ids=["no UTF-8", "noise", "a line of ten mebibytes", "nothing", "no newline"],
)
def test_any_bytes(engine: Engine, line: str) -> None:
    shown = Shown()
    data = engine.run([line], on_output=shown, max_output_bytes=None)[0].unwrap()
    assert shown.of(0) == data.stdout_bytes
    assert all(event.chunk for event in shown.events)


def test_what_comes_after_the_exit_is_shown_too(engine: Engine) -> None:
    shown = Shown()
    result = engine.run(["(sleep 0.05; echo late) & echo early"], on_output=shown)[0]
    assert shown.of(0) == result.unwrap().stdout_bytes == b"early\nlate\n"


def test_each_attempt_by_its_number(engine: Engine) -> None:
    shown = Shown()
    policy = {"on_error": "retry", "max_retries": 2, "retry_delay": 0}
    engine.run(["echo $ARREA_ATTEMPT; test $ARREA_ATTEMPT = 3"], on_output=shown, policy=policy)
    assert [shown.of(0, attempt=number) for number in (1, 2, 3)] == [b"1\n", b"2\n", b"3\n"]


def test_what_goes_to_our_own_output_is_not_shown(engine: Engine) -> None:
    shown = Shown()
    assert engine.run(["true >&2"], on_output=shown, inherit_output=True).success
    assert shown.events == []


def test_it_is_an_option_of_batches_only(engine: Engine) -> None:
    options: dict[str, Any] = {"on_output": print}
    with pytest.raises(arrea.InvalidOption, match="on_output"):
        engine.execute("true", **options)
    for wrong in (5, "print", _asynchronous):
        with pytest.raises(arrea.InvalidOption, match="on_output must be a"):
            engine.run(["true"], on_output=wrong)  # type: ignore[arg-type]


async def _asynchronous(event: Event) -> None: ...


# ── before the results ────────────────────────────────────────────────────────────────────────────


def test_whoever_has_a_result_was_shown_its_output_before(engine: Engine) -> None:
    shown = Shown()

    def slowly(event: Event) -> None:
        time.sleep(0.002)
        shown(event)

    for result in engine.stream([f"echo {n}" for n in range(50)], on_output=slowly, workers=4):
        assert shown.of(result.index) == result.unwrap().stdout_bytes
    batch = engine.submit([f"echo {n}" for n in range(20)], on_output=slowly)
    for result in batch:
        assert result.unwrap().stdout_bytes in [event.chunk for event in shown.events]


def test_coroutines_have_it_too(engine: Engine) -> None:
    shown = Shown()

    async def main() -> None:
        async for result in engine.stream_async([f"echo {n}" for n in range(20)], on_output=shown):
            assert shown.of(result.index) == result.unwrap().stdout_bytes
        results = await engine.run_async(["echo 20"], on_output=shown)
        assert results.success and shown.events[-1].chunk == b"20\n"

    asyncio.run(main())


def test_from_an_iterator(engine: Engine) -> None:
    shown = Shown()
    commands = (f"echo {number}" for number in range(1200))
    results = engine.run(commands, on_output=shown, policy="once")
    assert results.stats.succeeded == 1200
    assert {event.index: event.chunk for event in shown.events} == {n: b"%d\n" % n for n in range(1200)}


def test_events_of_the_same_output_say_the_same(engine: Engine) -> None:
    shown = Shown()
    with engine.subscribe(types=["output", "batch_finished"]) as events:
        engine.run(["echo a; echo b >&2"], on_output=shown)
        told = [(event.stream, event.chunk) for event in events_to_end(events)]
    assert sorted(told) == sorted((event.stream, event.chunk) for event in shown.events)


def events_to_end(subscription: arrea.Subscription) -> Iterator[Event]:
    while (event := subscription.get("5s")) is not None and event.type != "batch_finished":
        yield event


# ── slow, broken, stuck ───────────────────────────────────────────────────────────────────────────


def test_a_slow_one_holds_commands_back_and_loses_nothing(engine: Engine) -> None:
    """16 MiB of ten commands at once: hardly more than a mebibyte waits, and the pipes of the commands are full."""
    most = seen = 0

    def slowly(event: Event) -> None:
        nonlocal most, seen
        time.sleep(0.001)
        seen += len(event.chunk)
        (outflow,) = engine._reactor._children.outflows.values() or [None]  # type: ignore[union-attr]
        most = max(most, outflow._waiting_bytes)

    size = 16 * MIB // 10
    batch = engine.submit([f"head -c {size} /dev/zero"] * 10 + ["sleep 60"], on_output=slowly, workers=11)
    assert wait_until(lambda: seen == 10 * size, timeout=20)
    batch.cancel()
    assert sum(result.success for result in batch.wait()) == 10
    assert most < 8 * MIB


def test_short_commands_wait_for_a_slow_one_too(engine: Engine) -> None:
    shown = Shown()

    def slowly(event: Event) -> None:
        time.sleep(0.01)
        shown(event)

    results = engine.run(["head -c 60000 /dev/zero"] * 100, on_output=slowly, workers=10, policy="once")
    assert results.success
    assert all(len(shown.of(index)) == 60_000 for index in range(100))


@pytest.mark.parametrize("error", [ValueError(), SystemExit(3), KeyboardInterrupt()])
def test_one_that_raises_is_reported_once_and_the_batch_goes_on(
    engine: Engine, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    calls = []

    def broken(event: Event) -> None:
        calls.append(event)
        raise error

    results = engine.run(["head -c 3000000 /dev/zero", "echo a", "echo b"], on_output=broken)
    assert results.success
    assert [data.stdout_total_bytes for data in results.unwrap()] == [3_000_000, 2, 2]
    assert len(calls) == 1
    (record,) = caplog.records
    assert record.getMessage().startswith("on_output <function ")
    assert record.getMessage().endswith(f"raised {type(error).__name__} and is not called again")


class Stuck:
    """A function that doesn't come back before it may."""

    def __init__(self) -> None:
        self.entered, self.gate = threading.Event(), threading.Event()
        self.calls = 0

    def __call__(self, event: Event) -> None:
        self.calls += 1
        self.entered.set()
        self.gate.wait(30)


@pytest.fixture
def stuck(engine: Engine) -> Iterator[Stuck]:
    function = Stuck()
    yield function
    function.gate.set()


MUCH = "head -c 3000000 /dev/zero"
ENDS: dict[str, tuple[dict[str, Any], Callable[[arrea.Batch], object], str]] = {
    "cancel": ({}, lambda batch: batch.cancel(), "cancelled"),
    "kill": ({}, lambda batch: batch.kill(), "cancelled"),
    "timeout": ({"timeout": 200}, bool, "timeout"),
    "deadline": ({"deadline": 200}, bool, "deadline"),
}


@pytest.mark.parametrize(("options", "end", "code"), ENDS.values(), ids=list(ENDS))
def test_a_stuck_one_keeps_nobody_else_from_anything(
    engine: Engine, stuck: Stuck, options: dict[str, Any], end: Callable[[arrea.Batch], object], code: str
) -> None:
    with engine.subscribe() as events:
        batch = engine.submit([MUCH, MUCH], on_output=stuck, policy="once", **options)
        assert stuck.entered.wait(5)
        assert engine.run(["echo a"] * 5, on_output=lambda event: None).success
        assert engine.execute(MUCH).success
        end(batch)
        assert wait_until(lambda: not engine.running(), timeout=3)
        stuck.gate.set()
        results = batch.wait("5s")
        events.unsubscribe()
        of_batch = [event.type for event in events if event.batch_id == batch.id]
    assert [result.error.code for result in results if result.error is not None] == [code] * 2
    assert of_batch[-1] == "batch_finished"


@pytest.mark.slow
def test_commands_that_exited_are_let_go_when_it_is_stuck(engine: Engine, stuck: Stuck) -> None:
    """After five seconds their slots are free again."""
    later = "sleep 0.3; head -c 60000 /dev/zero"  # when more waits than may
    batch = engine.submit([MUCH, *[later] * 5], on_output=stuck, workers=6, timeout=None)
    assert stuck.entered.wait(5)
    assert wait_until(lambda: engine.stats().active_workers == 6)
    began = time.monotonic()
    assert wait_until(lambda: engine.stats().active_workers == 1, timeout=10)
    assert 3 < time.monotonic() - began < 8
    stuck.gate.set()
    results = batch.wait("10s")
    assert [data.stdout_total_bytes for data in results.unwrap()] == [3_000_000, *[60_000] * 5]


# ── what it calls ─────────────────────────────────────────────────────────────────────────────────


def test_it_may_run_commands_and_look(engine: Engine) -> None:
    told: list[Any] = []

    def react(event: Event) -> None:
        told.append(engine.execute("echo reaction").unwrap().stdout)
        told.append(engine.stats().total_workers > 0)
        with engine.subscribe() as subscription:
            told.append(subscription.active)

    assert engine.run(["echo a"], on_output=react).success
    assert told == ["reaction\n", True, True]


def test_it_may_cancel_its_own_batch(engine: Engine) -> None:
    batches: list[arrea.Batch] = []
    ready = threading.Event()

    def end_it(event: Event) -> None:
        ready.wait(5)
        batches[0].cancel()

    batches.append(engine.submit(["echo a; sleep 60", "sleep 60"], on_output=end_it, policy="once"))
    ready.set()
    assert batches[0].wait("10s").stopped_by == "cancelled"


def test_leaving_a_stream_early_ends_its_thread(engine: Engine) -> None:
    shown = Shown()
    for result in engine.stream(["echo a", "sleep 60"], on_output=shown, policy="once"):
        assert result.success
        break
    assert shown.of(0) == b"a\n"
