"""Arrea: many commands at once, so that nothing hangs, nothing is lost, nothing is left running.

>>> import arrea
>>> arrea.execute("echo hello").data.stdout
'hello\\n'
>>> [output.stdout for output in arrea.run(["echo a", ["echo", "b c"]], workers=2).data]
['a\\n', 'b c\\n']
"""

from __future__ import annotations

from arrea._version import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable, Iterable, Sequence
    from typing import Any, Unpack

    from arrea import policies
    from arrea._app.batch import Batch, Stream
    from arrea._app.configuration import Config, configure
    from arrea._app.coroutines import AsyncStream
    from arrea._app.engine import Engine
    from arrea._app.mapping import Map
    from arrea._app.subscription import Subscription
    from arrea._app.validating import add_rule, remove_rule, validate
    from arrea._model.batch_options import BatchOptions
    from arrea._model.errors import (
        ArreaError,
        DuplicateId,
        EngineStopped,
        InvalidBatch,
        InvalidConfig,
        InvalidOption,
        MonitorUnavailable,
        NoRoom,
        RefusedCommand,
        TaskError,
        TooManyCommands,
        UsageError,
    )
    from arrea._model.event import Event
    from arrea._model.options import TaskOptions
    from arrea._model.policy import Policy
    from arrea._model.result import BatchResult, Output, Result, Usage
    from arrea._model.simple_command import SimpleCommand
    from arrea._model.stats import Stats
    from arrea._model.task import Task
    from arrea._model.verdict import Verdict
    from arrea._model.warned import warn

    Commandlike = str | Sequence[str] | Callable[[], Any] | Task

# Imported when first used, so that `import arrea` and `arrea --version` cost next to nothing.
_HOMES = {
    "ArreaError": "arrea._model.errors",
    "AsyncStream": "arrea._app.coroutines",
    "Batch": "arrea._app.batch",
    "BatchOptions": "arrea._model.batch_options",
    "BatchResult": "arrea._model.result",
    "Config": "arrea._app.configuration",
    "DuplicateId": "arrea._model.errors",
    "Engine": "arrea._app.engine",
    "EngineStopped": "arrea._model.errors",
    "Event": "arrea._model.event",
    "InvalidBatch": "arrea._model.errors",
    "InvalidConfig": "arrea._model.errors",
    "InvalidOption": "arrea._model.errors",
    "MonitorUnavailable": "arrea._model.errors",
    "NoRoom": "arrea._model.errors",
    "Map": "arrea._app.mapping",
    "Output": "arrea._model.result",
    "Policy": "arrea._model.policy",
    "RefusedCommand": "arrea._model.errors",
    "Result": "arrea._model.result",
    "SimpleCommand": "arrea._model.simple_command",
    "Stats": "arrea._model.stats",
    "Stream": "arrea._app.batch",
    "Subscription": "arrea._app.subscription",
    "Task": "arrea._model.task",
    "TaskError": "arrea._model.errors",
    "TaskOptions": "arrea._model.options",
    "TooManyCommands": "arrea._model.errors",
    "Usage": "arrea._model.result",
    "UsageError": "arrea._model.errors",
    "Verdict": "arrea._model.verdict",
    "add_rule": "arrea._app.validating",
    "configure": "arrea._app.configuration",
    "policies": "arrea.policies",
    "remove_rule": "arrea._app.validating",
    "validate": "arrea._app.validating",
    "warn": "arrea._model.warned",
}

__all__ = [
    "ArreaError", "AsyncStream", "Batch", "BatchOptions", "BatchResult", "Config", "DuplicateId", "Engine",
    "EngineStopped", "Event", "InvalidBatch", "InvalidConfig", "InvalidOption", "Map", "MonitorUnavailable", "NoRoom",
    "Output", "Policy", "RefusedCommand", "Result", "SimpleCommand", "Stats", "Stream", "Subscription", "Task",
    "TaskError", "TaskOptions", "TooManyCommands", "Usage", "UsageError", "Verdict", "__version__", "add_rule",
    "configure", "execute", "execute_async", "map", "max_workers", "policies", "remove_rule", "run", "run_async",
    "stats", "stream", "stream_async", "submit", "subscribe", "unsubscribe", "validate", "warn",
]  # fmt: skip


def execute(command: Commandlike, *, check: bool = False, **options: Unpack[TaskOptions]) -> Result:
    """Runs one command or function, once, and waits for it.

    command: a shell line (text), an argument vector (a list of texts: no shell), a function, or a `Task` of one of
    them. A plain function runs in a worker process, an `async` one on an event loop.
    check: raise the error of a failure instead of returning it in the result.

    Options, the same in every function and in `Task`:
    timeout: of each attempt, in milliseconds or text such as "5s"; None: none (default: the policy's, 30 s).
    policy: a `Policy`, a name ("retry", "stop", "continue", "strict", "tolerant", "once") or a mapping of fields.
    shell: for lines: "sh" (default), "bash", "zsh", "fish", "dash", a path to one, or "auto" for the user's own.
    cwd: directory. env: variables to add. inherit_env: False starts from an empty environment.
    stdin: bytes or text to read, a path (`pathlib.Path`), an open file; None: end of file at once.
    max_output_bytes: kept of each stream (8 MiB), half of its beginning and half of its end; None: all.
    label: any hashable, found again in the result.
    isolation: of plain functions: "process" (default: it can be killed, with all that it started) or "thread".
    validate: False runs also what validation would refuse. allow_substitution: `$(...)`, backticks and `<(...)` pass.

    Of a function `timeout`, `policy`, `label`, `isolation` hold, and in a process `cwd`, `env` and `inherit_env`.

    A failing command or function is a value: the result is false, and has an `error`. Raises `InvalidOption` for an
    option that doesn't exist or has a wrong value.

    >>> result = execute("echo oops >&2; exit 3")
    >>> result.success, result.error.code, result.data.exit_code, result.data.stderr
    (False, 'exit_status', 3, 'oops\\n')
    >>> execute(lambda: 42).data
    42
    """
    from arrea._app.default import default_engine

    return default_engine().execute(command, check=check, **options)


def run(
    commands: Iterable[Commandlike], *, check: bool = False, **options: Unpack[BatchOptions]
) -> BatchResult:
    """Runs commands and functions in parallel, waits for all, and hands back their results in input order.

    commands: a list is checked whole before anything starts; an iterator is pulled as there is room, and a bad
    element is a failed result in its place.
    workers: most at once (default: the engine's `max_workers`, 100). deadline: for the whole batch.
    check: raise an `ExceptionGroup` if any task failed. Further options: see `execute`.
    Without a policy each command is retried three times, one second apart.

    Raises `InvalidBatch` (with all bad elements), `InvalidOption`, `TooManyCommands`: nothing was started then.

    >>> results = run(["echo a", "exit 1"], policy="continue")
    >>> [result.success for result in results], results.stats.failed
    ([True, False], 1)
    """
    from arrea._app.default import default_engine

    return default_engine().run(commands, check=check, **options)


def stream(commands: Iterable[Commandlike], **options: Unpack[BatchOptions]) -> Stream:
    """Runs commands in parallel and gives results as they finish. Leaving the loop early cancels the rest.

    Options: see `run`.

    >>> for result in stream(["sleep 0.2", "true"], workers=2):
    ...     print(result.index)
    1
    0
    """
    from arrea._app.default import default_engine

    return default_engine().stream(commands, **options)


def map(
    function: Callable[..., Any],
    items: Iterable[Any],
    *,
    return_results: bool = False,
    **options: Unpack[BatchOptions],
) -> Map:
    """The values of a function over items, in the order of the items, as they are asked for.

    function: plain or `async`; it is called with each item. items: pulled as there is room; no more than
    `max_commands_per_batch` (500) are ahead of whoever takes the values.
    The first failure, in order, is raised, and ends the rest; return_results: `Result`s instead, failed ones too.
    Leaving early (`break`, `close()`) cancels the rest. Options: see `run`.

    >>> list(map(len, ["a", "bb", "ccc"], workers=2))
    [1, 2, 3]
    """
    from arrea._app.default import default_engine

    return default_engine().map(function, items, return_results=return_results, **options)


def submit(commands: Iterable[Commandlike], **options: Unpack[BatchOptions]) -> Batch:
    """Starts commands in parallel and returns at once, with a `Batch` to wait for, cancel or iterate over.

    Options: see `run`.

    >>> batch = submit(["echo a", "echo b"])
    >>> batch.wait().success
    True
    """
    from arrea._app.default import default_engine

    return default_engine().submit(commands, **options)


async def execute_async(
    command: Commandlike, *, check: bool = False, **options: Unpack[TaskOptions]
) -> Result:
    """`execute` for coroutines: the event loop goes on meanwhile.

    Cancelling the awaiting task ends the command (SIGTERM, `kill_grace`, SIGKILL) before the cancellation goes on;
    a second cancellation kills at once.

    >>> import asyncio
    >>> asyncio.run(execute_async("echo hello")).data.stdout
    'hello\\n'
    """
    from arrea._app.default import default_engine

    return await default_engine().execute_async(command, check=check, **options)


async def run_async(
    commands: Iterable[Commandlike] | AsyncIterable[Commandlike],
    *,
    check: bool = False,
    **options: Unpack[BatchOptions],
) -> BatchResult:
    """`run` for coroutines: the event loop goes on meanwhile, and cancelling the awaiting task ends the batch.

    commands: besides what `run` takes, an asynchronous iterator, which is pulled on the event loop; a plain iterator
    is pulled in a thread of its own, for it may block.

    >>> import asyncio
    >>> asyncio.run(run_async(["echo a", "echo b"])).success
    True
    """
    from arrea._app.default import default_engine

    return await default_engine().run_async(commands, check=check, **options)


def stream_async(
    commands: Iterable[Commandlike] | AsyncIterable[Commandlike], **options: Unpack[BatchOptions]
) -> AsyncStream:
    """`stream` for `async for`: results as they finish. Leaving the loop early cancels the rest.

    It begins with the first result that is asked for. `async with stream_async(...) as results:` also waits until
    nothing of it runs.

    >>> import asyncio
    >>> async def main():
    ...     async for result in stream_async(["sleep 0.2", "true"], workers=2):
    ...         print(result.index)
    >>> asyncio.run(main())
    1
    0
    """
    from arrea._app.default import default_engine

    return default_engine().stream_async(commands, **options)


def subscribe(
    callback: Callable[[Event], object] | None = None,
    *,
    batch_id: str | None = None,
    types: Iterable[str] | None = None,
) -> Subscription:
    """Tells of what happens from now on: a `Subscription` to iterate over, or to `get` events from.

    callback: is called with each `Event` instead, on a thread of its own; one that raises is reported once and
    dropped. It may call Arrea.
    batch_id: only that batch; the subscription ends with it. types: only these ("finished", "error", ...).

    A reader that falls behind by more than 10,000 events loses the oldest, `output` and `progress` first, and is
    told by a `lag` event how many. It never slows the engine down.

    >>> with subscribe(types=["worker_started", "finished", "error"]) as events:
    ...     batch = submit(["true", "exit 3"], workers=1, policy="once")
    ...     [(event.type, event.index) for _, event in zip(range(4), events)]
    [('worker_started', 0), ('finished', 0), ('worker_started', 1), ('error', 1)]
    """
    from arrea._app.default import default_engine

    return default_engine().subscribe(callback, batch_id=batch_id, types=types)


def unsubscribe(subscription: Subscription | Callable[[Event], object]) -> None:
    """Ends a subscription, or those of a callback. One that has ended already is no error."""
    from arrea._app.default import default_engine

    default_engine().unsubscribe(subscription)


def stats() -> Stats:
    """Counts since the engine began: tasks, not attempts. Raises `MonitorUnavailable` if the counters have failed.

    >>> stats().active_workers
    0
    """
    from arrea._app.default import default_engine

    return default_engine().stats()


def max_workers() -> int:
    """Most tasks at once over all batches, as it is configured.

    >>> max_workers()
    100
    """
    from arrea._app.engines import configuration

    return configuration().effective().max_workers


if not TYPE_CHECKING:  # a type checker would take it for leave to misspell any name

    def __getattr__(name: str) -> object:
        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module 'arrea' has no attribute {name!r}")
        from importlib import import_module

        module = import_module(home)
        value = module if home == f"arrea.{name}" else getattr(module, name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted(__all__)
