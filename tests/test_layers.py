"""The folders in the middle never import each other: read from the source, nothing is imported."""

import ast
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

SOURCE = Path(__file__).parent.parent / "src"

MIDDLE = ("_prepare", "_engine", "_runtime", "_observe")

# The engine is pure: no input or output, no clock, no threads, no chance.
IMPURE = {
    "asyncio",
    "os",
    "random",
    "select",
    "signal",
    "socket",
    "subprocess",
    "threading",
    "time",
}

# Costly, and off the path of an ordinary run: imported inside the function that needs them.
LATE = {"asyncio", "multiprocessing", "subprocess"}

# (module, what it imports at its top): why that is right.
LATE_ALLOWED: dict[tuple[str, str], str] = {
    ("arrea._app.coroutines", "asyncio"): "imported when a caller awaits",
    ("arrea._app.loops", "asyncio"): "imported when a caller awaits",
    ("arrea._runtime.coroutines", "asyncio"): "imported when a coroutine comes",
}


# (module of `_model`, what it imports): why that is right.
MODEL_ALLOWED: dict[tuple[str, str], str] = {
    ("arrea._model.pickled", "cloudpickle"): "imported when pickle won't do; both sides of the pool need it",
}


class Import(NamedTuple):
    """One run-time import: the importing module, its line, what it imports, and whether at once."""

    module: str
    line: int
    target: str
    at_top: bool

    def __str__(self) -> str:
        return f"{self.module}:{self.line} imports {self.target}"


# --- the rules --------------------------------------------------------------------------------


def crossing(imports: list[Import]) -> list[Import]:
    """Imports from a middle package into another part of Arrea than `_model` and itself."""
    return [
        found
        for found in imports
        if (home := _package(found.module)) in MIDDLE
        and _top(found.target) == "arrea"
        and _package(found.target) not in ("_model", home)
    ]


def model_needs(imports: list[Import]) -> list[Import]:
    """Imports of `_model` that are neither the standard library nor itself."""
    return [
        found
        for found in imports
        if _package(found.module) == "_model"
        and _package(found.target) != "_model"
        and _top(found.target) not in sys.stdlib_module_names
        and (found.module, found.target) not in MODEL_ALLOWED
    ]


def cli_users(imports: list[Import]) -> list[Import]:
    """Imports of the command line by anything but itself and `python -m arrea`."""
    return [
        found
        for found in imports
        if _package(found.target) == "cli"
        and _package(found.module) != "cli"
        and found.module != "arrea.__main__"
    ]


def engine_impurities(imports: list[Import]) -> list[Import]:
    return [
        found for found in imports if _package(found.module) == "_engine" and _top(found.target) in IMPURE
    ]


def early(imports: list[Import]) -> list[Import]:
    """Imports at a module's top level that would slow every start."""
    return [found for found in imports if found.at_top and _top(found.target) in LATE]


def cycle(imports: list[Import]) -> list[str]:
    """One chain of modules that import each other in a ring; empty when there is none."""
    graph: dict[str, set[str]] = {}
    for found in imports:
        if _top(found.target) == "arrea" and found.target != found.module:
            graph.setdefault(found.module, set()).add(found.target)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(reversed(error.args[1]))
    return []


# --- held by Arrea ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def arrea() -> list[Import]:
    return read_imports(SOURCE)


def test_middle_packages_import_only_the_model(arrea: list[Import]) -> None:
    assert not _lines(crossing(arrea))


def test_model_imports_only_the_standard_library(arrea: list[Import]) -> None:
    assert not _lines(model_needs(arrea))


def test_nothing_imports_the_command_line(arrea: list[Import]) -> None:
    assert not _lines(cli_users(arrea))


def test_engine_is_pure(arrea: list[Import]) -> None:
    assert not _lines(engine_impurities(arrea))


def test_no_import_cycle(arrea: list[Import]) -> None:
    assert not " -> ".join(cycle(arrea))


def test_costly_modules_are_imported_late(arrea: list[Import]) -> None:
    found = early(arrea)
    assert not _lines([f for f in found if (f.module, _top(f.target)) not in LATE_ALLOWED])
    stale = set(LATE_ALLOWED) - {(f.module, _top(f.target)) for f in found}
    assert not stale, "no longer needed in LATE_ALLOWED"
    assert all(LATE_ALLOWED.values()), "an exception needs its reason"


# --- the rules bite ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "file", "text"),
    [
        (crossing, "_engine/leader.py", "from arrea._runtime.spawn import spawn"),
        (crossing, "_engine/leader.py", "from .._runtime import spawn"),
        (crossing, "_observe/bus.py", "from arrea import Task"),
        (crossing, "_prepare/plan.py", "def f():\n    import arrea._app"),
        (model_needs, "_model/task.py", "import msgspec"),
        (model_needs, "_model/task.py", "from arrea._engine import leader"),
        (cli_users, "_app.py", "from arrea.cli.main import main"),
        (engine_impurities, "_engine/leader.py", "from time import monotonic"),
        (engine_impurities, "_engine/leader.py", "def f():\n    import os.path"),
        (early, "_app.py", "try:\n    import asyncio.events\nfinally:\n    pass"),
        (cycle, "_app.py", "import arrea.telemetry"),
    ],
)
def test_rule_finds(rule, file: str, text: str, tmp_path: Path) -> None:
    _write(tmp_path, {file: text, "telemetry.py": "def f():\n    from arrea import _app"})
    assert rule(read_imports(tmp_path))


@pytest.mark.parametrize(
    ("rule", "file", "text"),
    [
        (crossing, "_engine/leader.py", "from arrea._model.task import Task\nfrom . import worker"),
        (crossing, "_app.py", "from arrea._engine import leader"),
        (model_needs, "_model/task.py", "import enum\nfrom .errors import Oops"),
        (cli_users, "__main__.py", "from arrea.cli.main import main"),
        (engine_impurities, "_runtime/reactor.py", "import os"),
        (early, "_app.py", "def f():\n    import asyncio"),
        (
            cycle,
            "_app.py",
            "import typing\nif typing.TYPE_CHECKING:\n    from arrea import telemetry",
        ),
    ],
)
def test_rule_lets_pass(rule, file: str, text: str, tmp_path: Path) -> None:
    _write(tmp_path, {file: text, "telemetry.py": "from arrea import _app"})
    assert not rule(read_imports(tmp_path))


def _write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / "arrea" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


# --- reading ----------------------------------------------------------------------------------


def read_imports(source: Path) -> list[Import]:
    """Every run-time import under `source`/arrea; what only a type checker sees is left out."""
    files = {_module_name(path, source): path for path in sorted(source.glob("arrea/**/*.py"))}
    return [
        Import(module, line, target, at_top)
        for module, path in files.items()
        for node, at_top in _import_nodes(ast.parse(path.read_bytes(), str(path)), at_top=True)
        for line, target in _targets(node, _parent(module, path), set(files))
    ]


def _module_name(path: Path, source: Path) -> str:
    parts = path.relative_to(source).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _parent(module: str, path: Path) -> str:
    return module if path.name == "__init__.py" else module.rpartition(".")[0]


def _import_nodes(node: ast.AST, at_top: bool) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    if isinstance(node, ast.Import | ast.ImportFrom):
        yield node, at_top
        return
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        at_top = False
    only_typed = isinstance(node, ast.If) and ast.unparse(node.test) in (
        "TYPE_CHECKING",
        "typing.TYPE_CHECKING",
    )
    children = node.orelse if only_typed else ast.iter_child_nodes(node)
    for child in children:
        yield from _import_nodes(child, at_top)


def _targets(node: ast.Import | ast.ImportFrom, parent: str, modules: set[str]) -> Iterator[tuple[int, str]]:
    """The modules an import statement names; a submodule where `from` names one."""
    if isinstance(node, ast.Import):
        yield from ((node.lineno, name.name) for name in node.names)
        return
    base = node.module or ""
    if node.level:
        above = parent.split(".")[: len(parent.split(".")) - node.level + 1]
        base = ".".join([*above, *filter(None, [node.module])])
    for name in node.names:
        inner = f"{base}.{name.name}"
        yield node.lineno, inner if inner in modules or _is_package(inner, modules) else base


def _is_package(name: str, modules: set[str]) -> bool:
    return any(module.startswith(name + ".") for module in modules)


def _package(module: str) -> str:
    """The part of Arrea a module belongs to: "_engine" for arrea._engine.leader; else ""."""
    parts = module.split(".")
    return parts[1] if parts[0] == "arrea" and len(parts) > 1 else ""


def _top(module: str) -> str:
    return module.partition(".")[0]


def _lines(imports: list[Import]) -> str:
    return "\n".join(map(str, imports))
