"""Output on its way to a function: whole, in order, held back when it is slow, never for good when it is stuck."""

import threading
from collections.abc import Callable, Iterator

import pytest

from arrea._runtime.outflow import MOST_BYTES, STUCK_MS, Outflow
from tests.support import wait_until

ATTEMPT = (1, 0, 1)
PIECE = 65_536


class Reader:
    """What an outflow has of its owner: the function, which waits for `gate`, and who is told."""

    def __init__(self, raises: BaseException | None = None) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.shown: list[tuple[str, bytes]] = []
        self.resumed = 0
        self.errors: list[BaseException] = []
        self._raises = raises
        self.outflow = Outflow(self._show, self._resume, self.errors.append)
        self.outflow.start()

    def _show(self, attempt: object, stream: str, chunk: bytes, at: float) -> None:
        self.gate.wait(timeout=10)
        self.shown.append((stream, chunk))
        if self._raises is not None:
            raise self._raises

    def _resume(self, outflow: Outflow) -> None:
        self.resumed += 1

    def put(self, chunk: bytes = b"x", now: float = 0.0) -> None:
        self.outflow.put(ATTEMPT, "stdout", chunk, now)

    def put_until_full(self, now: float = 0.0) -> int:
        """How many pieces."""
        count = 0
        while not self.outflow.full:
            self.put(bytes(PIECE), now)
            count += 1
        return count

    def end(self) -> None:
        self.gate.set()
        self.outflow.finish()
        self.outflow._thread.join(10)
        assert not self.outflow._thread.is_alive()


Make = Callable[..., Reader]


@pytest.fixture
def make() -> Iterator[Make]:
    readers: list[Reader] = []

    def one(raises: BaseException | None = None) -> Reader:
        readers.append(Reader(raises))
        return readers[-1]

    yield one
    for reader in readers:
        reader.end()


def test_all_of_it_in_order_and_what_comes_after_comes_after(make: Make) -> None:
    reader, order = make(), list[int]()
    for number in range(100):
        reader.put(b"%d" % number)
        reader.outflow.after(lambda: order.append(len(reader.shown)))
    reader.end()
    assert reader.shown == [("stdout", b"%d" % number) for number in range(100)]
    assert order == list(range(1, 101))


def test_it_is_full_above_a_mebibyte_and_has_room_again_below_half(make: Make) -> None:
    reader = make()
    reader.gate.clear()
    assert reader.put_until_full() == MOST_BYTES // PIECE + 1
    assert reader.resumed == 0
    reader.gate.set()
    assert wait_until(lambda: reader.resumed == 1)
    assert not reader.outflow.full
    reader.end()
    assert reader.resumed == 1
    assert len(reader.shown) == MOST_BYTES // PIECE + 1


def test_many_small_pieces_fill_it_as_well(make: Make) -> None:
    reader = make()
    reader.gate.clear()
    for _ in range(MOST_BYTES // 1024):
        reader.put(bytes(1024))
    assert not reader.outflow.full
    reader.put()
    assert reader.outflow.full


def test_one_that_raises_is_told_once_and_makes_room(make: Make) -> None:
    error = SystemExit(3)
    reader = make(error)
    reader.gate.clear()
    reader.put_until_full()
    ends: list[str] = []
    reader.outflow.after(ends.append, "over")
    reader.gate.set()
    assert wait_until(lambda: ends == ["over"])
    reader.put(bytes(2 * MOST_BYTES))
    assert (len(reader.shown), reader.errors) == (1, [error])
    assert (reader.resumed, reader.outflow.full) == (1, False)


def test_released_it_holds_nobody_back(make: Make) -> None:
    reader = make()
    reader.gate.clear()
    reader.put_until_full()
    reader.outflow.release()
    assert (reader.resumed, reader.outflow.full) == (1, False)
    reader.put(bytes(2 * MOST_BYTES))
    assert not reader.outflow.full
    reader.end()
    assert len(reader.shown) == MOST_BYTES // PIECE + 2


# ── stuck ─────────────────────────────────────────────────────────────────────────────────────────


def test_stuck_it_lets_go_once_in_each_five_seconds(make: Make) -> None:
    reader = make()
    reader.gate.clear()
    reader.put_until_full(now=1000)
    outflow = reader.outflow
    assert not outflow.stuck(1000 + STUCK_MS - 1)
    assert outflow.stuck_at == 1000 + STUCK_MS
    assert outflow.stuck(1000 + STUCK_MS) and outflow.stuck(
        1000 + STUCK_MS
    )  # of all that have exited by then
    assert not outflow.stuck(1001 + STUCK_MS)
    assert outflow.stuck_at == 1000 + 2 * STUCK_MS
    assert outflow.stuck(7000 + 2 * STUCK_MS)


def test_a_slow_one_is_not_stuck(make: Make) -> None:
    """It comes back within the time, again and again, so commands wait for it, and what piles up stays bounded."""
    reader, turns = make(), threading.Semaphore(0)
    reader.gate.wait = turns.acquire  # type: ignore[method-assign,assignment]
    reader.put_until_full(now=0)
    outflow = reader.outflow
    for turn in range(1, 8):
        turns.release()
        assert wait_until(lambda shown=turn: outflow._shown == shown)  # type: ignore[misc]
        assert not outflow.stuck(turn * (STUCK_MS - 1))
    assert outflow.full
    assert outflow.stuck(7 * (STUCK_MS - 1) + STUCK_MS)
    turns.release(100)


def test_one_that_has_room_is_never_stuck(make: Make) -> None:
    reader = make()
    reader.put()
    assert not reader.outflow.stuck(10 * STUCK_MS)
