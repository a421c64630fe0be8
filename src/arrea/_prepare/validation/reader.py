"""From the tree of the grammar to the simple commands in it, at any depth, with their words and pipes.

Given a source and its tree, hands back a `Reading`. Raises `Unreadable` where tree and text disagree: nothing of a text
may be left out. The walk has a stack of its own; no nesting can exhaust Python's.
"""

from __future__ import annotations

import re

from arrea._prepare.validation.commands import Again, Call, Frame, Function, HereText, InputOf, Reading, Stage
from arrea._prepare.validation.grammar import KINDS, parse
from arrea._prepare.validation.mask import MAX_DEPTH, LinesJoined, Unreadable, mask_body
from arrea._prepare.validation.nodes import (
    COMPOUNDS,
    EXPANSIONS,
    HIDING,
    LEAVES,
    LOOSE_KINDS,
    SUBSTITUTIONS,
    WHOLE,
    check_comment,
    check_ends,
    check_filled,
    check_gap,
    check_quotes,
    check_variable,
    first_char,
    hides,
    is_prompt,
    is_redirect,
)
from arrea._prepare.validation.plain import VERBS
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
    from collections.abc import Callable, Iterable

    from tree_sitter import Node

    from arrea._prepare.validation.source import Here, Span

    Redirects = tuple[Node, ...]
    Part = tuple[Node, Frame, Redirects]
    Handler = Callable[["_Reader", Node, Frame, Redirects], object]

_IFS = re.compile(r"\$\{?IFS(?!\w)", re.ASCII)
_PATH_VARIABLE = re.compile(r"\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)\})/", re.ASCII)
_LIVE = re.compile(r"[\\$`]")
_CLOSERS = frozenset(("then", "elif", "else", "fi", "do", "done", "esac", "}"))  # no commands' names

_TIMERS = ("time", "coproc", "!")  # before compound commands, but for the grammar commands with words
_OPERATOR = re.compile(r"&&|\|\||[<>|;&\n]")
_TICKS = re.compile(r"`(?:[^`\\]|\\.)*`?", re.DOTALL)
_NO_WORD = re.compile(r"[^\w.]+")


class _Piece:
    """A word's place, and where the expansions in it begin and end."""

    __slots__ = ("end", "holes", "start")

    def __init__(self, start: int, end: int) -> None:
        self.start = start
        self.end = end
        self.holes: dict[int, int] = {}


def read_tree(source: Source, root: Node, frame: Frame) -> Reading:
    """Every simple command of a tree. Raises `Unreadable`."""
    check_ends(source, root)
    reader = _Reader(source)
    reader.stack.append((root, frame, ()))
    reader.run()
    return reader.reading


class _Reader:
    """One walk over a tree. redirects, where it is passed: those that stand behind the node."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.reading = Reading()
        self.stack: list[Part] = []
        self.heres: set[int] = set()
        self.assigned: list[tuple[str, _Piece]] = []  # before the command at hand
        self.groups = 0  # of `time {` that are open
        self.found: list[tuple[int, int, Stage]] = []  # substitutions in the words of the command at hand

    def run(self) -> None:
        stack, handlers, kinds = self.stack, _HANDLERS, KINDS
        while stack:
            node, frame, redirects = stack.pop()
            handlers.get(kinds[node.kind_id], _Reader.descend)(self, node, frame, redirects)
        # Two readings of the same text, by `mask` and by the grammar, must have found the same here-documents.
        if len(self.heres) != len(self.source.heres):
            raise Unreadable("a here-document at a place where bash may see none")

    # ── structure ────────────────────────────────────────────────────────────────────────────────

    def leaf(self, node: Node, frame: Frame, redirects: Redirects) -> None:
        """Nothing is inside."""

    def comment(self, node: Node, frame: Frame, redirects: Redirects) -> None:
        check_comment(self.source, node)

    def text(self, node: Node, frame: Frame, redirects: Redirects) -> None:
        self.overlooked(node, frame)
        self.descend(node, frame)

    def overlooked(self, node: Node, frame: Frame) -> None:
        """A substitution in what the grammar takes for mere text, as in `${x#$(a)}`."""
        if hides(self.source, node):
            start, end = node.start_byte, node.end_byte
            self.note_substitution(start, end)
            self.again(f': "{self.source.text(start, end)}"', node, frame)

    def descend(self, node: Node, frame: Frame, redirects: Redirects = ()) -> None:
        """Into the parts of anything; what stands before a `&` runs beside the rest."""
        parts: list[Part] = []
        kind = KINDS[node.kind_id]
        loose = kind in LOOSE_KINDS
        end = node.start_byte
        for child in node.children:
            if not loose:
                check_gap(self.source, end, child.start_byte)
                end = child.end_byte
            if child.is_named:
                parts.append((child, frame, ()))
                continue
            sign = KINDS[child.kind_id]
            if sign == "&" and parts:
                part, of, _ = parts[-1]
                parts[-1] = (part, of.beside(), ())
            elif sign == ";;" and kind != "case_item":
                raise Unreadable("a ;; outside of case", child.start_byte)
        parts.reverse()
        self.stack.extend(parts)

    def sequence(self, node: Node, frame: Frame, redirects: Redirects) -> None:
        """`a && b` and `! a`: what is redirected behind it is so for its last command."""
        self.last_gets([(child, frame, ()) for child in node.children if child.is_named], redirects)

    def pipeline(self, node: Node, frame: Frame, redirects: Redirects) -> None:
        """Each stage's input is the output of the one before it."""
        stages = [child for child in node.children if child.is_named]
        parts: list[Part] = []
        feed = frame.feed
        for stage in stages[:-1]:
            out = Stage()
            parts.append((stage, frame.piped(feed, out), ()))
            feed = out
        self.last_gets([*parts, (stages[-1], frame.piped(feed, frame.out), ())], redirects)

    def last_gets(self, parts: list[Part], redirects: Redirects) -> None:
        node, frame, _ = parts[-1]
        parts[-1] = (node, frame, redirects)
        parts.reverse()
        self.stack.extend(parts)

    def redirected(self, node: Node, frame: Frame, redirects: Redirects) -> None:
        children = node.children
        own = tuple(filter(is_redirect, children))
        if len(own) == len(children):
            self.command_of([], (*own, *redirects), frame)
        else:
            self.stack.append((children[0], frame, (*own, *redirects)))

    def compound(self, node: Node, frame: Frame, redirects: Redirects) -> None:
        """Anything with commands inside: one level deeper, with the input and output that it is given."""
        self.check_depth(node, frame)
        check_filled(node)
        feed, out = frame.feed, frame.out
        if redirects:
            call = self.command_of([], redirects, frame)
            feed, out = call.feed, call.out
        if self.source.masked.startswith("((", node.start_byte):
            self.look_again(node, frame)
        self.descend(node, frame.deeper(feed, out))

    def group(self, node: Node, frame: Frame, redirects: Redirects) -> None:
        check_filled(node)
        self.descend(node, frame)

    def check_depth(self, node: Node, frame: Frame) -> None:
        if frame.depth >= MAX_DEPTH:
            raise Unreadable(f"commands nested more than {MAX_DEPTH} deep", node.start_byte, code="too_deep")

    def function(self, node: Node, frame: Frame, redirects: Redirects) -> None:
        self.check_depth(node, frame)
        name_node = node.child_by_field_name("name")
        name = self.source.text(name_node.start_byte, name_node.end_byte) if name_node else ""
        after = self.source.masked[name_node.end_byte] if name_node else ""
        if after not in " \t\n(":
            raise Unreadable("an odd name of a function", node.start_byte)
        span = self.source.span(node.start_byte, node.end_byte)
        fragment = self.source.text(node.start_byte, node.end_byte)
        body = self.reading.functions.setdefault(name, Function(span, fragment))
        inner = Frame(frame.depth + 1, feed=InputOf(body), out=body, function=name)
        own = tuple(filter(is_redirect, node.children))
        if own or redirects:
            inner.feed = self.command_of([], (*own, *redirects), frame).feed or inner.feed
        for child in node.children:
            if child.is_named and child != name_node and not is_redirect(child):
                self.stack.append((child, inner, ()))

    def substitution(self, node: Node, frame: Frame, redirects: Redirects = ()) -> Stage:
        """`$(a)`, a backtick, `<(a)`, `>(a)`: its commands are judged like any other."""
        self.check_depth(node, frame)
        start, end = first_char(self.source, node), node.end_byte
        self.note_substitution(start, end)
        stage = Stage()
        opening = self.source.masked[start]
        if opening == "`" and _TICKS.match(self.source.chars, start).end() != end:  # type: ignore[union-attr]
            raise Unreadable("a backtick in quotes, which end before it for some shells", start)
        inner = frame.deeper(stage, None) if opening == ">" else frame.deeper(frame.feed, stage)
        if opening == "`" and "\\" in self.source.chars[start:end]:
            # In it a backslash stands before what would end it, or be expanded, too early.
            self.again(re.sub(r"\\([$`\\])", r"\1", self.source.text(start + 1, end - 1)), node, inner)
        else:
            self.descend(node, inner)
        return stage

    def note_substitution(self, start: int, end: int) -> None:
        first = self.reading.substitution
        if first is None or start < first[0]:
            self.reading.substitution = (start, end)

    def expansion(self, node: Node, frame: Frame, redirects: Redirects) -> None:
        if is_prompt(self.source, node):
            self.note_substitution(node.start_byte, node.end_byte)
        check_quotes(self.source, node)
        self.descend(node, frame)

    def variable(self, node: Node, frame: Frame, redirects: Redirects) -> None:
        check_variable(self.source, node)

    def test(self, node: Node, frame: Frame, redirects: Redirects) -> None:
        """`[ a && b ]` is two commands, and for a shell that isn't bash `[[ a && b ]]` is, too."""
        start, end = node.start_byte, node.end_byte
        if self.source.masked.startswith("[[", start):
            self.look_again(node, frame)
        elif _OPERATOR.search(self.source.masked, start, end):
            self.again("_" + self.source.text(start + 1, end), node, frame)
        self.descend(node, frame)
        if redirects:
            self.command_of([], redirects, frame)

    def look_again(self, node: Node, frame: Frame) -> None:
        """What bash computes or compares, other shells run: only looked at where a verb is in it."""
        text = self.source.text(node.start_byte + 2, node.end_byte - 2)
        if not VERBS.isdisjoint(_NO_WORD.split(text)):
            self.again(text, node, frame, guess=True)

    def again(self, text: str, node: Node, frame: Frame, *, guess: bool = False) -> None:
        span = self.source.span(node.start_byte, node.end_byte)
        self.reading.again.append(Again(text, span, frame, guess=guess))

    # ── simple commands ──────────────────────────────────────────────────────────────────────────

    def command(self, node: Node, frame: Frame, redirects: Redirects) -> None:
        self.command_of(node.children, redirects, frame)

    def assignments(self, node: Node, frame: Frame, redirects: Redirects) -> None:
        one = KINDS[node.kind_id] == "variable_assignment"
        self.command_of((node,) if one else node.children, redirects, frame)

    def command_of(self, nodes: Iterable[Node], redirects: Redirects, frame: Frame) -> Call:
        """The call that these parts are."""
        call = Call(self.source, frame)
        if frame.out is not None:
            frame.out.calls.append(call)
        self.reading.calls.append(call)
        self.found, self.assigned = [], []
        pieces = self.pieces(call, frame, nodes)
        for redirect in redirects:
            self.redirect(call, frame, redirect, pieces)
        for start, _, stage in self.found:
            if self.source.masked[start] == ">":
                stage.calls.append(call)
        self.read_words(call, pieces)
        return call

    def pieces(self, call: Call, frame: Frame, nodes: Iterable[Node]) -> list[_Piece]:
        """The words. Those that touch each other are one, whatever the grammar says."""
        pieces: list[_Piece] = []
        end, last = -1, ""
        for node in nodes:
            kind = KINDS[node.kind_id]
            start = node.start_byte
            if end >= 0 and end != start:
                check_gap(self.source, end, start)
                newline = self.source.masked.find("\n", end, start)
                if newline >= 0:
                    raise LinesJoined(newline)
            if self.source.masked[start].isspace():
                raise Unreadable("a word that bash takes for another", start)
            if start == end and last == "variable_assignment" and not pieces:
                kind = self.more_of_assignment(frame, node)
            elif start == end and last == "file_redirect" and not kind.endswith("_redirect"):
                raise Unreadable("a word that bash takes for a part of the one before", start)
            elif kind == "variable_assignment" and not pieces:
                self.assignment(frame, node)
            elif kind.endswith("_redirect"):
                self.redirect(call, frame, node, pieces)
            elif kind == "subshell":
                self.timed(node, frame, pieces)
            elif kind == "comment":
                check_comment(self.source, node)
            else:
                if start != end or not pieces or pieces[-1].end != end:
                    pieces.append(_Piece(start, start))
                pieces[-1].end = node.end_byte
                if kind not in WHOLE:
                    self.holes(pieces[-1], node, frame)
            end, last = node.end_byte, kind
        return pieces

    def timed(self, node: Node, frame: Frame, pieces: list[_Piece]) -> None:
        """`time (a)`, which the grammar takes for a command with words."""
        first = self.source.text(pieces[0].start, pieces[0].end) if pieces else ""
        if first not in _TIMERS:
            raise Unreadable("a bracket at a place where no command begins", node.start_byte)
        self.stack.append((node, frame, ()))

    def holes(self, piece: _Piece, node: Node, frame: Frame) -> None:
        """Where expansions in a word end. The substitutions among them are read, too."""
        todo = [node]
        while todo:
            node = todo.pop()
            kind = KINDS[node.kind_id]
            if kind in SUBSTITUTIONS:
                start = first_char(self.source, node)
                piece.holes.setdefault(start, node.end_byte)
                self.found.append((start, node.end_byte, self.substitution(node, frame)))
                continue
            if kind == "simple_expansion":
                check_variable(self.source, node)
            if kind in EXPANSIONS:
                piece.holes.setdefault(first_char(self.source, node), node.end_byte)
                if kind == "expansion" and is_prompt(self.source, node):
                    self.note_substitution(node.start_byte, node.end_byte)
                if kind == "expansion":
                    check_quotes(self.source, node)
            elif kind in HIDING:
                self.overlooked(node, frame)
            todo += node.children

    def read_words(self, call: Call, pieces: list[_Piece]) -> None:
        words: list[str] = []
        places: list[Span] = []
        for piece in pieces:
            raw = self.source.chars[piece.start : piece.end]
            values = self.values(piece, first=not words) if raw.strip(PLAIN) else (raw,)
            if self.found and values and values[0] in UNKNOWN:
                self.note_stage(call, len(words), piece)
            words += values
            places += [(piece.start, piece.end)] * len(values)
        call.words, call.places = words, places
        call.assignments = [(name, " ".join(self.values(piece))) for name, piece in self.assigned]
        if words and words[0] in _CLOSERS and pieces[0].end - pieces[0].start == len(words[0]):
            self.closer(words[0], pieces[0])
        self.groups += bool(words) and words[0] in _TIMERS and "{" in words

    def closer(self, word: str, piece: _Piece) -> None:
        """Of `time { a; }` the grammar makes two commands, the second called `}`."""
        if word != "}" or not self.groups:
            raise Unreadable("a word of the grammar that ends nothing", piece.start)
        self.groups -= 1

    def values(self, piece: _Piece, *, first: bool = False) -> list[str]:
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

    def first_word(self, piece: _Piece, values: list[str]) -> list[str]:
        """A command's name: `$IFS` in it makes it unknown; a variable before a path does not, unless it is set here."""
        raw = self.source.chars[piece.start : piece.end]
        if _IFS.search(raw):
            return [LOOSE]
        found = _PATH_VARIABLE.match(raw)
        if found and values:
            name = found[1] or found[2]
            if not re.search(rf"(?<![\w${{]){name}(?!\w)", self.source.chars):
                values[0] = values[0].replace(LOOSE, QUOTED, 1)
        return values

    def note_stage(self, call: Call, index: int, piece: _Piece) -> None:
        """For a word that is one substitution and nothing else."""
        inside = [found for found in self.found if piece.start <= found[0] and found[1] <= piece.end]
        if len(inside) == 1 and self.source.masked[inside[0][0]] != ">":
            call.stages[index] = inside[0][2]

    def assignment(self, frame: Frame, node: Node) -> None:
        name, value = node.child_by_field_name("name"), node.child_by_field_name("value")
        piece = _Piece(node.start_byte, node.end_byte)
        self.holes(piece, node, frame)
        if name is None or (value is not None and KINDS[value.kind_id] == "array"):
            return
        piece.start = node.end_byte if value is None else value.start_byte
        self.assigned.append((self.source.text(name.start_byte, name.end_byte), piece))

    def more_of_assignment(self, frame: Frame, node: Node) -> str:
        """The rest of its value, as the `1` of `x=$y/$1`, for which the grammar sees another word."""
        if not self.assigned or self.assigned[-1][1].end != node.start_byte:
            raise Unreadable("a word that bash takes for a part of the one before", node.start_byte)
        piece = self.assigned[-1][1]
        piece.end = node.end_byte
        self.holes(piece, node, frame)
        return "variable_assignment"

    # ── redirects ────────────────────────────────────────────────────────────────────────────────

    def redirect(self, call: Call, frame: Frame, node: Node, words: list[_Piece]) -> None:
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
        pieces = self.pieces(call, frame, rest)
        if not pieces:
            return
        here = self.source.heres.get(operator.start_byte)
        if here is not None:
            self.heres.add(operator.start_byte)
            self.here(call, frame, here, pieces)
        else:
            sign = self.source.masked[operator.start_byte : operator.end_byte]
            self.file(call, descriptor, sign, pieces[0], operator.start_byte)
        words += pieces[1:]

    def is_descriptor(self, piece: _Piece, end: int) -> bool:
        text = self.source.chars[piece.start : piece.end].replace("\\\n", "")
        return piece.end == end and text.isdigit()

    def file(self, call: Call, descriptor: str, operator: str, target: _Piece, start: int) -> None:
        call.redirects.append((operator, " ".join(self.values(target)), (start, target.end)))
        if operator == "<" and descriptor in ("", "0"):
            place = (target.start, target.end)
            call.feed = next((stage for start, end, stage in self.found if (start, end) == place), None)
        elif operator in (">", ">>", ">|", "&>", "&>>") and descriptor in ("", "1") and call.out is not None:
            call.out.calls.remove(call)
            call.out = None

    def here(self, call: Call, frame: Frame, here: Here, pieces: list[_Piece]) -> None:
        if here.end:
            value, start, end = self.source.plain(self.body(frame, here)), here.start, here.end
        else:
            value, start, end = " ".join(self.values(pieces[0])), pieces[0].start, pieces[0].end
        call.redirects.append(("<<" if here.end else "<<<", value, (start, end)))
        call.feed = HereText(value, self.source.span(start, end))

    def body(self, frame: Frame, here: Here) -> str:
        """The text of a here-document, its expansions marked and their commands read."""
        text = self.source.chars[here.start : here.end]
        if here.tabs:
            text = re.sub(r"(?m)^\t+", "", text)
        if here.quoted or not _LIVE.search(text):
            return text
        return self.live_body(text, here, frame)

    def live_body(self, text: str, here: Here, frame: Frame) -> str:
        """In double quotes the grammar reads it as a shell reads a here-document."""
        inner = Source.of_chars(f'"{text}"', self.source, self.source.span(here.start, here.end))
        mask_body(inner)
        root = parse(inner.masked.encode("latin-1"))
        if root is None:
            raise Unreadable("an expansion in a here-document", here.start)
        reader = _Reader(inner)
        piece = _Piece(1, len(inner.chars) - 1)
        reader.holes(piece, root, frame.deeper(None, None))
        reader.run()
        self.adopt(reader.reading, here)
        return read_quoted(inner.chars, piece.start, piece.end, piece.holes, closing="")[0]

    def adopt(self, reading: Reading, here: Here) -> None:
        """What a here-document's substitutions run is a part of this text."""
        self.reading.calls += reading.calls
        self.reading.again += reading.again
        self.reading.functions.update(reading.functions)
        if reading.substitution is not None:
            self.note_substitution(here.start, here.end)


_HANDLERS: dict[str, Handler] = {
    **dict.fromkeys(LEAVES, _Reader.leaf),
    **dict.fromkeys(HIDING, _Reader.text),
    **dict.fromkeys(COMPOUNDS, _Reader.compound),
    **dict.fromkeys(SUBSTITUTIONS, _Reader.substitution),
    **dict.fromkeys(("command", "declaration_command", "unset_command"), _Reader.command),
    **dict.fromkeys(("variable_assignment", "variable_assignments"), _Reader.assignments),
    **dict.fromkeys(("list", "negated_command"), _Reader.sequence),
    "comment": _Reader.comment,
    "do_group": _Reader.group,
    "pipeline": _Reader.pipeline,
    "redirected_statement": _Reader.redirected,
    "function_definition": _Reader.function,
    "test_command": _Reader.test,
    "expansion": _Reader.expansion,
    "simple_expansion": _Reader.variable,
}
