"""The async doors as calls: what they hand back, what they raise and when, and what they refuse."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

import arrea
from arrea import Engine, Task
from tests.doors.test_sources import NO_COMMANDS


async def through(commands: Any) -> AsyncIterator[Any]:
    for command in commands:
        yield command


CALLS: dict[str, Callable[..., Any]] = {
    "run": lambda engine, commands, **options: asyncio.run(engine.run_async(commands, **options)),
    # The call itself raises: no loop runs here.
    "stream": lambda engine, commands, **options: engine.stream_async(commands, **options),
}
at_each_call = pytest.mark.parametrize("call", CALLS.values(), ids=list(CALLS))


# ── what they hand back ───────────────────────────────────────────────────────────────────────────


def test_results_are_those_of_the_plain_doors() -> None:
    commands: list[Any] = ["echo a; echo b >&2", ["printf", "c"], Task("exit 3", label="mine"), "kill -9 $$"]

    def told(results: Any) -> list[Any]:
        return [
            (result.index, result.command, result.label, result.attempts, result.error and result.error.code)
            + ((result.data.stdout, result.data.stderr, result.data.exit_code) if result.data else ())
            for result in results
        ]

    plain = arrea.run(commands, policy="once")
    awaited = asyncio.run(arrea.run_async(commands, policy="once"))
    assert told(awaited) == told(plain) and type(awaited) is type(plain)
    assert awaited.stats.failed == plain.stats.failed == 2
    one = asyncio.run(arrea.execute_async("echo x", env={"A": "b"}, label=5))
    assert (one.unwrap().stdout, one.label) == ("x\n", 5)


def test_a_stream_names_its_batch_and_its_events(engine: Engine) -> None:
    async def main() -> None:
        stream = engine.stream_async(["true"])
        assert stream.batch_id
        with engine.subscribe(types=["batch_finished"]) as events:
            assert [result.success async for result in stream] == [True]
            assert (await anext(events)).batch_id == stream.batch_id

    asyncio.run(main())


def test_check_raises_failures() -> None:
    async def main() -> None:
        with pytest.raises(ExceptionGroup) as group:
            await arrea.run_async(["true", "exit 3", "exit 4"], check=True, policy="once")
        assert [error.exit_code for error in group.value.exceptions] == [3, 4]  # type: ignore[union-attr]
        with pytest.raises(arrea.TaskError) as error:
            await arrea.execute_async("exit 5", check=True)
        assert error.value.exit_code == 5
        assert (await arrea.run_async(["true"], check=True)).success

    asyncio.run(main())


def test_limits_and_policies(engine: Engine, mark: str) -> None:
    async def main() -> None:
        result = await engine.execute_async(f"sleep {mark}", timeout=100)
        assert result.error is not None and result.error.code == "timeout"
        results = await engine.run_async([f"sleep {mark}"] * 3, workers=1, deadline=200, policy="once")
        assert results.stopped_by == "deadline" and not results.success
        [retried] = await engine.run_async(["exit 3"], policy={"max_retries": 2, "retry_delay": 1})
        assert retried.attempts == 3
        stopped = await engine.run_async(["exit 3", "true"], workers=1, policy="stop")
        assert stopped.stopped_by == "stop" and stopped.stats.not_started == 1
        asked = arrea.policies.custom(lambda error, count, context: "retry" if count < 1 else "continue")
        assert (await engine.execute_async("exit 3", policy=asked)).attempts == 2

    asyncio.run(main())


def test_output_is_shown_before_its_result(engine: Engine) -> None:
    async def main() -> None:
        shown: list[bytes] = []
        result = await engine.run_async(
            ["echo a; sleep 0.05; echo b"], on_output=lambda event: shown.append(event.chunk)
        )
        assert b"".join(shown) == b"a\nb\n" and result.success
        shown.clear()
        async for one in engine.stream_async(["echo c"], on_output=lambda event: shown.append(event.chunk)):
            assert one.success and shown == [b"c\n"]

    asyncio.run(main())


def test_a_wait_has_a_limit_of_its_own(engine: Engine) -> None:
    async def main() -> None:
        batch = engine.submit(["sleep 0.3; echo x"])
        for limit in (0, 50, "20ms"):
            with pytest.raises(TimeoutError, match=f"batch {batch.id} is still running"):
                await batch.wait_async(timeout=limit)  # type: ignore[arg-type]
        assert (await batch.wait_async("5s"))[0].unwrap().stdout == "x\n"
        assert (await batch.wait_async(0)).success
        with pytest.raises(arrea.InvalidOption):
            await batch.wait_async("soon")

    asyncio.run(main())


# ── what they refuse ──────────────────────────────────────────────────────────────────────────────


@at_each_call
@pytest.mark.parametrize(("commands", "told"), NO_COMMANDS.values(), ids=list(NO_COMMANDS))
def test_what_holds_no_commands(call: Any, commands: Any, told: str, engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(arrea.InvalidOption) as caught:
        call(engine, commands(f"touch {tmp_path / 'trace'}"))
    assert caught.value.option == "commands" and told in str(caught.value)
    assert not (tmp_path / "trace").exists()


@at_each_call
def test_wrong_calls_start_nothing(call: Any, mark: str) -> None:
    nap = f"sleep {mark}"
    with Engine(max_commands_per_batch=3) as engine:
        with pytest.raises(arrea.TooManyCommands):
            call(engine, [nap] * 4)
        with pytest.raises(arrea.InvalidBatch) as caught:
            call(engine, [nap, "", 5])
        assert [index for index, _ in caught.value.errors] == [1, 2]
        for options in ({"timeuot": 1}, {"workers": 0}, {"deadline": -1}, {"on_output": 5}):
            for commands in ([nap], through([nap])):
                with pytest.raises(arrea.InvalidOption):
                    call(engine, commands, **options)
        assert engine.stats().total_workers == 0


def test_the_plain_doors_refuse_asynchronous_iterators(engine: Engine) -> None:
    for call in (engine.run, engine.stream, engine.submit):
        with pytest.raises(
            arrea.InvalidOption, match="an asynchronous one is for run_async and stream_async"
        ):
            call(through(["true"]))  # type: ignore[operator]


def test_a_closed_engine_starts_nothing(mark: str) -> None:
    async def main() -> None:
        async with Engine() as engine:
            begun_late = engine.stream_async([f"sleep {mark}"], on_output=print)
        with pytest.raises(arrea.EngineStopped):
            await engine.execute_async(f"sleep {mark}")
        with pytest.raises(arrea.EngineStopped):
            await engine.run_async(through([f"sleep {mark}"]))
        with pytest.raises(arrea.EngineStopped):
            engine.stream_async([f"sleep {mark}"])
        with pytest.raises(arrea.EngineStopped):
            await anext(begun_late)
        assert [result async for result in begun_late] == []
        await begun_late.aclose()
        await engine.close_async()

    asyncio.run(main())


def test_closing_an_engine_ends_what_is_awaited(mark: str) -> None:
    async def main() -> None:
        async with Engine(kill_grace=200) as engine:
            stream = engine.stream_async([f"sleep {mark}"])
            waits = [
                asyncio.ensure_future(engine.execute_async(f"sleep {mark}")),
                asyncio.ensure_future(engine.run_async(through([f"sleep {mark}"]))),
                asyncio.ensure_future(anext(stream)),
            ]
            events = engine.subscribe(types=["lag"])
            told = asyncio.ensure_future(anext(events, None))
            while len(engine.running()) < 3:
                await asyncio.sleep(0.005)
        one, batch, result = await asyncio.gather(*waits)
        assert [each.error.code for each in (one, batch[0], result)] == ["cancelled"] * 3
        assert await told is None

    asyncio.run(main())


@pytest.mark.parametrize("interrupted", ["once", "twice", "many times", "by anyio"])
def test_closing_an_engine_that_is_interrupted_kills_and_finishes(interrupted: str, mark: str) -> None:
    import anyio

    async def main() -> None:
        # A scope of anyio doesn't interrupt what cleans up: that has the whole grace.
        engine = Engine(name=interrupted, kill_grace=500 if interrupted == "by anyio" else "20s")
        engine.subscribe(lambda _: None)
        batch = engine.submit([f"trap '' TERM; echo; sleep {mark}"])
        await asyncio.sleep(0.2)
        if interrupted == "by anyio":
            with anyio.move_on_after(0.1):
                await engine.close_async()
        else:
            closing = asyncio.ensure_future(engine.close_async())
            for _ in range({"once": 1, "twice": 2}.get(interrupted, 100)):
                await asyncio.sleep(0.1 if interrupted != "many times" else 0.0)
                closing.cancel()
            await asyncio.wait([closing], timeout=5.0)
            assert closing.cancelled()
        assert batch.done and repr(engine) == f"<Engine {interrupted} closed>"
        async with Engine(name=interrupted):
            pass

    (anyio.run if interrupted == "by anyio" else lambda main: asyncio.run(main()))(main)


def test_without_a_loop_it_is_said_so(mark: str) -> None:
    with Engine() as engine:
        coroutine = engine.run_async([f"sleep {mark}"])
        with pytest.raises(RuntimeError, match="no running event loop"):
            coroutine.send(None)
        assert engine.stats().total_workers == 0
