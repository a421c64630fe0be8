"""A word of the shell as bash would see it: quotes, escapes and braces undone, what only exists at run time marked.

Given the text, the word's place, and where its expansions end (the grammar knows); hands back one value or, after
brace expansion and splitting at `$IFS`, several. A value is the word's text with marks in it:

    QUOTED  something unknown that stays one word           "$x"  <(a)
    LOOSE   something unknown that may be none or many      $x  $(a)
    GLOB    before a character of a pattern                 *.c

Source: bash(1), QUOTING and EXPANSION. `tests/validation/test_words.py` has the cases.
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

QUOTED, LOOSE, GLOB, _SPLIT, _OPEN, _COMMA, _CLOSE = "\x01\x02\x04\x03\x05\x06\x0e"
UNKNOWN = QUOTED + LOOSE

MAX_WORDS = 512  # that one word may become by brace expansion
MAX_EXPANDED = 1 << 17  # characters in all of them

PLAIN = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./,:=@%+-"

_RUN = re.compile(r"[^\\'\"$`*?\[{},<>]+")
_RUN_IN_QUOTES = re.compile(r'[^\\"$`]+')
_VARIABLE = re.compile(r"\$(?:[A-Za-z_]\w*|[0-9@*#?$!-])", re.ASCII)
_BRACED_IFS = re.compile(r"\$(?:IFS(?!\w)|\{IFS\b[^}]*\})", re.ASCII)
_ESCAPE = re.compile(
    r"\\(?:([abeEfnrtv\\'\"?])|x([0-9A-Fa-f]{1,2})|([0-7]{1,3})|u([0-9A-Fa-f]{1,4})|U([0-9A-Fa-f]{1,8})|c(.))",
    re.DOTALL,
)
_ESCAPES = {
    "a": "\a",
    "b": "\b",
    "e": "\x1b",
    "E": "\x1b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
}
_SEQUENCE = re.compile(r"(-?\d{1,9}|[A-Za-z])\.\.(-?\d{1,9}|[A-Za-z])(?:\.\.(-?\d{1,9}))?", re.ASCII)


class Overlooked(Exception):
    """An expansion that the grammar knows nothing of."""


class TooManyWords(Exception):
    """Brace expansion would make more of one word than anybody reads."""


def read_word(text: str, start: int, end: int, holes: Mapping[int, int]) -> list[str]:
    """The words that the one from `start` to `end` becomes. `holes`: where expansions begin and end.

    Raises `TooManyWords`, `Overlooked`.

    >>> read_word("r'm'", 0, 4, {}), read_word("{-r,-f}", 0, 7, {})
    (['rm'], ['-r', '-f'])
    """
    value = _undone(text, start, end, holes)
    if _OPEN in value or _CLOSE in value:
        return [part for word in expand_braces(value) for part in _split(word)]
    return _split(value)


def _split(value: str) -> list[str]:
    """`$IFS` outside of quotes separates words, and by default nothing else is in it than blanks."""
    return [part for part in value.split(_SPLIT) if part] if _SPLIT in value else [value]


def _undone(text: str, start: int, end: int, holes: Mapping[int, int]) -> str:
    out: list[str] = []
    at = start
    depth = 0
    while at < end:
        run = _RUN.match(text, at, end)
        if run:
            out.append(run[0])
            at = run.end()
            continue
        char = text[at]
        if char == "\\":
            out.append("" if text[at + 1 : at + 2] == "\n" else text[at + 1 : min(at + 2, end)])
            at += 2
        elif char == "'":
            close = _closing(text, at + 1, end)
            out.append(text[at + 1 : close])
            at = close + 1
        elif char == '"':
            inside, at = read_quoted(text, at + 1, end, holes)
            out.append(inside)
        elif char == "$" and text.startswith(("$'", '$"'), at):
            at = _dollar_quote(text, at, end, out)
        elif char in "$`":
            mark, at = _expansion(text, at, end, holes)
            out.append(mark)
        elif char in "*?[":
            out.append(GLOB + char if char != "[" or text.find("]", at, end) > 0 else char)
            at += 1
        elif char in "<>":
            out.append(QUOTED)
            at = holes.get(at, at + 1)
        else:
            depth = max(depth + (char == "{") - (char == "}"), 0)
            out.append({"{": _OPEN, "}": _CLOSE}.get(char, _COMMA if depth > 0 else char))
            at += 1
    return "".join(out)


def _closing(text: str, at: int, end: int) -> int:
    found = text.find("'", at, end)
    return found if found >= 0 else end


def _dollar_quote(text: str, at: int, end: int, out: list[str]) -> int:
    """`$'...'` has escapes of its own, `$"..."` is translated text: read as if it weren't."""
    if text[at + 1] == '"':
        return at + 1
    close = at + 2
    while close < end and text[close] != "'":
        close += 2 if text[close] == "\\" else 1
    out.append(decode_escapes(text[at + 2 : close]))
    return close + 1


def decode_escapes(text: str) -> str:
    """What `$'...'`, `printf` and `echo -e` make of backslashes; a NUL ends it.

    >>> decode_escapes("\\\\x72m")
    'rm'
    """
    return _ESCAPE.sub(_escaped, text).partition("\0")[0] if "\\" in text else text


def _escaped(found: re.Match[str]) -> str:
    letter, hexadecimal, octal, short, long, control = found.groups()
    if letter:
        return _ESCAPES.get(letter, letter)
    if control:
        return chr(ord(control) & 0x1F)
    code = int(octal, 8) & 0xFF if octal else int(hexadecimal or short or long, 16)
    return chr(code) if code < 0x80 else QUOTED


def read_quoted(
    text: str, at: int, end: int, holes: Mapping[int, int], closing: str = '"'
) -> tuple[str, int]:
    """What is in double quotes from `at`, and where it goes on after them. In a here-document nothing is `closing`."""
    out: list[str] = []
    while at < end:
        run = _RUN_IN_QUOTES.match(text, at, end)
        if run:
            out.append(run[0])
            at = run.end()
            continue
        char = text[at]
        if char == closing:
            return "".join(out), at + 1
        if char == '"':
            out.append(char)
            at += 1
        elif char == "\\":
            after = text[at + 1 : at + 2]
            out.append("" if after == "\n" else after if after in "$`\\" + closing else "\\" + after)
            at += 2
        else:
            mark, at = _expansion(text, at, end, holes)
            out.append(mark if mark == "$" else QUOTED)
    return "".join(out), end


def _expansion(text: str, at: int, end: int, holes: Mapping[int, int]) -> tuple[str, int]:
    """The mark for `$x`, `${x}`, `$(x)` or a backtick at `at`, and where it ends; a `$` that is only a `$`."""
    if split := _BRACED_IFS.match(text, at, end):
        return _SPLIT, split.end()
    if variable := _VARIABLE.match(text, at, end):
        return LOOSE, variable.end()
    if at in holes:
        return LOOSE, holes[at]
    if text.startswith(("${", "$(", "$[", "`"), at):
        raise Overlooked
    return "$", at + 1


# ── braces ───────────────────────────────────────────────────────────────────────────────────────


class _Brace:
    """One that is open: its finished alternatives, and the texts that the one in work may become."""

    __slots__ = ("done", "pending", "texts")

    def __init__(self) -> None:
        self.done: list[list[str]] = []
        self.texts = [""]
        self.pending: list[str] = []

    def flush(self) -> list[str]:
        if self.pending:
            literal = "".join(self.pending)
            self.pending = []
            self.texts = [text + literal for text in self.texts]
        return self.texts

    def multiply(self, group: list[str]) -> None:
        texts = self.flush()
        _check(len(texts) * len(group), len(texts[0]) + len(group[0]))
        self.texts = [text + one for text in texts for one in group]

    def alternatives(self) -> list[list[str]]:
        return [*self.done, self.flush()]


def expand_braces(value: str) -> list[str]:
    """The words of a value with marked braces, in the order of bash. Raises `TooManyWords`."""
    stack = [_Brace()]
    for piece in re.split(f"([{_OPEN}{_COMMA}{_CLOSE}])", value):
        if piece == _OPEN:
            stack.append(_Brace())
            _check(len(stack), 0)
        elif piece == _COMMA:
            top = stack[-1]
            top.done.append(top.flush())
            top.texts = [""]
        elif piece == _CLOSE and len(stack) > 1:
            _close(stack)
        else:
            stack[-1].pending.append("}" if piece == _CLOSE else piece)
    while len(stack) > 1:  # never closed: only text
        _give_up(stack, "")
    return [word for word in stack[0].flush() if word] or [""]


def _close(stack: list[_Brace]) -> None:
    brace = stack[-1]
    if brace.done:
        stack.pop()
        group = [text for texts in brace.alternatives() for text in texts]
        _check(len(group), max(map(len, group)))
        stack[-1].multiply(group)
    elif len(brace.flush()) == 1 and (sequence := _SEQUENCE.fullmatch(brace.texts[0])):
        stack.pop()
        stack[-1].multiply(_counted(*sequence.groups()))
    else:
        _give_up(stack, "}")


def _give_up(stack: list[_Brace], end: str) -> None:
    """The innermost open brace is text, and so are its commas."""
    brace = stack.pop()
    outer = stack[-1]
    texts = ["{"]
    for number, alternative in enumerate(brace.alternatives()):
        comma = "," if number else ""
        _check(len(texts) * len(alternative), len(texts[0]) + len(alternative[0]))
        texts = [text + comma + one for text in texts for one in alternative]
    if len(texts) == 1:
        outer.pending.append(texts[0] + end)
    else:
        outer.multiply([text + end for text in texts])


def _counted(first: str, last: str, step: str | None) -> list[str]:
    """A sequence; many numbers are one unknown word, for none of them can matter."""
    numbers = first.lstrip("-").isdigit() and last.lstrip("-").isdigit()
    if not numbers and (first.lstrip("-").isdigit() or last.lstrip("-").isdigit()):
        return ["{" + first + ".." + last + "}"]
    low, high = (int(first), int(last)) if numbers else (ord(first), ord(last))
    stride = abs(int(step or 1)) or 1
    if abs(high - low) // stride > 64:
        return [QUOTED]
    values = range(low, high + 1, stride) if low <= high else range(low, high - 1, -stride)
    return [str(value) if numbers else chr(value) for value in values]


def _check(count: int, length: int) -> None:
    if count > MAX_WORDS or count * length > MAX_EXPANDED:
        raise TooManyWords
