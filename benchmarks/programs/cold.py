"""How long the first value of a pool takes that isn't there yet: `cold.py arrea|fork|forkserver` prints nanoseconds.

What a program imports before it uses a pool is imported before the clock starts.
"""

import sys
import time


def answer() -> int:
    return 42


def by_arrea() -> int:
    import arrea

    began = time.perf_counter_ns()
    result = arrea.execute(lambda: 42)
    ended = time.perf_counter_ns()
    assert result.data == 42
    return ended - began


def by_pool(method: str) -> int:
    import multiprocessing.pool

    began = time.perf_counter_ns()
    with multiprocessing.get_context(method).Pool(2) as workers:
        value = workers.apply(answer)
        ended = time.perf_counter_ns()
    assert value == 42
    return ended - began


if __name__ == "__main__":
    print(by_arrea() if sys.argv[1] == "arrea" else by_pool(sys.argv[1]))
