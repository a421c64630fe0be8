"""The grammar of bash, as tree-sitter reads it; the only module that imports it.

Given bytes, hands back the root of a tree, or None for what it can't make sense of. `KINDS` names a node's kind by its
number, which costs less than asking each node for its name.

tree-sitter never fails by itself: a node that is an error or missing is the only sign, and what follows it may be
left out of the tree. Its way to find the least error can take quadratic time; so a longer text is given up at
the first error, or when it takes far longer than any text without one.
"""

from __future__ import annotations

from _thread import _local
from time import thread_time

from tree_sitter import Language, Parser
from tree_sitter_bash import language

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tree_sitter import Node, Point

SHORT = 2048  # bytes; at its worst such a text takes some tens of milliseconds
SECONDS, SECONDS_PER_BYTE, MOST_SECONDS = 0.02, 2e-6, 0.4

_BASH = Language(language())
KINDS = tuple(_BASH.node_kind_for_id(number) or "" for number in range(_BASH.node_kind_count))

# To a shell a byte above 127 is part of a word, and of no name. The grammar takes some characters for blanks, and its
# library reads beyond its memory for others.
_AS_WORDS = bytes(byte if byte < 128 else ord("%") for byte in range(256))

_own = _local()  # a parser may be used by one thread at a time


def parse(text: bytes) -> Node | None:
    """The root of the tree, or None for a text with a syntax error.

    >>> parse(b"ls | wc").type, parse(b"ls | |")
    ('program', None)
    """
    parser, text = _parser(), text.translate(_AS_WORDS)
    root = parser.parse(text).root_node if len(text) <= SHORT else _long(parser, text)
    return None if root is None or root.has_error else root


def _parser() -> Parser:
    try:
        parser: Parser = _own.parser
    except AttributeError:
        parser = _own.parser = Parser(_BASH)
    return parser


def _long(parser: Parser, text: bytes) -> Node | None:
    until = thread_time() + min(SECONDS + SECONDS_PER_BYTE * len(text), MOST_SECONDS)

    def read(offset: int, _: Point) -> bytes:
        return text[offset : offset + 65536]

    def give_up(_: int, has_error: bool) -> bool:
        return has_error or thread_time() > until

    try:
        return parser.parse(read, progress_callback=give_up).root_node
    except ValueError:  # given up
        parser.reset()
        return None


def first_error(text: bytes) -> tuple[int, int] | None:
    """Where a short text goes wrong, for the message."""
    if len(text) > SHORT:
        return None
    node = _parser().parse(text.translate(_AS_WORDS)).root_node
    while not (node.is_error or node.is_missing):
        inner = next((child for child in node.children if child.has_error), None)
        if inner is None:
            return None
        node = inner
    return (node.start_byte, node.end_byte)
