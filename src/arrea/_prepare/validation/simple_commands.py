"""From the parts of one simple command to its `Call`: its words, assignments, redirects and here-documents.

`Walk` is the reader that comes upon it: it is given what has to be read besides (substitutions, compound commands).
"""

from __future__ import annotations

import re

from arrea._prepare.validation.commands import Call, HereText
from arrea._prepare.validation.grammar import KINDS
from arrea._prepare.validation.mask import LinesJoined, Unreadable
from arrea._prepare.validation.nodes import (
    EXPANSIONS,
    HIDING,
    SUBSTITUTIONS,
    WHOLE,
    check_comment,
    check_gap,
    check_quotes,
    check_variable,
    first_char,
    is_prompt,
)
from arrea._prepare.validation.source import Source
from arrea._prepare.validation.words import (
    LOOSE,
    PLAIN,
    QUOTED,
    UNKNOWN,
    Overlooked,
    TooManyWords,
    read_quoted,
    read_word,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Protocol

    from tree_sitter import Node

    from arrea._prepare.validation.commands import Frame, Reading, Stage
    from arrea._prepare.validation.source import Here, Span

    Found = tuple[int, int, Stage]

    class Walk(Protocol):
        """heres: the here-documents met so far. groups: of `time {` that are open."""

        source: Source
        reading: Reading
        heres: set[int]
        groups: int

        def substitution(self, node: Node, frame: Frame) -> Stage: ...
        def note_substitution(self, start: int, end: int) -> None: ...
        def overlooked(self, node: Node, frame: Frame) -> None: ...
        def later(self, node: Node, frame: Frame) -> None: ...
        def ticks_in(self, start: int, end: int, frame: Frame) -> Sequence[Found]: ...
        def is_bare(self, name: str) -> bool: ...
        def live_body(self, inner: Source, place: Span, frame: Frame) -> str: ...


_IFS = re.compile(r"\$\{?IFS(?!\w)", re.ASCII)
_PATH_VARIABLE = re.compile(r"\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)\})/", re.ASCII)
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*\+?=", re.ASCII)
_LIVE = re.compile(r"[\\$`]")
_CLOSERS = frozenset(("then", "elif", "else", "fi", "do", "done", "esac"))  # no commands' names
_TIMERS = ("time", "coproc", "!")  # before compound commands, but for the grammar commands with words


def read_call(walk: Walk, frame: Frame, nodes: Iterable[Node], redirects: Iterable[Node]) -> Call:
    """The call that these parts are. redirects: those that stand behind it."""
    return _CallReader(walk, frame).read(nodes, redirects)


def read_body(walk: Walk, frame: Frame, root: Node) -> str:
    """The value of a here-document in double quotes, its expansions marked and their commands read."""
    chars = walk.source.chars
    piece = _Piece(1, len(chars) - 1)
    reader = _CallReader(walk, frame)
    reader.holes(piece, root)
    reader.ticks(piece)
    return read_quoted(chars, piece.start, piece.end, piece.holes, closing="")[0]


class _Piece:
    """A word's place, and where the expansions in it begin and end."""

    __slots__ = ("end", "holes", "start")

    def __init__(self, start: int, end: int) -> None:
        self.start = start
        self.end = end
        self.holes: dict[int, int] = {}


class _CallReader:
    """Of one call. found: the substitutions in its words. assigned: the values before it."""

    __slots__ = ("assigned", "call", "found", "frame", "source", "walk")

    def __init__(self, walk: Walk, frame: Frame) -> None:
        self.walk = walk
        self.frame = frame
        self.source = walk.source
        self.call = Call(walk.source, frame)
        self.found: list[Found] = []
        self.assigned: list[tuple[str, _Piece]] = []

    def read(self, nodes: Iterable[Node], redirects: Iterable[Node]) -> Call:
        call = self.call
        if self.frame.out is not None:
            self.frame.out.calls.append(call)
        self.walk.reading.calls.append(call)
        pieces = self.pieces(nodes)
        for redirect in redirects:
            self.redirect(redirect, pieces)
        for start, _, stage in self.found:
            if self.source.masked[start] == ">":
                stage.calls.append(call)
        self.read_words(pieces)
        return call

    # ── the parts ────────────────────────────────────────────────────────────────────────────────

    def pieces(self, nodes: Iterable[Node]) -> list[_Piece]:
        """The words. Those that touch each other are one, whatever the grammar says."""
        pieces: list[_Piece] = []
        end, last = -1, ""
        for node in nodes:
            kind = KINDS[node.kind_id]
            start = node.start_byte
            self.check_place(end, start)
            if start == end and last in ("variable_assignment", "file_redirect") and not pieces:
                kind = self.touching(node, kind, last)
            elif kind == "variable_assignment" and not pieces:
                self.assignment(node)
            elif kind.endswith("_redirect"):
                self.redirect(node, pieces)
            elif kind == "subshell":
                self.timed(node, pieces)
            elif kind == "comment":
                check_comment(self.source, node)
            else:
                self.add(pieces, node, kind)
            end, last = node.end_byte, kind
        return pieces

    def check_place(self, end: int, start: int) -> None:
        masked = self.source.masked
        if 0 <= end < start:
            check_gap(self.source, end, start)
            newline = masked.find("\n", end, start)
            if newline >= 0:
                raise LinesJoined(newline)
        if masked[start].isspace():
            raise Unreadable("a word that bash takes for another", start)

    def add(self, pieces: list[_Piece], node: Node, kind: str) -> None:
        start = node.start_byte
        if not pieces or pieces[-1].end != start:
            pieces.append(_Piece(start, start))
        pieces[-1].end = node.end_byte
        if kind not in WHOLE:
            self.holes(pieces[-1], node)

    def touching(self, node: Node, kind: str, last: str) -> str:
        """The rest of a value, as the `1` of `x=$y/$1`, for which the grammar sees another word."""
        if last == "file_redirect" and kind == last:
            self.redirect(node, [])
            return kind
        if last == "file_redirect" or not self.assigned or self.assigned[-1][1].end != node.start_byte:
            raise Unreadable("a word that bash takes for a part of the one before", node.start_byte)
        piece = self.assigned[-1][1]
        piece.end = node.end_byte
        self.holes(piece, node)
        return last

    def timed(self, node: Node, pieces: list[_Piece]) -> None:
        """`time (a)`, which the grammar takes for a command with words."""
        first = self.source.text(pieces[0].start, pieces[0].end) if pieces else ""
        if first not in _TIMERS:
            raise Unreadable("a bracket at a place where no command begins", node.start_byte)
        self.walk.later(node, self.frame)

    def assignment(self, node: Node) -> None:
        name, value = node.child_by_field_name("name"), node.child_by_field_name("value")
        piece = _Piece(node.start_byte, node.end_byte)
        self.holes(piece, node)
        if name is None or (value is not None and KINDS[value.kind_id] == "array"):
            return
        piece.start = node.end_byte if value is None else value.start_byte
        self.assigned.append((self.source.text(name.start_byte, name.end_byte), piece))

    def holes(self, piece: _Piece, node: Node) -> None:
        """Where expansions in a word end. The substitutions among them are read, too."""
        todo = [node]
        while todo:
            node = todo.pop()
            kind = KINDS[node.kind_id]
            if kind in SUBSTITUTIONS:
                start = first_char(self.source, node)
                piece.holes.setdefault(start, node.end_byte)
                self.found.append((start, node.end_byte, self.walk.substitution(node, self.frame)))
                continue
            if kind in EXPANSIONS:
                piece.holes.setdefault(first_char(self.source, node), node.end_byte)
                self.check_expansion(node, kind)
            elif kind in HIDING:
                self.walk.overlooked(node, self.frame)
            todo += node.children

    def check_expansion(self, node: Node, kind: str) -> None:
        if kind == "simple_expansion":
            check_variable(self.source, node)
        elif kind == "expansion":
            check_quotes(self.source, node)
            if is_prompt(self.source, node):
                self.walk.note_substitution(node.start_byte, node.end_byte)

    # ── words ────────────────────────────────────────────────────────────────────────────────────

    def read_words(self, pieces: list[_Piece]) -> None:
        call = self.call
        words: list[str] = []
        places: list[Span] = []
        for piece in pieces:
            raw = self.source.chars[piece.start : piece.end]
            if not words and "\\\n" in raw and _ASSIGNMENT.match(raw.replace("\\\n", "")):
                continue  # broken over two lines where the grammar doesn't know it for one
            values = self.values(piece, first=not words) if raw.strip(PLAIN) else (raw,)
            if self.found and values and values[0] in UNKNOWN:
                self.note_stage(len(words), piece)
            words += values
            places += [(piece.start, piece.end)] * len(values)
        call.words, call.places = words, places
        call.assignments = [(name, " ".join(self.values(piece))) for name, piece in self.assigned]
        if words and (words[0] in _CLOSERS or words[0] in _TIMERS):
            self.keyword(words, pieces[0])

    def keyword(self, words: list[str], piece: _Piece) -> None:
        """Of `time { a; }` the grammar makes two commands, the second called `}`; no other command is called so."""
        word = words[0]
        if word in _TIMERS:
            self.walk.groups += "{" in words
        elif piece.end - piece.start != len(word):  # in quotes it is only a name
            return
        elif word != "}" or not self.walk.groups:
            raise Unreadable("a word of the grammar that ends nothing", piece.start)
        else:
            self.walk.groups -= 1

    def values(self, piece: _Piece, *, first: bool = False) -> list[str]:
        self.ticks(piece)
        try:
            values = read_word(self.source.chars, piece.start, piece.end, piece.holes)
        except TooManyWords:
            raise Unreadable(
                "braces that become too many words", piece.start, code="unparseable" if first else "too_deep"
            ) from None
        except Overlooked:
            raise Unreadable("a substitution at a place where bash may see none", piece.start) from None
        if first:
            values = self.first_word(piece, values)
        return [self.source.plain(value) for value in values]

    def ticks(self, piece: _Piece) -> None:
        if self.source.ticks:
            found = self.walk.ticks_in(piece.start, piece.end, self.frame)
            self.found += found
            piece.holes.update((start, end) for start, end, _ in found)

    def first_word(self, piece: _Piece, values: list[str]) -> list[str]:
        """A command's name: `$IFS` in it makes it unknown; a variable before a path does not, unless it is set here."""
        raw = self.source.chars[piece.start : piece.end]
        if _IFS.search(raw):
            return [LOOSE]
        found = _PATH_VARIABLE.match(raw)
        if found and values and not self.walk.is_bare(found[1] or found[2]):
            values[0] = values[0].replace(LOOSE, QUOTED, 1)
        return values

    def note_stage(self, index: int, piece: _Piece) -> None:
        """For a word that is one substitution and nothing else."""
        inside = [found for found in self.found if piece.start <= found[0] and found[1] <= piece.end]
        if len(inside) == 1 and self.source.masked[inside[0][0]] != ">":
            self.call.stages[index] = inside[0][2]

    # ── redirects ────────────────────────────────────────────────────────────────────────────────

    def redirect(self, node: Node, words: list[_Piece]) -> None:
        """Note it, and add the words behind its target, that the grammar takes for a part of it, to the others."""
        if KINDS[node.kind_id] != "file_redirect":
            raise Unreadable("a here-document at a place where bash may see none", node.start_byte)
        operator, *rest = node.children
        descriptor = ""
        if KINDS[operator.kind_id] == "file_descriptor":
            descriptor = self.source.chars[operator.start_byte : operator.end_byte]
            operator, *rest = rest
        elif words and self.is_descriptor(words[-1], operator.start_byte):  # the grammar doesn't know `0<`
            piece = words.pop()
            descriptor = self.source.chars[piece.start : piece.end]
        pieces = self.pieces(rest)
        if not pieces:
            return
        here = self.source.heres.get(operator.start_byte)
        if here is not None:
            self.walk.heres.add(operator.start_byte)
            self.here(here, pieces[0])
        else:
            self.file(descriptor, operator, pieces[0])
        words += pieces[1:]

    def is_descriptor(self, piece: _Piece, end: int) -> bool:
        text = self.source.chars[piece.start : piece.end].replace("\\\n", "")
        return piece.end == end and text.isdigit()

    def file(self, descriptor: str, operator: Node, target: _Piece) -> None:
        call, start = self.call, operator.start_byte
        sign = self.source.masked[start : operator.end_byte]
        call.redirects.append((sign, " ".join(self.values(target)), (start, target.end)))
        if sign == "<" and descriptor in ("", "0"):
            place = (target.start, target.end)
            call.feed = next((stage for start, end, stage in self.found if (start, end) == place), None)
        elif sign in (">", ">>", ">|", "&>", "&>>") and descriptor in ("", "1") and call.out is not None:
            call.out.calls.remove(call)
            call.out = None

    def here(self, here: Here, word: _Piece) -> None:
        if here.end:
            value, start, end = self.source.plain(self.body(here)), here.start, here.end
        else:
            value, start, end = " ".join(self.values(word)), word.start, word.end
        self.call.redirects.append(("<<" if here.end else "<<<", value, (start, end)))
        self.call.feed = HereText(value, self.source.span(start, end))

    def body(self, here: Here) -> str:
        """The text of a here-document, its expansions marked and their commands read."""
        text = self.source.chars[here.start : here.end]
        if here.tabs:
            text = re.sub(r"(?m)^\t+", "", text)
        if here.quoted or not _LIVE.search(text):
            return text
        place = (here.start, here.end)
        inner = Source.of_chars(f'"{text}"', self.source, self.source.span(*place))
        return self.walk.live_body(inner, place, self.frame)
