"""Texts that people see: how messages name a task, and what makes a text safe to print."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def describe(index: int, name: str) -> str:
    r"""How messages name a task: its index and its name, shortened, on one line.

    >>> describe(3, "printf 'a\n' && exit 3")
    "task 3 (printf 'a\\x0a' && exit 3)"
    """
    shown = printable(name[:200])
    return f"task {index} ({shown if len(shown) <= 60 else shown[:57] + '...'})"


def label_text(label: object) -> str:
    try:
        return str.__str__(str(label))  # plain text: a subclass has methods of its own, which would run later
    except Exception:  # noqa: BLE001 - a label's own text is no reason to refuse a command
        return f"<{type(label).__name__}>"


def printable(text: str) -> str:
    r"""Text without control characters, so that it can't move a terminal's cursor or fake a line.

    >>> printable("a" + chr(27) + "[2J")
    'a\\x1b[2J'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escaped(ord(c)) for c in text)


def _escaped(code: int) -> str:
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"


# Characters that make what follows look as if it stood elsewhere (Unicode Standard Annex 9; CVE-2021-42574).
BIDIRECTIONAL = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@%+=:,./-_")


def in_quotes(word: str) -> str:
    """A word as a shell line would have it, with quotes where it needs them.

    >>> in_quotes("it's")
    "'it'\\\\''s'"
    """
    if word and PLAIN.issuperset(word):
        return word
    return "'" + word.replace("'", "'\\''") + "'"


def encodable(text: str) -> bool:
    """Whether the system can take it; texts that came from the system always pass (surrogateescape)."""
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return False
    return True


# Not `kind.__qualname__`, which a metaclass may answer with anything.
_QUALNAME: Any = type.__dict__["__qualname__"]


def type_name(kind: type) -> str:
    """As a traceback names it; without its module where that can't be had. Never raises.

    >>> type_name(ValueError), type_name(type_name.__class__)
    ('ValueError', 'function')
    """
    name = str.__str__(_QUALNAME.__get__(kind))
    try:
        module = kind.__module__
        return name if module in ("builtins", "__main__", None) else str.__str__(f"{module}.{name}")
    except BaseException:  # noqa: BLE001 - a metaclass whose attributes raise
        return name
