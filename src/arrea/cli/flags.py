"""Flags of a sub-command: a table of them, read into values, and shown as help.

Why not argparse: it costs 6 ms, and the whole of `arrea run -c true` has 22 ms beyond the interpreter's own start.
Why not getopt: it imports `re` for its translations, which costs the same.
"""

from __future__ import annotations

from arrea._model.checks import meant, shown
from arrea._model.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Flag:
    """One flag: `name` with its dashes; `value` names what it takes, None for a switch; `many`: may be repeated."""

    __slots__ = ("help", "many", "name", "short", "value")

    def __init__(
        self, name: str, help: str, value: str | None = None, *, short: str | None = None, many: bool = False
    ) -> None:
        self.name = name
        self.help = help
        self.value = value
        self.short = short
        self.many = many


class Arguments:
    """What was given: by flag `get` and `all`; `program` is what came after `--`, None if there was no `--`."""

    __slots__ = ("_values", "program")

    def __init__(self) -> None:
        self._values: dict[str, list[str]] = {}
        self.program: list[str] | None = None

    def add(self, flag: Flag, value: str) -> None:
        self._values.setdefault(flag.name, []).append(value)

    def get(self, name: str, default: str | None = None) -> str | None:
        """The last value given; `default` if none was."""
        values = self._values.get(name)
        return values[-1] if values else default

    def all(self, name: str) -> list[str]:
        return self._values.get(name, [])

    def has(self, name: str) -> bool:
        return name in self._values


def parse(words: Sequence[str], flags: Sequence[Flag], dash: str | None = None) -> Arguments:
    """Reads the words after the sub-command. Raises `UsageError`. dash: the flag that a lone `-` is a value of.

    >>> given = parse(["-p8", "--command=ls", "-q", "--", "echo", "-n"], FLAGS_OF_AN_EXAMPLE)
    >>> given.get("--parallel"), given.all("--command"), given.has("--quiet"), given.program
    ('8', ['ls'], True, ['echo', '-n'])
    """
    known = {name: flag for flag in flags for name in (flag.name, flag.short) if name}
    given = Arguments()
    rest = iter(words)
    for word in rest:
        if word == "--":
            given.program = list(rest)
            return given
        name, value = _split(word if word != "-" or dash is None else f"{dash}=-")
        flag = known.get(name)
        if flag is None:
            raise UsageError(_unknown(word, name, flags))
        given.add(flag, _value_of(flag, name, value, rest))
    return given


def number(given: Arguments, flag: str, *, least: int = 1, most: int = 999_999_999) -> int | None:
    """The whole number that a flag was given; None if it wasn't. Raises `UsageError`."""
    text = given.get(flag)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 10 and least <= int(text) <= most):
        up_to = "" if most == 999_999_999 else f" to {most}"
        raise UsageError(f"{flag} must be a whole number from {least}{up_to}, not {shown(text)}")
    return int(text)


def _split(word: str) -> tuple[str, str | None]:
    """A flag and the value that is part of the same word."""
    if word.startswith("--"):
        name, equals, value = word.partition("=")
        return name, value if equals else None
    return (word[:2], word[2:]) if word[:1] == "-" and len(word) > 2 else (word, None)


def _value_of(flag: Flag, name: str, value: str | None, rest: Iterable[str]) -> str:
    if flag.value is None:
        if value is not None:
            raise UsageError(f"{name} takes no value, but was given {shown(value)}")
        return ""
    if value is None:
        value = next(iter(rest), None)
    if value is None:
        raise UsageError(f"{name} needs a value: {name} {flag.value}")
    return value


def _unknown(word: str, name: str, flags: Sequence[Flag]) -> str:
    if not word.startswith("-") or word == "-":
        return f"unexpected argument {shown(word)}; a command is given with -c, or after --"
    if not word.startswith("--"):
        name = word.partition("=")[0]  # a long one with one dash
    return f"unknown flag {shown(name)}{meant(name, [flag.name for flag in flags])}"


def flags_help(flags: Sequence[Flag]) -> str:
    """A line for each flag, aligned."""
    left = [_usage_of(flag) for flag in flags]
    width = max(map(len, left))
    return "\n".join(f"  {usage:<{width}}  {flag.help}" for usage, flag in zip(left, flags, strict=True))


def _usage_of(flag: Flag) -> str:
    short = f"{flag.short}, " if flag.short else "    "
    return f"{short}{flag.name}{' ' + flag.value if flag.value else ''}"


FLAGS_OF_AN_EXAMPLE = (
    Flag("--command", "", "CMD", short="-c", many=True),
    Flag("--parallel", "", "N", short="-p"),
    Flag("--quiet", "", short="-q"),
)
