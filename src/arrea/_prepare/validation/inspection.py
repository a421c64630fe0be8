"""Everything that a command would run: its simple commands, what they start, and what is inside of texts that are read.

Given a line or an argument vector, collects `calls` in the order in which they were found, and `problems`: what
can't be let through whatever the rules say. Depth and amount are bounded: hostile text costs no more than its length.
"""

from __future__ import annotations

import re

from arrea._model.text import BIDIRECTIONAL
from arrea._prepare.validation.commands import Call, Frame, HereText, Stage, name_of
from arrea._prepare.validation.grammar import first_error, parse
from arrea._prepare.validation.interpreters import commands_in
from arrea._prepare.validation.launchers import started
from arrea._prepare.validation.mask import LinesJoined, Unreadable, check_depth, mask
from arrea._prepare.validation.names import QUIET, names
from arrea._prepare.validation.reader import read_tree
from arrea._prepare.validation.source import Source
from arrea._prepare.validation.special_launchers import ELEVATORS, SHELLS
from arrea._prepare.validation.started import Appended, Code, Input, Line, Opaque, Words
from arrea._prepare.validation.texts import fed, printed_by_code
from arrea._prepare.validation.words import GLOB, LOOSE, QUOTED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from tree_sitter import Node

    from arrea._model.verdict import Code as VerdictCode
    from arrea._prepare.validation.commands import Again, Feed, Function, Reading
    from arrea._prepare.validation.source import Span
    from arrea._prepare.validation.started import Started

_OF_THE_SHELL = names("time coproc ! { if then elif else while until do eval trap")
MAX_TEXTS = 1024  # that are read for one command
MAX_LEVEL = 8  # texts inside of texts
MAX_THROUGH = 32  # programs that start each other
MAX_READ = 3  # times its length, and a bit, is read of a text in all
MAX_NODES = 65_536  # of all trees; a script of 64 KiB has a quarter of them
MAX_JOINED = 32  # lines of a text that the grammar joins
MAX_RETRIED = 65_536  # characters of a text that is read a second time when the grammar fails

_BIDIRECTIONAL = re.compile(f"[{BIDIRECTIONAL}]")
_QUOTED_KINDS = frozenset(("raw_string", "string", "string_content", "ansi_c_string"))
_COMMAND_VARIABLES = names(
    """
    PROMPT_COMMAND EDITOR VISUAL GIT_EDITOR PAGER GIT_PAGER MANPAGER GIT_SSH_COMMAND GIT_EXTERNAL_DIFF
    GIT_SEQUENCE_EDITOR
    RSYNC_RSH LESSOPEN LESSCLOSE BROWSER FZF_DEFAULT_COMMAND GIT_ASKPASS SSH_ASKPASS SUDO_ASKPASS PS4
    """
)


# What only exists at run time, for people. And `&> file` with more words behind it.
_UNKNOWN_SHOWN = {ord(LOOSE): "...", ord(QUOTED): "...", ord(GLOB): None}
_BOTH_REDIRECTED = re.compile(r"&>>?[ \t]*[^\s;&|()<>]+[ \t]+[^\s;&|()#]")


class Problem:
    """Why a command is refused without any rule."""

    __slots__ = ("code", "fragment", "is_character", "reason", "span")

    def __init__(
        self, code: VerdictCode, reason: str, span: Span, fragment: str, *, is_character: bool = False
    ) -> None:
        self.is_character = is_character
        self.code = code
        self.reason = reason
        self.span = span
        self.fragment = fragment.translate(_UNKNOWN_SHOWN)


class Inspection:
    """One command's. allow_substitution: those that are live pass, and what is in them is judged.

    stdin: the text that it reads, where that is known.
    """

    def __init__(self, text_length: int, *, allow_substitution: bool, stdin: str | None = None) -> None:
        self.allow_substitution = allow_substitution
        self.calls: list[Call] = []
        self.problems: list[Problem] = []
        self.functions: dict[str, Function] = {}
        self._aliases: dict[str, str] = {}
        # Of what has no other input: the command's own, and from an `exec` on what that makes of it.
        self._stdin: Feed = None if stdin is None else HereText(stdin, (0, text_length))
        self._left = MAX_READ * (text_length + len(stdin or "")) + 65_536
        self._nodes_left = MAX_NODES
        self._texts_left = MAX_TEXTS
        self._todo: list[Call] = []
        self._later: list[tuple[Call, Input | Appended]] = []

    # ── what is given ────────────────────────────────────────────────────────────────────────────

    def line(self, text: str) -> None:
        """Everything that a shell would run for this text."""
        self._read(text, None, None, guess=False)
        self._run()

    def vector(self, words: Sequence[str], text: str, places: Sequence[Span]) -> None:
        """Everything that these words would run, without a shell before them. They are at these places of a text."""
        call = Call(Source(text), Frame(feed=self._stdin))
        call.words, call.places = words, places
        self._todo.append(call)
        self._run()

    def _run(self) -> None:
        """Calls first; what depends on the output of others once all of those are known."""
        while self._todo or self._later:
            while self._todo:
                call = self._todo.pop()
                self.calls.append(call)
                self._look_at(call)
            self._todo += self._aliased()
            if self._todo:
                continue
            later, self._later = self._later, []
            for call, piece in later:
                self._feed(call, piece)

    def _aliased(self) -> list[Call]:
        """Calls of aliases of the same text, in their place what they stand for."""
        aliases, found = self._aliases, []
        for call in self.calls if aliases else ():
            if call.name in aliases and not call.guess and "alias" not in call.through:
                text = " ".join([aliases[call.name], *call.words[1:]])
                for inner in self._calls_in(
                    text, Source(text, call.span()), Frame(feed=call.feed), call.level + 1
                ):
                    found.append(self._inherit(inner, call, "alias", guess=False))
        self._aliases = {}
        return found

    # ── one call ─────────────────────────────────────────────────────────────────────────────────

    def _look_at(self, call: Call) -> None:
        name = call.name = name_of(call.words[0]) if call.words else ""
        if name in self.functions and call.feed is not None:
            self.functions[name].feeds.append(call.feed)
        if name == "exec" and len(call.words) == 1:
            self._stdin = call.feed or self._stdin
        if name == "alias":
            self._aliases.update(alias for word in call.words[1:] if (alias := word.partition("=")[::2])[1])
        for variable, value in _assigned(call, name):
            if variable in _COMMAND_VARIABLES:
                self._read(value, call, call.span(), guess=True, name=f"{variable}=")
        if name is None:
            self._unknown_name(call)
        elif name:
            any_started = False
            for piece in started(call, name):
                any_started = True
                self._take(call, name, piece)
            if not any_started and not call.guess and name not in QUIET:
                self._suspect(call, name)

    def _unknown_name(self, call: Call) -> None:
        if not call.guess:
            self._add("unparseable", "the name of a command exists only at run time", call, 0, 0)
        self._suspect(call, "?")

    def _suspect(self, call: Call, name: str) -> None:
        """A program that nothing is known of may start what its words look like."""
        for at, word in enumerate(call.words[1:], 1):
            last = word.rpartition("/")[2]
            follows = call.words[at + 1][:1] == "-" if at + 1 < len(call.words) else False
            if last in ("rm", "grm", "dd") or (last in SHELLS and follows):
                self._start(call, name, Words(at, call.words[at:]), guess=True)
                return

    def _take(self, call: Call, name: str, piece: Started) -> None:
        if isinstance(piece, Words):
            if name in ELEVATORS:
                call.behind = piece.words
            self._start(call, name, piece)
        elif isinstance(piece, Line):
            self._read(piece.text, call, call.span(piece.first, piece.last), guess=piece.guess, name=name)
        elif isinstance(piece, Code):
            self._code(call, name, piece, call.span(piece.first, piece.first))
        elif isinstance(piece, Opaque):
            if not call.guess:
                self._add("unparseable", piece.reason, call, piece.first, piece.first)
        else:
            self._later.append((call, piece))

    def _start(self, call: Call, name: str, piece: Words, *, guess: bool = False) -> None:
        """The command that a launcher starts, in its place."""
        if len(call.through) >= MAX_THROUGH:
            self._add("too_deep", f"more than {MAX_THROUGH} programs that start each other", call, 0, 0)
            return
        inner = self._inherit(Call(call.source, Frame(feed=call.feed, out=call.out)), call, name, guess=guess)
        inner.words = piece.words
        places = call.places[piece.first : piece.first + len(piece.words)]
        inner.places = [*places, *[call.places[-1]] * (len(piece.words) - len(places))]
        shift = piece.first
        inner.stages = {at - shift: stage for at, stage in call.stages.items() if at >= shift}
        inner.forks = inner.forks or name == "coproc"
        if name not in _OF_THE_SHELL:  # another program knows no functions
            inner.function = None
        if inner.out is not None:
            inner.out.calls.append(inner)
        self._todo.append(inner)

    def _inherit(self, inner: Call, call: Call, name: str, *, guess: bool) -> Call:
        inner.through = (*call.through, name, *inner.through)
        inner.function = inner.function or call.function
        inner.forks = inner.forks or call.forks
        inner.guess = inner.guess or call.guess or guess
        inner.level = call.level
        return inner

    def _code(self, call: Call, name: str, piece: Code, span: Span) -> None:
        commands, decodes = commands_in(piece.text, piece.language)
        if decodes and not call.guess:
            self._add("unparseable", f"code that runs what {decodes} hides", call, piece.first, piece.first)
        for words in commands:
            if len(words) > 1:
                inner = Call(Source(" ".join(words), span), Frame())
                inner.words, inner.places = words, places_of(words)
                self._todo.append(self._inherit(inner, call, name, guess=True))
            else:
                self._read(words[0], call, span, guess=True, name=name)

    # ── what is read from elsewhere ──────────────────────────────────────────────────────────────

    def _feed(self, call: Call, piece: Input | Appended) -> None:
        name = call.name or "?"
        if isinstance(piece, Appended):
            arriving = fed(call.feed, self.functions)
            text = arriving.text
            more = [LOOSE] if text is None else [text] if piece.whole else text.split()
            self._start(call, name, Words(piece.first, [*call.words[piece.first :], *more]))
            return
        at = piece.first or 0
        feed = (call.feed or self._stdin) if piece.first is None else call.stages[at]
        arriving = fed(feed, self.functions)
        span = arriving.span or call.span(at, at)
        if arriving.changed_by:
            if piece.language is None and not call.guess:
                reason = f"{name} would run what {arriving.changed_by} makes of a text"
                self._add("unparseable", reason, call, at, at)
        elif arriving.text is None:
            call.reads_unknown = isinstance(feed, Stage)
            for text in printed_by_code(feed, self.functions):
                self._read(text, call, span, guess=True, name=name)
        elif piece.language is None:
            self._read(arriving.text, call, span, guess=call.guess, name=name)
        else:
            self._code(call, name, Code(arriving.text, piece.language, at), span)

    # ── text ─────────────────────────────────────────────────────────────────────────────────────

    def _read(
        self, text: str, call: Call | None, within: Span | None, *, guess: bool, name: str = ""
    ) -> None:
        """A text that a shell reads, as the words of `call` hold it; None for the line itself."""
        before = len(self.problems)
        level = 0
        frame = Frame(feed=self._stdin)
        if call is not None:
            level = call.level + 1
            frame = Frame(feed=call.feed, out=call.out)
            guess = guess or call.guess
        source = Source(text, within)
        for inner in reversed(self._calls_in(text, source, frame, level)):
            if call is not None:
                self._inherit(inner, call, name, guess=guess)
            inner.level = level
            self._todo.append(inner)
        if guess:
            del self.problems[before:]

    def _calls_in(self, text: str, source: Source, frame: Frame, level: int) -> list[Call]:
        try:
            return self._understood(text, source, frame, level)
        except Unreadable as error:
            start = error.at or 0
            end = len(source.chars) if error.at is None else min(start + 1, len(source.chars))
            fragment = source.text(start, min(start + 40, len(source.chars)))
            self.problems.append(Problem(error.code, str(error), source.span(start, end), fragment))
            return []

    def _understood(self, text: str, source: Source, frame: Frame, level: int) -> list[Call]:
        """The calls in a text. Raises `Unreadable`."""
        self._left -= len(text)
        if level > MAX_LEVEL or self._left < 0:
            raise Unreadable("texts inside of texts, too many to read", code="too_deep")
        if self._bad_characters(text, source):
            return []
        check_depth(source.chars)
        mask(source)
        root = _tree(source)
        self._nodes_left -= root.descendant_count
        self._texts_left -= 1
        if self._nodes_left < 0 or self._texts_left < 0:
            raise Unreadable("too much to read", code="too_deep")
        if "\r" in text and self._bad_returns(source, root):
            return []
        reading = _reading(source, root, frame)
        if reading.substitution is not None and not self.allow_substitution:
            start, end = reading.substitution
            span, fragment = source.span(start, end), source.text(start, min(end, start + 80))
            self.problems.append(Problem("possible_injection", "a live substitution", span, fragment))
        self.functions.update(reading.functions)
        calls = reading.calls
        for again in reading.again:
            calls += self._again(again, level + 1)
        return calls + self._as_dash_reads(text, source, frame)

    def _again(self, again: Again, level: int) -> list[Call]:
        source = Source(again.text, again.span)
        if not again.guess:
            return self._understood(again.text, source, again.frame, level)
        before = len(self.problems)
        calls = self._calls_in(again.text, source, again.frame, level)
        del self.problems[before:]
        for call in calls:
            call.guess = call.other = True
        return calls

    def _as_dash_reads(self, text: str, source: Source, frame: Frame) -> list[Call]:
        """For dash `$'...'` has no escapes, so it ends at another quote than for bash; and `a &> f b` runs `b`, too."""
        quotes, splits = "$'" in text and "\\'" in text, _BOTH_REDIRECTED.search(source.masked)
        if not quotes and not splits:
            return []
        as_dash = text.replace("$'", "_'") if quotes else text
        as_dash = as_dash.replace("&>", "& >") if splits else as_dash
        other = Source(as_dash, source.within or source.span(0, len(source.chars)))
        try:
            mask(other)
            calls = read_tree(other, _tree(other), frame).calls
            for call in calls:
                call.other = True
            return calls
        except Unreadable:
            if quotes and "\n" in text:  # it would run what stands in the lines before
                raise Unreadable("a quote that bash and other shells end at different places") from None
            return []

    # ── characters ───────────────────────────────────────────────────────────────────────────────

    def _bad_characters(self, text: str, source: Source) -> bool:
        found = _bad_character(text)
        if found is not None:
            what, at = found
            span = source.within or (at, at + 1)
            shown = ascii(text[at])[1:-1]
            self.problems.append(Problem("possible_injection", what, span, shown, is_character=True))
        return found is not None

    def _bad_returns(self, source: Source, root: Node) -> bool:
        at = source.chars.find("\r")
        while at >= 0:
            if not _is_quoted(source, root, at):
                self.problems.append(
                    Problem(
                        "possible_injection",
                        "a carriage return outside of quotes",
                        source.span(at, at + 1),
                        "\\r",
                        is_character=True,
                    )
                )
                return True
            at = source.chars.find("\r", at + 1)
        return False

    def _add(self, code: VerdictCode, reason: str, call: Call, first: int, last: int) -> None:
        self.problems.append(Problem(code, reason, call.span(first, last), call.fragment(first, last)[:80]))


def places_of(words: Sequence[str]) -> list[Span]:
    """Of words that are joined by blanks, in the characters of a `Source`."""
    places, at = [], 0
    for word in words:
        length = len(word) if word.isascii() else len(word.encode("utf-8", "replace"))
        places.append((at, at + length))
        at += length + 1
    return places


def _assigned(call: Call, name: str | None) -> list[tuple[str, str]]:
    """What a call sets: before its name, or as `export` does."""
    if name not in ("export", "declare", "typeset", "readonly", "local"):
        return call.assignments
    return [(variable, value) for variable, _, value in (word.partition("=") for word in call.words[1:])]


def _reading(source: Source, root: Node, frame: Frame) -> Reading:
    for _ in range(MAX_JOINED):
        try:
            return read_tree(source, root, frame)
        except LinesJoined as error:
            source.masked = source.masked[: error.newline] + ";" + source.masked[error.newline + 1 :]
            root = _tree(source)
    raise Unreadable("many lines that the grammar takes for one")


def _tree(source: Source) -> Node:
    root = parse(source.masked.encode("latin-1"))
    if root is None and len(source.chars) <= MAX_RETRIED:
        mask(source, gaps=True)
        root = parse(source.masked.encode("latin-1"))
    if root is None:
        place = first_error(source.masked.encode("latin-1"))
        raise Unreadable("a syntax error", place[0] if place else None)
    return root


def _bad_character(text: str) -> tuple[str, int] | None:
    if "\0" in text:
        return "a NUL character", text.index("\0")
    if text.isascii():
        return None
    if found := _BIDIRECTIONAL.search(text):
        return "a character that changes the direction of what follows", found.start()
    try:
        text.encode()
    except UnicodeEncodeError as error:
        escaped = "\udc80" <= text[error.start] <= "\udcff"  # so Python hands on what it can't decode
        return "a byte that is no UTF-8" if escaped else "half of a character (a lone surrogate)", error.start
    return None


def _is_quoted(source: Source, root: Node, at: int) -> bool:
    if any(here.start <= at < here.end for here in source.heres.values()):
        return True
    node = root.descendant_for_byte_range(at, at + 1)
    while node is not None:
        kind = node.type
        if kind in _QUOTED_KINDS:
            return True
        if kind in ("command_substitution", "process_substitution", "expansion"):
            return False
        node = node.parent
    return False
