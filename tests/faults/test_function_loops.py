"""Async functions that do to their event loop what they mustn't: others go on beside them, and nothing is left."""

import asyncio
import contextlib
import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
import uvloop

import arrea
from arrea import Engine, Result, Task
from arrea._runtime import coroutines
from tests.faults.conftest import GRACE_MS
from tests.support import process_stat, wait_until

pytestmark = pytest.mark.timeout(20)

WITHIN_S = 5.0
uvloop.new_event_loop().close()  # the first one opens a pipe for all


@pytest.fixture
def engine() -> Iterator[Engine]:
    with Engine(kill_grace=GRACE_MS, max_processes=2, default_policy="once") as engine:
        yield engine
        began = time.monotonic()
    assert time.monotonic() - began < 2.0
    assert wait_until(lambda: not loop_threads(), 2.0), loop_threads()


def loop_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("arrea-loop")]


def lives(pid: int) -> bool:
    stat = process_stat(pid)
    return stat is not None and stat[1] not in "ZX"


async def naps() -> str:
    await asyncio.sleep(0.2)
    return "fine"


def run_among_others(engine: Engine, function: Callable[[], Any]) -> Result:
    """Two run beside it, and two afterwards."""
    began = time.monotonic()
    before, result, behind = engine.run([naps, function, naps], workers=3)
    assert (before.data, behind.data) == ("fine", "fine")
    assert engine.run([naps, naps], workers=2).unwrap() == ["fine", "fine"]
    assert time.monotonic() - began < WITHIN_S
    return result


async def raises(error: BaseException) -> None:
    raise error


async def by_create_task(error: BaseException) -> None:
    await asyncio.create_task(raises(error))


async def by_gather(error: BaseException) -> None:
    await asyncio.gather(asyncio.sleep(0.01), raises(error))


async def by_task_group(error: BaseException) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(raises(error))


# ── the engine's own loop ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("way", [by_create_task, by_gather, by_task_group])
def test_a_task_of_an_async_function_exits(
    way: Callable[[BaseException], Coroutine[Any, Any, None]], error: BaseException, engine: Engine
) -> None:
    failure: Any = run_among_others(engine, done_by(way, error)).error
    assert failure.code == "exception" and type(failure.exception) is type(error)


def done_by(
    way: Callable[[BaseException], Coroutine[Any, Any, None]], error: BaseException
) -> Callable[[], Coroutine[Any, Any, None]]:
    async def runs() -> None:
        await way(type(error)(*error.args))

    return runs


def test_an_async_function_stops_its_loop_again_and_again(engine: Engine) -> None:
    async def stops() -> str:
        for _ in range(5):
            asyncio.get_running_loop().stop()
            await asyncio.sleep(0.01)
        return "went on"

    assert run_among_others(engine, stops).data == "went on"


async def stops_in_the_end() -> None:
    try:
        await asyncio.sleep(60)
    finally:
        asyncio.get_running_loop().stop()
        sys.exit(3)


def test_an_engine_is_closed_whose_loop_was_stopped_and_left(engine: Engine) -> None:
    """All of it goes: the loop, the worker processes; also if a task stops the loop while it is being ended."""

    async def leaves() -> None:
        leaves.task = asyncio.create_task(stops_in_the_end())  # type: ignore[attr-defined]
        await by_create_task(SystemExit(3))

    worker = engine.execute(os.getpid).unwrap()
    assert not engine.execute(leaves)
    began = time.monotonic()
    engine.close()
    assert time.monotonic() - began < 2.0
    assert wait_until(lambda: not lives(worker) and not loop_threads(), 2.0)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_loop_that_is_closed_by_what_runs_on_it_is_replaced(engine: Engine) -> None:
    async def closes() -> str:
        loop: Any = asyncio.get_running_loop()
        loop._thread_id = None  # as between two runs of it
        loop.close()
        return "closed it"

    closed, other = engine.run([closes, naps], workers=2)
    assert closed.data == "closed it"
    assert other.error is not None and "its event loop was closed" in str(other.error)
    assert engine.run([naps, naps], workers=2).unwrap() == ["fine", "fine"]


def test_uvloop_as_the_loop_of_the_engine(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asyncio, "new_event_loop", uvloop.new_event_loop)
    failure: Any = run_among_others(engine, done_by(by_create_task, SystemExit(3))).error
    assert failure.type_name == "SystemExit"


def test_closing_goes_on_whatever_a_step_raises(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    stop = coroutines.OwnLoop.stop

    def fails(own: coroutines.OwnLoop) -> None:
        stop(own)
        raise ValueError("a fault of our own")

    monkeypatch.setattr(coroutines.OwnLoop, "stop", fails)
    monkeypatch.setattr(threading, "excepthook", told.append)
    worker, _ = engine.run([os.getpid, naps], workers=2).unwrap()
    began, before = time.monotonic(), len(os.listdir("/proc/self/fd"))
    engine.close()
    assert time.monotonic() - began < 2.0
    assert wait_until(lambda: not lives(worker), 2.0)
    assert len(os.listdir("/proc/self/fd")) < before
    assert [str(one.exc_value) for one in told] == ["a fault of our own"]


# ── no room for a loop ────────────────────────────────────────────────────────────────────────────


def fails_at_first(times: int, error: Exception, function: Callable[..., Any]) -> Callable[..., Any]:
    left = [error] * times

    def call(*arguments: Any) -> Any:
        if left:
            raise left.pop()
        return function(*arguments)

    return call


def test_no_descriptor_for_a_loop(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    full = OSError(errno.EMFILE, "Too many open files")
    monkeypatch.setattr(asyncio, "new_event_loop", fails_at_first(2, full, asyncio.new_event_loop))
    assert engine.execute(naps).data == "fine"


def test_no_thread_for_a_loop(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    start = threading.Thread.start

    def refuses(thread: threading.Thread) -> None:
        if thread.name == "arrea-loop":
            raise RuntimeError("can't start new thread")
        start(thread)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuses)
        alone, command = engine.run([naps, "true"], workers=1)
    assert alone.error is not None and alone.error.code == "spawn_failed"
    assert command.success
    assert engine.execute(naps).data == "fine"


FULL = """
import os, resource, arrea
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
async def co(): return 1
with arrea.Engine(default_policy="once") as engine:
    assert engine.execute("true").success
    held = []
    try:
        while True: held.append(os.open("/dev/null", 0))
    except OSError: pass
    os.close(held.pop())
    print(engine.execute(co).error.code)
    for one in held: os.close(one)
    print(engine.execute(co).data)
"""


def test_no_descriptor_at_all() -> None:
    """Not even to import what runs async functions."""
    done = subprocess.run([sys.executable, "-c", FULL], capture_output=True, text=True, timeout=15)
    assert (done.stdout, done.stderr) == ("spawn_failed\n1\n", "")


# ── the caller's loop ─────────────────────────────────────────────────────────────────────────────


async def sleeps() -> None:
    await asyncio.sleep(60)


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_loop_of_the_caller_is_closed_in_the_middle(
    new_loop: Callable[[], asyncio.AbstractEventLoop], engine: Engine
) -> None:
    loop = new_loop()
    running = loop.create_task(engine.run_async([sleeps] * 20, workers=10))
    running._log_destroy_pending = False  # type: ignore[attr-defined]
    loop.run_until_complete(asyncio.sleep(0.2))
    loop.close()
    del running
    assert engine.execute(naps).data == "fine"
    began = time.monotonic()
    engine.close()
    assert time.monotonic() - began < 2.0


def test_the_loop_of_the_caller_stops_in_the_middle_and_never_goes_on(engine: Engine) -> None:
    loop = asyncio.new_event_loop()
    running = loop.create_task(engine.run_async([naps] * 20, workers=10))
    loop.run_until_complete(asyncio.sleep(0.1))
    began = time.monotonic()
    engine.close()
    assert time.monotonic() - began < 2.0
    with contextlib.suppress(arrea.ArreaError, asyncio.CancelledError):
        loop.run_until_complete(running)
    loop.close()


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_who_awaits_a_hundred_is_cancelled(
    new_loop: Callable[[], asyncio.AbstractEventLoop], engine: Engine
) -> None:
    ended: list[str] = []

    async def tidies_up() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("one")

    async def cancels() -> None:
        running = asyncio.create_task(engine.run_async([tidies_up] * 100, workers=100))
        await asyncio.sleep(0.3)
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        assert ended == ["one"] * 100

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(asyncio.wait_for(cancels(), WITHIN_S))


# ── what doesn't want to end ──────────────────────────────────────────────────────────────────────


async def swallows_cancellation() -> None:
    while True:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0.05)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_coroutine_that_swallows_cancellation_is_given_up(engine: Engine) -> None:
    began = time.monotonic()
    result: Any = engine.execute(Task(swallows_cancellation, timeout=200))
    assert (result.error.code, result.error.abandoned) == ("timeout", True)
    assert engine.execute(naps).data == "fine"
    assert time.monotonic() - began < WITHIN_S


ENDS = {
    "close": "engine.close()",
    "with timeouts": "engine.run([swallows] * 5, workers=5, timeout=100); engine.close()",
    "exit": "",
    "sys.exit": "sys.exit(0)",
}
SWALLOWS = """
import asyncio, gc, sys, time, arrea
async def swallows():
    while True:
        try:
            await asyncio.sleep(0.05)
        except BaseException:
            pass
engine = arrea.Engine(kill_grace=200)
batch = engine.submit([swallows] * 5 + ["true"], workers=6)
time.sleep(0.3)
{0}
del batch, engine
gc.collect()
"""
SWALLOWS_IN_TASKS = SWALLOWS.replace("[swallows] * 5", "[among_tasks] * 5").replace(
    "engine =",
    """async def among_tasks():
    await asyncio.gather(*(asyncio.create_task(swallows()) for _ in range(3)))
engine =""",
    1,
)


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("script", [SWALLOWS, SWALLOWS_IN_TASKS], ids=["themselves", "in tasks"])
def test_coroutines_that_swallow_everything(script: str, how: str) -> None:
    """What is dropped without a loop would spin for ever."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", script.format(ENDS[how])], capture_output=True, text=True, timeout=15
    )
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - began < WITHIN_S
