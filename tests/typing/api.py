"""The public API as users call it: checked by mypy --strict, never run."""

import datetime
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any, assert_type

import arrea
from arrea import (
    AsyncStream,
    Batch,
    BatchResult,
    Engine,
    Event,
    Output,
    Policy,
    Result,
    Stats,
    Stream,
    Subscription,
    Task,
    TaskError,
    Usage,
    policies,
)


def one() -> None:
    result = arrea.execute("echo hello")
    assert_type(result, Result)
    assert_type(result.success, bool)
    assert_type(result.error, TaskError | None)
    assert_type(result.failures, list[TaskError])
    output: Output = result.data  # of a command; of a function what it returned
    assert_type(result.unwrap(), Any)
    assert_type(output.stdout, str)
    assert_type(output.stderr_bytes, bytes)
    assert_type(output.exit_code, int | None)
    assert_type(output.signal_name, str | None)
    assert_type(output.stdout_chunks(), Iterator[bytes])
    assert_type(result.started_at, datetime.datetime | None)
    assert_type(result.warnings, tuple[str, ...])
    assert_type(result.usage, Usage | None)
    assert_type(result.label, Any)
    assert_type(result.index, int)
    assert_type(result.duration_ms, float)


def all_kinds_of_commands() -> None:
    words: Sequence[str] = ("git", "status")
    arrea.execute(["git", "status"], check=True)
    arrea.execute(words)
    arrea.execute(Task(["make", "-j2"], timeout="10m", label=("build", 2)))
    arrea.run(["echo a", ["echo", "b"], Task("echo c", label="c")])
    arrea.run(f"echo {number}" for number in range(10))
    arrea.run(["git", word] for word in words)
    arrea.run(("echo a", "echo b"))
    arrea.run([])
    arrea.run([lambda: 5, "echo a", arrea.Task(divmod, 7, 2), dict])


def wrong_commands() -> None:
    arrea.execute(5)  # type: ignore[arg-type]
    arrea.execute(None)  # type: ignore[arg-type]
    arrea.execute(["echo", 5])  # type: ignore[list-item]
    arrea.run([5])  # type: ignore[list-item]
    arrea.run(None)  # type: ignore[arg-type]
    arrea.run(b"echo")  # type: ignore[arg-type]
    arrea.execute()  # type: ignore[call-arg]
    arrea.execute("true", check="yes")  # type: ignore[arg-type]


def all_options() -> None:
    arrea.execute(
        "true",
        timeout=datetime.timedelta(seconds=5),
        policy="once",
        shell="bash",
        cwd=Path("/tmp"),
        env={"A": "b"},
        inherit_env=False,
        stdin=b"input",
        max_output_bytes=None,
        label="x",
    )
    arrea.run(["true"], workers=2, deadline="5m", policy={"max_retries": 2}, check=True)


def batches() -> None:
    results = arrea.run(["true"])
    assert_type(results, BatchResult)
    assert_type(results[0], Result)
    assert_type(results[:2], Sequence[Result])
    assert_type(results.results, list[Result])
    assert_type(results.failures, list[Result])
    assert_type(results.not_started, list[Result])
    assert_type(results.data, list[Any])
    assert_type(results.unwrap(), list[Any])
    assert_type(results.stats.failed, int)
    assert_type(results.stats.duration_ms, float)
    assert_type(results.stopped_by, str | None)
    assert_type([result.index for result in results], list[int])
    assert_type(len(results), int)
    as_a_sequence: Sequence[Result] = results
    assert_type(as_a_sequence.index(results[0]), int)


def as_they_finish() -> None:
    stream = arrea.stream(["true"], workers=2)
    assert_type(stream, Stream)
    assert_type(stream.batch_id, str)
    with stream:
        for result in stream:
            assert_type(result, Result)
    assert_type(next(arrea.stream(["true"])), Result)


def in_the_background() -> None:
    batch = arrea.submit(["true"])
    assert_type(batch, Batch)
    assert_type(batch.id, str)
    assert_type(batch.done, bool)
    assert_type(batch.wait(), BatchResult)
    assert_type(batch.wait(timeout="5s"), BatchResult)
    for result in batch:
        assert_type(result, Result)
    batch.cancel()


def an_engine_of_its_own() -> None:
    with Engine(max_workers=4, kill_grace="1s") as engine:
        assert_type(engine, Engine)
        assert_type(engine.execute("true"), Result)
        assert_type(engine.run(["true"]), BatchResult)
        assert_type(engine.stream(["true"]), Stream)
        assert_type(engine.submit(["true"]), Batch)
    engine.close()


async def with_coroutines() -> None:
    assert_type(await arrea.execute_async("true", timeout="5s", check=True), Result)
    assert_type(await arrea.run_async(["true"], workers=2), BatchResult)
    assert_type(await arrea.run_async(commands_one_by_one()), BatchResult)
    stream = arrea.stream_async(commands_one_by_one(), policy="once")
    assert_type(stream, AsyncStream)
    async with stream as results:
        async for result in results:
            assert_type(result, Result)
    assert_type(await anext(arrea.stream_async(["true"])), Result)
    batch = arrea.submit(["true"])
    assert_type(await batch.wait_async(timeout="5s"), BatchResult)
    async for result in batch:
        assert_type(result, Result)
    async with Engine(name="service") as engine:
        assert_type(engine, Engine)
        assert_type(await engine.execute_async("true"), Result)
        assert_type(await engine.run_async(["true"]), BatchResult)
        assert_type(engine.stream_async(["true"]), AsyncStream)
    await arrea.run_async(5)  # type: ignore[arg-type]
    await arrea.run_async(["true"], workrs=2)  # type: ignore[call-arg]
    arrea.run(commands_one_by_one())  # type: ignore[arg-type]


async def commands_one_by_one() -> AsyncIterator[str]:
    yield "true"


def events() -> None:
    subscription = arrea.subscribe(types=["finished", "error"], batch_id="x")
    assert_type(subscription, Subscription)
    assert_type(subscription.get("1s"), Event | None)
    for event in subscription:
        assert_type(event, Event)
        assert_type(event.type, str)
        assert_type(event.batch_id, str | None)
        assert_type(event.worker_id, str | None)
        assert_type(event.index, int | None)
        assert_type(event.at, datetime.datetime)
        assert_type(event.sequence, int)
        assert_type(event.fields, dict[str, Any])
        assert_type(event.reason, Any)
    with arrea.subscribe(print) as told:
        assert_type(told.pending, int)
    arrea.unsubscribe(told)
    arrea.unsubscribe(print)
    arrea.run(["true"], on_output=told_of)
    arrea.subscribe(5)  # type: ignore[arg-type]
    arrea.subscribe(types=5)  # type: ignore[arg-type]
    arrea.run(["true"], on_output=5)  # type: ignore[arg-type]


async def events_for_coroutines() -> None:
    async with arrea.subscribe() as subscription:
        async for event in subscription:
            assert_type(event, Event)


def told_of(event: Event) -> None:
    assert_type(event.chunk, Any)


def counts() -> None:
    assert_type(arrea.stats(), Stats)
    assert_type(arrea.stats().completed_tasks, int)
    assert_type(arrea.max_workers(), int)
    with Engine() as engine:
        assert_type(engine.stats().queued_tasks, int)
        assert_type([task.elapsed_ms for task in engine.running()], list[float])


def configuration() -> None:
    arrea.configure(max_workers=5, kill_grace="1s", shell=None, log_level="error")
    arrea.configure({"max_workers": 5})
    assert_type(arrea.Config.get("max_workers"), Any)
    assert_type(arrea.Config.source("max_workers"), str)
    assert_type(arrea.Config.all(), dict[str, Any])
    arrea.Config.set("max_workers", 5)
    arrea.Config.unset("max_workers")
    arrea.Config.reload()
    with Engine(max_workers=2) as engine:
        engine.config.set("max_workers", 5)
    arrea.configure(max_worker=5)  # type: ignore[call-arg]
    arrea.configure(max_workers="5")  # type: ignore[arg-type]


def handler(error: TaskError, retry_count: int, context: policies.PolicyContext) -> str:
    assert_type(error.code, str)
    assert_type(context.label, object)
    assert_type(context.elapsed_ms, float)
    return "retry" if retry_count < 5 else "stop"


def all_policies() -> None:
    assert_type(policies.default(), Policy)
    assert_type(policies.strict(), Policy)
    assert_type(policies.tolerant(max_retries=2, retry_delay="1s"), Policy)
    assert_type(policies.custom(handler, timeout=500), Policy)
    assert_type(policies.custom(lambda error, retry_count, context: "stop"), Policy)
    assert_type(Policy(on_error="stop").replace(timeout=None), Policy)
    Policy(on_error=handler, retry_on=(3, "SIGSEGV", OSError), max_failures="10%", jitter=0.5)
    Policy(on_error=5)  # type: ignore[arg-type]
    Policy(max_retires=5)  # type: ignore[call-arg]


def errors() -> None:
    try:
        arrea.run(["true"])
    except arrea.InvalidBatch as error:
        assert_type(error.errors, list[tuple[int, arrea.ArreaError]])
    except arrea.TooManyCommands as error:
        assert_type((error.count, error.limit), tuple[int, int])
    except arrea.InvalidOption as error:
        assert_type(error.option, str)
    except (arrea.EngineStopped, arrea.UsageError) as error:
        assert_type(error.code, str)
    try:
        arrea.run(["true"], check=True)
    except* arrea.TaskError as group:
        for one_error in group.exceptions:
            print(one_error)


def own_rule(command: arrea.SimpleCommand) -> str | None:
    assert_type(command.words, tuple[str | None, ...])
    return "no" if command.name == "curl" and "sudo" in command.through else None


def validation() -> None:
    verdict = arrea.validate("true")
    assert_type(verdict, arrea.Verdict)
    assert_type(verdict.allowed, bool)
    assert_type(verdict.span, tuple[int, int] | None)
    arrea.validate(["rm", "-rf", "x"], rules=["strict"], shell="bash", allow_substitution=True)
    arrea.validate(5)  # type: ignore[arg-type]
    arrea.add_rule("own", own_rule)
    arrea.add_rule("own", lambda command: 5)  # type: ignore[arg-type, return-value]
    arrea.remove_rule("own")
    arrea.run(["true", Task("true", validate=False)], allow_substitution=True)
    arrea.Engine(validation_rules=["default", "own"], sudo_allowlist=["id"])
    try:
        arrea.run(["true"])
    except arrea.RefusedCommand as error:
        assert_type(error.verdict, arrea.Verdict)


def the_rest() -> None:
    assert_type(arrea.__version__, str)
    print(arrea.exceute)  # type: ignore[attr-defined]
