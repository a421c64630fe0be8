"""Values with classes that travel by value: those of the script, and whatever else no import finds.

What cloudpickle does with such a class is right on the way to a worker process, but for one thing: it makes the class
before it looks whether it is there, and whoever keeps books of classes (`__init_subclass__`, a metaclass) books one
that nobody has. On the way back it would put copies in the place of the class's methods, and of whatever it holds:
so a class that was sent from here stays as it is.
"""

from __future__ import annotations

import sys
from _pickle import Unpickler, loads
from functools import partial
from io import BytesIO
from weakref import WeakSet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

# What cloudpickle names in a pickle that has a class by value.
MAKERS, SETTER = ("_make_skeleton_class", "_make_skeleton_enum"), "_class_setstate"
MARK = SETTER.encode()
_foreign: WeakSet[type] = WeakSet()  # that came from elsewhere, and follow what they are there


def load(pickled: bytes | memoryview, buffers: Iterable[object] = ()) -> object:
    """As `pickle.loads`, in a worker process."""
    return _load(Classes, pickled, buffers)


def load_at_home(pickled: bytes | memoryview, buffers: Iterable[object] = ()) -> object:
    """As `pickle.loads`, of what comes back from one."""
    return _load(Homecoming, pickled, buffers)


def _load(how: type[Classes], pickled: bytes | memoryview, buffers: Iterable[object]) -> object:
    if not _names_class(pickled):
        return loads(pickled, buffers=buffers)
    return how(BytesIO(pickled), buffers=buffers).load()


def _names_class(pickled: bytes | memoryview) -> bool:
    if isinstance(pickled, bytes):
        return MARK in pickled
    from re import search  # it takes memory as it is, and copies nothing

    return search(MARK, pickled) is not None


class Classes(Unpickler):
    """Makes no class that is there already."""

    def find_class(self, module: str, name: str) -> Any:
        found = super().find_class(module, name)
        if module == "cloudpickle.cloudpickle" and name in MAKERS:
            return partial(self._class, found)
        if module == "cloudpickle.cloudpickle" and name == SETTER:
            return partial(self._set, found)
        return found

    def _class(self, make: Callable[..., type], *arguments: Any) -> type:
        *_, number, _ = arguments
        known = sys.modules["cloudpickle.cloudpickle"]._DYNAMIC_CLASS_TRACKER_BY_ID.get(number)
        return self._made(make(*arguments)) if known is None else known

    def _made(self, made: type) -> type:
        return made

    def _set(self, set_state: Callable[[type, object], type], made: type, state: object) -> type:
        return set_state(made, state)


class Homecoming(Classes):
    """And changes none that was sent from here."""

    def _made(self, made: type) -> type:
        _foreign.add(made)
        return made

    def _set(self, set_state: Callable[[type, object], type], made: type, state: object) -> type:
        return set_state(made, state) if made in _foreign else made
