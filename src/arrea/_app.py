"""One engine from the outside: options become a plan, the plan a batch, the batch results.

The whole story of a call is in `Engine._prepared`: prepare, hand over, hand back. The module-level functions of
`arrea` use the engine that `default_engine` makes at the first call.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time

from arrea._batch import Batch, Feed, Stream
from arrea._engine.leader import Leader
from arrea._engine.monitor import Monitor
from arrea._engine.registry import Registry
from arrea._model.checks import known, shown
from arrea._model.errors import ArreaError, EngineStopped, InvalidOption
from arrea._model.policy import parse_policy
from arrea._model.step import Emit
from arrea._model.task import Task
from arrea._model.text import describe
from arrea._prepare.config import Config
from arrea._prepare.options import TASK_OPTIONS
from arrea._prepare.plan import Preparer
from arrea._runtime.reactor import Reactor, clock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Any, Unpack

    from arrea._model.options import BatchOptions, EngineOptions, TaskOptions
    from arrea._model.result import BatchResult, Result
    from arrea._model.step import Effect
    from arrea._model.task import Command

    Commandlike = str | Sequence[str] | Task
    Commands = Iterable[Commandlike]

ONCE = parse_policy("once")


class Engine:
    """An engine of its own, with its own settings and slots; most programs need only the functions of `arrea`.

    max_workers: most tasks at once over all batches (100). max_commands_per_batch: most tasks in a list (500;
    None: no limit). default_policy: for batches without one ("retry"), with max_retries (3) and retry_delay (1000).
    kill_grace: between SIGTERM and SIGKILL (2000). shell: for lines (None: sh). allowed_shells: which may be asked
    for. max_output_bytes: kept of each stream of each command (8 MiB; None: all).

    Starts nothing before the first task. Closing it ends what still runs; so does the end of the program.
    Raises `InvalidOption` for a key that doesn't exist or a value out of range.

    >>> with Engine(max_workers=4) as engine:
    ...     engine.execute("echo hello").data.stdout
    'hello\\n'
    """

    def __init__(self, **config: Unpack[EngineOptions]) -> None:
        _check_platform()
        self._config = Config(**config)
        self._monitor = Monitor()
        self._reactor: Reactor | None = None
        self._starting = threading.RLock()
        self._closed = False
        self._pid = os.getpid()
        self._epoch_ms = time.time() * 1000.0 - clock()

    # ── running things ────────────────────────────────────────────────────────────────────────────

    def execute(self, command: Commandlike, *, check: bool = False, **options: Unpack[TaskOptions]) -> Result:
        """Runs one command and waits for it; see `arrea.execute`."""
        result = self._prepared(*self._one(command, options)).begin_and_wait()[0]
        if check and result.error is not None:
            raise result.error
        return result

    def run(self, commands: Commands, *, check: bool = False, **options: Unpack[BatchOptions]) -> BatchResult:
        """Runs commands in parallel and waits for all of them; see `arrea.run`."""
        results = self._batch(commands, options).begin_and_wait()
        if check:
            results.raise_failures()
        return results

    def stream(self, commands: Commands, **options: Unpack[BatchOptions]) -> Stream:
        """Runs commands in parallel and gives results as they finish; see `arrea.stream`."""
        return Stream(self._batch(commands, options)).begin()

    def submit(self, commands: Commands, **options: Unpack[BatchOptions]) -> Batch:
        """Starts commands in parallel and returns at once; see `arrea.submit`."""
        batch = self._batch(commands, options).begin()
        batch.feed_in_background()
        return batch

    def _one(self, command: Commandlike, options: Mapping[str, Any]) -> tuple[Preparer, list[Command]]:
        """What is wrong with a single command, its shell or its directory, is the failure of its result."""
        known(options, TASK_OPTIONS)
        try:
            preparer = Preparer(options, self._config, ONCE)
        except InvalidOption as error:
            if error.code == InvalidOption.code:
                raise
            sound = {**options, "shell": None, "cwd": None}
            preparer = Preparer(sound, self._config, ONCE)
            return preparer, [preparer.refused(0, command, error)]
        return preparer, [preparer.command_or_refusal(0, command)]

    def _batch(self, commands: Commands, options: Mapping[str, Any]) -> Batch:
        preparer = Preparer(options, self._config, self._config.default_policy)
        if isinstance(commands, (list, tuple)):
            return self._prepared(preparer, preparer.all_commands(commands))
        return self._prepared(preparer, [], Feed(preparer, _iterator(commands)))

    def _prepared(self, preparer: Preparer, commands: list[Command], feed: Feed | None = None) -> Batch:
        plan = preparer.plan(commands, open=feed is not None)
        return Batch(plan, self._epoch_ms, self._running(), feed)

    # ── life ──────────────────────────────────────────────────────────────────────────────────────

    def _running(self) -> Reactor:
        if self._pid != os.getpid():
            raise EngineStopped(
                "this engine belongs to the process that forked this one; make a new one here"
            )
        with self._starting:
            if self._closed:
                raise EngineStopped("the engine was closed")
            if self._reactor is None:
                self._reactor = Reactor(Leader(Registry(self._config.max_workers), _chance), self)
                _engines.add(self)
            return self._reactor

    def close(self) -> None:
        """Ends what still runs (SIGTERM, `kill_grace`, SIGKILL) and the engine's threads. Safe to call twice."""
        with self._starting:
            self._closed = True
        if self._reactor is not None and self._pid == os.getpid():
            self._reactor.stop(self._config.kill_grace_ms / 1000.0 + 1.0)
        _engines.discard(self)

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ── what the reactor tells ────────────────────────────────────────────────────────────────────

    def observe(self, effects: Sequence[Effect]) -> None:
        """Called on the reactor's thread after each turn."""
        self._monitor.observe(effects)
        for effect in effects:
            if effect.__class__ is Emit and effect.type == "warning" and self._reactor is not None:
                self._reactor.call_outside(_log_warnings, effect)


def _log_warnings(event: Emit) -> None:
    action, command, lines = event.data
    if action == "log":
        import logging

        for line in lines:
            logging.getLogger("arrea").warning("%s: %s", describe(event.index or 0, command.name), line)


def _iterator(commands: object) -> Iterator[object]:
    if isinstance(commands, (str, bytes, bytearray, memoryview, Task)):
        raise InvalidOption(
            "commands", f"{COMMANDS_EXPECTED} of commands, not one command: {shown(commands)}"
        )
    if hasattr(commands, "keys"):  # its keys are hardly what was meant
        raise InvalidOption("commands", f"{COMMANDS_EXPECTED} of commands, not a mapping: {shown(commands)}")
    try:
        return iter(commands)  # type: ignore[call-overload, no-any-return]
    except TypeError:
        raise InvalidOption("commands", f"{COMMANDS_EXPECTED}, not {shown(commands)}") from None


COMMANDS_EXPECTED = "commands must be a list or an iterator"


def _chance() -> float:
    # `random` costs 6 ms of start-up; a retry can afford a system call.
    return int.from_bytes(os.urandom(6), "little") / 2**48


def _check_platform() -> None:
    if not sys.platform.startswith("linux"):
        raise ArreaError(
            f"Arrea runs on Linux 5.4 or later; this is {sys.platform}", code="unsupported_platform"
        )


# ── the engine of the module-level functions ──────────────────────────────────────────────────────

_engines: set[Engine] = set()
_default: Engine | None = None
_making = threading.RLock()


def default_engine() -> Engine:
    """The engine behind `arrea.run` and the others, made at the first call."""
    global _default
    with _making:
        if _default is None:
            _default = Engine()
        return _default


def _forget_engines() -> None:
    """In the child of a fork: threads and processes of the parent's engines are not there."""
    global _default, _making
    _default = None
    _making = threading.RLock()  # another thread of the parent may have held it
    _engines.clear()


@atexit.register
def _close_engines() -> None:
    for engine in list(_engines):
        engine.close()


os.register_at_fork(after_in_child=_forget_engines)
