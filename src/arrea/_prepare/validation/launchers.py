"""What a program would start: the command, the shell line or the code among its words.

Given a call and its name, hands back what is to be judged in its turn (see `started`). Most programs are a line of
`launcher_table`; those with ways of their own have a function in `special_launchers`, languages a line in
`interpreters`.
"""

from __future__ import annotations

import re

from arrea._prepare.validation.interpreters import interpreter, language_of
from arrea._prepare.validation.launcher_table import FIRST, USAGES
from arrea._prepare.validation.names import names
from arrea._prepare.validation.special_launchers import SHELLS, SPECIAL, is_assignment, line_in, shell
from arrea._prepare.validation.started import Code, Input, Line, Words
from arrea._prepare.validation.words import QUOTED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from arrea._prepare.validation.commands import Call
    from arrea._prepare.validation.started import Started


def started(call: Call, name: str) -> Iterator[Started]:
    """What a call starts. Nothing for a program that starts nothing."""
    special = SPECIAL.get(name)
    if special is not None:
        return special(call)
    if name in SHELLS:
        return shell(call)
    return _by_tables(call, name)


def _by_tables(call: Call, name: str) -> Iterator[Started]:
    if name in USAGES:
        yield from _by_usage(call, name, 1)
    if language := language_of(name):
        yield from interpreter(call, language)


class Usage:
    """One line of the table, read. options: what their values are; flags: the other words."""

    __slots__ = ("flags", "kind", "options", "skip")

    def __init__(self, text: str) -> None:
        words = text.split()
        self.skip = int(words.pop(0)) if words[0].isdigit() else 0
        self.kind = words.pop(0)
        self.flags = frozenset(word for word in words if word[0] not in "-+")
        self.options: dict[str, str] = {}
        for word in words:
            mode = word[-1] if word[-1] in "!.^+?%" else ""
            self.options[word[: len(word) - len(mode)]] = mode

    def find(self, word: str) -> tuple[str, str | None] | None:
        """What the value of an option is, and the value when it stands in the same word; None for one without."""
        if word[0] == "+":
            return self.options["+"], word[1:]
        name, equals, value = word.partition("=")
        if name in self.options:
            return self.options[name], value if equals else None
        if word.startswith("--"):
            return self.abbreviated(name, value if equals else None)
        for at, letter in enumerate(word[1:], 2):
            if (mode := self.options.get("-" + letter)) is not None:
                return mode, word[at:] or None
        return None

    def abbreviated(self, name: str, value: str | None) -> tuple[str, str | None] | None:
        modes = (
            {mode for option, mode in self.options.items() if option.startswith(name)}
            if len(name) > 3
            else set()
        )
        return (modes.pop(), value) if len(modes) == 1 else None


_usages: dict[str, Usage] = {}


def usage_of(name: str) -> Usage:
    found = _usages.get(name)
    if found is None:
        found = _usages[name] = Usage(USAGES[name])
    return found


def _by_usage(call: Call, name: str, first: int) -> Iterator[Started]:
    usage = usage_of(name)
    words = call.words if "{}" not in usage.flags else [word.replace("{}", QUOTED) for word in call.words]
    at, skip, options = first, usage.skip, True
    while at < len(words):
        word = words[at]
        if options and word == "--" and "--" not in usage.options:
            options = False
        elif options and len(word) > 1 and (word[0] == "-" or (word[0] == "+" and "+" in usage.options)):
            found = usage.find(word)
            if found is not None:
                mode, value = found
                if mode == "?":
                    return
                if value is None and mode != ".":
                    at += 1
                    value = words[at] if at < len(words) else None
                yield from _option(call, words, at, mode, value)
                if mode in (".", "+"):
                    at = _end_of(words, at) if mode == "." else at
        elif skip:
            skip -= 1
        elif usage.kind != "none" and not ("=" in usage.flags and is_assignment(word)):
            break
        at += 1
    if at < len(words) and usage.kind != "none":
        yield from _rest(call, name, words, at, usage)
        if "both" in usage.flags:
            yield from shell(call, at + 1)
    elif "fed" in usage.flags:
        yield Input()


def _option(call: Call, words: Sequence[str], at: int, mode: str, value: str | None) -> Iterator[Started]:
    if mode == ".":
        yield Words(at + 1, words[at + 1 : _end_of(words, at)])
    elif value is None:
        return
    elif mode == "!":
        yield from line_in(call, value, at)
    elif mode == "^":
        yield from _escape(value, at)
    elif mode == "%":
        yield from _setting(value, at)
    elif mode == "+":
        yield from _entry_point(call, words, at, value)


def _end_of(words: Sequence[str], at: int) -> int:
    """Of the command that `find -exec` begins."""
    for end in range(at + 1, len(words)):
        if words[end] == ";" or (words[end] == "+" and words[end - 1] in ("{}", QUOTED)):
            return end
    return len(words)


def _rest(call: Call, name: str, words: Sequence[str], at: int, usage: Usage) -> Iterator[Started]:
    kind = usage.kind
    if kind == "words":
        yield Words(at, words[at:])
    elif kind == "line":
        if at == len(words) - 1:
            yield from line_in(call, words[at], at)
        else:
            yield Line(" ".join(words[at:]), at, len(words) - 1)
    elif kind == "lines":
        for index in range(at, len(words)):
            yield from line_in(call, words[index], index)
    elif kind == "escapes":
        for index in range(at, len(words)):
            yield from _escape(words[index], index)
    else:
        for key in (f"{name}.{words[at]}", f"{FIRST[name]}.{words[at]}"):
            if key in USAGES:
                yield from _by_usage(call, key, at + 1)
                return


_ESCAPE = re.compile(
    r"[\s:+]*(?:silent!?\s+|platform\s+)?(?:!|\\!|\.?(?:shell|system|sh|spawn|exec)\b|terminal\b)\s*(.+)",
    re.DOTALL,
)


def _escape(text: str, at: int) -> Iterator[Started]:
    """`!ls` of an editor, `shell ls` of a debugger; and `call system("ls")`."""
    if found := _ESCAPE.match(text):
        yield Line(found[1], at)
    yield Code(text, "other", at)


_COMMAND_SETTINGS = tuple(names("command pager editor fsmonitor cmd external exec askpass helper"))


def _setting(text: str, at: int) -> Iterator[Started]:
    key, _, value = text.partition("=")
    if value.startswith("!"):
        yield Line(value[1:], at)
    elif key.lower().endswith(_COMMAND_SETTINGS):
        yield Line(value, at, guess=True)


def _entry_point(call: Call, words: Sequence[str], at: int, value: str) -> Iterator[Started]:
    """`docker run --entrypoint sh image -c '...'`: what begins with a dash last is taken for its arguments."""
    rest = words[at + 1 :]
    image = next((index for index, word in enumerate(rest) if word[:1] != "-"), len(rest))
    yield Words(at, [value, *rest[image + 1 :]])
