"""Random scenarios for as long as one likes: `python -m tests.simulation.soak --minutes 10 [--seed N]`.

Prints how many batches it simulated, and exits with 1 at the first violation, with its seed and the shrunk scenario.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import time
from collections.abc import Callable

from tests.simulation.invariants import Violation
from tests.simulation.scenario import Scenario, scenario_of
from tests.simulation.shrink import failure, shrink
from tests.simulation.simulate import simulate, simulate_in_all_ways

TWICE_EACH = 16
REPORT_EACH_S = 60.0
LONGEST_S = 20.0


class Endless(Violation):
    """One scenario takes milliseconds; this one doesn't end."""


def _too_long(*_: object) -> None:
    raise Endless(f"no end after {LONGEST_S:g} s")


def soak(minutes: float, seed: int) -> int:
    """Runs seed after seed; hands back the exit code."""
    began = reported = time.monotonic()
    batches = scenarios = 0
    while (now := time.monotonic()) - began < minutes * 60.0:
        if now - reported >= REPORT_EACH_S:
            reported = now
            _report(scenarios, batches, now - began)
        run = simulate_in_all_ways if scenarios % TWICE_EACH == 0 else simulate
        scenario = scenario_of(seed + scenarios)
        signal.setitimer(signal.ITIMER_REAL, LONGEST_S)
        if (error := failure(run, scenario)) is not None:
            print(f"seed {seed + scenarios}: {type(error).__name__}: {error}", flush=True)
            signal.setitimer(signal.ITIMER_REAL, 0)
            print("a step never ends" if isinstance(error, Endless) else explain(run, scenario))
            return 1
        scenarios += 1
        batches += len(scenario.lots)
    _report(scenarios, batches, time.monotonic() - began)
    return 0


def explain(run: Callable[[Scenario], None], scenario: Scenario) -> str:
    """The shrunk scenario, ready to be pasted into the regression tests, and what is wrong with it."""
    small = shrink(run, scenario)
    error = failure(run, small)
    replay = f"{run.__name__}({small!r})"
    return f"shrunk: {replay}\n{type(error).__name__}: {error}"


def _report(scenarios: int, batches: int, seconds: float) -> None:
    rate = batches / seconds * 60.0
    print(
        f"{scenarios} scenarios, {batches} batches in {seconds:.1f} s: {rate:,.0f} batches a minute",
        flush=True,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="simulate the engine under random faults")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, help="the first of them (default: a random one)")
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(2**40) if options.seed is None else options.seed
    signal.signal(signal.SIGALRM, _too_long)
    print(f"first seed {seed}", flush=True)
    return soak(options.minutes, seed)


if __name__ == "__main__":
    sys.exit(main())
