"""Makes mutants of the seeds: some tokens more, less, twice or elsewhere. The same number gives the same mutants."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from random import Random

from tests.validation.fuzz.seeds import PIECES, SEEDS

MOST_EDITS = 3

# Words, operators and blanks; a quote, a backslash, a bracket is a token by itself, so that it can be lost.
_TOKEN = re.compile(r"[A-Za-z0-9_./=-]+|[ \t]+|\n|&&|\|\||;;|<<-?|<<<|\$[('\"{]|.", re.DOTALL)

Tokens = list[str]
Edit = Callable[[Tokens, Random], None]


def mutants(seed: int) -> Iterator[str]:
    """Never ends; hands back every seed as it is first, so that none is left out."""
    yield from SEEDS
    source = Random(seed)
    while True:
        yield mutant(source)


def mutant(source: Random) -> str:
    tokens = tokens_of(source.choice(SEEDS))
    for _ in range(source.randint(1, MOST_EDITS)):
        source.choice(EDITS)(tokens, source)
    return "".join(tokens)


def tokens_of(text: str) -> Tokens:
    """
    >>> tokens_of("zap 'a b'|c")
    ['zap', ' ', "'", 'a', ' ', 'b', "'", '|', 'c']
    """
    return _TOKEN.findall(text)


def insert(tokens: Tokens, source: Random) -> None:
    tokens.insert(source.randint(0, len(tokens)), source.choice(PIECES))


def delete(tokens: Tokens, source: Random) -> None:
    if tokens:
        del tokens[source.randrange(len(tokens))]


def replace(tokens: Tokens, source: Random) -> None:
    if tokens:
        tokens[source.randrange(len(tokens))] = source.choice(PIECES)


def double(tokens: Tokens, source: Random) -> None:
    if tokens:
        place = source.randrange(len(tokens))
        tokens.insert(place, tokens[place])


def swap(tokens: Tokens, source: Random) -> None:
    if tokens:
        one, other = (source.randrange(len(tokens)) for _ in "12")
        tokens[one], tokens[other] = tokens[other], tokens[one]


def split(tokens: Tokens, source: Random) -> None:
    """Something inside of a word: a quote, a backslash, a line's end."""
    if tokens:
        place = source.randrange(len(tokens))
        cut = source.randint(0, len(tokens[place]))
        tokens[place : place + 1] = [tokens[place][:cut], source.choice(PIECES), tokens[place][cut:]]


def wrap(tokens: Tokens, source: Random) -> None:
    """Some of the tokens between two brackets or quotes."""
    start, end = sorted(source.randint(0, len(tokens)) for _ in "12")
    opening, closing = source.choice(PAIRS)
    tokens.insert(end, closing)
    tokens.insert(start, opening)


def cross(tokens: Tokens, source: Random) -> None:
    """The beginning of this one, the end of another."""
    other = tokens_of(source.choice(SEEDS))
    tokens[source.randint(0, len(tokens)) :] = other[source.randint(0, len(other)) :]


PAIRS = (
    ("'", "'"),
    ('"', '"'),
    ("`", "`"),
    ("$'", "'"),
    ('$"', '"'),
    ("$(", ")"),
    ('"$(', ')"'),
    ("( ", " )"),
    ("{ ", "; }"),
    ("<(", ")"),
    ("${x:-", "}"),
    ('"${x:-', '}"'),
    ("a=(", ")"),
    ("[[ ", " ]]"),
    ("if ", "; then ls; fi"),
    ("while ", "; do ls; done"),
    ("for i in x; do ", "; done"),
    ("case $x in a) ", ";; esac"),
    ("f() { ", "; }"),
    ("cat <<A\n", "\nA\n"),
    ("cat <<'A'\n", "\nA\n"),
    ("$((", "))"),
    ("((", "))"),
    ("! ", " # x"),
)
EDITS: tuple[Edit, ...] = (
    insert,
    insert,
    insert,
    delete,
    delete,
    replace,
    double,
    swap,
    split,
    split,
    wrap,
    wrap,
    cross,
)
