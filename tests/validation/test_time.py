"""Hostile texts cost no more than ordinary ones: linear growth, and a limit for each.

The processor's time of this thread is measured, the best of some tries, so that other programs count little. The
limits here are generous: what it takes when nothing else runs is printed by `python -m tests.validation.bench`.
"""

from __future__ import annotations

import gc
from time import thread_time

import pytest

from arrea._prepare.validation.validator import MAX_BYTES, Validator
from tests.validation.hostile import DENSE, MIB, PATTERNS, repeated

SIZES = (MAX_BYTES, 2 * MAX_BYTES, 4 * MAX_BYTES, 8 * MAX_BYTES, MIB)
DENSE_SIZES = (MAX_BYTES // 4, MAX_BYTES // 2, MAX_BYTES)
LIMIT_S = 2.0
MOST_PER_DOUBLING = 2.5
UNMEASURABLE_S = 0.01
TRIES = 2


@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
def test_time_grows_with_the_length_of_the_text(pattern: str) -> None:
    must_grow_linearly(pattern, SIZES)


@pytest.mark.parametrize("pattern", DENSE.values(), ids=DENSE)
def test_time_grows_with_the_length_of_a_dense_text(pattern: str) -> None:
    must_grow_linearly(pattern, DENSE_SIZES)


def must_grow_linearly(pattern: str, sizes: tuple[int, ...]) -> None:
    judge = Validator(allow_substitution=True, _max_bytes=MIB)
    took = [_seconds(judge, repeated(pattern, size)) for size in sizes]
    assert took[-1] < LIMIT_S, took
    assert took[-1] < max(took[0], UNMEASURABLE_S) * MOST_PER_DOUBLING ** (len(sizes) - 1), took


@pytest.mark.parametrize("times", [10, 20, 40, 1_000])
@pytest.mark.parametrize(
    "opening", ["$(", "(", '"$(', "{ ", "`", "<(", "${x:-", "if ", "<<A\n", "'", "a=(", "$(("]
)
def test_nothing_hides_behind_open_brackets(opening: str, times: int) -> None:
    judge = Validator(allow_substitution=True)
    text = "sudo -k ;" + opening * times
    assert not judge.line(text).allowed
    assert _seconds(judge, text) < 0.05


def _seconds(judge: Validator, text: str) -> float:
    """The best of some tries, without the collector of garbage, as `timeit` does it."""
    gc.disable()
    try:
        return min(_one_try_s(judge, text) for _ in range(TRIES))
    finally:
        gc.enable()


def _one_try_s(judge: Validator, text: str) -> float:
    start = thread_time()
    judge.line(text)
    return thread_time() - start
