"""Which engines there are, what the process is configured to, and the end of them all.

At the end of the program every engine is closed. In the child of a fork none of them is there: it starts afresh.
"""

from __future__ import annotations

import atexit
import os
import threading

from arrea._model.checks import shown
from arrea._model.errors import DuplicateId, InvalidOption
from arrea._prepare.config import Configuration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from arrea._app.engine import Engine

_engines: set[Engine] = set()
_configuration = Configuration()
_making = threading.RLock()


def configuration() -> Configuration:
    """What the process is configured to."""
    return _configuration


def check_name(name: object) -> str | None:
    if name is None:
        return None
    if not isinstance(name, str) or not name or not name.isprintable():
        raise InvalidOption("name", f"name must be printable text, not {shown(name)}")
    return name


def add(engine: Engine) -> None:
    """Raises `DuplicateId` if another one that isn't closed has its name."""
    with _making:
        if engine.name is not None and any(other.name == engine.name for other in _engines):
            raise DuplicateId(
                f"an engine with the name {engine.name!r} is open already; close it, or choose another name"
            )
        _engines.add(engine)


def discard(engine: Engine) -> None:
    _engines.discard(engine)


def _forget_engines() -> None:
    """In the child of a fork: threads and processes of the parent's engines are not there."""
    global _making, _configuration
    _making = threading.RLock()  # another thread of the parent may have held it
    _configuration = _configuration.copy()
    _engines.clear()


@atexit.register
def _close_engines() -> None:
    for engine in list(_engines):
        engine.close()


os.register_at_fork(after_in_child=_forget_engines)
