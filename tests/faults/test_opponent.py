"""What an opponent found: interrupts, signal handlers and finalizers at the worst moments, texts that aren't plain."""

import asyncio
import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest

import arrea
from arrea import Engine
from tests.faults.hosts import run_host

INTERRUPTED = """
import random
signal.signal(signal.SIGALRM, signal.default_int_handler)  # stands for Ctrl-C
engine = arrea.Engine(max_workers=4)
events = engine.subscribe()
def read():
    while True:
        try:
            events.get(0)
        except TimeoutError:
            pass
def poll():
    while True:
        try:
            batch.wait(0)
        except TimeoutError:
            pass
def walk():
    while True:
        for _ in batch:
            pass
hits = 0
for number in range({times}):
    batch = engine.submit((c for c in ["true"] * 8), policy="once")
    try:
        signal.setitimer(signal.ITIMER_REAL, random.uniform(0.0005, 0.01))
        {how}()
    except KeyboardInterrupt:
        hits += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    batch.wait("10s")
engine.close()
say(hits, engine._reactor.ended)
"""


@pytest.mark.parametrize("how", ["read", "poll", "walk"])
def test_interrupts_of_whoever_waits_stop_nobody_else(how: str, mark: str) -> None:
    ended = run_host(mark, INTERRUPTED.format(times=150, how=how), within=50)
    assert ended.out == ["150 True"]


SIGNALLED = """
import arrea._runtime.reactor as module
engine = arrea.Engine(max_workers=1)
batches = []
def handler(*_):
    {call}
signal.signal(signal.SIGALRM, handler)
real, calls = module.{place}, []
def placed(*arguments, **keywords):
    if not calls:
        calls.append(1)
        {before}os.kill(os.getpid(), signal.SIGALRM)
        result = real(*arguments, **keywords)
        {after}os.kill(os.getpid(), signal.SIGALRM)
        return result
    return real(*arguments, **keywords)
module.{place} = placed
batches.append(engine.submit([NAP]))
time.sleep(0.3)
engine.close()
def threads():
    return len(os.listdir("/proc/self/task"))
until = time.monotonic() + 1
while threads() > 1 and time.monotonic() < until:  # its thread has told that it ended, and is on its way
    time.sleep(0.001)
say(all(batch.done for batch in batches), engine._reactor.ended, threads())
"""
CALLS = ["batches.append(engine.submit([NAP] * 3))", "engine.execute('true')"]


@pytest.mark.parametrize("call", CALLS, ids=["submits", "waits"])
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("place", ["Reactor.__init__", "threading.Thread.start", "Reactor.start"])
def test_a_signal_handler_that_calls_arrea_while_its_engine_is_made(
    place: str, moment: str, call: str, mark: str
) -> None:
    marks = {
        "before": "" if moment == "before" else "pass; 0 and ",
        "after": "" if moment == "after" else "0 and ",
    }
    limit = "NAP = ['sleep', MARK]\n" if "submit" in call else "NAP = 'true'\n"
    ended = run_host(mark, limit + SIGNALLED.format(place=place, call=call, **marks))
    assert ended.out == ["True True 1"]


def test_a_finalizer_that_waits_for_the_engine_on_the_engines_own_thread(mark: str) -> None:
    script = """
sys.unraisablehook = lambda told: raised.append(type(told.exc_value).__name__)
raised = []
engine = arrea.Engine(max_workers=4)
class Label:
    def __del__(self):
        engine.execute("true")
for _ in range(50):
    engine.submit([arrea.Task("true", label=Label())])
for _ in range(20):
    engine.submit(["true"]).wait("10s")
engine.close()
say(set(raised) <= {"UsageError", "EngineStopped"}, engine._reactor.ended)
"""
    assert run_host(mark, script).out == ["True True"]


class Odd(str):
    """Text with methods of its own."""

    def __getitem__(self, place: Any) -> str:
        raise RuntimeError("odd")

    def __str__(self) -> str:
        return self


class Label:
    def __str__(self) -> str:
        return Odd("x")


@pytest.mark.parametrize(
    "element",
    [arrea.Task("exit 1", label=Label()), Odd("exit 1"), ["false", Odd("x")]],
    ids=["label", "line", "word"],
)
def test_texts_with_methods_of_their_own_are_made_plain(engine: Engine, element: Any) -> None:
    other = engine.submit(["sleep 0.2; echo important"])
    results = engine.run([element], policy="once")
    assert results[0].error is not None and results[0].error.code == "exit_status"
    assert other.wait()[0].unwrap().stdout == "important\n"


def test_an_engine_that_finds_no_room_leaves_nothing_and_says_so(mark: str) -> None:
    script = """
real = threading.Thread.start
def start(thread):
    if thread.name == "arrea-reactor":
        raise RuntimeError("can't start new thread")
    real(thread)
threading.Thread.start = start
engine = arrea.Engine()
codes = set()
before = len(os.listdir("/proc/self/fd"))
for _ in range(50):
    try:
        engine.execute("true")
    except arrea.NoRoom as error:
        codes.add(error.code)
after = len(os.listdir("/proc/self/fd"))
threading.Thread.start = real
say(codes, after - before, engine.execute("true").success)
"""
    assert run_host(mark, script).out == ["{'no_room'} 0 True"]


class Hostile:
    """Whose every method raises."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("hostile")

    def __iter__(self) -> Any:
        raise RuntimeError("hostile")

    def __repr__(self) -> str:
        raise RuntimeError("hostile")


@pytest.mark.parametrize("option", ["timeout", "policy", "shell", "cwd", "env", "stdin", "max_output_bytes"])
def test_options_whose_own_code_raises(engine: Engine, option: str) -> None:
    with pytest.raises(arrea.InvalidOption):
        engine.run(["true"], **{option: Hostile()})


def test_types_whose_own_code_raises(engine: Engine) -> None:
    hostile: Any = Hostile()
    with pytest.raises(arrea.InvalidOption):
        engine.subscribe(types=hostile)


def test_a_stream_over_a_generator_that_threads_share(engine: Engine) -> None:
    stream = engine.stream((f"echo {n}" for n in range(200)), workers=4)
    results: list[Any] = []
    threads = [threading.Thread(target=lambda: results.extend(stream)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(result.index for result in results) == list(range(200))


async def _all_of(batch: arrea.Batch) -> list[arrea.Result]:
    return [result async for result in batch]


class Waits:
    """A function for output that waits for its own batch, the first time; `told` says what came of it."""

    def __init__(self, wait: Callable[[Any], object]) -> None:
        self.wait = wait
        self.batch: object = None
        self.told: list[str] = []

    def __call__(self, event: arrea.Event) -> None:
        if not self.told:
            try:
                self.wait(self.batch)
            except arrea.UsageError as error:
                self.told.append(type(error).__name__)


TWO_LINES = ["sleep 0.1; echo a; sleep 0.1; echo b"]


@pytest.mark.parametrize(
    "wait",
    [
        lambda batch: batch.wait(),
        lambda batch: next(iter(batch)),
        lambda batch: asyncio.run(batch.wait_async()),
        lambda batch: asyncio.run(_all_of(batch)),
    ],
    ids=["wait", "iterating", "wait_async", "async for"],
)
def test_a_function_that_waits_for_the_batch_whose_output_it_gets(
    engine: Engine, wait: Callable[[Any], object]
) -> None:
    """It is told so, and the batch goes on."""
    waits = Waits(wait)
    batch = waits.batch = engine.submit(TWO_LINES, on_output=waits)
    assert batch.wait("10s").success
    assert waits.told == ["UsageError"]


def test_a_function_that_goes_on_with_the_stream_whose_output_it_gets(engine: Engine) -> None:
    waits = Waits(next)
    stream = waits.batch = engine.stream(TWO_LINES, on_output=waits)
    assert [result.success for result in stream] == [True]
    assert waits.told == ["UsageError"]


def test_handlers_of_signals_stay_as_they_were(engine: Engine) -> None:
    before = {number: signal.getsignal(number) for number in signal.valid_signals()}
    engine.run(["true"] * 3)
    assert {number: signal.getsignal(number) for number in signal.valid_signals()} == before
    assert os.getcwd()
