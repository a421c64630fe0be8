"""From elements as callers write them to commands that can run, each checked.

Given texts, lists and `Task`s with the options of the call, hands back `Command`s or a `Plan`. A list is checked
whole: with one bad element nothing starts. What comes from an iterator is checked one by one, and a bad element
becomes a command that fails without starting.
"""

from __future__ import annotations

import os
from contextvars import copy_context

from arrea._model.checks import check_callback, count, known, shown
from arrea._model.duration import parse_duration
from arrea._model.errors import (
    ArreaError,
    InvalidBatch,
    InvalidCommand,
    InvalidOption,
    RefusedCommand,
    TooManyCommands,
)
from arrea._model.plan import Plan
from arrea._model.task import Command, Task
from arrea._model.text import describe, encodable, in_quotes, label_text
from arrea._prepare.options import TASK_OPTIONS, Options, check_label
from arrea._prepare.shell import line_words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from arrea._model.call import Home, Work
    from arrea._model.event import Event
    from arrea._model.policy import Policy
    from arrea._prepare.config import Config
    from arrea._prepare.functions import Functions, Mapper

BATCH_OPTIONS = ("workers", "deadline", "on_output")


class Preparer:
    """Prepares the elements of one call: the options of the call are checked once, here.

    `default_policy` is for a call that names none. home: of async functions, see `Target`.
    """

    def __init__(
        self, options: Mapping[str, Any], config: Config, default_policy: Policy, home: Home | None = None
    ) -> None:
        known(options, (*TASK_OPTIONS, *BATCH_OPTIONS))
        self._config = config
        self._given = {name: value for name, value in options.items() if name in TASK_OPTIONS}
        self._batch = {name: value for name, value in options.items() if name in BATCH_OPTIONS}
        self._options = Options(self._given, config, default_policy)
        self._label = check_label(options.get("label"))
        self.window = config.max_commands_per_batch or 500
        self.on_output = _listener(options.get("on_output"))
        self.home = home
        self._context = copy_context()  # of the caller: an iterator may be pulled in another one
        self._functions_of_call: Functions | None = None

    # ── elements ──────────────────────────────────────────────────────────────────────────────────

    def command(self, index: int, element: object) -> Work:
        """One element, checked. Raises `InvalidOption`."""
        if isinstance(element, Task):
            return self._from_task(element)
        return self._work(element, (), self._options, self._label)

    def _work(self, element: object, args: tuple[object, ...], options: Options, label: object) -> Work:
        if not callable(element):
            if args:
                raise InvalidOption("args", f"a command takes no arguments: {shown(element)}")
            return _command(element, options, label)
        return self._functions().call(element, args, options, label)

    def _functions(self) -> Functions:
        if self._functions_of_call is None:
            from arrea._prepare.functions import Functions  # most of the command line's calls have none

            self._functions_of_call = Functions(self.home, self._context)
        return self._functions_of_call

    def mapper(self, function: object) -> Mapper:
        """For the items of a `map` of this function. Raises `InvalidOption`."""
        if not callable(function):
            raise InvalidOption(
                "function", f"function must be callable, not {shown(function)}; the items come second"
            )
        from arrea._prepare.functions import Mapper

        target = self._functions().target(function, self._options)
        return Mapper(target, self._context, self.window, self._label, self.refused)

    def command_or_refusal(self, index: int, element: object) -> Work:
        """The same; what is wrong with the element becomes the failure of its task."""
        try:
            return self.command(index, element)
        except InvalidOption as error:
            return self.refused(index, element, error)
        except Exception as error:  # noqa: BLE001 - of the element's own methods; others must not be lost for it
            return self.refused(index, element, _unreadable(error))

    def refused(self, index: int, element: object, error: InvalidOption) -> Command:
        """A command that fails without starting."""
        text, label = _as_text(element), self._label_of(element)
        name = text if label is None else label_text(label)
        verdict = error.verdict if isinstance(error, RefusedCommand) else None
        refusal = InvalidCommand(describe(index, name), str(error), code=error.code, verdict=verdict)
        return Command(text, (), self._options.settings, label, refusal)

    def _label_of(self, element: object) -> object:
        """The label of a task that is refused, unless that is what is wrong with it."""
        label = element.options.get("label", self._label) if isinstance(element, Task) else self._label
        try:
            return check_label(label)
        except InvalidOption:
            return None

    def all_commands(self, elements: Sequence[object]) -> list[Work]:
        """A list, whole. Raises `TooManyCommands`, or `InvalidBatch` naming every bad element."""
        limit = self._config.max_commands_per_batch
        if limit is not None and len(elements) > limit:
            raise TooManyCommands(len(elements), limit)
        commands: list[Work] = []
        errors: list[tuple[int, ArreaError]] = []
        for index, element in enumerate(elements):
            try:
                commands.append(self.command(index, element))
            except InvalidOption as error:
                errors.append((index, error))
            except Exception as error:  # noqa: BLE001 - of the element's own methods
                errors.append((index, _unreadable(error)))
        if errors:
            raise InvalidBatch(errors)
        return commands

    def _check_names(self, task: Task) -> None:
        try:
            known(task.options, TASK_OPTIONS)
        except InvalidOption as error:
            if callable(task.command):
                told = f"{error}; keyword arguments of the function go into functools.partial(function, name=...)"
                raise InvalidOption(error.option, told) from None
            raise

    def _from_task(self, task: Task) -> Work:
        if not task.options:
            return self._work(task.command, task.args, self._options, self._label)
        merged = {**self._given, **task.options}
        self._check_names(task)
        label = check_label(merged.get("label"))
        if task.options.keys() == {"label"}:
            return self._work(task.command, task.args, self._options, label)
        options = Options(merged, self._config, self._options.settings.policy)
        if callable(task.command):
            from arrea._prepare.functions import check_options

            check_options(task.options, task.command, options.isolation)
        return self._work(task.command, task.args, options, label)

    # ── the whole ─────────────────────────────────────────────────────────────────────────────────

    def plan(self, commands: Sequence[Work], *, open: bool = False, in_order: bool = False) -> Plan:
        """The batch, ready for the engine. open: more commands will be fed to it. in_order: see `Plan`."""
        most = self._config.max_workers
        workers = count(self._batch.get("workers", most), "workers", least=1, most=most)
        deadline = parse_duration(self._batch.get("deadline"), "deadline")
        return Plan(
            os.urandom(6).hex(),
            commands,
            workers=workers,
            policy=self._options.settings.policy,
            deadline_ms=deadline,
            kill_grace_ms=self._config.kill_grace_ms,
            open=open,
            in_order=in_order,
            window=self.window,
        )


def _unreadable(error: Exception) -> InvalidOption:
    told = f"the command can't be read: its own code raised {type(error).__name__}"
    return InvalidOption("command", told)


def _listener(value: object) -> Callable[[Event], object] | None:
    return None if value is None else check_callback(value, "on_output")


def _command(element: object, options: Options, label: object) -> Command:
    if isinstance(element, str):
        line = str.__str__(element)  # plain text: a subclass has methods of its own, which would run later
        _check_line(line)
        if options.judge is not None:
            options.judge.check(line, options.settings.stdin)
        words = line_words(options.shell, line)
        return Command(line, words, options.settings, label, direct=options.direct(line))
    if isinstance(element, (list, tuple)):
        words = _words(element)
        if options.judge is not None:
            options.judge.check(words, options.settings.stdin)
        return Command(" ".join(map(in_quotes, words)), words, options.settings, label)
    if type(element).__name__ == "coroutine":
        element.close()  # type: ignore[attr-defined]  # nobody will await it, and it would complain
        told = "a coroutine can run only once: pass the async function itself, with its arguments in a Task"
        raise InvalidOption("command", told)
    expected = "a command is text (a shell line), a list of texts or a function"
    raise InvalidOption("command", f"{expected}, not {shown(element)}")


def _check_line(line: str) -> None:
    if not line or line.isspace():
        raise InvalidOption("command", "the command is empty", code="empty_command")
    _check_text(line, "the command")


def _check_text(text: str, what: str) -> None:
    if "\0" in text:
        raise InvalidOption(
            "command", f"{what} has a NUL byte, where a program would stop reading", code="possible_injection"
        )
    if not text.isascii() and not encodable(text):
        raise InvalidOption("command", f"{what} has a lone surrogate, which no program can be given")


def _words(element: Sequence[object]) -> tuple[str, ...]:
    if not element:
        raise InvalidOption("command", "the argument vector is empty", code="empty_command")
    for place, word in enumerate(element):
        if not isinstance(word, str):
            raise InvalidOption("command", f"argument {place} must be text, not {shown(word)}")
        _check_text(word, f"argument {place}")
    if not str(element[0]).strip():
        raise InvalidOption("command", "the program's name is empty", code="empty_command")
    return tuple(map(str.__str__, element))


def _as_text(element: object) -> str:
    if isinstance(element, Task):
        element = element.command
    if callable(element):
        from arrea._prepare.functions import name_of

        return name_of(element)
    if isinstance(element, (list, tuple)):
        return " ".join(str.__str__(word) if isinstance(word, str) else shown(word) for word in element)
    return str.__str__(element) if isinstance(element, str) else shown(element)
