"""The engines behind `arrea.run` and the other functions, made at the first call.

There is one; and one more for those who are called from within a task that runs in this process (a thread, a
coroutine): if they waited for slots that tasks like their own hold, all could wait for each other for ever.
"""

from __future__ import annotations

import os
import threading

from arrea._app import engines as _engines
from arrea._app.engine import Engine
from arrea._model.warned import depth

_engine: Engine | None = None
_nested: dict[int, Engine] = {}  # by how many tasks the caller is within
_making = threading.RLock()


def default_engine() -> Engine:
    within = depth()
    return _outermost() if within == 0 else _inner(within)


def _outermost() -> Engine:
    global _engine
    with _making:
        if _engine is None:
            made = Engine._of_process(_engines.configuration())
            if _engine is None:  # still: a signal handler may have come in between
                _engine = made
        return _engine


def _inner(within: int) -> Engine:
    with _making:
        engine = _nested.get(within)
        if engine is None:
            engine = _nested[within] = Engine._of_process(_engines.configuration())
        return engine


def _forget() -> None:
    """In the child of a fork: it makes its own at its first call."""
    global _engine, _making
    _engine = None
    _nested.clear()
    _making = threading.RLock()  # another thread of the parent may have held it


os.register_at_fork(after_in_child=_forget)
