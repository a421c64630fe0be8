"""The public names: complete, lazy, documented."""

import ast
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import arrea
import arrea.policies
from arrea._model import errors

SOURCE = Path(arrea.__file__).parent

# Methods of public classes that are public to Arrea's own parts only: what the reactor tells a batch.
OF_THE_REACTOR = {
    "Batch": {"begin", "begin_and_wait", "feed_in_background"},
}


def names_for_type_checkers() -> set[str]:
    """What `__init__` imports under TYPE_CHECKING, and defines."""
    tree = ast.parse((SOURCE / "__init__.py").read_text())
    found = {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}
    for block in tree.body:
        for node in block.body if isinstance(block, ast.If) else ():
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("arrea"):
                found.update(alias.asname or alias.name for alias in node.names)
    return {name for name in found if not name.startswith("_")} | {"__version__"}


# ── complete ──────────────────────────────────────────────────────────────────────────────────────


def test_all_names_what_type_checkers_see() -> None:
    assert set(arrea.__all__) == names_for_type_checkers()
    assert arrea.__all__ == sorted(arrea.__all__, key=lambda name: (not name[0].isupper(), name))


def test_all_names_what_can_be_had() -> None:
    functions = {name for name, value in vars(arrea).items() if inspect.isfunction(value) and name[0] != "_"}
    assert set(arrea.__all__) == {*arrea._HOMES, *functions, "__version__"}
    assert dir(arrea) == sorted(arrea.__all__)


@pytest.mark.parametrize("name", arrea.__all__)
def test_name_is_importable(name: str) -> None:
    value = getattr(arrea, name)
    assert value is not None
    home = arrea._HOMES.get(name)
    if home is not None and not inspect.ismodule(value):
        assert value.__module__ == home


def test_star_import() -> None:
    names: dict[str, Any] = {}
    exec("from arrea import *", names)
    assert set(arrea.__all__) <= set(names)


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match=r"^module 'arrea' has no attribute 'exceute'$"):
        _ = arrea.exceute  # type: ignore[attr-defined]
    with pytest.raises(ImportError):
        from arrea import exceute  # type: ignore[attr-defined]  # noqa: F401


def test_errors_of_the_tree_that_can_be_raised_are_public() -> None:
    raised = {name for name, kind in error_classes() if not issubclass(kind, errors.TaskError)}
    assert raised <= set(arrea.__all__)
    assert {"ArreaError", "TaskError"} <= set(arrea.__all__)


def error_classes() -> Iterator[tuple[str, type[errors.ArreaError]]]:
    for name, value in vars(errors).items():
        if inspect.isclass(value) and issubclass(value, errors.ArreaError):
            yield name, value


# ── lazy ──────────────────────────────────────────────────────────────────────────────────────────

LAZY = """
import sys, arrea
assert [name for name in sys.modules if name.startswith("arrea.")] == ["arrea._version"], sys.modules.keys()
for name in arrea.__all__:
    for module in [module for module in sys.modules if module.startswith("arrea")]:
        del sys.modules[module]
    import arrea
    assert name in vars(arrea) or name in arrea._HOMES, name
    before = getattr(arrea, name)
    assert before is getattr(arrea, name) is vars(arrea)[name], name
"""


def test_names_are_loaded_when_first_used() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LAZY], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr


def test_errors_and_policies_load_no_engine() -> None:
    code = "import sys, arrea; arrea.Policy; arrea.Task; arrea.Result; arrea.InvalidBatch; arrea.policies.strict()"
    told = (
        f"{code}\nprint([name for name in sys.modules if name.startswith(('arrea._app', 'arrea._runtime'))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", told], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


# ── documented ────────────────────────────────────────────────────────────────────────────────────


def public_modules() -> list[ModuleType]:
    return [arrea, arrea.policies]


def undocumented(owner: str, value: Any) -> Iterator[str]:
    if not (vars(value).get("__doc__") if inspect.isclass(value) else value.__doc__):
        yield owner
    if inspect.isclass(value):
        for name, member in vars(value).items():
            if inspect.isfunction(member) and name[0] != "_" and not member.__doc__:
                yield f"{owner}.{name}"


def test_every_public_function_class_and_method_has_a_docstring() -> None:
    missing = []
    for module in public_modules():
        assert module.__doc__
        for name in module.__all__:
            value = getattr(module, name)
            if inspect.isclass(value) or inspect.isfunction(value):
                missing += undocumented(name, value)
    internal = {f"{kind}.{name}" for kind, names in OF_THE_REACTOR.items() for name in names}
    assert set(missing) <= internal, sorted(set(missing) - internal)


@pytest.mark.parametrize("name", ["Result", "BatchResult", "Output", "Usage", "Policy", "Engine", "Task"])
def test_fields_without_a_docstring_of_their_own_are_told_by_their_class(name: str) -> None:
    kind = getattr(arrea, name)
    told = inspect.getdoc(kind) or ""
    fields = [
        field
        for field, member in vars(kind).items()
        if field[0] != "_" and (inspect.ismemberdescriptor(member) or isinstance(member, property))
    ]
    hidden = [field for field in fields if field not in told and not getattr(kind, field).__doc__]
    assert hidden == [], f"{name}: {hidden}"


def test_options_of_functions_are_documented() -> None:
    for function in (arrea.run, arrea.stream, arrea.submit):
        assert "Options: see" in (function.__doc__ or "") or "options: see" in (function.__doc__ or "")


def test_error_codes_are_documented() -> None:
    """Every code in the sources is told in the tree at the top of the errors, or is none of an error of ours."""
    told = (errors.__doc__ or "") + (arrea.InvalidOption.__doc__ or "")
    for _, kind in error_classes():
        assert kind.code == "error" or kind.code in told, kind
    for code in codes_in_the_sources():
        assert code in told, code


def codes_in_the_sources() -> set[str]:
    """Literals that are passed as `code=...`, wherever."""
    found = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.keyword) and node.arg == "code" and isinstance(node.value, ast.Constant):
                found.add(node.value.value)
    return found
