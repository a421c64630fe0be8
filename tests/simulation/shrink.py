"""Makes a failing scenario smaller: batches, tasks, starts and cancels are left out, fields become their defaults."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from tests.simulation.scenario import Scenario


def failure(run: Callable[[Scenario], None], scenario: Scenario) -> Exception | None:
    """What is wrong with a run; a fault of the engine's own code counts as well as a violation."""
    try:
        run(scenario)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what we look for
        return error
    return None


def shrink(run: Callable[[Scenario], None], scenario: Scenario, tries: int = 5_000) -> Scenario:
    """The smallest scenario found in so many tries that still fails in the same way."""
    kind = _kind(failure(run, scenario))
    smaller: Iterator[Scenario] = smaller_ones(scenario)
    for _ in range(tries):
        candidate = next(smaller, None)
        if candidate is None:
            break
        if _kind(failure(run, candidate)) == kind:
            scenario = candidate
            smaller = smaller_ones(scenario)
    return scenario


def _kind(error: Exception | None) -> str:
    """Its type and its first words, up to where numbers begin."""
    return re.split(r"[\d(\[{<]", f"{type(error).__name__} {error}")[0]


def smaller_ones(value: Any) -> Iterator[Any]:
    """Every value that is one step simpler, the boldest steps first."""
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        yield from _simpler_record(value)
    elif isinstance(value, tuple):
        yield from _shorter(value)


def _simpler_record(record: Any) -> Iterator[Any]:
    plain = record._field_defaults
    odd = {n: value for n, value in record._asdict().items() if n not in plain or value != plain[n]}
    for name in (name for name in odd if name in plain):
        yield record._replace(**{name: plain[name]})
    for name, value in odd.items():
        for simpler in smaller_ones(value):
            yield record._replace(**{name: simpler})


def _shorter(items: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    for place in range(len(items)):
        yield items[:place] + items[place + 1 :]
    for place, item in enumerate(items):
        for simpler in smaller_ones(item):
            yield (*items[:place], simpler, *items[place + 1 :])
