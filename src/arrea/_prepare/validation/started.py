"""What one command hands on to be run or read: the answers of `launchers` and `interpreters`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class Words:
    """The words from `first` on are a command; or those in `words`, when they had to be changed."""

    __slots__ = ("first", "words")

    def __init__(self, first: int, words: Sequence[str]) -> None:
        self.first = first
        self.words = words


class Line:
    """Text that a shell reads. It stands in the words from `first` to `last`. guess: if it is one at all."""

    __slots__ = ("first", "guess", "last", "text")

    def __init__(self, text: str, first: int, last: int | None = None, *, guess: bool = False) -> None:
        self.text = text
        self.first = first
        self.last = first if last is None else last
        self.guess = guess


class Code:
    """Text of another language, in the word `first`."""

    __slots__ = ("first", "language", "text")

    def __init__(self, text: str, language: str, first: int) -> None:
        self.text = text
        self.language = language
        self.first = first


class Input:
    """It reads its input as a shell does, or as code of a language; or the substitution that its word `first` is."""

    __slots__ = ("first", "language")

    def __init__(self, language: str | None = None, first: int | None = None) -> None:
        self.language = language
        self.first = first


class Appended:
    """The words from `first` on are a command that gets more words from its input. whole: all of it as one word."""

    __slots__ = ("first", "whole")

    def __init__(self, first: int, *, whole: bool) -> None:
        self.first = first
        self.whole = whole


class Opaque:
    """What runs can't be known, for `reason`."""

    __slots__ = ("first", "reason")

    def __init__(self, reason: str, first: int) -> None:
        self.reason = reason
        self.first = first


Started = Words | Line | Code | Input | Appended | Opaque
