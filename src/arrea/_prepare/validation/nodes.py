"""What the reader asks of single nodes of the tree: their kinds, and whether the text around them is accounted for."""

from __future__ import annotations

import re

from arrea._prepare.validation.grammar import KINDS
from arrea._prepare.validation.mask import Unreadable
from arrea._prepare.validation.names import names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tree_sitter import Node

    from arrea._prepare.validation.source import Source

BLANK = " \t\n\r\\"  # and the backslash of a continued line

# Between the parts of these may be text that is no node.
LOOSE_KINDS = names(
    """
    string expansion simple_expansion arithmetic_expansion concatenation array subscript test_command binary_expression
    unary_expression ternary_expression postfix_expression parenthesized_expression translated_string brace_expression
    variable_assignment regex extglob_pattern
    """
)
EXPANSIONS = frozenset(("expansion", "simple_expansion", "arithmetic_expansion"))
SUBSTITUTIONS = frozenset(("command_substitution", "process_substitution"))
# Words without anything in them that would have to be looked at.
WHOLE = frozenset(("word", "number", "raw_string", "ansi_c_string", "variable_name", "$"))
# In these the grammar may have overlooked a substitution.
HIDING = frozenset(("word", "regex", "extglob_pattern", "string_content"))
COMPOUNDS = names(
    """
    compound_statement subshell if_statement while_statement for_statement c_style_for_statement case_statement
    """
)
LEAVES = names(
    """
    number raw_string ansi_c_string variable_name special_variable_name test_operator file_descriptor
    """
)

_HIDDEN = re.compile(r"(?<!\\)(?:\\\\)*(?:\$\(|`)")
_VARIABLE = re.compile(r"\$(?:[A-Za-z_]|[0-9@*#?$!-])\w*", re.ASCII)  # `$1b` is `$1`, and a letter
_QUOTED_END = re.compile(r"'[^']*\}[^']*'")
_PROMPT = re.compile(r"@P\s*\}")


def check_filled(node: Node) -> None:
    """Refuse a body without a command, which the grammar lets pass."""
    kind = KINDS[node.kind_id]
    if kind in ("compound_statement", "do_group"):
        empty = all(KINDS[child.kind_id] == "comment" for child in node.children if child.is_named)
    else:
        empty = kind == "if_statement" and _is_empty_branch([KINDS[child.kind_id] for child in node.children])
    if empty:
        raise Unreadable("a body without a command", node.start_byte)


def _is_empty_branch(kinds: list[str]) -> bool:
    solid = [kind for kind in kinds if kind not in ("comment", "\n")]
    return (
        solid[solid.index("then") + 1] in ("fi", "elif_clause", "else_clause") if "then" in solid else False
    )


def is_redirect(node: Node) -> bool:
    return KINDS[node.kind_id].endswith("_redirect")


def first_char(source: Source, node: Node) -> int:
    """Where it begins; the grammar counts blanks and continued lines before an expansion in quotes to it."""
    start = node.start_byte
    while source.masked[start] in BLANK:
        start += 1
    return start


def is_prompt(source: Source, node: Node) -> bool:
    """`${x@P}` runs the substitutions in the value of `x`."""
    return _PROMPT.search(source.masked, node.start_byte, node.end_byte) is not None


def check_gap(source: Source, end: int, start: int) -> None:
    """Refuse text between two nodes that belongs to neither."""
    if start > end and source.masked[end:start].strip(BLANK):
        raise Unreadable("a part that belongs to no command", end)


def check_ends(source: Source, root: Node) -> None:
    check_gap(source, 0, root.start_byte)
    check_gap(source, root.end_byte, len(source.masked))


def check_comment(source: Source, node: Node) -> None:
    """Refuse one that doesn't begin where a word could: for a shell it is part of the word before."""
    start = node.start_byte
    if start and source.masked[start - 1] not in " \t\n\r;&|()`":
        raise Unreadable("a # inside of a word", start)


def check_variable(source: Source, node: Node) -> None:
    """Refuse what bash doesn't take for one, as the `$ $` in "$ $(a)"."""
    if not _VARIABLE.fullmatch(source.masked, first_char(source, node), node.end_byte):
        raise Unreadable("an expansion that bash reads in another way", node.start_byte)


def check_quotes(source: Source, node: Node) -> None:
    """Refuse `${x:-'}'}`: in double quotes a single one is a quote for some shells and a letter for others."""
    if _QUOTED_END.search(source.masked, node.start_byte, node.end_byte):
        raise Unreadable("a quote that ends at different places for different shells", node.start_byte)


def hides(source: Source, node: Node) -> bool:
    """Whether a text has a live substitution in it that the grammar has no node for."""
    return not node.child_count and _HIDDEN.search(source.masked, node.start_byte, node.end_byte) is not None
