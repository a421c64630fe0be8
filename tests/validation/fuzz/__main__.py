"""As many mutants as one likes: `python -m tests.validation.fuzz --count 20000 --seed N`.

Prints what became of them, and exits with 1 where a verb was hidden or something raised, with the texts made small.
"""

from __future__ import annotations

import argparse
import sys
from itertools import islice
from random import SystemRandom

from tests.validation.fuzz.differential import Report, compare, explained, new_judge
from tests.validation.fuzz.mutate import mutants
from tests.validation.fuzz.oracle import BASH, DASH, Shell

BATCH = 1_000


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.validation.fuzz", description="look for hidden verbs"
    )
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, help="default: a random one")
    parser.add_argument("--dash", action="store_true", help="as dash reads them, not bash")
    parser.add_argument("--blocked", type=int, default=0, help="print so many of those refused without need")
    options = parser.parse_args()
    seed = SystemRandom().randrange(2**32) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    return fuzz(options.count, seed, options.blocked, DASH if options.dash else BASH)


def fuzz(count: int, seed: int, blocked: int, shell: Shell) -> int:
    """Hands back the exit code."""
    judge, report, source = new_judge(), Report(), mutants(seed)
    for left in range(count, 0, -BATCH):
        compare(list(islice(source, min(left, BATCH))), judge, report, shell)
    print(report)
    for text, code in sorted(report.blocked, key=lambda found: len(found[0]))[:blocked]:
        print(f"{code}: {text!r}")
    print(explained(report, judge, shell))
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
