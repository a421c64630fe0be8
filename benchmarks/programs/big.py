"""What a big value costs, and how much memory: `big.py POOL WAY KIND MIB`.

WAY: a function that `returns` it, or one that `takes` it. Prints the nanoseconds of the call (those of the making in
the other process among them), and the KiB that this process held at its peak over what it held before it had any.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from arrays import made, measured
from memory import held_kib


@contextmanager
def opened(name: str) -> Iterator[Callable]:
    """Something that calls a function with arguments in another process."""
    if name == "arrea":
        import arrea

        yield lambda function, *args: arrea.execute(arrea.Task(function, *args)).unwrap()
    else:
        from multiprocessing import get_context

        with get_context("fork").Pool(2) as pool:
            yield lambda function, *args: pool.apply(function, args)


def took(call: Callable, way: str, kind: str, size: int) -> int:
    given = made(kind, size) if way == "takes" else None
    began = time.perf_counter_ns()
    got = call(made, kind, size) if way == "returns" else call(measured, given)
    ended = time.perf_counter_ns()
    assert (measured(got) if way == "returns" else got) == (kind, size)
    return ended - began


if __name__ == "__main__":
    pool, way, kind, mebibytes = sys.argv[1:]
    with opened(pool) as call:
        for _ in range(10):
            took(call, way, kind, 1000)
        floor = held_kib()
        print(took(call, way, kind, int(mebibytes) << 20), held_kib(field="VmHWM") - floor)
