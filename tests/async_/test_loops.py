"""Event loops of all kinds: two at once, one after the other, closed with work in flight, forked, left at the exit."""

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import arrea
from arrea import Engine
from tests.async_.loops import RUNNERS, survivors
from tests.faults.hosts import Host, run_host
from tests.support import wait_until

on_each_loop = pytest.mark.parametrize("on_loop", RUNNERS.values(), ids=list(RUNNERS))


async def use_everything(engine: Engine) -> None:
    """Every asynchronous door, and the plain ones inside a running loop."""

    async def source() -> Any:
        for word in ("a", "b"):
            await asyncio.sleep(0)
            yield f"echo {word}"

    with engine.subscribe(types=["finished"]) as events:
        assert (await engine.execute_async("echo x")).unwrap().stdout == "x\n"
        assert [output.stdout for output in (await engine.run_async(source())).unwrap()] == ["a\n", "b\n"]
        assert [result.index async for result in engine.stream_async(["sleep 0.1", "true"], workers=2)] == [
            1,
            0,
        ]
        assert sorted([result.index async for result in engine.submit(iter(["true"] * 3))]) == [0, 1, 2]
        assert (await engine.submit(["true"]).wait_async("5s")).success
        assert engine.execute("echo plain").unwrap().stdout == "plain\n"
        assert engine.run(["true"] * 3).success
        indexes = [(await anext(events)).index for _ in range(13)]
        assert sorted(indexes) == sorted([0, 0, 1, 0, 1, 0, 1, 2, 0, 0, 0, 1, 2])


@on_each_loop
def test_all_doors_on_each_loop(on_loop: Callable[..., Any]) -> None:
    async def main() -> None:
        async with Engine(name="on each loop") as engine:
            await use_everything(engine)

    on_loop(main)
    on_loop(main)  # the name is free again, too


def test_loops_in_many_threads_at_once(engine: Engine) -> None:
    async def work(thread: int) -> None:
        for _ in range(5):
            assert (await engine.execute_async(f"echo {thread}")).unwrap().stdout == f"{thread}\n"
            batch = engine.stream_async([f"echo {thread}"] * 5)
            assert {result.unwrap().stdout async for result in batch} == {f"{thread}\n"}

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda thread: asyncio.run(work(thread)), range(6)))


def test_two_loops_wait_for_one_batch(engine: Engine) -> None:
    batch = engine.submit([f"sleep 0.0{index}" for index in range(6)], workers=3)

    async def wait() -> int:
        seen = [result async for result in batch]
        return len(seen) + len(await batch.wait_async())

    with ThreadPoolExecutor(3) as pool:
        waits = [pool.submit(lambda: asyncio.run(wait())) for _ in range(3)]
        assert [wait.result() for wait in waits] == [12, 12, 12]


def test_a_stream_ends_with_the_loop_on_which_it_began(engine: Engine, mark: str) -> None:
    stream = engine.stream_async(["true", f"trap '' TERM; sleep {mark}"], workers=2)
    first = asyncio.run(stream.__anext__())
    assert first.success
    [second] = asyncio.run(rest_of(stream))
    assert second.error is not None and second.error.code == "cancelled"


async def rest_of(stream: arrea.AsyncStream) -> list[arrea.Result]:
    return [result async for result in stream]


def test_leaving_a_submitted_batch_changes_nothing(engine: Engine) -> None:
    batch = engine.submit(["true", "sleep 0.3; echo x"], workers=2)

    async def begin() -> None:
        loop = asyncio.get_running_loop()
        left = loop.create_task(rest_of(batch))  # type: ignore[arg-type]
        async for _ in batch:
            break
        left.cancel()

    asyncio.run(begin())
    assert batch.wait()[1].unwrap().stdout == "x\n"


# ── loops that are closed with work in flight ─────────────────────────────────────────────────────

# The tasks that were pending when the loop was closed are told of by asyncio, each with its name: it is their owner's
# doing. What else there is to be told would be ours.
CLOSED = """
import asyncio, gc, logging
logging.getLogger("asyncio").setLevel(logging.ERROR)  # on a busy machine its debug mode warns of slow steps
from tests.async_.loops import survivors
from tests.support import wait_until

async def source():
    yield NAP
    yield ["sh", "-c", "trap '' TERM; sleep " + MARK]
    try:
        await asyncio.sleep(1000)
    finally:
        say_cleaned_up()

def say_cleaned_up():
    cleaned.append(1)

cleaned = []

async def collect(stream):
    return [result async for result in stream]

async def stay(stream):
    async for _ in stream:
        await asyncio.sleep(1000)

def told(loop, context):
    names.append(context["task"].get_name() if "task" in context else repr(context))

names = []
engine = arrea.Engine(kill_grace=200)
USES = {
    "execute": lambda: engine.execute_async(NAP),
    "run": lambda: engine.run_async([NAP] * 3),
    "run source": lambda: engine.run_async(source()),
    "run iterator": lambda: engine.run_async(iter([NAP] * 3)),
    "stream": lambda: collect(engine.stream_async(source())),
    "stay": lambda: stay(engine.stream_async(["true", NAP], workers=2)),
    "wait": lambda: engine.submit([NAP]).wait_async(),
    "events": lambda: collect(engine.subscribe(types=["lag"])),
}

def close_in_flight(loop, turns):
    loop.set_exception_handler(told)
    tasks = [loop.create_task(use(), name=name) for name, use in USES.items()]
    for _ in range(turns):
        loop.call_soon(loop.stop)
        loop.run_forever()
    if turns > 9:
        loop.run_until_complete(started())
    loop.close()

async def started():
    while len(engine.running()) < 13:
        await asyncio.sleep(0.01)
"""


@pytest.mark.parametrize("made_by", ["asyncio", "uvloop"])
def test_a_loop_that_is_closed_ends_what_is_in_flight(made_by: str, mark: str) -> None:
    ended = run_host(
        mark,
        CLOSED
        + f"""
import {made_by}
for turns in (1, 2, 3, 10):
    names.clear()
    close_in_flight({made_by}.new_event_loop(), turns)
    gc.collect()
    began = time.monotonic()
    say(wait_until(lambda: not engine.running() and not survivors(MARK)), time.monotonic() - began < 2)
    say(set(names) <= set(USES) or names)
say(engine.execute("echo x").unwrap().stdout.strip())
engine.close()
""",
        within=30.0,
    )
    assert ended.out == ["True True", "True"] * 4 + ["x"]


def test_an_engine_that_is_closed_while_its_loop_is(mark: str) -> None:
    ended = run_host(
        mark,
        CLOSED
        + """
loop = asyncio.new_event_loop()
loop.set_exception_handler(told)
engine = arrea.Engine(kill_grace="20s")
task = loop.create_task(engine.run_async(["trap '' TERM; sleep " + MARK]), name="run")
async def stubborn():
    while not any(line.split()[1] == "sleep" for line in survivors(MARK)):
        await asyncio.sleep(0.01)
loop.run_until_complete(stubborn())
closing = loop.create_task(engine.close_async(), name="close")
loop.run_until_complete(asyncio.sleep(0.1))
loop.close()
say(wait_until(lambda: not survivors(MARK), 2.0))
del task, closing
gc.collect()
say(sorted(names))
""",
    )
    assert ended.out == ["True", "['close', 'run']"]


def test_a_loop_ends_while_tasks_hold_batches(mark: str) -> None:
    ended = run_host(
        mark,
        CLOSED
        + """
async def main():
    tasks = [asyncio.create_task(use(), name=name) for name, use in USES.items()]
    await started()
    return tasks
for _ in range(3):
    tasks = asyncio.run(main())
    say(all(task.cancelled() for task in tasks), cleaned)
    cleaned.clear()
    # All but one were waited for. That one is a stream that was left in the middle of its loop: it was only told.
    say(len(engine.running()) <= 1, wait_until(lambda: not engine.running() and not survivors(MARK)))
engine.close()
""",
    )
    assert ended.out == ["True [1, 1]", "True True"] * 3


def test_an_interrupt_ends_the_work_and_a_second_one_kills(mark: str) -> None:
    script = """
import asyncio
engine = arrea.Engine(kill_grace="20s")
async def main():
    task = asyncio.create_task(engine.run_async(["trap '' TERM; echo; sleep " + MARK], on_output=lambda _: say("runs")))
    try:
        await task
    finally:
        say("ended", task.cancelled())
try:
    asyncio.run(main())
except KeyboardInterrupt:
    say("interrupted", engine.running())
engine.close()
"""
    with Host(mark, script) as host:
        assert host.line() == "runs"
        host.signal(signal.SIGINT)
        time.sleep(0.3)
        assert [line for line in survivors(mark) if "sleep" in line.split()[1]], "it was killed at once"
        host.signal(signal.SIGINT)
        ended = host.end(3.0)
    assert (ended.code, ended.err, ended.out) == (0, "", ["ended True", "interrupted []"]), ended


# ── the end of the program, and forks ─────────────────────────────────────────────────────────────


@pytest.mark.parametrize("daemon", [True, False], ids=["in a thread", "in the main thread"])
def test_a_program_that_ends_with_work_in_flight(daemon: bool, mark: str) -> None:
    # Not in development mode: that the loop is never closed is the program's own fault, of which it would be told.
    run = "threading.Thread(target=loop.run_forever, daemon=True).start()" if daemon else "pass"
    ended = run_host(
        mark,
        CLOSED
        + f"""
loop = asyncio.new_event_loop()
loop.set_exception_handler(told)
tasks = [loop.create_task(use(), name=name) for name, use in USES.items()]
loop.run_until_complete(started())
{run}
say(len(engine.running()))
""",
        dev=False,
    )
    assert ended.out == ["13"] and ended.took < 5.0
    assert wait_until(lambda: not survivors(mark))


def test_a_fork_inside_a_loops_process(mark: str) -> None:
    ended = run_host(
        mark,
        """
import asyncio, logging, warnings
logging.getLogger("asyncio").setLevel(logging.ERROR)
warnings.simplefilter("ignore", DeprecationWarning)
engine = arrea.Engine(kill_grace=300)
def refusal(use):
    async def main():
        await use()
    try:
        asyncio.run(main())
    except arrea.EngineStopped as error:
        return error.code
async def child(begun, fresh, batch, events):
    say((await arrea.execute_async("echo child")).unwrap().stdout.strip())
    async with arrea.Engine() as own:
        say((await own.run_async(["true"] * 3)).success)
async def main():
    begun, fresh = engine.stream_async(["true", NAP], workers=2), engine.stream_async([NAP])
    await anext(begun)
    batch = engine.submit([NAP])
    events = engine.subscribe()
    waiting = asyncio.create_task(engine.run_async(["sleep 0.5; echo waited"]))
    await asyncio.sleep(0.1)
    pid = os.fork()
    if pid == 0:
        try:
            asyncio.run(child(begun, fresh, batch, events))
            say(*map(refusal, (begun.__anext__, fresh.__anext__, batch.wait_async, events.__anext__)))
            say(refusal(lambda: engine.execute_async("true")))
            for close in (begun.aclose, fresh.aclose, engine.close_async):
                asyncio.run(close())
        finally:
            sys.stdout.flush()
            os._exit(7)
    say(os.waitstatus_to_exitcode((await asyncio.to_thread(os.waitpid, pid, 0))[1]))
    say((await waiting).data[0].stdout.strip(), batch.done)
    await begun.aclose()
    batch.cancel()
    say((await batch.wait_async())[0].error.code)
    await engine.close_async()
asyncio.run(main())
""",
    )
    refusals = " ".join(["engine_stopped"] * 4)
    assert ended.out == ["child", "True", refusals, "engine_stopped", "7", "waited False", "cancelled"]


def test_a_thread_that_awaits_while_another_forks(mark: str) -> None:
    ended = run_host(
        mark,
        """
import asyncio, logging, warnings
logging.getLogger("asyncio").setLevel(logging.ERROR)
warnings.simplefilter("ignore", DeprecationWarning)
asyncio.run(arrea.execute_async("true"))  # what is just being imported is to a fork, isn't ours to mend
over = threading.Event()
async def work():
    while not over.is_set():
        await arrea.run_async(["echo x"] * 5, policy="once")
threads = [threading.Thread(target=lambda: asyncio.run(work())) for _ in range(3)]
for thread in threads:
    thread.start()
codes = set()
for _ in range(15):
    pid = os.fork()
    if pid == 0:
        os._exit(0 if asyncio.run(arrea.execute_async("echo y", timeout=5000)).data.stdout == "y\\n" else 9)
    codes.add(os.waitpid(pid, 0)[1])
over.set()
for thread in threads:
    thread.join()
say(codes)
""",
    )
    assert ended.out == ["{0}"]


def test_a_host_in_development_mode_hears_nothing(mark: str) -> None:
    """`python -X dev -W error`: asyncio's debug mode, and every warning an error."""
    ended = run_host(
        mark,
        """
import asyncio, gc
def unraisable(hook):
    say("unraisable", hook.exc_value, hook.object)
sys.unraisablehook = unraisable
async def source():
    for number in range(20):
        await asyncio.sleep(0.001)
        yield f"echo {number}"
async def main():
    asyncio.get_running_loop().slow_callback_duration = 10.0
    async with arrea.Engine(kill_grace=200) as engine:
        with engine.subscribe() as events:
            say((await engine.run_async(source())).success)
            async for result in engine.stream_async(source()):
                break
            async with engine.stream_async(source()) as results:
                await anext(results)
            task = asyncio.create_task(engine.run_async([NAP]))
            await asyncio.sleep(0.1)
            task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                say("cancelled")
            async for event in events:
                break
for _ in range(3):
    asyncio.run(main())
    gc.collect()
""",
    )
    assert ended.out == ["True", "cancelled"] * 3


def test_nobody_imports_asyncio_who_does_not_need_it() -> None:
    script = """
import arrea, sys
arrea.run(["true"])
print("asyncio" in sys.modules, "arrea._app.loops" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"
