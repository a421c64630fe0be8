"""Functions that are killed, cancelled and left: dead in time, nothing twice, and nobody else held up."""

import asyncio
import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import arrea
from arrea import Engine, Policy, Result, Task
from tests.faults.conftest import GRACE_MS
from tests.faults.test_functions import (
    check_pool,
    code_of,
    engine,
    failure,
    lives,
    no_core_files,
    noted,
    noting,
)
from tests.support import marked_survivors, wait_until

__all__ = ["engine", "no_core_files"]

pytestmark = pytest.mark.timeout(30)

GRACE_S = GRACE_MS / 1000
SLACK_S = 0.5  # of a busy machine, above the 0.1 s that are promised


def warm(engine: Engine) -> None:
    """All three processes are there."""
    engine.run([lambda: time.sleep(0.02)] * 9, workers=3).unwrap()


# ── how long a timeout takes ──────────────────────────────────────────────────────────────────────


def spin() -> Callable[[], None]:
    def spins() -> None:
        while True:
            pass

    return spins


OBEDIENT: dict[str, Callable[[], Any]] = {
    "sleeps": lambda: time.sleep(60),
    "spins": spin(),
    "waits for a child": lambda: subprocess.run(["sleep", "60"]),
    "works in C": lambda: sum(range(10**12)),
}


@pytest.mark.parametrize("how", OBEDIENT)
def test_a_timeout_of_one_second_is_reported_and_the_function_is_dead(
    how: str, engine: Engine, tmp_path: Path
) -> None:
    note, stay = noting(tmp_path / "log"), OBEDIENT[how]

    def stays() -> None:
        note(os.getpid())
        stay()

    warm(engine)
    began = time.monotonic()
    result = engine.execute(stays, timeout=1000)
    took = time.monotonic() - began
    [pid] = noted(tmp_path / "log")
    assert not lives(int(pid))
    error = failure(result, "timeout")
    assert (error.timeout_ms, error.abandoned, result.attempts) == (1000, False, 1)
    assert 1.0 <= took < 1.1 + SLACK_S
    assert 1000 <= result.duration_ms < 1600
    began = time.monotonic()
    assert engine.execute(lambda: "next").unwrap() == "next"
    assert time.monotonic() - began < SLACK_S


def test_a_timeout_of_one_that_ignores_sigterm_takes_the_grace_as_well(engine: Engine) -> None:
    def ignores() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(60)

    warm(engine)
    began = time.monotonic()
    failure(engine.execute(ignores, timeout="1s"), "timeout")
    assert 1.0 + GRACE_S <= time.monotonic() - began < 1.1 + GRACE_S + SLACK_S
    check_pool(engine)


def test_a_function_may_clean_up_at_sigterm(engine: Engine, tmp_path: Path) -> None:
    note = noting(tmp_path / "log")

    def cleans_up() -> None:
        def leave(*_: object) -> None:
            raise SystemExit(0)

        signal.signal(signal.SIGTERM, leave)
        try:
            time.sleep(60)
        finally:
            note("cleaned up")

    warm(engine)
    failure(engine.execute(cleans_up, timeout=300), "timeout")
    assert noted(tmp_path / "log") == ["cleaned up"]


def test_the_time_that_a_call_waits_for_its_turn_is_not_its_own(tmp_path: Path) -> None:
    with Engine(max_processes=1, default_policy="once") as engine:
        engine.execute(lambda: 1)
        tasks = [Task(time.sleep, 0.05, timeout=400) for _ in range(20)]
        assert engine.run(tasks, workers=1).success
        slow = Task(time.sleep, 0.8, timeout=5000)
        quick = [Task(lambda: "quick", timeout=400) for _ in range(40)]
        assert engine.run([slow, *quick], workers=1).success
        assert all(result.success for result in engine.stream(iter([slow, *quick]), workers=2))


def test_many_timeouts_at_once(mark: str) -> None:
    def starts() -> None:
        subprocess.Popen(["sleep", mark])
        time.sleep(60)

    with Engine(max_processes=8, kill_grace=GRACE_MS, default_policy="once") as engine:
        engine.run([lambda: time.sleep(0.05)] * 16, workers=8)
        began = time.monotonic()
        results = engine.run([Task(starts)] * 24, workers=8, timeout=500)
        took = time.monotonic() - began
        assert marked_survivors(mark) == []
        assert [code_of(result) for result in results] == ["timeout"] * 24
        assert 1.5 <= took < 1.5 + 3.0


def test_one_result_each_when_functions_end_in_the_moment_of_their_timeout(
    engine: Engine, tmp_path: Path
) -> None:
    note = noting(tmp_path / "log")

    def naps(number: int) -> int:
        note(number)
        time.sleep(0.05)
        return number

    tasks = [Task(naps, number, timeout=45 + number % 40 / 4) for number in range(60)]
    results = engine.run(tasks, workers=3)
    assert {code_of(result) for result in results} <= {"success", "timeout"}
    assert all(result.data == result.index for result in results if result)
    assert all(result.attempts == 1 for result in results)
    assert set(Counter(noted(tmp_path / "log")).values()) == {1}
    check_pool(engine)


def test_timeouts_in_the_middle_of_big_values(engine: Engine) -> None:
    """Half an answer is no answer, and the other half is nobody else's."""
    tasks = [Task(lambda: b"x" * (16 << 20), timeout=5 + 5 * number) for number in range(16)]
    results = engine.run(tasks, workers=3)
    assert {code_of(result) for result in results} <= {"success", "timeout"}
    assert all(result.data == b"x" * (16 << 20) for result in results if result)
    check_pool(engine)


def test_timeouts_in_the_middle_of_big_arguments(engine: Engine) -> None:
    load = b"x" * (16 << 20)
    tasks = [Task(len, load, timeout=5 + 5 * number) for number in range(8)]
    results = engine.run(tasks, workers=3)
    assert {code_of(result) for result in results} <= {"success", "timeout"}
    assert all(result.data == len(load) for result in results if result)
    check_pool(engine)


# ── retries ───────────────────────────────────────────────────────────────────────────────────────


def test_a_retry_after_a_timeout(engine: Engine, tmp_path: Path) -> None:
    note, log = noting(tmp_path / "log"), str(tmp_path / "log")

    def slow_at_first() -> list[str]:
        note(os.getpid())
        with open(log) as lines:
            calls = lines.read().split()
        if len(calls) < 3:
            time.sleep(60)
        return calls

    warm(engine)
    policy = Policy(on_timeout="retry", max_retries=5, retry_delay=0)
    result = engine.execute(slow_at_first, timeout=300, policy=policy)
    assert (result.success, result.attempts) == (True, 3)
    first, second, third = map(int, result.data)
    assert len({first, second, third}) == 3 and not lives(first) and not lives(second)
    never = engine.execute(time_out, timeout=200, policy=Policy(max_retries=2, retry_delay=0))
    assert failure(never, "timeout") and never.attempts == 3
    once = engine.execute(time_out, timeout=200, policy=Policy(on_timeout="continue", retry_delay=0))
    assert failure(once, "timeout") and once.attempts == 1


time_out = lambda: time.sleep(60)  # noqa: E731 - it goes by value


def test_retry_on_chooses_between_timeouts_crashes_and_exceptions(engine: Engine) -> None:
    warm(engine)
    ends = {
        "timeout": Task(lambda: time.sleep(60), timeout=200),
        "worker_crashed": Task(lambda: os._exit(3)),
        "exception": Task(lambda: 1 / 0),
    }
    for code in ends:
        policy = Policy(max_retries=1, retry_delay=0, retry_on=code)
        results = engine.run(list(ends.values()), policy=policy, workers=3)
        assert [code_of(result) for result in results] == list(ends)
        assert [result.attempts for result in results] == [2 if end == code else 1 for end in ends]


# ── exactly once ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("seed", "workers", "retries"), [(1, 2, 0), (2, 3, 1), (3, 4, 0), (4, 2, 1)])
def test_each_attempt_runs_once_however_the_others_end(
    seed: int, workers: int, retries: int, tmp_path: Path
) -> None:
    """Each call notes itself before anything else: a call that was queued behind a killed one runs once, elsewhere."""
    chance = random.Random(seed)
    ends = chance.choices(["quick", "short", "crash", "late", "raise"], [75, 12, 7, 3, 3], k=300)
    note = noting(tmp_path / "log")

    def work(index: int, end: str) -> int:
        note(index)
        if end == "short":
            time.sleep(0.005)
        elif end == "crash":
            os._exit(index % 200)
        elif end == "late":
            time.sleep(60)
        elif end == "raise":
            raise ValueError(index)
        return index

    policy = Policy(max_retries=retries, retry_delay=0)
    with Engine(max_processes=workers, kill_grace=GRACE_MS, max_commands_per_batch=None) as engine:
        engine.run([lambda: time.sleep(0.02)] * 8, workers=workers)
        tasks = [
            Task(work, index, end, timeout=250 if end == "late" else 20_000) for index, end in enumerate(ends)
        ]
        results = engine.run(tasks, policy=policy, workers=workers)
    assert [result.index for result in results] == list(range(300))
    codes = {"crash": "worker_crashed", "late": "timeout", "raise": "exception"}
    assert [code_of(result) for result in results] == [codes.get(end, "success") for end in ends]
    assert all(result.data == result.index for result in results if result)
    tries = {index: 1 + retries if end in codes else 1 for index, end in enumerate(ends)}
    assert [result.attempts for result in results] == list(tries.values())
    started = Counter(map(int, noted(tmp_path / "log")))
    # Whose time was over on a busy machine before it began has one line less.
    early = {index: tries[index] - started[index] for index in tries if started[index] != tries[index]}
    assert all(ends[index] == "late" and missing > 0 for index, missing in early.items()), early


@pytest.mark.parametrize("seed", [1, 2])
def test_each_call_runs_once_while_somebody_kills_the_processes(
    seed: int, engine: Engine, tmp_path: Path
) -> None:
    chance = random.Random(seed)
    note = noting(tmp_path / "log")

    def work(index: int) -> int:
        note(f"{index} {os.getpid()}")
        time.sleep(0.002)
        return index

    batch = engine.submit([Task(work, index) for index in range(300)], workers=3)
    killed: set[int] = set()
    while not batch.done:
        time.sleep(chance.uniform(0.01, 0.06))
        pids = {int(line.split()[1]) for line in noted(tmp_path / "log")[-6:]} - killed
        for pid in chance.sample(sorted(pids), min(1, len(pids))):
            if lives(pid):
                killed.add(pid)
                os.kill(pid, signal.SIGKILL)
    results = batch.wait("10s")
    assert [result.index for result in results] == list(range(300))
    assert {code_of(result) for result in results} <= {"success", "worker_crashed"}
    crashed = [result for result in results if not result]
    assert 1 <= len(crashed) <= len(killed)
    started = Counter(int(line.split()[0]) for line in noted(tmp_path / "log"))
    assert set(started.values()) == {1}
    assert all(result.data == result.index and started[result.index] == 1 for result in results if result)
    check_pool(engine)


# ── nobody waits for a slow one ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("place", [0, 37, 999])
@pytest.mark.parametrize("source", [list, iter], ids=["a list", "an iterator"])
def test_a_slow_call_does_not_hold_up_quick_ones(
    place: int, source: Callable[[Any], Any], engine: Engine
) -> None:
    """What was sent behind it to the same process is given to the other one."""
    warm(engine)
    tasks: list[Any] = [Task(abs, -number) for number in range(1000)]
    tasks.insert(place, Task(time.sleep, 3))
    began = time.monotonic()
    with engine.stream(source(tasks), workers=2) as stream:
        quick = [next(stream) for _ in range(1000)]
        took = time.monotonic() - began
    assert all(result.success for result in quick) and place not in {result.index for result in quick}
    assert took < 1.0


def test_slow_calls_after_many_quick_ones_are_shared_out(engine: Engine) -> None:
    """What is known of the quick ones' time says nothing about the slow ones."""
    warm(engine)
    engine.run([Task(abs, number) for number in range(2000)], workers=2).unwrap()
    began = time.monotonic()
    engine.run([Task(time.sleep, 0.1)] * 10, workers=2).unwrap()
    assert 0.5 <= time.monotonic() - began < 0.9
    began = time.monotonic()
    engine.run([Task(time.sleep, 0.01)] * 100, workers=2).unwrap()
    assert 0.5 <= time.monotonic() - began < 0.9


def test_no_more_than_workers_run_at_once(engine: Engine, tmp_path: Path) -> None:
    note = noting(tmp_path / "log")

    def naps() -> None:
        note("+")
        time.sleep(0.01)
        note("-")

    warm(engine)
    engine.run([naps] * 40, workers=2).unwrap()
    running = most = 0
    for sign in noted(tmp_path / "log"):
        running += 1 if sign == "+" else -1
        most = max(most, running)
    assert (running, most) == (0, 2)


# ── cancelling ────────────────────────────────────────────────────────────────────────────────────


def cancel(engine: Engine, batch: arrea.Batch) -> None:
    batch.cancel()


def close(engine: Engine, batch: arrea.Batch) -> None:
    engine.close()


@pytest.mark.parametrize("end", [cancel, close])
def test_a_batch_that_is_ended_in_the_middle(
    end: Callable[[Engine, arrea.Batch], None], engine: Engine, mark: str, tmp_path: Path
) -> None:
    note = noting(tmp_path / "log")

    def work(index: int) -> int:
        note(index)
        if index in (30, 31):
            subprocess.run(["sleep", mark])
        time.sleep(0.005)
        return index

    batch = engine.submit([Task(work, index) for index in range(200)], workers=3)
    assert wait_until(lambda: len(marked_survivors(mark)) == 2)
    began = time.monotonic()
    end(engine, batch)
    results = batch.wait("5s")
    assert time.monotonic() - began < GRACE_S + 1.0
    assert marked_survivors(mark) == []
    calls = noted(tmp_path / "log")
    assert [result.index for result in results] == list(range(200))
    counts = Counter(map(code_of, results))
    assert set(counts) == {"success", "cancelled", "not_started"}
    assert set(Counter(calls).values()) == {1}
    by_index = {str(result.index): code_of(result) for result in results}
    assert all(by_index[call] != "not_started" for call in calls)
    time.sleep(0.1)
    assert noted(tmp_path / "log") == calls, "something ran on"
    if end is cancel:
        check_pool(engine)


def test_cancelling_at_once_leaves_nothing(engine: Engine, mark: str) -> None:
    def starts() -> None:
        subprocess.run(["sleep", mark])

    for number in range(30):
        batch = engine.submit([starts] * 3, workers=3)
        time.sleep(number / 300)
        batch.cancel()
        results = batch.wait("5s")
        assert {code_of(result) for result in results} <= {"cancelled", "not_started"}
        assert marked_survivors(mark) == []
    check_pool(engine)


def test_killing_a_batch_waits_for_no_grace(mark: str) -> None:
    def ignores() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        subprocess.run(["sleep", mark])

    with Engine(kill_grace=20_000, max_processes=2) as engine:
        batch = engine.submit([ignores] * 2, timeout=None)
        assert wait_until(lambda: len(marked_survivors(mark)) == 2)
        batch.kill()
        results = batch.wait("1s")
        assert {code_of(result) for result in results} == {"cancelled"}
        assert marked_survivors(mark) == []


def test_a_deadline(engine: Engine, mark: str) -> None:
    def starts() -> None:
        subprocess.run(["sleep", mark])

    warm(engine)
    began = time.monotonic()
    results = engine.run([lambda: "quick", *[starts] * 5], workers=2, deadline=500)
    took = time.monotonic() - began
    assert marked_survivors(mark) == []
    assert [code_of(result) for result in results] == ["success", *["deadline"] * 2, *["not_started"] * 3]
    assert results.stopped_by == "deadline" and 0.5 <= took < 0.5 + GRACE_S + 1.0
    check_pool(engine)


def test_on_stop_kills_or_lets_finish(engine: Engine, mark: str) -> None:
    def starts(what: str) -> str:
        subprocess.run(["sleep", what])
        return "finished"

    def fails() -> None:
        time.sleep(0.2)
        raise ValueError("stop")

    warm(engine)
    for on_stop, what, code in [("kill", mark, "cancelled"), ("finish", "0.6", "success")]:
        tasks = [Task(starts, what), Task(starts, what), fails, *[lambda: "never"] * 5]
        began = time.monotonic()
        results = engine.run(tasks, workers=3, policy=Policy(on_error="stop", on_stop=on_stop))
        assert time.monotonic() - began < 0.6 + GRACE_S + 1.0
        assert marked_survivors(mark) == []
        assert [code_of(result) for result in results] == [code, code, "exception", *["not_started"] * 5]
        assert results.stopped_by == "stop"
    check_pool(engine)


# ── leaving early ─────────────────────────────────────────────────────────────────────────────────


def sleepers(mark: str) -> list[Any]:
    """One that is quick and two that run for ever, with what they start."""
    return [lambda: "quick", *[lambda: subprocess.run(["sleep", mark])] * 2]


def both_run(mark: str) -> bool:
    return wait_until(lambda: len(marked_survivors(mark)) == 2)


def none_runs(mark: str) -> bool:
    return wait_until(lambda: not marked_survivors(mark), GRACE_S + 1.0)


def test_a_stream_that_is_left(engine: Engine, mark: str) -> None:
    for result in engine.stream(sleepers(mark), workers=3):
        assert result.data == "quick" and both_run(mark)
        break
    assert none_runs(mark)
    with engine.stream(sleepers(mark), workers=3) as stream:
        assert next(stream).data == "quick" and both_run(mark)
    assert marked_survivors(mark) == []
    with pytest.raises(ZeroDivisionError):
        for _ in engine.stream(sleepers(mark), workers=3):
            assert both_run(mark)
            raise ZeroDivisionError
    assert none_runs(mark)
    check_pool(engine)


def test_a_map_that_is_left(engine: Engine, mark: str) -> None:
    def call(function: Callable[[], Any]) -> Any:
        return function()

    for value in engine.map(call, sleepers(mark), workers=3):
        assert value == "quick" and both_run(mark)
        break
    assert none_runs(mark)
    with engine.map(call, sleepers(mark), workers=3) as values:
        assert next(values) == "quick" and both_run(mark)
    assert marked_survivors(mark) == []
    values = engine.map(call, sleepers(mark), workers=3)
    assert next(values) == "quick" and both_run(mark)
    values.close()
    assert marked_survivors(mark) == []
    check_pool(engine)


def test_an_async_stream_that_is_left(engine: Engine, mark: str) -> None:
    async def main() -> None:
        async with engine.stream_async(sleepers(mark), workers=3) as stream:
            async for result in stream:
                assert result.data == "quick" and both_run(mark)
                break
        assert marked_survivors(mark) == []

    asyncio.run(main())
    check_pool(engine)


def test_an_awaiting_task_that_is_cancelled(engine: Engine, mark: str) -> None:
    async def main() -> None:
        for call in (engine.run_async(sleepers(mark), workers=3), engine.execute_async(sleepers(mark)[1])):
            count = 2 if "run" in call.__qualname__ else 1
            task = asyncio.create_task(call)
            while len(marked_survivors(mark)) < count:
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert marked_survivors(mark) == []

    asyncio.run(main())
    check_pool(engine)


def test_an_interrupt_in_the_loop_over_a_stream(engine: Engine, mark: str) -> None:
    def interrupt() -> None:
        if both_run(mark):
            os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        for _ in engine.stream(sleepers(mark), workers=3):
            pass
    assert marked_survivors(mark) == []
    thread.join()
    check_pool(engine)


# ── sources that raise ────────────────────────────────────────────────────────────────────────────


def broken(error: BaseException) -> Iterator[Any]:
    yield lambda: (time.sleep(0.2), "finished")[1]
    yield lambda: "quick"
    raise error


def test_a_source_that_raises_lets_what_runs_finish(engine: Engine) -> None:
    error = ZeroDivisionError("the source's own")
    stream = engine.stream(broken(error), workers=2)
    assert {next(stream).data, next(stream).data} == {"finished", "quick"}
    with pytest.raises(ZeroDivisionError) as caught:
        next(stream)
    assert caught.value is error
    for call in (engine.run, lambda source: engine.submit(source).wait()):
        with pytest.raises(ZeroDivisionError):
            call(broken(error))
    check_pool(engine)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_in_the_source_ends_what_runs(
    kind: type[BaseException], engine: Engine, mark: str
) -> None:
    def source() -> Iterator[Any]:
        yield lambda: subprocess.run(["sleep", mark])
        assert wait_until(lambda: marked_survivors(mark))
        raise kind

    began = time.monotonic()
    with pytest.raises(kind):
        engine.run(source(), workers=2)
    assert time.monotonic() - began < GRACE_S + 2.0
    assert marked_survivors(mark) == []
    check_pool(engine)


# ── threads and coroutines, which nobody can kill ─────────────────────────────────────────────────


@pytest.fixture
def over() -> Iterator[threading.Event]:
    """What abandoned functions wait for: no test leaves a thread behind."""
    over = threading.Event()
    yield over
    over.set()


def abandoned(result: Result) -> bool:
    error = failure(result, "timeout")
    assert result.attempts == 1, "it is retried although it may still run"
    return bool(error.abandoned)


def test_a_thread_that_is_late_is_abandoned_and_not_retried(engine: Engine, over: threading.Event) -> None:
    calls: list[int] = []

    def waits() -> None:
        calls.append(1)
        over.wait(20)

    began = time.monotonic()
    result = engine.execute(
        waits, isolation="thread", timeout=300, policy=Policy(max_retries=3, retry_delay=0)
    )
    assert 0.3 <= time.monotonic() - began < 0.3 + SLACK_S
    assert abandoned(result) and calls == [1]
    assert engine.execute(lambda: "next", isolation="thread").unwrap() == "next"


def test_slots_that_threads_have_lost(over: threading.Event) -> None:
    """With the last slot goes whatever waits for one; when a thread ends after all, its slot is there again."""
    with Engine(max_workers=2, default_policy="once") as engine:
        tasks = [Task(lambda: over.wait(20), isolation="thread", timeout=200) for _ in range(2)]
        tasks += [Task(lambda: "never", isolation="thread") for _ in range(3)]
        began = time.monotonic()
        results = engine.run(tasks)
        assert time.monotonic() - began < 2.0
        assert [abandoned(result) for result in results[:2]] == [True, True]
        assert [code_of(result) for result in results[2:]] == ["slots_exhausted"] * 3
        began = time.monotonic()
        assert code_of(engine.execute(lambda: 1, isolation="thread")) == "slots_exhausted"
        assert time.monotonic() - began < 2.0
        over.set()
        assert wait_until(lambda: engine.execute(lambda: 1, isolation="thread").success)


def test_one_lost_slot_leaves_the_others(over: threading.Event) -> None:
    with Engine(max_workers=2, default_policy="once") as engine:
        late = Task(lambda: over.wait(20), isolation="thread", timeout=200)
        results = engine.run([late, *[Task(lambda: "fine", isolation="thread")] * 20, lambda: "process"])
        assert abandoned(results[0])
        assert [result.data for result in results[1:]] == ["fine"] * 20 + ["process"]


def test_a_coroutine_is_cancelled_at_its_timeout(engine: Engine) -> None:
    told: list[str] = []

    async def waits() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(0.01)
            told.append("cancelled")
            raise
        finally:
            told.append("cleaned up")

    for call in (engine.execute, lambda *args, **more: asyncio.run(engine.execute_async(*args, **more))):
        began = time.monotonic()
        result = call(waits, timeout=300, policy=Policy(max_retries=0))
        assert 0.3 <= time.monotonic() - began < 0.3 + SLACK_S
        assert failure(result, "timeout").abandoned is False
        assert told == ["cancelled", "cleaned up"]
        told.clear()
    retried = engine.execute(waits, timeout=100, policy=Policy(max_retries=2, retry_delay=0))
    assert (failure(retried, "timeout").abandoned, retried.attempts) == (False, 3)


def test_a_coroutine_that_does_not_end_is_abandoned(engine: Engine) -> None:
    ended: list[str] = []

    async def refuses() -> None:
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            try:
                await asyncio.sleep(until - time.monotonic())
            except asyncio.CancelledError:
                continue
        ended.append("in the end")

    for call in (engine.execute, lambda *args, **more: asyncio.run(engine.execute_async(*args, **more))):
        began = time.monotonic()
        result = call(refuses, timeout=200, policy=Policy(max_retries=3, retry_delay=0))
        assert abandoned(result)
        assert result.duration_ms < 200 + GRACE_MS + 1000 * SLACK_S
        assert time.monotonic() - began < 2.0  # a loop of the host's own waits for it at its end
        assert wait_until(lambda: ended)
        ended.clear()


def test_a_coroutine_that_blocks_the_engines_loop_is_told_of(engine: Engine) -> None:
    """It holds up other coroutines, and nothing else: no process, no command, no caller."""

    async def blocks() -> None:
        time.sleep(1.0)

    began = time.monotonic()
    batch = engine.submit([Task(blocks, timeout=200)])
    assert engine.run([lambda: "process", "echo x"]).success
    [result] = batch.wait("5s")
    assert result.error is not None and result.error.code == "timeout"
    assert time.monotonic() - began < 2.5
    assert engine.execute(blocks, timeout=5000).success


def test_an_engine_closes_over_threads_and_coroutines_that_go_on(
    over: threading.Event, tmp_path: Path
) -> None:
    async def waits() -> None:
        note("coroutine")
        await asyncio.sleep(60)

    note = noting(tmp_path / "log")
    engine = Engine(kill_grace=GRACE_MS, default_policy="once")
    thread = Task(lambda: (note("thread"), over.wait(20)), isolation="thread")
    process = Task(lambda: (note("process"), time.sleep(60)))
    batch = engine.submit(
        [thread, waits, process, f"echo command >>{tmp_path / 'log'}; sleep 60"], timeout=None
    )
    assert wait_until(lambda: len(noted(tmp_path / "log")) == 4)
    began = time.monotonic()
    engine.close()
    assert time.monotonic() - began < GRACE_S + 1.5
    results = batch.wait("1s")
    assert [code_of(result) for result in results] == ["cancelled"] * 4
