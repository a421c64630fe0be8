"""What a text holds once it is read: simple commands, their words, what feeds them, what has to be read again."""

from __future__ import annotations

from arrea._prepare.validation.words import GLOB, LOOSE, QUOTED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from arrea._prepare.validation.source import Source, Span


class Stage:
    """What writes into a pipe or a substitution: the calls whose output goes there."""

    __slots__ = ("calls",)

    def __init__(self) -> None:
        self.calls: list[Call] = []


class Function(Stage):
    """One that the text defines: what it writes, where its definition is, and what its callers feed it."""

    __slots__ = ("feeds", "fragment", "span")

    def __init__(self, span: Span, fragment: str) -> None:
        super().__init__()
        self.span = span
        self.fragment = fragment
        self.feeds: list[Feed] = []


class InputOf:
    """The input of a function: what its callers give it."""

    __slots__ = ("function",)

    def __init__(self, function: Function) -> None:
        self.function = function


class HereText:
    """The text of a here-document or here-string: a value with marks (see `words`), and where it is."""

    __slots__ = ("span", "value")

    def __init__(self, value: str, span: Span) -> None:
        self.value = value
        self.span = span


class Frame:
    """What holds for the commands inside of a compound command, a pipe or a substitution.

    feed: their input, None for unknown. out: the pipe that their output goes to. forks: they run in a pipeline or in
    the background of `function`.
    """

    __slots__ = ("depth", "feed", "forks", "function", "out")

    def __init__(
        self,
        depth: int = 0,
        *,
        feed: Feed = None,
        out: Stage | None = None,
        forks: bool = False,
        function: str | None = None,
    ) -> None:
        self.depth = depth
        self.feed = feed
        self.out = out
        self.forks = forks
        self.function = function

    def piped(self, feed: Feed, out: Stage | None) -> Frame:
        """The same place with another input and output, beside other commands."""
        return Frame(self.depth, feed=feed, out=out, forks=True, function=self.function)

    def beside(self) -> Frame:
        return self.piped(self.feed, self.out)

    def deeper(self, feed: Feed, out: Stage | None) -> Frame:
        return Frame(self.depth + 1, feed=feed, out=out, forks=self.forks, function=self.function)


class Call:
    """One simple command as found.

    words: values with marks (see `words`), the program first. places: of each of them in `source`.
    name: the program's, "" for a line of assignments or redirects, None when it exists only at run time.
    redirects: operator, target and place of each.
    feed, out, forks, function: as in `Frame`. through: the programs that start it, outermost first.
    guess: only taken for a command, as a text in a program is: what can't be understood in it doesn't matter.
    other: a shell that isn't bash would run it. level: how many texts it is inside of.
    stages: for a word that is one substitution, what it is made of.
    behind: the words that a `sudo` would run. bomb: the function of which it makes a fork bomb.
    reads_unknown: it is a shell or interpreter that reads what another program writes.
    """

    __slots__ = (
        "assignments", "behind", "bomb", "feed", "forks", "function", "guess", "level", "name", "other", "out",
        "places", "reads_unknown", "redirects", "source", "stages", "through", "words",
    )  # fmt: skip

    def __init__(self, source: Source, frame: Frame) -> None:
        self.source = source
        self.name: str | None = ""
        self.words: Sequence[str] = ()
        self.places: Sequence[Span] = ()
        self.feed = frame.feed
        self.out = frame.out
        self.forks = frame.forks
        self.function = frame.function
        self.assignments: list[tuple[str, str]] = []
        self.redirects: list[tuple[str, str, Span]] = []
        self.through: tuple[str, ...] = ()
        self.guess = False
        self.other = False
        self.level = 0
        self.stages: dict[int, Stage] = {}
        self.behind: Sequence[str] = ()
        self.bomb: Function | None = None
        self.reads_unknown = False

    def between(self, first: int, last: int) -> Span:
        """The place of its words from `first` to `last`, in its source."""
        return (self.places[first][0], self.places[last][1])

    def span(self, first: int = 0, last: int = -1) -> Span:
        """Of its words from `first` to `last`, in characters of the command as given."""
        if not self.places:
            return self.source.within or (0, 0)
        return self.source.span(self.places[first][0], self.places[last][1])

    def fragment(self, first: int = 0, last: int = -1) -> str:
        if not self.places:
            return ""
        return self.source.text(self.places[first][0], self.places[last][1])


def name_of(word: str) -> str | None:
    """The program that a command's first word names, without its path; None when it exists only at run time.

    A path that begins with something unknown still names its program: "\\x01/bin/make" is `make`.

    >>> name_of("/bin/rm"), name_of("$x".replace("$x", LOOSE))
    ('rm', None)
    """
    name = word[word.rfind("/") + 1 :].lstrip("=") or word  # for zsh `=ls` is the path of `ls`
    if GLOB in word or LOOSE in word:
        return None
    if QUOTED in word and QUOTED in name:
        return None
    return name


class Again:
    """A text that has to be read once more, and the place that it is from. guess: as in `Call`."""

    __slots__ = ("frame", "guess", "span", "text")

    def __init__(self, text: str, span: Span, frame: Frame, *, guess: bool = False) -> None:
        self.text = text
        self.span = span
        self.frame = frame
        self.guess = guess


class Reading:
    """calls: in the order of the text. substitution: the place of the first live one. functions: what each writes."""

    __slots__ = ("again", "calls", "functions", "substitution")

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.again: list[Again] = []
        self.functions: dict[str, Function] = {}
        self.substitution: Span | None = None

    def adopt(self, inner: Reading) -> None:
        """What a part of the text runs, that was read by itself."""
        self.calls += inner.calls
        self.again += inner.again
        self.functions.update(inner.functions)


if TYPE_CHECKING:
    Feed = Stage | HereText | InputOf | None
