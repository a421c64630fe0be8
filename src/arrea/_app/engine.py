"""One engine from the outside: options become a plan, the plan a batch, the batch results.

The whole story of a call is in `Engine._prepared`: prepare, hand over, hand back. Which engines there are, and the one
behind the functions of `arrea`, is in `_engines`.
"""

from __future__ import annotations

import os
import sys
import threading
import time

from arrea._app import engines as _engines
from arrea._app.batch import Batch, Stream
from arrea._app.telling import Telling
from arrea._engine.leader import Leader
from arrea._engine.monitor import Monitor
from arrea._engine.registry import Registry
from arrea._model.call import Home
from arrea._model.checks import check_callback, known
from arrea._model.errors import ArreaError, EngineStopped, InvalidOption, NoRoom
from arrea._model.policy import parse_policy
from arrea._prepare.options import TASK_OPTIONS
from arrea._prepare.plan import Preparer
from arrea._runtime.reactor import Reactor, clock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Any, Self, Unpack

    from arrea._app.coroutines import AsyncStream
    from arrea._app.feed import Feed
    from arrea._app.mapping import Map
    from arrea._app.subscription import Subscription
    from arrea._model.batch_options import BatchOptions, EngineOptions
    from arrea._model.call import Work
    from arrea._model.event import Event
    from arrea._model.options import TaskOptions
    from arrea._model.result import BatchResult, Result
    from arrea._model.stats import Running, Stats
    from arrea._model.task import Task
    from arrea._prepare.config import Config, Configuration
    from arrea._runtime.outflow import Outflow

    Commandlike = str | Sequence[str] | Callable[[], Any] | Task
    Commands = Iterable[Commandlike]
    AsyncCommands = Commands | AsyncIterable[Commandlike]

ONCE = parse_policy("once")


class Engine:
    """An engine of its own, with its own settings and slots; most programs need only the functions of `arrea`.

    max_workers: most tasks at once over all batches (100). max_processes: of these, functions in worker processes (the
    number of CPUs). isolation: where plain functions run ("process", or "thread").
    max_commands_per_batch: most tasks in a list (500; None: no limit).
    default_policy: for batches without one ("retry"), with max_retries (3) and retry_delay (1000).
    kill_grace: between SIGTERM and SIGKILL (2000). shell: for lines (None: sh). allowed_shells: which may be asked
    for. max_output_bytes: kept of each stream of each command (8 MiB; None: all). log_level: of Arrea's own log
    lines ("info"). validation_rules: what validation refuses; sudo_allowlist: what `sudo` may run.
    What is not given comes from the layers below: `arrea.configure`, the environment, the defaults,
    as they are when the engine is made; `config` has them all. name: for people; no two engines have the same.

    Starts nothing before the first task. A context manager, sync and async: closing it ends what still runs; so does
    the end of the program. Raises `InvalidConfig` for a key that doesn't exist or a value out of range, and
    `DuplicateId` for a name that another engine has.

    >>> with Engine(max_workers=4) as engine:
    ...     engine.execute("echo hello").data.stdout
    'hello\\n'
    """

    config: Configuration

    def __init__(self, **config: Unpack[EngineOptions]) -> None:
        _check_platform()
        keys: dict[str, Any] = dict(config)
        self.name = _engines.check_name(keys.pop("name", None))
        self._set_up(_engines.configuration().derived(**keys))

    @classmethod
    def _of_process(cls, configuration: Configuration) -> Self:
        """The one behind the functions of `arrea`: what the process is configured to changes it at once."""
        _check_platform()
        engine = cls.__new__(cls)
        engine.name = None
        engine._set_up(configuration)
        return engine

    def _set_up(self, configuration: Configuration) -> None:
        self.config = configuration
        self._registry = Registry(*_sizes(configuration))
        self._epoch_ms = time.time() * 1000.0 - clock()
        self._telling = Telling(Monitor(self._registry), configuration, self._epoch_ms)
        self._reactor: Reactor | None = None
        self._starting = threading.RLock()
        self._closed = False
        self._pid = os.getpid()
        _engines.add(self)
        configuration.on_change.append(self._reconfigured)

    def __repr__(self) -> str:
        state = "closed" if self._closed else "idle" if self._reactor is None else "open"
        return f"<Engine {self.name + ' ' if self.name else ''}{state}>"

    # ── running things ────────────────────────────────────────────────────────────────────────────

    def execute(self, command: Commandlike, *, check: bool = False, **options: Unpack[TaskOptions]) -> Result:
        """Runs one command and waits for it; see `arrea.execute`."""
        return _checked_one(self._one(command, options).begin_and_wait(), check)

    def run(self, commands: Commands, *, check: bool = False, **options: Unpack[BatchOptions]) -> BatchResult:
        """Runs commands in parallel and waits for all of them; see `arrea.run`."""
        return _checked(self._batch(commands, options).begin_and_wait(), check)

    def stream(self, commands: Commands, **options: Unpack[BatchOptions]) -> Stream:
        """Runs commands in parallel and gives results as they finish; see `arrea.stream`."""
        return Stream(self._batch(commands, options)).begin()

    def map(
        self,
        function: Callable[..., Any],
        items: Iterable[Any],
        *,
        return_results: bool = False,
        **options: Unpack[BatchOptions],
    ) -> Map:
        """Values of a function over items, in their order, lazily; see `arrea.map`."""
        from arrea._app.feed import Feed
        from arrea._app.mapping import Map
        from arrea._app.sources import at_hand

        preparer = self._preparer(options)
        feed = Feed(preparer.mapper(function), at_hand(items))
        batch = self._prepared(preparer, feed.pull_first(), feed, in_order=not return_results)
        made = Map(batch, return_results)
        made.begin()
        return made

    def submit(self, commands: Commands, **options: Unpack[BatchOptions]) -> Batch:
        """Starts commands in parallel and returns at once; see `arrea.submit`."""
        batch = self._batch(commands, options).begin()
        batch.feed_in_background()
        return batch

    async def execute_async(
        self, command: Commandlike, *, check: bool = False, **options: Unpack[TaskOptions]
    ) -> Result:
        """`execute` for coroutines; see `arrea.execute_async`."""
        from arrea._app.coroutines import finish

        return _checked_one(await finish(self._one(command, options, Home())), check)

    async def run_async(
        self, commands: AsyncCommands, *, check: bool = False, **options: Unpack[BatchOptions]
    ) -> BatchResult:
        """`run` for coroutines; see `arrea.run_async`."""
        from arrea._app.coroutines import finish

        return _checked(await finish(self._batch_async(commands, options)), check)

    def stream_async(self, commands: AsyncCommands, **options: Unpack[BatchOptions]) -> AsyncStream:
        """`stream` for `async for`; see `arrea.stream_async`."""
        from arrea._app.coroutines import AsyncStream

        return AsyncStream(self._batch_async(commands, options))

    def prepare(self, commands: Commands, **options: Unpack[BatchOptions]) -> Iterator[Work]:
        """What would run, without running it: each element as the engine would take it.

        One that can't run has a `refusal`. Wrong options are raised at the call, wrong elements never.
        """
        from arrea._app.sources import iterator_of

        preparer = self._preparer(options)
        preparer.plan([])
        return (preparer.command_or_refusal(*numbered) for numbered in enumerate(iterator_of(commands)))

    def _preparer(self, options: Mapping[str, Any], home: Home | None = None) -> Preparer:
        config = self.config.effective()
        return Preparer(options, config, config.default_policy, home)

    def _one(self, command: Commandlike, options: Mapping[str, Any], home: Home | None = None) -> Batch:
        """What is wrong with a single command, its shell or its directory, is the failure of its result."""
        known(options, TASK_OPTIONS)
        config = self.config.effective()
        try:
            preparer = Preparer(options, config, ONCE, home)
        except InvalidOption as error:
            if error.code == InvalidOption.code:
                raise
            preparer = Preparer({**options, "shell": None, "cwd": None}, config, ONCE)
            return self._prepared(preparer, [preparer.refused(0, command, error)])
        return self._prepared(preparer, [preparer.command_or_refusal(0, command)])

    def _batch(self, commands: Commands, options: Mapping[str, Any], home: Home | None = None) -> Batch:
        preparer = self._preparer(options, home)
        if isinstance(commands, (list, tuple)):
            return self._prepared(preparer, preparer.all_commands(commands))
        from arrea._app.feed import Feed
        from arrea._app.sources import iterator_of

        return self._prepared(preparer, [], Feed(preparer, iterator_of(commands)))

    def _batch_async(self, commands: AsyncCommands, options: Mapping[str, Any]) -> Batch:
        from arrea._app.sources import async_iterator_of, is_async

        home = Home()

        if is_async(commands):
            from arrea._app.feed import AsyncFeed

            preparer = self._preparer(options, home)
            return self._prepared(preparer, [], AsyncFeed(preparer, async_iterator_of(commands)))
        plain: Any = commands
        return self._batch(plain, options, home)

    def _prepared(
        self, preparer: Preparer, commands: list[Work], feed: Feed | None = None, in_order: bool = False
    ) -> Batch:
        plan = preparer.plan(commands, open=feed is not None and feed.open, in_order=in_order)
        reactor = self._running()
        outflow = self._outflow(preparer, plan.batch_id, reactor)
        return Batch(plan, self._epoch_ms, reactor, feed, outflow, preparer.home)

    def _outflow(self, preparer: Preparer, batch_id: str, reactor: Reactor) -> Outflow | None:
        if preparer.on_output is None:
            return None
        return self._telling.outflow(preparer.on_output, batch_id, reactor.resume)

    # ── telling ───────────────────────────────────────────────────────────────────────────────────

    def subscribe(
        self,
        callback: Callable[[Event], object] | None = None,
        *,
        batch_id: str | None = None,
        types: Iterable[str] | None = None,
    ) -> Subscription:
        """Tells of what happens from now on; see `arrea.subscribe`."""
        self._check_open()
        if callback is not None:
            check_callback(callback, "callback")
        subscription = self._telling.subscribe(callback, batch_id, types)
        # The other way round, the end of the batch could come in between.
        if batch_id is not None and (self._reactor is None or not self._reactor.has_batch(batch_id)):
            subscription.unsubscribe()
        return subscription

    def unsubscribe(self, subscription: Subscription | Callable[[Event], object]) -> None:
        """Ends a subscription, or those of a callback. One that has ended, or never was, is no error."""
        self._telling.unsubscribe(subscription)

    def stats(self) -> Stats:
        """Counts of this engine; see `arrea.stats`."""
        return self._telling.stats()

    def max_workers(self) -> int:
        """Most tasks at once, over all batches."""
        return self.config.effective().max_workers

    def running(self) -> list[Running]:
        """What runs at the moment.

        >>> with Engine() as engine:
        ...     engine.running()
        []
        """
        return [] if self._reactor is None else self._reactor.running()

    # ── life ──────────────────────────────────────────────────────────────────────────────────────

    def _check_open(self) -> None:
        if self._pid != os.getpid():
            raise EngineStopped(
                "this engine belongs to the process that forked this one; make a new one here"
            )
        if self._closed:
            raise EngineStopped("the engine was closed")
        if self._reactor is not None and self._reactor.failure is not None:
            raise self._reactor.failure

    def _running(self) -> Reactor:
        self._check_open()
        with self._starting:
            self._check_open()
            reactor = self._reactor or self._make_reactor()
            try:
                reactor.start()
            except RuntimeError as error:
                self._reactor = None
                reactor.discard()
                raise NoRoom(f"the engine can't start: {error}") from error
            return reactor

    def _make_reactor(self) -> Reactor:
        try:
            made = Reactor(Leader(self._registry, _chance), self._telling)
        except OSError as error:
            raise NoRoom(f"the engine can't start: {error.strerror}") from error
        if self._reactor is not None:  # a signal handler came in between, and made one
            made.discard()
            return self._reactor
        self._reactor = made
        made.when_ended(self._telling.end)
        made.resize(*_sizes(self.config))
        return made

    def _reconfigured(self, config: Config) -> None:
        """On the thread that changed something. Under the lock, so that of two changes the later one stays."""
        with self._starting:
            if self._reactor is not None and not self._closed:
                self._reactor.resize(*_sizes(self.config))

    def adopt_orphans(self) -> None:
        """Makes this process a subreaper, so that orphans of a killed command are found. For the command line only."""
        self._running().adopt_orphans()

    def suspend(self) -> None:
        """Stops all that runs (SIGSTOP), and the engine's time. For the command line, before it stops itself."""
        if self._reactor is not None:
            self._reactor.suspend()

    def resume(self) -> None:
        """After `suspend`: all goes on, and timeouts and deadlines are so much later."""
        if self._reactor is not None:
            self._reactor.go_on()

    def close(self) -> None:
        """Ends what still runs (SIGTERM, `kill_grace`, SIGKILL) and the engine's threads. Safe to call twice."""
        self._close_doors()
        if self._pid == os.getpid():
            try:
                if self._reactor is not None:
                    self._reactor.stop(self._grace_s)
            finally:
                self._telling.close()
        _engines.discard(self)

    async def close_async(self) -> None:
        """`close` for coroutines: the event loop goes on meanwhile."""
        from arrea._app.coroutines import aside

        if self._reactor is None or self._pid != os.getpid():
            self.close()
        else:
            self._close_doors()
            await aside(self.close, self._reactor.kill_all)

    def _close_doors(self) -> None:
        with self._starting:
            self._closed = True
        if self._reconfigured in self.config.on_change:
            self.config.on_change.remove(self._reconfigured)

    @property
    def _grace_s(self) -> float:
        return self.config.effective().kill_grace_ms / 1000.0 + 1.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close_async()


def _checked_one(results: BatchResult, check: bool) -> Result:
    result = results[0]
    if check and result.error is not None:
        raise result.error
    return result


def _checked(results: BatchResult, check: bool) -> BatchResult:
    if check:
        results.raise_failures()
    return results


def _sizes(configuration: Configuration) -> tuple[int, int]:
    config = configuration.effective()
    return config.max_workers, config.max_processes


def _chance() -> float:
    # `random` costs 6 ms of start-up; a retry can afford a system call.
    return int.from_bytes(os.urandom(6), "little") / 2**48


def _check_platform() -> None:
    if not sys.platform.startswith("linux"):
        raise ArreaError(
            f"Arrea runs on Linux 5.4 or later; this is {sys.platform}", code="unsupported_platform"
        )
