"""The first word of a command as bash would see it, from the tree that shfmt prints. It knows nothing of the validator.

None where it only exists at run time: with an expansion, a pattern, or something else that isn't letters.
Source: bash(1), QUOTING and Brace Expansion.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import Any

_ANSI_C = re.compile(
    r"\\(?:([abeEfnrtv\\'\"?])|([0-7]{1,3})|x([0-9a-fA-F]{1,2})|u([0-9a-fA-F]{1,4})|U([0-9a-fA-F]{1,8})|c(.))",
    re.DOTALL,
)
_LETTERS = dict(zip("abeEfnrtv\\'\"?", "\a\b\x1b\x1b\f\n\r\t\v\\'\"?", strict=True))
_IN_DOUBLE = re.compile(r"\\([$`\"\\])")
_PATTERN = re.compile(r"(?:\\.|[^\\*?\[])*[*?\[]", re.DOTALL)
_BRACES = re.compile(r"((?:\\.|[^\\{])*)\{((?:\\.|[^\\{},])*)((?:,(?:\\.|[^\\{},])*)+)\}(.*)", re.DOTALL)


def first_word(words: Sequence[Any]) -> str | None:
    """
    >>> first_word([{"Parts": [{"Type": "Lit", "Value": "z\\\\a"}, {"Type": "SglQuoted", "Value": "p"}]}])
    'zap'
    """
    parts = words[0]["Parts"]
    if len(parts) == 1 and parts[0]["Type"] == "Lit":
        return _first_of_braces(parts[0]["Value"])
    pieces = [_piece(part) for part in parts]
    return None if None in pieces else "".join(map(str, pieces))


def _first_of_braces(text: str) -> str | None:
    """`{a,b}c` is `ac`; an empty word vanishes, and the next one is the first; nested ones are left unknown."""
    braces = _BRACES.fullmatch(text)
    if braces is None:
        return _bare(text)
    before, first, others, after = braces.groups()
    if "{" in others or "{" in after:
        return None
    found = (before + piece + after for piece in (first, *others[1:].split(",")))
    return _bare(next((word for word in found if word), ""))


def _piece(part: Any) -> str | None:
    match part["Type"]:
        case "Lit":
            return None if "{" in part["Value"] else _bare(part["Value"])
        case "SglQuoted" if part.get("Dollar"):
            return _ansi_c(part.get("Value", ""))
        case "SglQuoted":
            return str(part.get("Value", ""))
        case "DblQuoted":
            return _double(part.get("Parts", ()))
    return None


def _bare(text: str) -> str | None:
    if _PATTERN.match(text):
        return None
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)


def _double(parts: Sequence[Any]) -> str | None:
    if any(part["Type"] != "Lit" for part in parts):
        return None
    return "".join(_IN_DOUBLE.sub(r"\1", part["Value"]) for part in parts)


def _ansi_c(text: str) -> str:
    return _ANSI_C.sub(_character, text).partition("\0")[0]


def _character(escape: re.Match[str]) -> str:
    letter, octal, hexadecimal, short, long, control = escape.groups()
    if letter:
        return _LETTERS[letter]
    if control:
        return chr(ord(control.upper()) ^ 0x40)
    if octal:
        return chr(int(octal, 8) & 0xFF)
    return chr(min(int(hexadecimal or short or long, 16), sys.maxunicode))
