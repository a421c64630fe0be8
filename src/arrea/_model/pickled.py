"""How functions, arguments and values travel between processes: as pickles, large ones in memory that both share.

Pickle where it will do; cloudpickle for what refers to `__main__`, which is another module over there, and for what
pickle can't: lambdas, closures, classes in functions. Buffers of large values (arrays) are copied once, into a file
in memory, and mapped where they arrive.

Source: PEP 574 (out-of-band data), memfd_create(2), mmap(2).
"""

from __future__ import annotations

import os
import sys
from _pickle import PickleBuffer, dumps, loads
from functools import cache
from struct import Struct

from arrea._model.parcel import Parcel
from arrea._model.text import type_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

PROTOCOL = 5
SIZE = Struct("<Q")
STACK_GLOBAL = b"\x93"  # the opcode of protocol 5 without which a pickle names no module
# A pickle with buffers of so many bytes goes through memory, and so does a larger pickle.
LARGE_BYTES = 256 * 1024


class Unpicklable(Exception):
    """It can't be pickled; the text says why."""


def dump(value: object, large: bool = True) -> tuple[bytes, list[memoryview]]:
    """The pickle of a value, and the buffers that stay outside of it. Raises `Unpicklable`, and nothing else.

    large: whether buffers may stay outside at all.

    >>> loads(dump([1, "a"])[0])
    [1, 'a']
    """
    kind = type(value)  # which isn't compared by "==": a metaclass may have one of its own
    if large and (kind is bytes or kind is bytearray) and len(value) > LARGE_BYTES:  # type: ignore[arg-type]
        value = _Whole(value)
    buffers: list[PickleBuffer] = []
    callback = buffers.append if large else None
    try:
        pickled = _dump(value, callback, buffers)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise Unpicklable(_reason(error)) from error
    raw = [buffer.raw() for buffer in buffers]
    if raw and sum(buffer.nbytes for buffer in raw) <= LARGE_BYTES:
        return dump(value, large=False)
    return pickled, raw


def _dump(value: object, callback: Any, buffers: list[PickleBuffer]) -> bytes:
    pickled, is_enough = _by_pickle(value, callback)
    if is_enough:
        return pickled
    named = buffers[:]
    buffers.clear()
    try:
        return _by_value(value, callback)
    except Exception:
        if not pickled or b"__main__" in pickled:
            raise
        buffers[:] = named  # a module that can't be sent whole: perhaps it is found over there after all
        return pickled


def _by_value(value: object, callback: Any) -> bytes:
    from io import BytesIO

    with BytesIO() as file:
        _pickler()(file, PROTOCOL, buffer_callback=callback).dump(value)
        return file.getvalue()


@cache
def _pickler() -> Any:
    """cloudpickle's, with the names of source files, which it leaves out since 3.1.3: tracebacks show them.

    And with functions of `functools.cache`, which it sends by name, where nobody finds that over there; and with the
    slots of classes, without which an instance has another state over there than here.
    """
    from functools import _lru_cache_wrapper
    from types import CodeType

    import cloudpickle

    plain = cloudpickle.Pickler.dispatch_table[CodeType]

    def reduce_code(code: CodeType) -> tuple[Any, ...]:
        make, parts, *rest = plain(code)
        return make, tuple(code.co_filename if _is_placeholder(part) else part for part in parts), *rest

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        dispatch_table = cloudpickle.Pickler.dispatch_table.new_child({CodeType: reduce_code})

        def reducer_override(self, obj: Any) -> Any:
            if type(obj) is _lru_cache_wrapper and not _is_found_by_name(obj):
                return cached, (_cached_by(obj), obj.cache_parameters()), _own_attributes(obj)
            return _with_slots(obj, super().reducer_override(obj))

    return Pickler


def _with_slots(obj: Any, reduced: Any) -> Any:
    """If it makes a class by value: among its arguments is what that begins with."""
    if type(reduced) is tuple and reduced[0].__name__ == "_make_skeleton_class":
        beginning = reduced[1][3]
        if "__slots__" in obj.__dict__:
            beginning["__slots__"] = obj.__slots__
    return reduced


def cached(function: Any, parameters: dict[str, Any]) -> Any:
    """A function of `functools.cache` made again: what it remembers is not sent."""
    from functools import lru_cache

    return lru_cache(**parameters)(function)


def _cached_by(function: Any) -> Any:
    """What it calls. Another decorator around it (`functools.wraps`) may have made it say something else."""
    from gc import get_referents

    wrapped = function.__wrapped__
    if any(held is wrapped for held in get_referents(function)):
        return wrapped
    raise TypeError(
        f"what {function.__qualname__} remembers the values of can't be told: its __wrapped__ was changed"
    )


def _own_attributes(function: Any) -> dict[str, Any] | None:
    from functools import WRAPPER_ASSIGNMENTS

    others = {*WRAPPER_ASSIGNMENTS, "__wrapped__", "cache_parameters"}
    return {name: value for name, value in vars(function).items() if name not in others} or None


def _is_found_by_name(function: Any) -> bool:
    import cloudpickle

    name = function.__module__
    found: Any = sys.modules.get(name)
    if name == "__main__" or name in cloudpickle.list_registry_pickle_by_value():
        return False
    for part in function.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is function


def _by_pickle(value: object, callback: Any) -> tuple[bytes, bool]:
    """And whether that will do: nothing where it can't; not what would be another thing over there."""
    try:
        pickled = dumps(value, PROTOCOL, buffer_callback=callback)
    except Exception:  # noqa: BLE001 - lambdas, closures; or what a user's own method raises, which it will again
        return b"", False
    return pickled, not (b"__main__" in pickled or _names_module_by_value(pickled))


def _names_module_by_value(pickled: bytes) -> bool:
    """One that the user told cloudpickle to send whole, for over there it can't be imported."""
    # While another thread is just importing it, it has no such function yet, and nobody has told it anything.
    registry = getattr(sys.modules.get("cloudpickle"), "list_registry_pickle_by_value", None)
    if registry is None or STACK_GLOBAL not in pickled:
        return False
    return any(name.encode() in pickled for name in registry())


def _is_placeholder(part: object) -> bool:
    return isinstance(part, str) and part == "<dynamic-code>"


def _reason(error: BaseException) -> str:
    """Without the object, which pickle shows in full: it may hold secrets.

    >>> _reason(TypeError("Can't pickle Login('me', 'secret'): it's not found as app.login"))
    "it's not found as app.login"
    """
    try:
        text = str(error)
    except BaseException:  # noqa: BLE001
        text = ""
    if text.startswith("Can't pickle "):
        text = text.rpartition(": ")[2]
    kind = type_name(type(error)).rpartition(".")[2]
    return text if text and kind in ("TypeError", "PicklingError", "AttributeError") else f"{kind}: {text}"


class _Whole:
    """Bytes without a copy of them in the pickle."""

    __slots__ = ("_value",)

    def __init__(self, value: Any) -> None:
        self._value = value

    def __reduce__(self) -> tuple[object, ...]:
        return type(self._value), (PickleBuffer(self._value),)


# ── large things ──────────────────────────────────────────────────────────────────────────────────


def pack(value: object) -> bytes | Parcel:
    """What is sent of a value: its pickle, or a parcel if that is large. Raises `Unpicklable`."""
    pickled, buffers = dump(value)
    if not buffers:
        return parcelled(pickled)
    try:
        return Parcel(store(pickled, buffers))
    except OSError:  # no descriptor or memory left for that
        return dump(value, large=False)[0]


def parcelled(pickled: bytes) -> bytes | Parcel:
    """A pickle without buffers, in a parcel if it is large and there is room for one."""
    if len(pickled) <= LARGE_BYTES:
        return pickled
    try:
        return Parcel(store(pickled, ()))
    except OSError:
        return pickled


def store(pickled: bytes, buffers: Sequence[memoryview]) -> int:
    """Both in a file in memory; hands back its descriptor. One copy is made, and no other one."""
    fd = os.memfd_create("arrea-value", os.MFD_CLOEXEC)
    try:
        sizes = [len(pickled), *(buffer.nbytes for buffer in buffers)]
        _write(fd, SIZE.pack(len(sizes)) + b"".join(map(SIZE.pack, sizes)))
        for part in (pickled, *buffers):
            _write(fd, part)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _write(fd: int, data: Any) -> None:
    rest: Any = memoryview(data).cast("B")
    while rest:
        rest = rest[os.write(fd, rest) :]


def fetch(fd: int, load: Callable[..., object] = loads) -> object:
    """The value that `store` stored. Its buffers are memory of its own, which a second one doesn't share."""
    from arrea._model.mapped import mapped

    return opened(mapped(fd), load)


def take(fd: int) -> memoryview:
    """What `store` stored, for `opened`. Closes the descriptor."""
    from arrea._model.mapped import mapped

    try:
        return mapped(fd)
    finally:
        os.close(fd)


def opened(memory: memoryview, load: Callable[..., object] = loads) -> object:
    (count,) = SIZE.unpack_from(memory, 0)
    at, parts = (count + 1) * SIZE.size, []
    for place in range(1, count + 1):
        (size,) = SIZE.unpack_from(memory, place * SIZE.size)
        parts.append(memory[at : at + size])
        at += size
    return load(parts[0], buffers=parts[1:])
