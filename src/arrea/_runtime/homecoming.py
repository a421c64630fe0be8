"""Values that come back from a worker process, read so that nothing changes here but by what they are.

A class that went there by value comes back by value, with its attributes as they are over there. What cloudpickle does
with it is right on the way there, where it has to follow the program's. Here it would put copies in the place of the
class's methods, and in the place of whatever it holds: so a class that is known here stays as it is.
"""

from __future__ import annotations

import sys
from _pickle import Unpickler, loads
from functools import partial
from io import BytesIO

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

# What cloudpickle names in a pickle that has a class by value.
MAKERS, SETTER = ("_make_skeleton_class", "_make_skeleton_enum"), "_class_setstate"


def load(pickled: bytes | memoryview, buffers: Iterable[object] = ()) -> object:
    """As `pickle.loads`."""
    if not _names_class(pickled):
        return loads(pickled, buffers=buffers)
    return Homecoming(BytesIO(pickled), buffers=buffers).load()


def _names_class(pickled: bytes | memoryview) -> bool:
    if isinstance(pickled, bytes):
        return SETTER.encode() in pickled
    from re import search  # it takes memory as it is, and copies nothing

    return search(SETTER.encode(), pickled) is not None


class Homecoming(Unpickler):
    """Of one value."""

    def __init__(self, file: BytesIO, *, buffers: Iterable[object]) -> None:
        super().__init__(file, buffers=buffers)
        self._known: list[type] = []

    def find_class(self, module: str, name: str) -> Any:
        found = super().find_class(module, name)
        if module == "cloudpickle.cloudpickle" and name in MAKERS:
            return partial(self._class, found)
        if module == "cloudpickle.cloudpickle" and name == SETTER:
            return partial(self._set, found)
        return found

    def _class(self, make: Callable[..., type], *arguments: Any) -> type:
        """The one that has this number, or a new one. Nothing of it is made in vain: its bases may keep books."""
        *_, number, _ = arguments
        known = sys.modules["cloudpickle.cloudpickle"]._DYNAMIC_CLASS_TRACKER_BY_ID.get(number)
        if known is None:
            return make(*arguments)
        self._known.append(known)
        return known  # type: ignore[no-any-return]

    def _set(self, set_state: Callable[[type, object], type], made: type, state: object) -> type:
        if any(made is known for known in self._known):
            return made
        return set_state(made, state)
