"""Who hands on what an iterator gave: the one who pulls it, and the reactor for him. In order, whoever is quicker."""

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from arrea._app.feed import AtHand, Feed
from tests.faults.conftest import mark
from tests.faults.hosts import run_host

__all__ = ["mark"]


class Item(SimpleNamespace):
    large = False


def feed_of(count: int) -> Any:
    preparer: Any = SimpleNamespace(command_or_refusal=lambda _, number: Item(number=number), window=100)
    return Feed(preparer, AtHand(iter(range(count))))


def test_nobody_overtakes_the_one_who_is_just_handing_on() -> None:
    feed, given = feed_of(4), []
    begun, goes_on = threading.Event(), threading.Event()

    def slowly(items: list[Item]) -> None:
        begun.set()
        goes_on.wait(5)
        given.extend(items)

    feed.pull(2, lambda: None)
    first = threading.Thread(target=feed.hand_on, args=(slowly,))
    first.start()
    assert begun.wait(5)
    feed.pull(2, lambda: None)
    feed.hand_on_meanwhile(given.extend)
    assert given == [], "it waits for nobody, and takes nothing"
    goes_on.set()
    first.join()
    feed.hand_on_meanwhile(given.extend)
    assert [item.number for item in given] == [0, 1, 2, 3]


@pytest.mark.timeout(60)
def test_results_are_in_the_order_of_the_iterator_however_threads_are_switched(mark: str) -> None:
    """What the reactor took for a source that was slow came before what was still on its way to it."""
    ended = run_host(
        mark,
        """
import asyncio
sys.setswitchinterval(1e-5)
async def same(value): return value
def batch():
    tasks = (arrea.Task(same, number) for number in range(1000))
    return asyncio.run(arrea.run_async(tasks, workers=100)).data
say(all(batch() == list(range(1000)) for _ in range(250)))
""",
        within=50,
        dev=False,
    )
    assert ended.out == ["True"]
