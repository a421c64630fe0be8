"""Which command a line of output belongs to: its name and a tab before each line."""

from __future__ import annotations

from arrea._model.text import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

LONGEST_TAG = 40
# A tag before each of many empty lines makes much of little, so it is done a piece at a time.
PIECE_BYTES = 65_536


def tag_of(name: str) -> bytes:
    r"""The tag of a command: its name on one line, shortened, and a tab.

    >>> tag_of("printf 'a\n'")
    b"printf 'a\\x0a'\t"
    """
    shown = printable(name[: LONGEST_TAG + 1])
    short = shown if len(shown) <= LONGEST_TAG else shown[: LONGEST_TAG - 3] + "..."
    return short.encode("utf-8", "backslashreplace") + b"\t"


def between(tag: bytes, data: bytes) -> bytes:
    r"""The tag before each line but the first: the one before that is the caller's, who knows if a line begins.

    >>> between(b"t\t", b"a\nb\n")
    b'a\nt\tb\n'
    """
    if not tag:
        return data
    return data[:-1].replace(b"\n", b"\n" + tag) + data[-1:]


def tagged(tag: bytes, chunks: Iterable[bytes]) -> Iterator[bytes]:
    r"""The whole output of a command, each line with the tag; a last line without an end gets one.

    >>> b"".join(tagged(b"t\t", [b"a\nb", b"c"]))
    b't\ta\nt\tbc\n'
    """
    ended = True
    for piece in _pieces(chunks):
        yield (tag if ended else b"") + between(tag, piece)
        ended = piece.endswith(b"\n")
    if not ended:
        yield b"\n"


def _pieces(chunks: Iterable[bytes]) -> Iterator[bytes]:
    for chunk in chunks:
        for at in range(0, len(chunk), PIECE_BYTES):
            yield chunk[at : at + PIECE_BYTES]
