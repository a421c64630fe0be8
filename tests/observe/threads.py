"""Whether Arrea's threads end."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support import wait_until


def own_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("arrea-")}


@contextmanager
def threads_end() -> Iterator[None]:
    """All threads of Arrea that are started within are gone at its end."""
    before = own_threads()
    yield
    assert wait_until(lambda: own_threads() <= before, timeout=2), own_threads() - before
