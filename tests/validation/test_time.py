"""Hostile texts cost no more than ordinary ones: linear growth, and a limit for each.

The processor's time of this thread is measured, the best of some tries, so that other programs don't count.
"""

from __future__ import annotations

from time import thread_time

import pytest

from tests.validation.fuzz.differential import Judge, new_judge

MIB = 1024 * 1024
SIZES = (64 * 1024, 128 * 1024, 256 * 1024, 512 * 1024, MIB)
LIMIT_S = 1.0
MOST_PER_DOUBLING = 2.5
UNMEASURABLE_S = 0.002
TRIES = 3

PATTERNS = {
    "words": "dd curl wget chown -R x ",
    "substitutions": "$(",
    "subshells": "(",
    "groups": "{",
    "spaced groups": "{ ",
    "quoted substitutions": '"$(',
    "backticks": "`",
    "escaped backticks": "`\\`",
    "documents": "<<A\n",
    "commands with documents": "a <<A\n",
    "assignments": "a=b ",
    "semicolons": ";",
    "backslashes": "\\",
    "quotes": "'",
    "double quotes": '"',
    "expansions": "${x:-",
    "quoted expansions": '"${x:-',
    "conditions": "[[ ",
    "cases": "case x in ",
    "ifs": "if ",
    "whiles": "while a; do ",
    "arithmetic": "$((",
    "arrays": "a=(",
    "redirects": "> x ",
    "here-strings": "<<< x ",
    "pipes": "a | ",
    "backgrounds": "a & ",
    "lists": "a && ",
    "lines": "a\n",
    "comments": "# a\n",
    "processes": "<(",
    "functions": "f() { ",
    "braces": "{a,b}",
    "deep braces": "{a,",
    "ansi quotes": "$'\\x41'",
    "continuations": "\\\n",
    "evals": "eval ",
    "launchers": "env -S ",
    "shells": "sh -c ",
    "escaped": "\\a",
    "wide": "é",
    "tests": "zapper '-rf' $x; ",
    "echoes": "echo a | sh; ",
    "texts for shells": "sh -c 'ls'; ",
    "named functions": "f() { f; }; ",
    "exclamations": "! ",
    "times": "time ",
    "negations": "! time ",
    "nulls": "\0",
    "returns": "\r",
    "blanks": " ",
    "tildes": "~",
    "globs": "*[a]?",
}


@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
def test_time_grows_with_the_length_of_the_text(pattern: str) -> None:
    judge = new_judge(longest=2 * MIB)
    took = [_seconds(judge, (pattern * (size // len(pattern) + 1))[:size]) for size in SIZES]
    assert took[-1] < LIMIT_S, took
    doublings = len(SIZES) - 1
    assert took[-1] < max(took[0], UNMEASURABLE_S) * MOST_PER_DOUBLING**doublings, took


@pytest.mark.parametrize("times", [10, 20, 40, 1_000])
@pytest.mark.parametrize(
    "opening", ["$(", "(", '"$(', "{ ", "`", "<(", "${x:-", "if ", "<<A\n", "'", "a=(", "$(("]
)
def test_nothing_hides_behind_open_brackets(opening: str, times: int) -> None:
    judge = new_judge()
    text = "zap -rf /x ;" + opening * times
    assert not judge(text).allowed
    assert _seconds(judge, text) < 0.05


def _seconds(judge: Judge, text: str) -> float:
    """The best of some tries; one is enough for what is quick."""
    best = float("inf")
    for _ in range(TRIES):
        start = thread_time()
        judge(text)
        best = min(best, thread_time() - start)
        if best < UNMEASURABLE_S:
            break
    return best
