"""What an option's value may be: the few checks that policies, tasks and settings share.

Each is given what a caller wrote and the option's name, and hands back the value or raises
`InvalidOption` saying what was expected.
"""

from __future__ import annotations

from collections.abc import Mapping

from arrea._model.errors import InvalidOption
from arrea._model.text import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

# More than any machine has tasks for; beyond it a number is a mistake.
LARGEST_COUNT = 1_000_000_000


def count(value: object, option: str, *, least: int = 0, most: int = LARGEST_COUNT) -> int:
    """A whole number from `least` to `most`.

    >>> count(3, "workers", least=1)
    3
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidOption(option, f"{option} must be a whole number, not {shown(value)}")
    if not least <= value <= most:
        raise InvalidOption(option, f"{option} must be from {least} to {most}, not {shown(value)}")
    return value


def one_of(value: object, option: str, allowed: Iterable[str]) -> str:
    """One of some names.

    >>> one_of("kill", "on_stop", ("finish", "kill"))
    'kill'
    """
    names = tuple(allowed)
    # Compared as plain text: a subclass of `str` may answer what it likes.
    if not isinstance(value, str) or (text := str.__str__(value)) not in names:
        raise InvalidOption(
            option, f"{option} must be {alternatives(names)}, not {shown(value)}{meant(value, names)}"
        )
    return text


def share(value: object, option: str) -> float:
    """A share from 0.0 to 1.0."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise InvalidOption(option, f"{option} must be a share from 0.0 to 1.0, not {shown(value)}")
    return float(value)


# Of code objects: generators, coroutines, asynchronous generators. `inspect`, which names them, takes 10 ms to import.
RUN_LATER = 0x20 | 0x80 | 0x200


def check_callback(value: object, option: str) -> Callable[..., object]:
    """A function that is called and not awaited: what an async one, or a generator, hands back nobody would run."""
    if not callable(value):
        raise InvalidOption(option, f"{option} must be a function, not {shown(value)}")
    if code_flags(value) & RUN_LATER:
        raise InvalidOption(option, f"{option} must be a plain function, not an async one: {shown(value)}")
    return value


def code_flags(function: object) -> int:
    """Of its code, if it has any in Python; also of an object's `__call__`, and of what is wrapped."""
    from types import CodeType

    function = unwrapped(function)
    code = attribute(function, "__code__")
    if not isinstance(code, CodeType):
        code = attribute(unwrapped(attribute(type(function), "__call__")), "__code__")
    return code.co_flags if isinstance(code, CodeType) else 0


def unwrapped(function: Any) -> Any:
    """What bound methods and `functools.partial` call. Others with a `func` aren't asked: a mock has any attribute."""
    from functools import partial, partialmethod
    from types import MethodType

    while True:
        kind = type(function)
        if kind is MethodType:
            function = function.__func__
        elif issubclass(kind, (partial, partialmethod)):
            function = function.func
        else:
            return function


def attribute(value: object, name: str) -> Any:
    """None where it has none, or where that raises."""
    try:
        return getattr(value, name, None)
    except Exception:  # noqa: BLE001 - a user's object
        return None


def known(names: Iterable[object], allowed: Iterable[str], what: str = "option") -> None:
    """Refuses names that nobody knows, with the one that was probably meant.

    >>> known(["timeuot"], ["timeout", "policy"])
    Traceback (most recent call last):
    ...
    arrea._model.errors.InvalidOption: unknown option 'timeuot'; did you mean 'timeout'?
    """
    possible = tuple(allowed)
    for name in names:
        if name not in possible:
            option = name if isinstance(name, str) else shown(name)
            raise InvalidOption(option, f"unknown {what} {shown(name)}{meant(name, possible)}")


def alternatives(names: tuple[str, ...]) -> str:
    quoted = [repr(name) for name in names]
    return " or ".join([", ".join(quoted[:-1]), quoted[-1]] if len(quoted) > 1 else quoted)


def meant(value: object, names: Iterable[str]) -> str:
    """ "; did you mean 'x'?", or nothing."""
    import difflib  # 7 ms, only when something was mistyped

    close = difflib.get_close_matches(value[:64] if isinstance(value, str) else "", list(names), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def shown(value: object) -> str:
    """A value as an error message may show it: short and on one line, whatever it is.

    Of a mapping only the type: it may be an environment, and hold secrets.

    >>> shown("x" * 100)
    "'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx..."
    >>> shown({"TOKEN": "secret"})
    'a dict'
    """
    if isinstance(value, int) and abs(value) >= 10**18:  # repr of 5,000 digits raises ValueError
        return "a number of many digits"
    if isinstance(value, Mapping):
        return f"a {type(value).__name__}"
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - a user's object, whose own text can't be had
        return f"a {type(value).__name__}"
    return printable(text if len(text) <= 40 else text[:38] + "...")
