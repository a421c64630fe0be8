"""What a call costs in a warm pool of 2 workers: `calls.py POOL FUNCTION COUNT [AMOUNT]` prints the nanoseconds.

`same` is called with the numbers below COUNT, `spin` (empty loops) and `sleep` (seconds) each time with AMOUNT.
"""

import sys
import time

from pools import Map, opened


def same(value):
    return value


def spin(loops):
    for _ in range(loops):
        pass
    return loops


def sleep(seconds):
    time.sleep(seconds)
    return seconds


def items(name: str, count: int, amount: str = "") -> list[int] | list[float]:
    match name:
        case "same":
            return list(range(count))
        case "spin":
            return [int(amount)] * count
        case _:
            return [float(amount)] * count


def took(mapped: Map, function, given: list) -> float:
    began = time.perf_counter_ns()
    values = list(mapped(function, given))
    ended = time.perf_counter_ns()
    assert values == given, "a value is wrong, missing, or not in its place"
    return (ended - began) / len(given)


if __name__ == "__main__":
    pool, name, count, *amount = sys.argv[1:]
    function = {"same": same, "spin": spin, "sleep": sleep}[name]
    with opened(pool) as mapped:
        took(mapped, function, items(name, max(int(count) // 10, 10), *amount))
        print(took(mapped, function, items(name, int(count), *amount)))
