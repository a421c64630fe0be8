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
from arrea._prepare.validation.usage import usage_of
from arrea._prepare.validation.words import QUOTED, UNKNOWN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from arrea._prepare.validation.commands import Call
    from arrea._prepare.validation.started import Started
    from arrea._prepare.validation.usage import Usage


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


def _by_usage(call: Call, name: str, first: int) -> Iterator[Started]:
    usage = usage_of(name)
    words = call.words if "{}" not in usage.flags else [word.replace("{}", QUOTED) for word in call.words]
    at, skip, options, program = first, usage.skip, True, ""
    while at < len(words):
        word = words[at]
        if options and word == "--" and "--" not in usage.options:
            options = "more" in usage.flags
        elif options and (found := usage.find(word)) is not None:
            mode, value = found
            if mode == "?":
                return
            if mode == ".":
                yield Words(at, [value, *words[at + 1 :]]) if value else _command(words, at)
                at = _end_of(words, at)
            else:
                at += value is None
                value = value if value is not None else words[at] if at < len(words) else ""
                program = value if mode == "+" else program
                yield from _option(call, at, mode, value)
        elif options and word[:1] == "-" and len(word) > 1:
            pass
        elif skip:
            skip -= 1
            if program and not skip:  # behind an image all words are the program's
                at += 1
                break
        elif usage.kind != "none" and not ("=" in usage.flags and is_assignment(word)):
            break
        at += 1
    if program:
        yield Words(min(at, len(words) - 1), [program, *words[at:]])
    elif at < len(words) and usage.kind != "none":
        yield from _rest(call, name, words, at)
    elif "fed" in usage.flags:
        yield Input()


def _command(words: Sequence[str], at: int) -> Words:
    return Words(at + 1, words[at + 1 : _end_of(words, at)])


def _option(call: Call, at: int, mode: str, value: str) -> Iterator[Started]:
    at = min(at, len(call.words) - 1)
    if mode == "!":
        yield from line_in(call, value, at)
    elif mode == "^":
        yield from _escape(call, value, at)
    elif mode == "%":
        yield from _setting(value, at)


def _end_of(words: Sequence[str], at: int) -> int:
    """Of the command that `find -exec` begins."""
    for end in range(at + 1, len(words)):
        if words[end] == ";" or (words[end] == "+" and words[end - 1] in ("{}", QUOTED)):
            return end
    return len(words)


def _rest(call: Call, name: str, words: Sequence[str], at: int) -> Iterator[Started]:
    usage = usage_of(name)
    if usage.kind == "words":
        yield Words(at, words[at:])
        if not words[at].strip("0123456789.:,") and at + 1 < len(words):  # a program isn't called by a number
            yield Words(at + 1, words[at + 1 :])
        if "both" in usage.flags:
            yield from _lines_behind(call, words, at, usage)
    elif usage.kind == "line":
        if at == len(words) - 1:
            yield from line_in(call, words[at], at)
        else:
            yield Line(" ".join(words[at:]), at, len(words) - 1)
    elif usage.kind == "sub":
        key = next(
            (key for key in (f"{name}.{words[at]}", f"{FIRST[name]}.{words[at]}") if key in USAGES), None
        )
        if key is not None:
            yield from _by_usage(call, key, at + 1)
    else:
        for index in range(at, len(words)):
            yield from (
                line_in(call, words[index], index)
                if usage.kind == "lines"
                else _escape(call, words[index], index)
            )


def _lines_behind(call: Call, words: Sequence[str], at: int, usage: Usage) -> Iterator[Started]:
    """`runuser user -c LINE`: options behind what might have been the command."""
    for index in range(at, len(words)):
        found = usage.find(words[index])
        if found is not None and found[0] == "!":
            value = found[1] if found[1] is not None else words[index + 1] if index + 1 < len(words) else ""
            yield from line_in(call, value, min(index + 1, len(words) - 1))


_ESCAPE = re.compile(
    r"[\s:+]*(?:silent!?\s+|platform\s+)?(?:!|\\!|\.?(?:shell|system|sh|spawn|exec)\b|terminal\b)\s*(.+)",
    re.DOTALL,
)


_DATABASES = ("sqlite3", "psql", "mysql", "mariadb")


def _escape(call: Call, text: str, at: int) -> Iterator[Started]:
    """`!ls` of an editor, `shell ls` of a debugger; and `call system("ls")`."""
    if found := _ESCAPE.match(text):
        yield Line(found[1], at)
    yield Code(text, "sql" if call.name in _DATABASES else "other", at)


_COMMAND_SETTINGS = tuple(names("command pager editor fsmonitor cmd external exec askpass helper"))


def _setting(text: str, at: int) -> Iterator[Started]:
    """`alias.x=!ls`, `core.pager=less`, `ProxyCommand=ssh host`."""
    key, _, value = text.partition("=")
    if value.startswith("!"):
        yield Line(value[1:], at)
    elif key.lower().endswith(_COMMAND_SETTINGS) and not any(mark in value for mark in UNKNOWN):
        yield Line(value, at)
