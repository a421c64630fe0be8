"""What the grammar reads differently from bash, put into words that both read alike; every place stays where it is.

Given a source, it fills in `heres` and `masked`, which is as long as `chars` and for the grammar only:

- a here-document's body is blanked and its operator becomes a `<`, and so does that of a here-string;
- a line continuation inside of a word becomes part of the word, others become blanks;
- what is escaped becomes letters; so do vertical tabs and form feeds, which are no blanks for a shell;
- a `$` before a blank becomes a letter; so does a substitution in backticks, to be read by itself (`ticks`);
- where the grammar failed (`gaps`): braces in place of a command (`{ls,-l}`), `<>`, `{name}>`,
  `for i do`, and redirects behind a mere assignment.

It keeps track of quotes, comments and substitutions on its own; the reader of commands holds it to that: an operator
that the grammar finds at another place makes the text unreadable.
"""

from __future__ import annotations

import re

from arrea._prepare.validation.source import Here, Ticks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from arrea._model.verdict import Code
    from arrea._prepare.validation.source import Source

MAX_DEPTH = 64
MAX_STAGES = 512
MAX_UNOPENED = 2048
MAX_TICKS = 1024

_TICKED = re.compile(r"`((?:[^`\\]|\\.)*)`", re.DOTALL)
_NEEDED = re.compile(r"<<|`|\\|[\x0b\x0c]|\$\s")
_BRACKET = re.compile(r"[(){}\[\]]")
_TABLE = {0x0B: "_", 0x0C: "_"}
_NAMED_DESCRIPTOR = re.compile(r"\{[A-Za-z_]\w*\}(?=[<>])", re.ASCII)
_BRACES = re.compile(r"\{[^\s{}'\"`$\\;&|<>()]*,[^\s{}'\"`$\\;&|<>()]*\}")
_FOR_DO = re.compile(r"\b(for[ \t]+[A-Za-z_]\w*)[ \t]([ \t]*do\b)", re.ASCII)
_TO_NULL = re.compile(r"(?<=\s)\d?>>?[ \t]*/dev/null(?=[\s;&|)]|\Z)|(?<=\s)2>&1(?=[\s;&|)]|\Z)")
# The name of a here-document in the ways that all shells read alike: 'A', "A", \A, A.
_DELIMITER = re.compile(
    r"[ \t]*(?:'([^'\\\n]*)'|\"([^\"\\$`\n]*)\"|\\([\w.%+,:@/-]+)|([^\s;&|<>()'\"\\$`{}]+))(?=[\s;&|<>()]|\Z)"
)
_CONTINUED = re.compile(r"(?:\\\n)+")
_OPERATORS = "&|;<>()"
_NO_EXPANSION = ")/.;|&<>%,:=+]}\\"  # what makes a `$` before it only a `$`
_BRACKET_WORD = re.compile(r"(?<=[\s;&|(!{])\[(?=\s)|^\[(?=\s)|(?<=\s)\](?=[\s;&|)]|\Z)")
_WITH_BASE = re.compile(r"\b\d+#\$?\w+", re.ASCII)
_DOUBLE_BRACKETS = re.compile(r"\[\[\s[^\n;&]*?\s\]\]")
_PATTERN_GROUP = re.compile(
    r"[@?*+!]\([^()\s'\"`$\\;&<>]*\)"
)  # in `[[`, bash reads these wherever they stand
_FOR_IN = re.compile(r"\bfor\s+[A-Za-z_]\w*\s+in\b", re.ASCII)
_BROKEN = _OPERATORS + "0123456789}"  # with what follows, these may be one operator

# What matters in: code; "double quotes" and here-documents; ${...}; ((...)).
_IN_CODE = re.compile(r"[\\'\"`$(){<#\n]")
_IN_QUOTES = re.compile(r'[\\"`$]')
_IN_BRACES = re.compile(r"[\\'\"`$}]")
_IN_SUM = re.compile(r"[\\'\"`$()]")
_CODE, _QUOTES, _HERE, _BRACED, _SUM, _SUM_PART = "code", '"', "here", "${", "((", "("
_PATTERNS = {
    _CODE: _IN_CODE,
    _QUOTES: _IN_QUOTES,
    _HERE: _IN_QUOTES,
    _BRACED: _IN_BRACES,
    _SUM: _IN_SUM,
    _SUM_PART: _IN_SUM,
}


class Unreadable(Exception):
    """A text that no verdict but a refusal is for. code: `unparseable` or `too_deep`."""

    def __init__(self, reason: str, at: int | None = None, *, code: Code = "unparseable") -> None:
        super().__init__(reason)
        self.code = code
        self.at = at


class LinesJoined(Unreadable):
    """The grammar takes two lines for one: `at` is the end of the first. It does so behind two assignments."""

    def __init__(self, at: int) -> None:
        super().__init__("two lines that the grammar takes for one", at)
        self.newline = at


def check_depth(chars: str) -> None:
    """Refuse what would keep the grammar busy: brackets hundreds deep, pipelines without an end."""
    if chars.count("(") + chars.count("{") + chars.count("[") > MAX_DEPTH or chars.count(")") > MAX_UNOPENED:
        _check_brackets(chars)
    if chars.count("|") > MAX_STAGES:
        joined = re.sub(r"\|[ \t]*\n", "|", chars)
        if max(part.count("|") for part in re.split(r"[;\n]", joined)) > MAX_STAGES:
            raise Unreadable(f"a pipeline of more than {MAX_STAGES} commands", code="too_deep")


def _check_brackets(chars: str) -> None:
    depth = unopened = 0
    for found in _BRACKET.finditer(chars):
        if found[0] in "({[":
            depth += 1
            if depth > MAX_DEPTH:
                raise Unreadable(f"brackets more than {MAX_DEPTH} deep", found.start(), code="too_deep")
        elif depth:
            depth -= 1
        else:
            unopened += 1
            if unopened > MAX_UNOPENED:
                raise Unreadable("brackets that were never opened", found.start())


def mask(source: Source, *, gaps: bool = False) -> None:
    """Fill in `masked` and `heres` of a source where it needs that. Raises `Unreadable`."""
    if gaps or _NEEDED.search(source.chars):
        masked = _Mask(source, gaps)
        masked.run(_CODE, 0, len(source.chars))
        text = "".join(masked.chars).translate(_TABLE)
        source.masked = _without_gaps(text) if gaps else text
        source.heres, source.ticks = masked.heres, masked.ticks


def _without_gaps(text: str) -> str:
    """`for i do` gets its semicolon, `10#$x` is a number, `[` only a word.

    What is thrown away needs no redirect, which the grammar refuses behind `x=1`.
    """
    text = _FOR_DO.sub(r"\1;\2", text)
    text = _FOR_IN.sub(lambda found: found[0].replace("\n", " "), text)
    text = _WITH_BASE.sub(lambda found: "1" * len(found[0]), text)
    text = _BRACKET_WORD.sub("_", text)
    text = _DOUBLE_BRACKETS.sub(lambda found: _PATTERN_GROUP.sub(_letters, found[0]), text)
    return _TO_NULL.sub(lambda found: " " * len(found[0]), text)


def _letters(found: re.Match[str]) -> str:
    return "_" * len(found[0])


def mask_body(source: Source) -> None:
    """For a here-document's text that was put in double quotes: its own are only text, unless inside `$(...)`."""
    masked = _Mask(source, False)
    masked.run(_HERE, 1, len(source.chars) - 1)
    source.masked = "".join(masked.chars).translate(_TABLE)
    source.heres, source.ticks = masked.heres, masked.ticks


class _Mask:
    """One pass over a text, with a stack of what it is inside of."""

    def __init__(self, source: Source, gaps: bool) -> None:
        self.source = source.chars
        self.chars = list(source.chars)
        self.heres: dict[int, Here] = {}
        self.ticks: list[Ticks] = []
        self.gaps = gaps
        self.stack: list[str] = []
        self.waiting: list[tuple[int, str, bool, bool, int]] = []

    def run(self, inside: str, at: int, end: int) -> None:
        self.stack = [inside]
        while found := _PATTERNS[self.stack[-1]].search(self.source, at, end):
            at = self.step(found[0], found.start())
            if len(self.stack) > MAX_DEPTH:
                raise Unreadable(f"nested more than {MAX_DEPTH} deep", at, code="too_deep")
        if self.waiting:
            raise Unreadable("a here-document that never ends", self.waiting[0][0])
        if self.stack != [inside]:
            raise Unreadable("a quote or bracket that is never closed")

    def step(self, char: str, at: int) -> int:
        """Past the special character at `at`."""
        inside = self.stack[-1]
        if char == "\\":
            return self.backslash(at)
        if char == "'":
            return self.closing("'", at)
        if char == '"':
            return self.double_quote(inside, at)
        if char == "`":
            return self.back_tick(inside, at)
        if char == "$":
            return self.dollar(inside, at)
        if inside == _CODE:
            return self.code(char, at)
        return self.bracket(char, at)

    def closing(self, quote: str, at: int) -> int:
        end = self.source.find(quote, at + 1)
        if end < 0:
            raise Unreadable("a quote that is never closed", at)
        return end + 1

    def double_quote(self, inside: str, at: int) -> int:
        if inside == _HERE:
            self.chars[at] = "_"
        elif inside == _QUOTES:
            self.stack.pop()
        else:
            self.stack.append(_QUOTES)
        return at + 1

    def back_tick(self, inside: str, at: int) -> int:
        """It ends at the next one without a backslash, whatever quotes are between."""
        found = _TICKED.match(self.source, at)
        if found is None:
            raise Unreadable("a backtick that is never closed", at)
        if len(self.ticks) >= MAX_TICKS:
            raise Unreadable(f"more than {MAX_TICKS} substitutions in backticks", at, code="too_deep")
        if self.waiting and "\n" in found[0]:
            raise Unreadable("a here-document that begins inside of backticks, or outside", at)
        special = r'\\([$`\\"])' if inside == _QUOTES else r"\\([$`\\])"
        self.ticks.append(Ticks(at, found.end(), re.sub(special, r"\1", found[1])))
        self.chars[at : found.end()] = "_" * (found.end() - at)
        return found.end()

    def dollar(self, inside: str, at: int) -> int:
        text = self.source
        if text.startswith("$((", at):
            self.stack.append(_SUM)
            return at + 3
        if text.startswith("$(", at):
            self.stack.append(_CODE)
            return at + 2
        if text.startswith("${", at):
            self.stack.append(_BRACED)
            return at + 2
        if text.startswith("$'", at) and inside not in (_QUOTES, _HERE):
            return self.ansi_quote(at + 2)
        after = text[at + 1 : at + 2]
        # Only a dollar; in quotes the grammar takes what follows for a part of it. Or `$i` in `${x:$i:1}`.
        if after.isspace() or (
            self.gaps and (after in _NO_EXPANSION or (inside == _BRACED and after.isalnum()))
        ):
            self.chars[at] = "_"
        return at + 2 if text.startswith(("$$", "$#"), at) else at + 1

    def ansi_quote(self, at: int) -> int:
        found = re.compile(r"[^'\\]*(?:\\.[^'\\]*)*'", re.DOTALL).match(self.source, at)
        if not found:
            raise Unreadable("a quote that is never closed", at)
        return found.end()

    def bracket(self, char: str, at: int) -> int:
        """In `${...}` or a sum."""
        if char == "(":
            self.stack.append(_SUM_PART)
            return at + 1
        top = self.stack.pop()
        if top != _SUM:
            return at + 1
        if self.source.startswith("))", at):
            return at + 2
        # `$( (a) )` written without the blank.
        raise Unreadable("brackets that can be a sum or commands", at)

    def code(self, char: str, at: int) -> int:
        text = self.source
        if char == "(":
            sum_ = text.startswith("((", at) and not text.startswith("()", at + 1)
            self.stack.append(_SUM if sum_ else _CODE)
            return at + 2 if sum_ else at + 1
        if char == ")":
            if len(self.stack) > 1 and self.stack[-1] == _CODE:  # else it ends a pattern of `case`
                self.stack.pop()
            return at + 1
        if char == "#":
            return self.comment(at)
        if char == "<":
            return self.less_than(at)
        if char == "{":
            return self.brace(at)
        return self.bodies(at + 1)  # a newline

    def less_than(self, at: int) -> int:
        if self.source.startswith("<<", at):
            return self.here(at)
        if self.gaps and self.source.startswith("<>", at):
            self.chars[at + 1] = " "
            return at + 2
        return at + 1

    def comment(self, at: int) -> int:
        if at and not (self.source[at - 1].isspace() or self.source[at - 1] in "&|;()`"):
            return at + 1
        end = self.source.find("\n", at)
        return end if end >= 0 else len(self.source)

    def brace(self, at: int) -> int:
        if not self.gaps:
            return at + 1
        if found := _NAMED_DESCRIPTOR.match(self.source, at):
            self.chars[at : found.end()] = "9".rjust(found.end() - at)
            return found.end()
        if found := _BRACES.match(self.source, at):
            self.chars[at] = self.chars[found.end() - 1] = "_"
            return found.end()
        return at + 1

    def backslash(self, at: int) -> int:
        """In code, what is escaped is a letter like any other; the grammar has ideas of its own about some."""
        if found := _CONTINUED.match(self.source, at):
            self.continued(at, found.end())
            return found.end()
        if self.stack[-1] == _CODE:
            self.chars[at] = "_"
            after = self.source[at + 1 : at + 2]
            if after and after.isascii():  # else it is one byte of several
                self.chars[at + 1] = "_"
        return at + 2

    def continued(self, at: int, end: int) -> None:
        """One line and the next, or more, are one; so may be the words at their ends."""
        before = self.source[at - 1] if at else "\n"
        after = self.source[end] if end < len(self.source) else "\n"
        if before == "$" or (after in _OPERATORS and before in _BROKEN):
            raise Unreadable("an operator that is broken over two lines", at)
        if self.stack[-1] == _CODE:
            apart = before.isspace() or after.isspace() or before in _OPERATORS or after in _OPERATORS
            self.chars[at:end] = (" " if apart else "_") * (end - at)

    # ── here-documents ───────────────────────────────────────────────────────────────────────────

    def here(self, at: int) -> int:
        text = self.source
        if text.startswith("<<<", at):
            self.chars[at : at + 3] = "<  "
            self.heres[at] = Here(0, 0, quoted=False, tabs=False)
            return at + 3
        tabs = text.startswith("<<-", at)
        after = at + 3 if tabs else at + 2
        found = _DELIMITER.match(text, after)
        if not found:
            raise Unreadable("a here-document whose delimiter is none, or an odd one", at)
        self.chars[at:after] = "<" + " " * (after - at - 1)
        single, double, escaped, bare = found.groups()
        name = next(text for text in (single, double, escaped, bare) if text is not None)
        self.chars[found.start() : found.end()] = "_".rjust(found.end() - found.start())
        self.waiting.append((at, name, bare is None, tabs, len(self.stack)))
        return found.end()

    def bodies(self, at: int) -> int:
        """The texts that were announced on the line before."""
        start = at
        for operator, delimiter, quoted, tabs, depth in self.waiting:
            if depth != len(self.stack):
                raise Unreadable("a here-document that begins inside of brackets, or outside", operator)
            end, after = self.body(at, delimiter, quoted, tabs, operator)
            self.heres[operator] = Here(at, end, quoted=quoted, tabs=tabs)
            at = after
        self.waiting = []
        end = at - 1 if at > start and self.source[at - 1 : at] == "\n" else at
        self.chars[start:end] = " " * (end - start)
        return max(end, start)

    def body(self, at: int, delimiter: str, quoted: bool, tabs: bool, operator: int) -> tuple[int, int]:
        """Where it ends, and where its delimiter's line does."""
        text, joined = self.source, False
        while at < len(text):
            end = text.find("\n", at)
            end = len(text) if end < 0 else end
            line = text[at:end]
            if not joined and (line.lstrip("\t") if tabs else line) == delimiter:
                return at, min(end + 1, len(text))
            backslashes = len(line) - len(line.rstrip("\\"))
            joined = not quoted and backslashes % 2 == 1
            at = end + 1
        raise Unreadable("a here-document that never ends", operator)
