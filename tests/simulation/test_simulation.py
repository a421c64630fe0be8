"""Thousands of random histories, each step watched; a failure prints its seed and the smallest history that fails."""

from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.simulation.scenario import (
    Answer,
    Cancel,
    Job,
    Lot,
    Rules,
    Says,
    Scenario,
    Start,
    random_scenario,
    scenario_of,
)
from tests.simulation.shrink import failure, shrink, smaller_ones
from tests.simulation.simulate import check_rebuilds, simulate
from tests.simulation.soak import explain

PARTS = 4
SEEDS = 8_000


@pytest.mark.parametrize("part", range(PARTS))
def test_invariants_hold(part: int) -> None:
    for seed in range(part, SEEDS, PARTS):
        _must_hold(simulate, seed)


@pytest.mark.parametrize("part", range(PARTS))
def test_a_rebuild_at_any_moment_changes_nothing(part: int) -> None:
    for seed in range(part, SEEDS // 8, PARTS):
        _must_hold(check_rebuilds, seed)


def _must_hold(run: Callable[[Scenario], None], seed: int) -> None:
    scenario = scenario_of(seed)
    error = failure(run, scenario)
    if error is not None:
        pytest.fail(f"seed {seed}: {error}\n{explain(run, scenario)}", pytrace=False)


@given(st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None, derandomize=True, database=None)
def test_invariants_hold_where_hypothesis_looks(source: Random) -> None:
    scenario = random_scenario(source)
    simulate(scenario)
    check_rebuilds(scenario)


# --- histories that once went wrong, or that the random ones seldom meet -----------------------

EXIT_1 = Start(exit_code=1)
STUBBORN = Start(runs=None, on_term=None, on_kill=None)

HISTORIES = {
    "stopped by a function while another fails": Scenario(
        (
            Lot(
                (
                    Job((EXIT_1,)),
                    Job((EXIT_1,), rules=Rules(on_error="retry", max_retries=3, retry_delay=20)),
                ),
                workers=2,
                rules=Rules(on_error=Says((Answer("stop", 2),))),
            ),
        ),
        max_workers=2,
    ),
    "cancelled while it starts, and ended before it was told": Scenario(
        (Lot((Job((Start(runs=0, starts=5),)),)),), cancels=(Cancel(3, 0, hard=True),)
    ),
    "stopped by a refusal, without any grace": Scenario(
        (
            Lot(
                (Job((Start(runs=20, on_term=10),)), Job(refused=True)),
                workers=2,
                grace=0,
                rules=Rules(on_stop="kill", max_failures=1),
            ),
        ),
        max_workers=2,
    ),
    "a process that nothing ends": Scenario((Lot((Job((STUBBORN,), timeout=5),), deadline=8),)),
    "a full machine": Scenario(
        (
            Lot((Job((Start(fails="transient"),)),) * 3, workers=3),
            Lot((Job((Start(runs=20),)),) * 3, workers=3),
        ),
        max_workers=4,
    ),
    "fed after its end": Scenario(
        (Lot((Job(),) * 6, window=2, feed_every=10, feed_size=1),), cancels=(Cancel(15, 0), Cancel(15, 0))
    ),
    "exits in the instant of its timeout": Scenario((Lot((Job((Start(runs=5),), timeout=5),)),)),
}


@pytest.mark.parametrize("run", [simulate, check_rebuilds])
@pytest.mark.parametrize("scenario", HISTORIES.values(), ids=HISTORIES)
def test_history(run: Callable[[Scenario], None], scenario: Scenario) -> None:
    run(scenario._replace(doubles=0.3))


# --- the tools ---------------------------------------------------------------------------------


def test_a_seed_is_always_the_same_scenario_and_its_text_is_the_scenario() -> None:
    scenario = scenario_of(7)
    assert scenario == scenario_of(7) == eval(repr(scenario))


def test_shrinking_finds_the_smallest() -> None:
    def run(scenario: Scenario) -> None:
        if any(job.refused for lot in scenario.lots for job in lot.jobs):
            raise ValueError

    seed = next(seed for seed in range(1000) if failure(run, scenario_of(seed)))
    assert shrink(run, scenario_of(seed)) == Scenario((Lot((Job(refused=True),)),))


def test_shrinking_ends() -> None:
    smallest = Scenario(())
    assert list(smaller_ones(smallest)) == []
