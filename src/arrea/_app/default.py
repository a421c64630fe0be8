"""The engine behind `arrea.run` and the other functions, made at the first call."""

from __future__ import annotations

import os
import threading

from arrea._app import engines as _engines
from arrea._app.engine import Engine

_engine: Engine | None = None
_making = threading.RLock()


def default_engine() -> Engine:
    global _engine
    with _making:
        if _engine is None:
            made = Engine._of_process(_engines.configuration())
            if _engine is None:  # still: a signal handler may have come in between
                _engine = made
        return _engine


def _forget() -> None:
    """In the child of a fork: it makes its own at its first call."""
    global _engine, _making
    _engine = None
    _making = threading.RLock()  # another thread of the parent may have held it


os.register_at_fork(after_in_child=_forget)
