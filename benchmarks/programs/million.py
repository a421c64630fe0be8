"""Whether memory grows with the number of calls: `million.py POOL COUNT`.

Prints the nanoseconds a call took, then the KiB of this process after a tenth of the calls and after all, then those of
the largest process that it started.
"""

import sys
import time

from memory import held_kib, largest_descendant_kib
from pools import opened


def same(value: int) -> int:
    return value


if __name__ == "__main__":
    count = int(sys.argv[2])
    held, grandest = [], []
    with opened(sys.argv[1]) as mapped:
        began = time.perf_counter_ns()
        for number, value in enumerate(mapped(same, range(count)), 1):
            assert value == number - 1, "a value is wrong, missing, or not in its place"
            if number in (count // 10, count):
                held.append(held_kib())
                grandest.append(largest_descendant_kib())
        ended = time.perf_counter_ns()
    assert number == count, "values are missing"
    print((ended - began) / count, *held, *grandest)
