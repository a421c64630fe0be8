"""From functions as callers pass them to calls that can run: where each runs, and what is sent there.

A function for a worker process is pickled here, on the caller's thread, and so are its arguments: what can't be is
refused before anything starts, and what is changed later changes nothing.
"""

from __future__ import annotations

from _pickle import dumps
from itertools import count

from arrea._model.call import Call, Program, Target
from arrea._model.checks import attribute, code_flags, unwrapped
from arrea._model.errors import InvalidOption
from arrea._model.parcel import Parcel
from arrea._model.pickled import LARGE_BYTES, PROTOCOL, Unpicklable, pack
from arrea._model.task import COROUTINE, PROCESS
from arrea._model.text import type_name
from arrea._prepare.importing import see_to_modules

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextvars import Context
    from typing import Any

    from arrea._model.call import Home
    from arrea._prepare.options import Options

FUNCTION_OPTIONS = ("timeout", "policy", "label", "isolation", "cwd", "env", "inherit_env")
OF_PROCESSES = ("cwd", "env", "inherit_env")
ASYNC, ASYNC_GENERATOR = (
    0x80,
    0x200,
)  # CO_COROUTINE, CO_ASYNC_GENERATOR; `inspect`, which names them, takes 10 ms
MOST_PROGRAMS, MOST_PROGRAM_BYTES = 1024, 16 << 20
WAY_OUT = 'isolation="thread" runs it here, without pickling'

_numbers = count(1)


class Functions:
    """Prepares the functions of one call of Arrea.

    home: the event loop of whoever awaits it, None where nobody does. context: the caller's.
    """

    __slots__ = ("_context", "_home", "_targets")

    def __init__(self, home: Home | None, context: Context) -> None:
        self._home = home
        self._context = context
        # The functions are held too, so that no other one gets the same identity.
        self._targets: dict[tuple[int, int], tuple[Target, object, Options]] = {}

    def call(
        self, function: Callable[..., object], args: tuple[object, ...], options: Options, label: object
    ) -> Call:
        """A call of it. Raises `InvalidOption`."""
        target = self.target(function, options)
        if target.kind == PROCESS:
            return Call(target, _packed(args) if args else b"", None, label)
        return Call(target, args, self._context, label)

    def target(self, function: Callable[..., object], options: Options) -> Target:
        key = (id(function), id(options))
        known = self._targets.get(key)
        if known is None:
            known = self._targets[key] = (self._made(function, options), function, options)
        return known[0]

    def _made(self, function: Callable[..., object], options: Options) -> Target:
        text, flags = name_of(function), code_flags(function)
        if flags & ASYNC_GENERATOR:
            raise InvalidOption("command", f"an asynchronous generator can't be run: {text}")
        if flags & ASYNC:
            return Target(COROUTINE, text, options.settings, function=function, home=self._home)
        if options.isolation == PROCESS:
            program, surroundings = _program(function, text), options.surroundings()
            return Target(PROCESS, text, options.settings, program=program, surroundings=surroundings)
        return Target(options.isolation, text, options.settings, function=function)


def check_options(given: Iterable[str], function: Callable[..., object], isolation: str) -> None:
    """Of a function's own options. Raises `InvalidOption` for those that would do nothing."""
    for name in given:
        if name not in FUNCTION_OPTIONS:
            raise InvalidOption(name, f"{name} is for commands, and means nothing for a function")
        if name in OF_PROCESSES and (isolation != PROCESS or code_flags(function) & ASYNC):
            raise InvalidOption(name, f"{name} can't be set for a function that runs in this process")


def name_of(function: object) -> str:
    if not _text_at(function, "__qualname__"):
        function = unwrapped(function)
    name = _text_at(function, "__qualname__") or _text_at(type(function), "__qualname__") or "a callable"
    module = _text_at(function, "__module__")
    return name if module in (None, "__main__", "builtins") else f"{module}.{name}"


def _text_at(value: object, name: str) -> str | None:
    text = attribute(value, name)
    return str.__str__(text) if issubclass(type(text), str) else None


def _program(function: object, text: str) -> Program:
    """The same function, unchanged, has the same number: worker processes that know it aren't sent it again."""
    see_to_modules(function)
    try:
        pickled = pack(function)
    except Unpicklable as error:
        told = f"the function {text} can't be sent to a worker process: {error}; {WAY_OUT}"
        raise InvalidOption("command", told, code="not_picklable") from None
    return Program(next(_numbers), pickled) if isinstance(pickled, Parcel) else _programs.of(pickled)


class Programs:
    """Those that were sent lately, by their pickles."""

    def __init__(self) -> None:
        self._known: dict[bytes, Program] = {}
        self._bytes = 0

    def of(self, pickled: bytes) -> Program:
        known = self._known.get(pickled)
        if known is not None:
            return known
        if len(self._known) >= MOST_PROGRAMS or self._bytes >= MOST_PROGRAM_BYTES:
            self._known.clear()
            self._bytes = 0
        self._bytes += len(pickled)
        # No lock: a signal handler that prepares functions, or a fork meanwhile, would find it shut for ever.
        return self._known.setdefault(pickled, Program(next(_numbers), pickled))


_programs = Programs()


def _packed(args: tuple[object, ...]) -> bytes | Parcel:
    try:
        return pack(args)
    except Unpicklable as error:
        culprit = next((place for place, argument in enumerate(args) if not _can_be_packed(argument)), 0)
        kind = type_name(type(args[culprit]))
        told = f"argument {culprit}, a {kind}, can't be sent to a worker process: {error}; {WAY_OUT}"
        raise InvalidOption("command", told, code="not_picklable") from None


def _can_be_packed(argument: object) -> bool:
    try:
        pack(argument)
    except Unpicklable:
        return False
    return True


class Mapper:
    """Prepares the items of one `map`: each is the argument of the same function."""

    __slots__ = ("_context", "_label", "_refused", "_target", "command_or_refusal", "window")

    def __init__(
        self, target: Target, context: Context, window: int, label: object, refused: Callable[..., Any]
    ) -> None:
        self._target = target
        self._context = context
        self._label = label
        self.command_or_refusal = self._sent if target.kind == PROCESS else self._given
        self._refused = refused
        self.window = window

    def _given(self, _: int, item: object) -> Any:
        return Call(self._target, (item,), self._context, self._label)

    def _sent(self, index: int, item: object) -> Any:
        """What is wrong with the item becomes the failure of its task."""
        kind = type(item)
        is_text = (kind is str or kind is bytes) and len(item) < LARGE_BYTES  # type: ignore[arg-type]
        if is_text or kind is int or kind is float or kind is bool or item is None:
            return Call(self._target, dumps((item,), PROTOCOL), None, self._label)
        try:
            return Call(self._target, _packed((item,)), None, self._label)
        except InvalidOption as error:
            return self._refused(index, self._target.text, error)
