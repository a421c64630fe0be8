"""What functions do to the worker process that they run in, and what the calls behind them find there.

Each test has one process, so that all calls come to the same one while it lives.
"""

import errno
import gc
import os
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from pickle import PickleBuffer
from typing import Any

import cloudpickle
import pytest

import arrea
from arrea import Engine, Task
from arrea._model.pickled import dump, opened, store, take
from arrea._runtime import pool_child
from arrea._runtime.surroundings import lifted

pytestmark = pytest.mark.timeout(30)

BIG = 300_000  # more than goes in a frame
WARNED: Any = {"on_warning": "continue"}


@pytest.fixture
def engine() -> Iterator[Engine]:
    with Engine(max_processes=1, default_policy="once", max_commands_per_batch=None) as engine:
        yield engine


class Tee:
    """What many put into the place of a stream: not all of one."""

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        raise OSError("it has no file")


def replacing_stdout() -> Callable[[], None]:
    tee = Tee()

    def replace() -> None:
        sys.stdout = tee  # type: ignore[assignment]

    return replace


SPOILED: dict[str, Callable[[], object]] = {
    "replaced": replacing_stdout(),
    "detached": lambda: sys.stdout.detach() and None,  # type: ignore[attr-defined]
    "closed": lambda: sys.stderr.close(),
    "deleted": lambda: delattr(sys, "stdout"),
    "environment": lambda: setattr(os, "environ", dict(os.environ)),
    "import path": lambda: setattr(sys, "path", None),
}


@pytest.mark.parametrize("which", SPOILED)
def test_a_function_that_spoils_what_is_around_it(which: str, engine: Engine, capfd: Any) -> None:
    """Its call is fine, and so are those behind it, which can print."""
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    try:
        assert engine.execute(SPOILED[which]).success
    finally:
        cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    results = engine.run([lambda: print("out"), lambda: print("err", file=sys.stderr), os.getpid, os.getpid])
    assert results.success, results.failures
    assert results.data[2] == results.data[3]
    out, err = capfd.readouterr()
    assert ("out\n" in out, "err\n" in err) == (True, True)


def test_what_a_failing_function_printed_comes_with_its_failure(engine: Engine, capfd: Any) -> None:
    def fail() -> None:
        print("before it failed")
        raise ValueError

    assert not engine.execute(fail).success
    assert "before it failed\n" in capfd.readouterr().out


def test_a_callable_that_is_false_or_has_no_truth(engine: Engine) -> None:
    """It is unpickled once, and called."""

    class Empty(list):  # type: ignore[type-arg]
        calls = 0

        def __call__(self) -> int:
            self.calls += 1
            return self.calls

    class Neither:
        def __bool__(self) -> bool:
            raise ValueError("ambiguous")

        def __call__(self) -> int:
            return 7

    empty, neither = Empty(), Neither()
    assert engine.run([Task(empty)] * 3, workers=1).data == [1, 2, 3]
    assert engine.run([Task(neither)] * 2, workers=1).data == [7, 7]


def forked() -> tuple[type[int], tuple[int]]:
    os.fork()
    return int, (5,)


class Forking:
    """Its pickling forks."""

    def __reduce__(self) -> Any:
        return forked()


class ForkingThere:
    """Its unpickling does."""

    def __reduce__(self) -> Any:
        return eval, ("__import__('os').fork() and 5",)


FORKS: dict[str, Callable[[Any], Any]] = {
    "value": lambda _: Forking(),
    "arguments": lambda given: given,
}


@pytest.mark.parametrize("which", FORKS)
def test_a_fork_while_something_is_pickled(which: str, engine: Engine, tmp_path: Path) -> None:
    """The copy ends, and every call behind it runs once, in the process."""
    log = str(tmp_path / "log")
    given, run = ForkingThere() if which == "arguments" else None, FORKS[which]

    def forks(argument: object) -> object:
        with open(log, "ab", buffering=0) as file:
            file.write(b"x")
        return run(argument)

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    try:
        assert engine.execute(Task(forks, given), timeout=3000).data == 5
    finally:
        cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    assert Path(log).read_bytes() == b"x"
    results = engine.run([Task(lambda x: (x, os.getpid()), x) for x in range(200)], workers=1, timeout=3000)
    assert results.success, results.failures
    assert [number for number, _ in results.data] == list(range(200))
    assert len({pid for _, pid in results.data}) == 1


# ── descriptors ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("last", [256, 1004], ids=["usual", "nearly all"])
def test_what_a_function_closes_is_not_what_others_were_sent(last: int, engine: Engine) -> None:
    """Nor does it get a file that the function opened then. A process that lost it ends, and nothing runs twice."""

    def close() -> None:
        os.closerange(3, 1000)
        os.closerange(1001, last)
        for _ in range(20):
            lifted(os.open("/dev/zero", os.O_RDONLY))

    big = b"x" * BIG
    tasks = [Task(len, big[number:]) if number % 2 else Task(close) for number in range(10)]
    results = engine.run([Task(len, b"")] * 50 + tasks, workers=1)
    assert results.success, results.failures
    assert [result.data for result in results[51::2]] == [BIG - number for number in range(1, 10, 2)]


def test_no_descriptor_is_left_in_the_process(engine: Engine, capfd: Any) -> None:
    """What is big comes in the connection, and goes to another process, which has some."""

    def leak() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))
        while True:
            os.dup(0)

    before = engine.execute(os.getpid).data
    assert not engine.execute(leak).success
    assert len(engine.execute(Task(bytes, BIG)).unwrap()) == BIG
    assert engine.execute(Task(len, bytes(BIG))).unwrap() == BIG
    assert engine.execute(os.getpid).data != before
    assert f"worker process {before} ends" in capfd.readouterr().err


def test_a_descriptor_that_cannot_be_lifted_stays_where_it_is() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    try:
        there = [lifted(os.open(os.devnull, os.O_RDONLY)) for _ in range(30)]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    for fd in there:
        os.close(fd)
    assert there[0] >= 40 > there[-1]


class Array:
    """Its memory stays outside of the pickle, like numpy's."""

    def __init__(self, memory: Any) -> None:
        self.memory = memoryview(memory)

    def __reduce_ex__(self, _: object) -> Any:
        return Array, (PickleBuffer(self.memory),)


def test_values_that_are_held_hold_no_descriptors() -> None:
    def fetched() -> Any:
        return opened(take(store(*dump(Array(bytearray(b"x" * BIG))))))

    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    held = [fetched() for _ in range(20)]
    assert len(os.listdir("/proc/self/fd")) == before
    assert {bytes(array.memory[-2:]) for array in held} == {b"xx"}
    held[0].memory[0] = 1


# ── memory ────────────────────────────────────────────────────────────────────────────────────────


def test_few_large_functions_stay_unpickled(engine: Engine) -> None:
    """The others come back when they are called again."""

    def made(number: int) -> Callable[[], tuple[int, int]]:
        data = bytes([number]) * 20_000_000
        status = "/proc/self/status"

        def large() -> tuple[int, int]:
            with open(status) as file:
                anonymous = next(line for line in file if line.startswith("RssAnon"))
            return data[-1], int(anonymous.split()[1]) // 1024

        return large

    results = engine.run([made(number) for number in range(12)] * 2, workers=1)
    assert [number for number, _ in results.data] == [*range(12)] * 2
    assert max(mebibytes for _, mebibytes in results.data) < 20 * (pool_child.MOST_LARGE + 4)


def test_warnings_are_bounded(engine: Engine) -> None:
    def many() -> None:
        for number in range(5000):
            arrea.warn(str(number))

    def long() -> None:
        warnings.warn("x" * 1_000_000, stacklevel=1)
        arrea.warn("one more")

    told = engine.execute(many, policy=WARNED).warnings
    assert told[:1000] == tuple(map(str, range(1000)))
    assert told[1000:] == ("and 4,000 more warnings",)
    first, more = engine.execute(long, policy=WARNED).warnings
    assert (len(first), more) == (65_536, "and 1 more warnings")
    assert engine.execute(lambda: arrea.warn("again"), policy=WARNED).warnings == ("again",)
    for result in engine.run([Task(many, isolation="thread"), many_async], policy=WARNED):
        assert result.warnings == told


async def many_async() -> None:
    for number in range(5000):
        arrea.warn(str(number))


def test_a_large_value_where_there_is_no_memory_file(engine: Engine) -> None:
    """It comes in pieces, and to put them together takes no longer for each of them the more there are."""

    def large() -> bytes:
        def refused(*_: object) -> int:
            raise OSError(errno.ENOSYS, "no memory files here")

        os.memfd_create = refused  # type: ignore[assignment]
        return bytes(range(256)) * 400_000

    began = time.monotonic()
    assert engine.execute(large).unwrap() == bytes(range(256)) * 400_000
    assert time.monotonic() - began < 5  # it was 30


# ── by value ──────────────────────────────────────────────────────────────────────────────────────


def test_a_module_that_the_user_registered_goes_by_value(tmp_path: Path) -> None:
    """The worker process couldn't import it."""
    (tmp_path / "elsewhere.py").write_text("def twice(x):\n    return 2 * x\n")
    program = (
        "import sys, cloudpickle, arrea; sys.path.insert(0, sys.argv[1]); import elsewhere\n"
        "sys.path.pop(0); cloudpickle.register_pickle_by_value(elsewhere)\n"
        "print(list(arrea.map(elsewhere.twice, [1, 2])))"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    assert subprocess.run(command, capture_output=True, text=True, timeout=20).stdout == "[2, 4]\n"
