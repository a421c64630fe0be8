"""What is kept of a stream: the right bytes, in bounded memory, whatever the disk does."""

import contextlib
import copy
import errno
import gc
import os
import pickle
import random
import subprocess
import sys
import threading
import tracemalloc
from unittest import mock

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from arrea._runtime import capture as module
from arrea._runtime.capture import Budget, Capture
from arrea._runtime.spool import Extent, Spool

MIB = 2**20


class FullDisk(Spool):
    """A disk with room for `room` more bytes; a write that doesn't fit is done in part."""

    def __init__(self, room: int = 0) -> None:
        super().__init__()
        self.room = room

    def write(self, offset: int, data: bytes) -> None:
        done = data[: self.room]
        super().write(offset, done)
        self.room -= len(done)
        if len(done) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def fed(chunks: list[bytes], limit: int | None, budget: Budget, spool: Spool) -> Capture:
    capture = Capture(limit, budget, spool)
    for chunk in chunks:
        capture.feed(chunk)
    return capture


def expected(data: bytes, limit: int | None) -> bytes:
    if limit is None or len(data) <= limit:
        return data
    tail = limit // 2
    return data[: limit - tail] + data[len(data) - tail :]


def numbered(sizes: list[int]) -> list[bytes]:
    """Chunks of these sizes, of a stream where no place looks like another."""
    stream = random.Random(1).randbytes(sum(sizes))
    places = [sum(sizes[:index]) for index in range(len(sizes))]
    return [stream[at : at + size] for at, size in zip(places, sizes, strict=True)]


# --- the rule ---------------------------------------------------------------------------------

SIZES = st.lists(st.integers(0, 40) | st.integers(0, 400), max_size=30)
LIMITS = st.none() | st.integers(0, 300)
SCALES = st.sampled_from(
    [
        {"PIECE_BYTES": 2**20},
        {"STAGE_BYTES": 16, "FIRST_EXTENT_BYTES": 32, "LAST_EXTENT_BYTES": 64},
        {"STAGE_BYTES": 1, "FIRST_EXTENT_BYTES": 1, "LAST_EXTENT_BYTES": 2, "PIECE_BYTES": 7},
        {"TIDY_CHUNKS": 3, "TIDY_BYTES": 20, "PIECE_BYTES": 50, "STAGE_BYTES": 100},
    ]
)


@given(SIZES, LIMITS, st.integers(0, 200), SCALES, st.booleans())
@example([1, 1, 1, 1], 3, 0, {"STAGE_BYTES": 2**16}, True)
@example([5], 1, 0, {"STAGE_BYTES": 2**16}, True)
@example([5], 0, 0, {"STAGE_BYTES": 2**16}, True)
def test_kept_is_head_and_tail(
    sizes: list[int], limit: int | None, memory: int, scale: dict[str, int], finish: bool
) -> None:
    chunks = numbered(sizes)
    data = b"".join(chunks)
    budget, spool = Budget(memory), Spool()
    with mock.patch.multiple(module, **scale):
        capture = fed(chunks, limit, budget, spool)
        if finish:
            capture.finish()
        check(capture, data, limit)
        assert budget.used <= memory
    del capture
    assert budget.used == 0
    assert spool.size_bytes == 0


def check(capture: Capture, data: bytes, limit: int | None) -> None:
    kept = expected(data, limit)
    assert capture.read() == kept
    pieces = list(capture.chunks())
    assert b"".join(pieces) == kept
    assert all(0 < len(piece) <= module.PIECE_BYTES for piece in pieces if piece)
    assert capture.total_bytes == len(data)
    assert capture.kept_bytes == len(kept)
    assert capture.omitted_bytes == len(data) - len(kept)
    assert capture.truncated == (len(kept) < len(data))
    assert capture.disk_error is None
    if capture.truncated:
        assert limit is not None
        assert capture.head_bytes == limit - limit // 2
    else:
        assert capture.head_bytes == len(kept)


@given(st.lists(SIZES, min_size=2, max_size=5), LIMITS, st.integers(0, 300), SCALES)
def test_captures_side_by_side(
    streams: list[list[int]], limit: int | None, memory: int, scale: dict[str, int]
) -> None:
    """Captures that share budget and spool don't touch each other, as some come and go."""
    budget, spool = Budget(memory), Spool()
    with mock.patch.multiple(module, **scale):
        for _ in range(2):
            captures = [Capture(limit, budget, spool) for _ in streams]
            rows = [numbered(sizes) for sizes in streams]
            for turn in range(max(map(len, rows))):
                for capture, chunks in zip(captures, rows, strict=True):
                    if turn < len(chunks):
                        capture.feed(chunks[turn])
            captures[0].finish()
            for capture, chunks in zip(captures[1:], rows[1:], strict=True):
                check(capture, b"".join(chunks), limit)
    del captures, capture
    assert budget.used == 0
    assert spool.size_bytes == 0


def test_chunk_larger_than_everything() -> None:
    data = numbered([3 * MIB + 17])
    for budget in (Budget(), Budget(0)):
        check(fed(data, None, budget, Spool()), data[0], None)
        check(fed(data, 2 * MIB + 1, budget, Spool()), data[0], 2 * MIB + 1)


# --- where it is kept -------------------------------------------------------------------------


class CountingSpool(Spool):
    writes = 0

    def write(self, offset: int, data: bytes) -> None:
        self.writes += 1
        super().write(offset, data)


def test_small_output_touches_no_disk() -> None:
    spool = CountingSpool()
    capture = fed([b"hello\n"], 8 * MIB, Budget(), spool)
    capture.finish()
    assert capture.read() == b"hello\n"
    assert spool.writes == 0


@pytest.mark.parametrize("limit", [None, 100, MIB])
def test_tiny_chunks_are_few_writes(limit: int | None) -> None:
    spool = CountingSpool()
    capture = fed([b"0123456789"] * 200_000, limit, Budget(0), spool)
    capture.finish()
    assert spool.writes < 60
    assert capture.total_bytes == 2_000_000
    assert capture.read() == expected(b"0123456789" * 200_000, limit)


def test_finished_captures_in_the_spool_hold_no_memory_and_no_spare_space() -> None:
    spool = Spool()
    captures = [fed([b"hello\n"], 8 * MIB, Budget(0), spool) for _ in range(100)]
    for capture in captures:
        capture.finish()
    assert spool.size_bytes - spool.free_bytes == 600
    assert all(capture.read() == b"hello\n" for capture in captures)


def test_spilling_returns_the_memory() -> None:
    budget = Budget(1000)
    small, large = Capture(None, budget, Spool()), Capture(None, budget, Spool())
    small.feed(b"s" * 100)
    large.feed(b"l" * 900)
    large.feed(b"l")
    assert budget.used == 100
    assert (small.read(), large.read()) == (b"s" * 100, b"l" * 901)


def test_full_tail_takes_no_more_of_the_budget() -> None:
    budget, spool = Budget(1000), CountingSpool()
    capture = fed([b"x" * 100] * 50, 1000, budget, spool)
    assert budget.used == 1000
    assert spool.writes == 0
    assert capture.omitted_bytes == 4000


def test_small_limit_does_not_hold_large_chunks() -> None:
    tracemalloc.start()
    try:
        budget, spool = Budget(), Spool()
        captures = [fed([bytes(65_536)] * 2, 100, budget, spool) for _ in range(100)]
        assert tracemalloc.get_traced_memory()[0] < MIB
    finally:
        tracemalloc.stop()
    assert {capture.kept_bytes for capture in captures} == {100}


def test_engine_gone_and_output_still_there() -> None:
    spool = Spool()
    capture = fed([b"x" * 100_000], None, Budget(0), spool)
    capture.finish()
    spool.close()
    del spool
    assert capture.read() == b"x" * 100_000
    capture.feed(b"y" * 100_000)
    assert capture.disk_error == "the engine of this output has stopped"


def test_chunks_outlive_the_name_of_their_capture() -> None:
    spool = Spool()
    pieces = fed([b"x" * MIB] * 3, None, Budget(0), spool).chunks()
    next(pieces)
    gc.collect()
    assert spool.size_bytes - spool.free_bytes >= 3 * MIB
    assert sum(map(len, pieces)) == 2 * MIB
    assert spool.size_bytes == 0


def test_captures_are_not_copied() -> None:
    capture = fed([b"x"], None, Budget(), Spool())
    for attempt in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="read"):
            attempt(capture)


# --- other threads ----------------------------------------------------------------------------


def test_give_back_from_another_thread() -> None:
    budget = Budget(1000)
    assert budget.take(1000)
    assert not budget.take(1)
    thread = threading.Thread(target=budget.give_back, args=(400,))
    thread.start()
    thread.join()
    assert budget.used == 600
    assert budget.take(400)


def test_captures_dropped_in_other_threads() -> None:
    """Two threads drop what this one feeds, partly through the collector of cycles."""
    budget, spool = Budget(3000), Spool()
    box: list[Capture] = []
    done = threading.Event()

    def drop() -> None:
        while not done.is_set():
            with contextlib.suppress(IndexError):  # the other one was faster
                cycle: list[object] = [box.pop()]
                cycle.append(cycle)

    threads = [threading.Thread(target=drop) for _ in range(2)]
    for thread in threads:
        thread.start()
    for turn in range(400):
        capture = fed([b"x" * 50] * (turn % 40), 1500, budget, spool)
        capture.finish()
        box.append(capture)
    del capture
    done.set()
    for thread in threads:
        thread.join()
    box.clear()  # what came after the last look of both
    gc.collect()
    assert budget.used == 0
    assert spool.size_bytes == 0


def test_many_threads_read_one_capture() -> None:
    data = os.urandom(3 * MIB)
    capture = fed([data], None, Budget(0), Spool())
    capture.finish()
    answers: list[bytes] = []
    threads = [threading.Thread(target=lambda: answers.append(capture.read())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [data] * 4


# --- a full disk ------------------------------------------------------------------------------


@given(SIZES, LIMITS, st.integers(0, 100), st.integers(0, 300), SCALES)
def test_full_disk_keeps_what_was_kept(
    sizes: list[int], limit: int | None, memory: int, room: int, scale: dict[str, int]
) -> None:
    chunks = numbered(sizes)
    data = b"".join(chunks)
    budget, spool = Budget(memory), FullDisk(room)
    with mock.patch.multiple(module, **scale):
        capture = fed(chunks, limit, budget, spool)
        capture.finish()
        assert capture.total_bytes == len(data)
        if capture.disk_error is None:
            check(capture, data, limit)
        else:
            check_stopped(capture, data)
        assert budget.used <= memory
    del capture
    assert budget.used == 0
    assert spool.size_bytes == 0


def check_stopped(capture: Capture, data: bytes) -> None:
    kept = capture.read()
    head, rest = kept[: capture.head_bytes], kept[capture.head_bytes :]
    assert capture.disk_error == "No space left on device"
    assert data.startswith(head)
    assert rest in data[len(head) :]
    assert len(kept) == capture.kept_bytes == capture.total_bytes - capture.omitted_bytes


def test_full_disk_from_the_start() -> None:
    """What memory holds stays, nothing is raised, and counting goes on."""
    budget = Budget(100)
    capture = fed([b"a" * 60, b"b" * 60, b"c" * 60], None, budget, NoDisk())
    assert capture.read() == b"a" * 60
    assert capture.disk_error == "No space left on device"
    assert capture.truncated
    assert (capture.total_bytes, capture.omitted_bytes, capture.head_bytes) == (180, 120, 60)
    assert budget.used == 60


class NoDisk(Spool):
    def extent(self, n: int) -> Extent:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_staged_output_stays_if_memory_has_room_again() -> None:
    budget = Budget(100)
    assert budget.take(100)
    capture = fed([b"x" * 70], None, budget, NoDisk())
    budget.give_back(100)
    capture.finish()
    assert capture.read() == b"x" * 70
    assert budget.used == 70
    del capture
    assert budget.used == 0


def test_staged_output_goes_if_there_is_no_memory() -> None:
    capture = fed([b"x" * 70], None, Budget(69), NoDisk())
    assert capture.disk_error is None, "not tried yet"
    capture.finish()
    assert capture.disk_error == "No space left on device"
    assert capture.read() == b""
    assert (capture.total_bytes, capture.omitted_bytes) == (70, 70)


@pytest.mark.parametrize("room", range(0, 300, 7))
def test_disk_full_before_anything_had_to_be_dropped(room: int) -> None:
    """Then what is kept is the beginning, without a gap, and `head_bytes` says so."""
    chunks = numbered([16] * 24)
    with mock.patch.multiple(module, STAGE_BYTES=16):
        capture = fed(chunks, 404, Budget(0), FullDisk(room))
        capture.finish()
    assert capture.disk_error == "No space left on device"
    assert b"".join(chunks).startswith(capture.read())
    assert room - 16 < capture.head_bytes == capture.kept_bytes <= room


LIMITED_FILE = """
import resource
from arrea._runtime.capture import Budget, Capture
from arrea._runtime.spool import Spool

resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
budget, spool = Budget(200_000), Spool()
captures = [Capture(limit, budget, spool) for limit in (None, 4_000_000)]
for _ in range(100):
    for capture in captures:
        capture.feed(b"x" * 65_536)
for capture in captures:
    capture.finish()
    assert capture.disk_error == "File too large", capture.disk_error
    assert capture.truncated and capture.total_bytes == 6_553_600
    assert capture.read() == b"x" * capture.kept_bytes
assert 900_000 < sum(capture.kept_bytes for capture in captures) < 1_400_000
del capture, captures
assert budget.used == 0 and spool.size_bytes == 0
again = Capture(None, budget, spool)
for _ in range(10):
    again.feed(b"y" * 65_536)
again.finish()
assert again.disk_error is None and again.read() == b"y" * 655_360
print("fine")
"""


def test_full_disk_for_real() -> None:
    assert in_fresh_interpreter(LIMITED_FILE) == "fine\n"


# --- memory and size --------------------------------------------------------------------------

# Resident memory is looked at while feeding, in a process that has nothing else in it.
WATCHED = """
import hashlib, sys
from arrea._runtime.capture import Budget, Capture
from arrea._runtime.spool import Spool

MIB = 2**20
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

chunk = bytearray(range(256)) * 256
def feed(capture, mib):
    before, most, digest = resident(), 0, hashlib.sha256()
    for turn in range(mib * 16):
        chunk[:4] = turn.to_bytes(4, "big")
        capture.feed(bytes(chunk))  # a new object each time, as a read would give
        if turn % 64 == 0:
            most = max(most, resident())
    return most - before
"""

BOUNDED = """
capture = Capture(8 * MIB, Budget(BUDGET), Spool())
growth = feed(capture, 1024)
assert growth < 24 * MIB, growth
assert (capture.total_bytes, capture.kept_bytes) == (1024 * MIB, 8 * MIB)
assert capture.head_bytes == 4 * MIB
"""

UNLIMITED = """
def stream():
    for turn in range(200 * 16):
        chunk[:4] = turn.to_bytes(4, "big")
        yield bytes(chunk)

def digest(chunks):
    found, most = hashlib.sha256(), 0
    for piece in chunks:
        assert len(piece) <= MIB
        found.update(piece)
        most = max(most, resident())
    return found.hexdigest(), most

before = resident()
capture = Capture(None, Budget(MIB), Spool())
grown = feed(capture, 200)
capture.finish()
there, most = digest(capture.chunks())
assert there == digest(stream())[0]
assert max(grown, most - before) < 32 * MIB
assert not capture.truncated and capture.total_bytes == 200 * MIB
"""

TINY = """
before = resident()
capture = Capture(8 * MIB, Budget(), Spool())
for turn in range(2_000_000):
    capture.feed(b"%x" % (turn % 1024))
assert resident() - before < 24 * MIB, resident() - before
"""


def test_one_gib_stays_in_its_limit() -> None:
    in_fresh_interpreter(WATCHED + BOUNDED.replace("BUDGET", "64 * MIB"))


def test_one_gib_stays_in_its_limit_on_disk() -> None:
    in_fresh_interpreter(WATCHED + BOUNDED.replace("BUDGET", "1 * MIB"))


def test_unlimited_output_comes_back_from_disk_identical() -> None:
    in_fresh_interpreter(WATCHED + UNLIMITED)


def test_tiny_chunks_do_not_cost_forty_times_their_size() -> None:
    in_fresh_interpreter(WATCHED + TINY)


def test_nothing_costly_is_imported() -> None:
    code = "import sys, arrea._runtime.capture, arrea._runtime.spool; print(*sys.modules)"
    loaded = set(in_fresh_interpreter(code, "-S").split())
    assert not loaded & {"typing", "dataclasses", "tempfile", "logging", "enum", "re"}
    assert not loaded & {"collections", "bisect", "threading", "random"}


def in_fresh_interpreter(code: str, *flags: str) -> str:
    done = subprocess.run(
        [sys.executable, *flags, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
