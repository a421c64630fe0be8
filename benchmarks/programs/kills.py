"""How soon a function that takes too long is dead, and the next one done: `kills.py POOL FUNCTION SECONDS`.

Prints the nanoseconds from the call to the result of the one, whose time limit is SECONDS, and from there to the value
of the next. The pool has one process, so that no other is there to run the next one.
"""

import os
import signal
import sys
import tempfile
import time
from pathlib import Path


def sleeping(pid_file: str) -> None:
    Path(pid_file).write_text(str(os.getpid()))
    time.sleep(60)


def stubborn(pid_file: str) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sleeping(pid_file)


def answer() -> int:
    return 42


def is_dead(pid: int) -> bool:
    """Not there, or only its exit status."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def by_arrea(function, pid_file: str, seconds: float) -> list[int]:
    import arrea

    with arrea.Engine(max_processes=1) as engine:
        assert engine.execute(answer).data == 42
        tasks = [arrea.Task(function, pid_file, timeout=seconds * 1000), arrea.Task(answer)]
        times, ended = [time.perf_counter_ns()], []
        for result in engine.stream(tasks, workers=1, policy="once"):
            times.append(time.perf_counter_ns())
            ended.append(result.data if result.success else result.error.code)
            assert is_dead(int(Path(pid_file).read_text())), "it is said to be over, and lives"
    assert ended == ["timeout", 42], ended
    return times


def by_pebble(function, pid_file: str, seconds: float) -> list[int]:
    from multiprocessing import get_context

    from pebble import ProcessPool

    with ProcessPool(1, context=get_context("fork")) as pool:
        assert pool.schedule(answer).result() == 42
        times = [time.perf_counter_ns()]
        late, then = pool.schedule(function, (pid_file,), timeout=seconds), pool.schedule(answer)
        assert isinstance(late.exception(), TimeoutError)
        times.append(time.perf_counter_ns())
        assert is_dead(int(Path(pid_file).read_text())), "it is said to be over, and lives"
        assert then.result() == 42
        times.append(time.perf_counter_ns())
    return times


if __name__ == "__main__":
    pool, name, seconds = sys.argv[1:]
    function = {"sleeping": sleeping, "stubborn": stubborn}[name]
    with tempfile.TemporaryDirectory(prefix="arrea-bench-") as directory:
        by = by_arrea if pool == "arrea" else by_pebble
        began, killed, done = by(function, str(Path(directory, "pid")), float(seconds))
    print(killed - began, done - killed)
