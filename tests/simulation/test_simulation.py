"""Thousands of random histories, each step watched; a failure prints its seed and the smallest history that fails."""

from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arrea._model.task import COROUTINE, PROCESS, THREAD
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
from tests.simulation.simulate import check_listeners, check_rebuilds, simulate
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


@pytest.mark.parametrize("part", range(PARTS))
def test_listeners_change_nothing(part: int) -> None:
    for seed in range(part, SEEDS // 8, PARTS):
        _must_hold(check_listeners, seed)


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
    check_listeners(scenario)


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
    "calls that are sent ahead of each other": Scenario(
        (
            Lot((Job(kind=PROCESS), *(Job((Start(runs=0.5),), kind=PROCESS),) * 20), workers=2),
            Lot((Job(kind=PROCESS),) * 3, at=3),
        ),
        max_workers=4,
        max_processes=2,
        lag=0.1,
        gathers=1,
    ),
    "a call that failed with the one before it": Scenario(
        (Lot((Job(kind=PROCESS), Job(kind=PROCESS), Job((EXIT_1,), kind=PROCESS)), rules=Rules(Says())),),
        gathers=5,
    ),
    "read for long, and others wait": Scenario(
        (
            Lot(
                (Job(kind=PROCESS), *(Job((Start(drains=250),), timeout=2, kind=PROCESS),) * 3),
                rules=Rules(on_timeout="retry", max_retries=1),
                deadline=300,
            ),
        ),
        lag=1,
    ),
    "taken back while it was coming, and its process dies": Scenario(
        (
            Lot(
                (
                    Job(kind=PROCESS),
                    *(Job((Start(runs=3, starts=5, dies="after"),), timeout=4, kind=PROCESS),) * 4,
                )
            ),
        ),
        lag=3,
    ),
    "processes that die before they run anything": Scenario(
        (Lot((Job((Start(dies="before"),), kind=PROCESS),) * 9, workers=3),), max_workers=4, max_processes=3
    ),
    "a thread that begins after the cancel, and one that never ends": Scenario(
        (
            Lot((Job((Start(starts=5, runs=None),), kind=THREAD), Job(kind=THREAD)), workers=2),
            Lot((Job(), Job(kind=PROCESS))),
        ),
        max_workers=2,
        cancels=(Cancel(1, 0),),
    ),
    "a coroutine that takes no cancellation": Scenario(
        (Lot((Job((Start(runs=20, on_term=None),), timeout=2, kind=COROUTINE), Job(kind=COROUTINE))),)
    ),
    "a lost thread is no company": Scenario(
        (Lot((Job((Start(runs=None),), timeout=1, kind=THREAD),)), Lot((Job((Start(fails="transient"),)),))),
        max_workers=2,
    ),
    "a refusal stops a batch whose lane is held": Scenario(
        (
            Lot(
                (
                    Job((Start(fails="permanent"),), kind=PROCESS, rules=Rules(Says((Answer(after=50),)))),
                    Job(refused=True),
                ),
                workers=2,
                rules=Rules(max_failures=1),
                window=1,
                feed_every=10,
            ),
        ),
        max_workers=2,
    ),
    "what is behind a failure stops the batch": Scenario(
        (
            Lot(
                (Job((Start(runs=2, exit_code=1),), rules=Rules()), Job((EXIT_1,)), Job((EXIT_1,))),
                workers=3,
                rules=Rules("retry", max_retries=1, retry_delay=10, max_failures=2),
                in_order=True,
            ),
        ),
        max_workers=3,
    ),
    "exits in the instant of its timeout": Scenario((Lot((Job((Start(runs=5),), timeout=5),)),)),
}


@pytest.mark.parametrize("run", [simulate, check_rebuilds, check_listeners])
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
