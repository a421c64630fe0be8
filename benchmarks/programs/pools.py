"""One door to several pools: `opened(name)` gives something like the built-in `map`, with 2 workers and in order."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

Map = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]


@contextmanager
def opened(name: str) -> Iterator[Map]:
    """Each imports only what is its own, so that the memory measured is its own, too."""
    with POOLS[name]() as mapped:
        yield mapped


@contextmanager
def _arrea() -> Iterator[Map]:
    import arrea

    yield partial(arrea.map, workers=2)


@contextmanager
def _pool(chunksize: int) -> Iterator[Map]:
    from multiprocessing import get_context

    with get_context("fork").Pool(2) as pool:
        yield partial(pool.imap, chunksize=chunksize)


@contextmanager
def _executor() -> Iterator[Map]:
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    with ProcessPoolExecutor(2, get_context("fork")) as pool:
        yield pool.map


@contextmanager
def _pebble() -> Iterator[Map]:
    from multiprocessing import get_context

    from pebble import ProcessPool

    with ProcessPool(2, context=get_context("fork")) as pool:
        yield lambda function, items: pool.map(function, items, timeout=60).result()


POOLS = {
    "arrea": _arrea,
    "pool": partial(_pool, 1),
    "pool64": partial(_pool, 64),
    "executor": _executor,
    "pebble": _pebble,
}
