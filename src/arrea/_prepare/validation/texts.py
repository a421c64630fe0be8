"""What text a command is fed: by a here-document, by `echo` through a pipe, by a substitution.

Given what feeds a call, hands back the literal text that would arrive (`Fed`), nothing for an unknown one, or the
program in between that makes another text of it than anybody can read here.
"""

from __future__ import annotations

import re

from arrea._prepare.validation.commands import HereText, InputOf, Stage
from arrea._prepare.validation.interpreters import interpreter, language_of, texts_in
from arrea._prepare.validation.names import names
from arrea._prepare.validation.started import Code
from arrea._prepare.validation.words import GLOB, QUOTED, decode_escapes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from arrea._prepare.validation.commands import Call, Feed
    from arrea._prepare.validation.source import Span

MAX_STAGES = 64
_PRINTERS = frozenset(("echo", "printf", "print", "yes", "say"))
_PASSING = names(
    """
    cat tee head tail sort uniq pv sponge buffer mbuffer nl tac less more ts unbuffer dos2unix
    """
)
DECODERS = names(
    """
    base64 gbase64 base32 basenc base58 b64decode uudecode xxd od hexdump openssl gpg gpg2 age gzip gunzip zcat gzcat
    pigz unpigz bzip2 bunzip2 bzcat xz unxz xzcat lzma unlzma zstd unzstd zstdcat lz4 lz4cat lzop brotli compress
    uncompress rev tr iconv recode rot13 funzip ascii2uni
    """
)
_FILTERS = names(
    """
    sed gsed awk gawk mawk nawk cut grep egrep fgrep rg fold fmt paste column expand unexpand perl python python3 ruby
    node php jq yq envsubst m4 xargs sd tac join comm dd
    """
)


class Fed:
    """text: what arrives and is known, and where it is. changed_by: the program that changes it beyond reading."""

    __slots__ = ("changed_by", "span", "text")

    def __init__(
        self, text: str | None = None, span: Span | None = None, *, changed_by: str | None = None
    ) -> None:
        self.text = text
        self.span = span
        self.changed_by = changed_by


UNKNOWN_FED = Fed()


def fed(feed: Feed, functions: Mapping[str, Stage], left: int = MAX_STAGES) -> Fed:
    """What arrives from `feed`. functions: of the same line, and what each of them writes."""
    if feed is None:
        return UNKNOWN_FED
    if isinstance(feed, HereText):
        return Fed(feed.value, feed.span)
    if not left:
        return Fed(changed_by="a pipeline of that length")
    if isinstance(feed, InputOf):
        return _joined([fed(given, functions, left - 1) for given in feed.function.feeds])
    parts = [part for call in feed.calls for part in _outputs(call, functions, left - 1)]
    return _joined(parts)


def _joined(parts: Sequence[Fed]) -> Fed:
    """What several write, one after the other. Of what is unknown in between nothing is known."""
    known = [part for part in parts if part.text is not None]
    changed = next((part for part in parts if part.changed_by), None)
    if changed is not None:
        return changed
    return Fed("".join(part.text or "" for part in known), known[0].span) if known else UNKNOWN_FED


def _outputs(call: Call, functions: Mapping[str, Stage], left: int) -> Iterator[Fed]:
    """A function may have a program's name; which of them is meant depends on what ran before."""
    name = call.name
    if not name:
        return
    if name in functions:
        yield fed(functions[name], functions, left)
    yield _output(call, name, functions, left)


def _output(call: Call, name: str, functions: Mapping[str, Stage], left: int) -> Fed:
    if name in _PRINTERS:
        return Fed(printed(name, call.words[1:]), call.span())
    if name in DECODERS:
        return Fed(changed_by=name)
    if name in _PASSING:
        parts = [fed(stage, functions, left) for stage in call.stages.values()]
        return _joined([*parts, UNKNOWN_FED if _reads_files(call.words) else fed(call.feed, functions, left)])
    if name in _FILTERS:
        arriving = fed(call.feed, functions, left)
        return Fed(changed_by=name) if arriving.text is not None else arriving
    return UNKNOWN_FED


def printed_by_code(feed: Feed, functions: Mapping[str, Stage], left: int = MAX_STAGES) -> Iterator[str]:
    """Texts in programs such as `awk 'BEGIN {print "ls"}'` that feed a shell: one of them may be what they print."""
    given = feed.function.feeds if isinstance(feed, InputOf) and left else ()
    for other in given:
        yield from printed_by_code(other, functions, left - 1)
    for call in feed.calls if isinstance(feed, Stage) and left else ():
        name = call.name or ""
        if name in functions:
            yield from printed_by_code(functions[name], functions, left - 1)
        if name in _PASSING:
            yield from printed_by_code(call.feed, functions, left - 1)
        language = language_of(name)
        for piece in interpreter(call, language) if language else ():
            if isinstance(piece, Code):
                yield from texts_in(piece.text)


def _reads_files(words: Sequence[str]) -> bool:
    """Rather than its input. What is only an option's value, as in `head -n 5`, is no file."""
    if words[0].endswith("tee") or "-" in words:
        return False
    return any(not (word.startswith(("-", "/dev/")) or word.lstrip("+").isdigit()) for word in words[1:])


def printed(name: str, words: Sequence[str]) -> str:
    """What `echo` or `printf` writes.

    >>> printed("printf", ["%s -%s\\\\n", "rm", "rf"])
    'rm -rf\\n'
    """
    if name == "printf":
        return _formatted(words).replace(GLOB, "")
    flags = ""
    while words and re.fullmatch(r"-[neE]+|--|-r", words[0]):
        flags += words[0]
        words = words[1:]
    text = " ".join(words).replace(GLOB, "") + "\n"
    if "\\" not in text or "E" in flags:
        return text
    decoded = decode_escapes(re.sub(r"\\0([0-7]{1,3})", r"\\\1", text).replace("\\c", ""))
    # Without a flag some shells' `echo` decodes escapes and some don't: both are read.
    return decoded if "e" in flags else text + decoded


_DIRECTIVE = re.compile(r"%(?:%|[-+ #0]*(?:\d+|\*)?(?:\.(?:\d+|\*)?)?([A-Za-z]|\(.*?\)T))")


def _formatted(words: Sequence[str]) -> str:
    if words and words[0] == "-v":
        return ""
    words = words[1:] if words and words[0] == "--" else words
    if not words:
        return ""
    rest = list(words[1:])
    out = []
    for _ in range(512):
        before = len(rest)
        out.append(_DIRECTIVE.sub(lambda found: _directive(found, rest), decode_escapes(words[0])))
        if not rest or len(rest) == before:
            break
    return "".join(out)


def _directive(found: re.Match[str], rest: list[str]) -> str:
    kind = found[1]
    if kind is None:
        return "%"
    value = rest.pop(0) if rest else ""
    if kind == "s":
        width = found[0][1:-1].lstrip("-")
        return value if width.strip("0123456789") == "" else QUOTED
    if kind == "b":
        return decode_escapes(value)
    if kind == "q":
        return "'" + value.replace("'", "'\\''") + "'"
    if kind == "c":
        return value[:1]
    return value if kind in "diu" else QUOTED
