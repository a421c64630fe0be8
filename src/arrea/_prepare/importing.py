"""Whether a worker process finds a function's module by its name, which is how functions of modules go there.

It doesn't find one that was loaded from a file that no import leads to (`spec_from_file_location`, as in plug-ins and
in `pytest --import-mode=importlib`), or that was made by hand. What is of such a module is sent whole.

Only looks, and asks nobody: a global that a function mentions may be a proxy, or a module that loads when it is used.
"""

from __future__ import annotations

import os
import sys
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from weakref import WeakValueDictionary

from arrea._model.checks import attribute, unwrapped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec

_known: WeakValueDictionary[str, ModuleType] = WeakValueDictionary()  # those that were looked at already
_namespace_of_class = type.__dict__["__dict__"].__get__
_own_attribute = object.__getattribute__


def see_to_modules(function: object) -> None:
    """Has those sent whole that have to be: the function's own, and those of what it mentions."""
    function = unwrapped(function)
    if type(function).__name__ == "_lru_cache_wrapper":
        function = attribute(function, "__wrapped__")
    _see_to(function)
    if type(function) is FunctionType and type(function.__code__) is CodeType:
        scope = function.__globals__
        for name in function.__code__.co_names:
            if name in scope:
                _see_to(scope[name])


def _see_to(value: object) -> None:
    try:
        name = str(_module_of(value))
        module = sys.modules.get(name)
        if type(module) is not ModuleType or name == "__main__" or _known.get(name) is module:
            return
        if not _is_found(name, module):
            import cloudpickle

            cloudpickle.register_pickle_by_value(module)
        _known[name] = module
    except Exception:  # noqa: BLE001 - what can't be said of it will be seen when it is imported
        return


def _module_of(value: object) -> object:
    kind = type(value)
    if issubclass(kind, ModuleType):
        return _own_attribute(value, "__dict__").get("__name__")
    if kind is FunctionType or kind is BuiltinFunctionType:
        return value.__module__
    return _namespace_of_class(value if issubclass(kind, type) else kind).get("__module__")


def _is_found(name: str, module: ModuleType) -> bool:
    """Whether the import system, which the worker process has too, would load it from where it was loaded from."""
    if name in sys.builtin_module_names:
        return True
    package, _, _ = name.rpartition(".")
    if not package:
        return _leads_to(_search(name, None), module)
    parent = sys.modules.get(package)
    path = attribute(parent, "__path__") if parent is not None else _path_of(package)
    if parent is not None and not _is_found(package, parent):
        return False
    return path is None or _leads_to(_search(name, path), module)  # with no path, its parent makes it


def _path_of(package: str) -> object:
    """Where the parts of a package lie that isn't loaded any more."""
    spec = _search(package, None)
    return None if spec is None else spec.submodule_search_locations


def _leads_to(spec: ModuleSpec | None, module: ModuleType) -> bool:
    own = module.__spec__
    if spec is None:
        return False
    if not spec.has_location:  # frozen, built in; or a namespace, which is a directory
        return spec.loader is not None or attribute(module, "__file__") is None
    places = {attribute(own, "origin"), attribute(module, "__file__")} - {None}
    return not places or spec.origin in places or any(_is_same(spec.origin, place) for place in places)


def _is_same(one: str | None, other: str | None) -> bool:
    try:
        return one is not None and other is not None and os.path.samefile(one, other)
    except OSError:
        return False


def _search(name: str, path: object) -> ModuleSpec | None:
    for finder in sys.meta_path:
        try:
            spec = finder.find_spec(name, path)  # type: ignore[arg-type]
        except Exception:  # noqa: BLE001 - somebody's own: it doesn't find it
            continue
        if spec is not None:
            return spec
    return None
