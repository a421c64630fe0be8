"""How long a start takes in a host of so many MiB: `host.py MIB STARTS` prints the median in microseconds."""

import sys
import time
from statistics import median

import arrea

memory = bytearray(b"x") * (int(sys.argv[1]) << 20)  # each page touched


def took(engine: arrea.Engine) -> float:
    began = time.perf_counter()
    assert engine.execute(["true"]).success
    return time.perf_counter() - began


with arrea.Engine() as engine:
    print(median([took(engine) for _ in range(int(sys.argv[2]))]) * 1e6)
