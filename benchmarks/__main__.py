"""Arrea beside what people use now: `python -m benchmarks [PART ...] [--rounds N] [--write]`.

echo        10,000 x `sh -c 'echo N'`, captured and in order
plain       3,000 plain lines of an external program
validate    10,000 commands with and without validation
scale       100,000 commands against 10,000
sleepers    1,000 x `sleep 5`, all at a time
pipe        one command printing 1 GiB into a pipe
hosts       the start of a command in a program of 1 GiB
startup     `arrea --version` and `arrea run -c true` against `python -c pass`

calls       a function that does nothing, beside other pools of processes
cpu         functions of 1 ms of processor time
sleeps      functions that sleep for 10 ms, against the ideal
coroutines  async functions, 100 at a time
cold        the first value of a pool that isn't there yet
kills       a function that takes too long, and the next one
million     memory after 1,000,000 calls against 100,000
big         functions that return or take 100 MiB

All of them take some twenty-five minutes. With --write the tables go to RESULTS.md and FUNCTIONS.md, beside the
figures of the run that stood there before: two runs should agree within 10 %. Nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks import functions
from benchmarks.parts import PARTS
from benchmarks.report import Measured, figures, machine, measured_in

# Where the tables of which parts go.
HERE = Path(__file__).parent
PAGES = {
    HERE / "RESULTS.md": [name for name in PARTS if name not in functions.PARTS],
    HERE / "FUNCTIONS.md": list(functions.PARTS),
}


def main() -> None:
    options = _options()
    unknown = [name for name in options.parts if name not in PARTS]
    if unknown:
        raise SystemExit(f"unknown part {unknown[0]!r}: {', '.join(PARTS)}")
    head = machine()
    for page, names in PAGES.items():
        chosen = [name for name in names if name in options.parts or not options.parts]
        if chosen:
            _measure_all(chosen, options, page, head)


def _measure_all(names: list[str], options: argparse.Namespace, page: Path, head: str) -> None:
    measured = [_measure(name, options.rounds) for name in names]
    before = measured_in(page.read_text()) if page.exists() else {}
    found = figures([figure for part in measured for figure in part.figures], before)
    print(found)
    if options.write:
        tables = "\n".join(part.text for part in measured)
        page.write_text(f"# Measured\n\n{head}\n\n{found}\n{tables}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds: at least one")
    return options


def _measure(name: str, rounds: int) -> Measured:
    measured = PARTS[name](rounds)
    for peer in measured.missing:
        print(f"{name}: {peer} is not installed, and left out")
    print(measured.text, flush=True)
    return measured


if __name__ == "__main__":
    main()
