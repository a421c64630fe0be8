"""Argument vectors as a shell line of one line: what a person reads, and a shell reads back as the same words."""

from __future__ import annotations

from arrea._model.text import PLAIN, in_quotes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


RESERVED = frozenset(
    ("if", "then", "else", "elif", "fi", "do", "done", "case", "esac", "while", "until", "for", "in", "function",
     "select", "time", "coproc")
)  # fmt: skip


def quoted(words: Iterable[str]) -> str:
    """The words between spaces, each quoted where it has to be.

    >>> quoted(["echo", "a b", "it's", ""])
    "echo 'a b' 'it'\\\\''s' ''"
    """
    first, *others = map(quoted_word, words)
    # A shell would take it for a variable, or for a word of its own.
    if first in RESERVED or ("=" in first and PLAIN.issuperset(first)):
        first = f"'{first}'"
    return " ".join([first, *others])


def quoted_word(word: str) -> str:
    r"""One word. What can't be printed is escaped, as bash, zsh, ksh and POSIX of 2024 read it.

    >>> quoted_word("two\nlines")
    "$'two\\nlines'"
    """
    if word.isprintable():
        return in_quotes(word)
    return "$'" + "".join(map(_escaped, word)) + "'"


ESCAPES = {"\n": "\\n", "\t": "\\t", "\r": "\\r", "'": "\\'", "\\": "\\\\"}


def _escaped(character: str) -> str:
    r"""Bytes one by one: \x and \u take as many digits as there are, octal takes three at most."""
    if character in ESCAPES:
        return ESCAPES[character]
    if character.isprintable():
        return character
    return "".join(f"\\{byte:03o}" for byte in character.encode("utf-8", "surrogateescape"))
