"""A text that a shell would read: its bytes as characters (one each, as the grammar counts), its here-documents."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    Span = tuple[int, int]


class Here:
    """Where the text of a here-document is; a here-string's is the word behind its operator, and both ends are 0.

    quoted: nothing in it is expanded. tabs: those that begin its lines don't count.
    """

    __slots__ = ("end", "quoted", "start", "tabs")

    def __init__(self, start: int, end: int, *, quoted: bool, tabs: bool) -> None:
        self.start = start
        self.end = end
        self.quoted = quoted
        self.tabs = tabs


class Ticks:
    """Where a substitution in backticks is, and its text with the backslashes undone that were for them."""

    __slots__ = ("end", "start", "text")

    def __init__(self, start: int, end: int, text: str) -> None:
        self.start = start
        self.end = end
        self.text = text


class Source:
    """One text, and what `mask` makes of it for the grammar.

    heres: by the place of the operator. ticks: in order. within: the span of the outer word that holds this text, when
    it is read again; None for the command as given.
    """

    __slots__ = ("_ascii", "chars", "heres", "masked", "ticks", "within")

    def __init__(self, text: str, within: Span | None = None) -> None:
        self._ascii = text.isascii()
        self.chars = text if self._ascii else text.encode("utf-8", "replace").decode("latin-1")
        self.masked = self.chars
        self.heres: dict[int, Here] = {}
        self.ticks: list[Ticks] = []
        self.within = within

    @classmethod
    def of_chars(cls, chars: str, like: Source, within: Span) -> Source:
        """One made of the characters of another."""
        source = cls("", within)
        source._ascii = like._ascii
        source.chars = source.masked = chars
        return source

    def span(self, start: int, end: int) -> Span:
        """In characters of the command as given."""
        if self.within is not None:
            return self.within
        if self._ascii:
            return (start, end)
        return (len(self.text(0, start)), len(self.text(0, end)))

    def text(self, start: int, end: int) -> str:
        return self.plain(self.chars[start:end])

    def plain(self, value: str) -> str:
        """A piece of `chars`, or a value read from it, as text again."""
        if self._ascii or value.isascii():
            return value
        return value.encode("latin-1", "replace").decode("utf-8", "replace")
