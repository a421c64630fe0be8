"""From the tree of the grammar to the simple commands in it, at any depth, with their words and pipes.

Given a source and its tree, hands back a `Reading`. Raises `Unreadable` where tree and text disagree: nothing of a text
may be left out. The walk has a stack of its own; no nesting can exhaust Python's.
"""

from __future__ import annotations

import re
from bisect import bisect_left

from arrea._prepare.validation.commands import Again, Frame, Function, InputOf, Reading, Stage
from arrea._prepare.validation.grammar import KINDS, parse
from arrea._prepare.validation.mask import MAX_DEPTH, Unreadable, mask_body
from arrea._prepare.validation.nodes import (
    COMPOUNDS,
    HIDING,
    LEAVES,
    LOOSE_KINDS,
    SUBSTITUTIONS,
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
from arrea._prepare.validation.simple_commands import read_body, read_call

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from tree_sitter import Node

    from arrea._prepare.validation.source import Source, Span, Ticks

    Redirects = tuple[Node, ...]
    Part = tuple[Node, Frame, Redirects]
    Handler = Callable[["_Reader", Node, Frame, Redirects], object]

_OPERATOR = re.compile(r"&&|\|\||[<>|;&\n]")
_BARE = re.compile(r"(?<![\w${])[A-Za-z_]\w*", re.ASCII)


def read_tree(source: Source, root: Node, frame: Frame) -> Reading:
    """Every simple command of a tree. Raises `Unreadable`."""
    check_ends(source, root)
    reader = _Reader(source)
    reader.stack.append((root, frame, ()))
    reader.run()
    reader.ticks_in(0, len(source.chars), frame)
    return reader.reading


class _Reader:
    """One walk over a tree. redirects, where it is passed: those that stand behind the node."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.reading = Reading()
        self.stack: list[Part] = []
        self.heres: set[int] = set()
        self.ticks_left = {ticks.start: ticks for ticks in source.ticks}
        self.tick_places = [ticks.start for ticks in source.ticks]
        self.groups = 0  # of `time {` that are open
        self.bare: set[str] | None = None

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
            read_call(self, frame, [], (*own, *redirects))
        else:
            self.stack.append((children[0], frame, (*own, *redirects)))

    def compound(self, node: Node, frame: Frame, redirects: Redirects) -> None:
        """Anything with commands inside: one level deeper, with the input and output that it is given."""
        self.check_depth(node, frame)
        check_filled(node)
        feed, out = frame.feed, frame.out
        if redirects:
            call = read_call(self, frame, [], redirects)
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
            inner.feed = read_call(self, frame, [], (*own, *redirects)).feed or inner.feed
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
        inner = frame.deeper(stage, None) if opening == ">" else frame.deeper(frame.feed, stage)
        self.descend(node, inner)
        return stage

    def later(self, node: Node, frame: Frame) -> None:
        self.stack.append((node, frame, ()))

    def is_bare(self, name: str) -> bool:
        """Whether a variable's name stands somewhere without a `$`, as where it is set."""
        if self.bare is None:
            self.bare = set(_BARE.findall(self.source.chars))
        return name in self.bare

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
            read_call(self, frame, [], redirects)

    def look_again(self, node: Node, frame: Frame) -> None:
        """What bash computes or compares, other shells run."""
        text = self.source.text(node.start_byte + 2, node.end_byte - 2)
        if self.source.masked.startswith("((", node.start_byte) or _OPERATOR.search(text):
            self.again(text, node, frame, guess=True)

    def again(self, text: str, node: Node, frame: Frame, *, guess: bool = False) -> None:
        span = self.source.span(node.start_byte, node.end_byte)
        self.reading.again.append(Again(text, span, frame, guess=guess))

    def command(self, node: Node, frame: Frame, redirects: Redirects) -> None:
        read_call(self, frame, node.children, redirects)

    def assignments(self, node: Node, frame: Frame, redirects: Redirects) -> None:
        one = KINDS[node.kind_id] == "variable_assignment"
        read_call(self, frame, (node,) if one else node.children, redirects)

    def ticks_in(self, start: int, end: int, frame: Frame) -> list[tuple[int, int, Stage]]:
        """The substitutions in backticks between two places, each read once."""
        places = self.tick_places[bisect_left(self.tick_places, start) : bisect_left(self.tick_places, end)]
        return [
            (place, ticks.end, self.ticked(ticks, frame))
            for place in places
            if (ticks := self.ticks_left.pop(place, None)) is not None
        ]

    def ticked(self, ticks: Ticks, frame: Frame) -> Stage:
        stage = Stage()
        self.note_substitution(ticks.start, ticks.end)
        span = self.source.span(ticks.start, ticks.end)
        text = self.source.plain(ticks.text)
        self.reading.again.append(Again(text, span, frame.deeper(frame.feed, stage)))
        return stage

    def live_body(self, inner: Source, place: Span, frame: Frame) -> str:
        """The text of a here-document that stands in double quotes, so that the grammar reads it as a shell does."""
        mask_body(inner)
        root = parse(inner.masked.encode("latin-1"))
        if root is None:
            raise Unreadable("an expansion in a here-document", place[0])
        reader = _Reader(inner)
        value = read_body(reader, frame.deeper(None, None), root)
        reader.run()
        self.reading.adopt(reader.reading)
        if reader.reading.substitution is not None:
            self.note_substitution(*place)
        return value


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
