"""Whether a worker process finds a function's module by its name, which is how functions of modules go there.

It doesn't find one that was loaded from a file that no import leads to (`spec_from_file_location`, as in plug-ins and
in `pytest --import-mode=importlib`), or that was made by hand. What is of such a module is sent whole.
"""

from __future__ import annotations

import sys
from types import CodeType, ModuleType

from arrea._model.checks import attribute, unwrapped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec

_known: dict[str, ModuleType] = {}  # those that were looked at already


def see_to_modules(function: object) -> None:
    """Has those sent whole that have to be: its own, and those of what it mentions."""
    function = unwrapped(function)
    _see_to(function)
    if attribute(function, "__code__") is None:
        function = attribute(function, "__wrapped__")  # of `functools.cache`
    code, scope = attribute(function, "__code__"), attribute(function, "__globals__")
    if isinstance(code, CodeType) and type(scope) is dict:
        for name in code.co_names:
            if name in scope:
                _see_to(scope[name])


def _see_to(value: object) -> None:
    name = attribute(value, "__name__" if isinstance(value, ModuleType) else "__module__")
    module = sys.modules.get(name) if type(name) is str else None
    if module is None or name == "__main__" or _known.get(name) is module:
        return
    if not _is_found(name, module):
        import cloudpickle

        cloudpickle.register_pickle_by_value(module)
    _known[name] = module


def _is_found(name: str, module: ModuleType) -> bool:
    """Whether the import system, which the worker process has too, would load it from where it was loaded from."""
    if name in sys.builtin_module_names:
        return True
    package, _, _ = name.rpartition(".")
    parent = sys.modules.get(package)
    if package and (parent is None or not _is_found(package, parent)):
        return False
    spec = _search(name, attribute(parent, "__path__") if package else None)
    file = attribute(module, "__file__")
    return spec is not None and (file is None or not spec.has_location or spec.origin in (file, None))


def _search(name: str, path: object) -> ModuleSpec | None:
    for finder in sys.meta_path:
        try:
            spec = finder.find_spec(name, path)  # type: ignore[arg-type]
        except Exception:  # noqa: BLE001 - somebody's own: it doesn't find it
            continue
        if spec is not None:
            return spec
    return None
