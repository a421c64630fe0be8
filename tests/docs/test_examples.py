"""Every example runs: doctests of all modules, and the blocks of README.md and docs/**/*.md.

* ```python blocks run in order, in one namespace a file; blocks with `>>>` are compared like doctests.
* ```console blocks: each line `$ command` runs in `sh`, in a directory that the commands of the file share, with
  the installed `arrea` on PATH; what it prints (stdout and stderr) is the lines up to the next command.
  A command that ends in a backslash goes on in the next line. `...` stands for anything.
* `<!-- not run: why -->` on the line above a block leaves it out. Blocks of other kinds are not run.
"""

import doctest
import importlib
import os
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import arrea
from arrea._app import default

ROOT = Path(__file__).parent.parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
# `__main__` is no module to import: it runs the command.
MODULES = sorted(
    ["arrea", *(found.name for found in pkgutil.walk_packages(arrea.__path__, "arrea."))], key=str
)
MODULES.remove("arrea.__main__")

each_page = pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])


@pytest.fixture(autouse=True)
def _engine_of_its_own(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As in a program of its own: the engine behind the functions of `arrea` begins and ends with the examples."""
    monkeypatch.setattr(default, "_engine", None)
    yield
    if default._engine is not None:
        default._engine.close()


@pytest.fixture(autouse=True)
def _configuration_as_before() -> Iterator[None]:
    """Examples configure this process, which other tests use as well."""
    yield
    for key in arrea.Config.all():
        if arrea.Config.source(key) == "process":
            arrea.Config.unset(key)


class Block(NamedTuple):
    """A fenced block: its kind, the number of its first line, its text."""

    kind: str
    line: int
    text: str


def blocks(text: str) -> Iterator[Block]:
    lines = iter(enumerate(text.splitlines(), 1))
    before = ""
    for _, line in lines:
        if not line.startswith("```"):
            before = line if line.strip() else before
            continue
        body = []
        start = 0
        for number, inner in lines:
            start = start or number
            if inner.startswith("```"):
                break
            body.append(inner)
        if not before.startswith("<!-- not run:"):
            yield Block(line[3:].strip(), start, "\n".join(body) + "\n")
        before = ""


# ── modules ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", MODULES)
def test_doctests(name: str) -> None:
    module = importlib.import_module(name)
    results = doctest.testmod(module, report=True)
    assert results.failed == 0, "see what was printed"


def test_doctests_are_found() -> None:
    finder = doctest.DocTestFinder()
    counts = {
        name: sum(bool(test.examples) for test in finder.find(importlib.import_module(name)))
        for name in MODULES
    }
    assert counts["arrea"] >= 5 and counts["arrea._model.duration"] >= 1 and counts["arrea.policies"] >= 2


# ── Python in the pages ───────────────────────────────────────────────────────────────────────────


@each_page
def test_python(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {"__name__": "example"}
    for block in blocks(page.read_text()):
        if block.kind == "python":
            run_python(page, block, namespace)


def run_python(page: Path, block: Block, namespace: dict[str, Any]) -> None:
    if ">>> " in block.text:
        run_session(page, block, namespace)
        return
    lines = "\n" * (block.line - 1)  # so that a traceback names the line of the page
    exec(compile(lines + block.text, str(page), "exec"), namespace)


def run_session(page: Path, block: Block, namespace: dict[str, Any]) -> None:
    test = doctest.DocTestParser().get_doctest(block.text, {}, page.name, str(page), block.line - 1)
    test.globs = namespace
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    told: list[str] = []
    runner.run(test, out=told.append, clear_globs=False)
    assert not runner.failures, "".join(told)


# ── the command line in the pages ─────────────────────────────────────────────────────────────────


@each_page
def test_console(page: Path, tmp_path: Path) -> None:
    for block in blocks(page.read_text()):
        if block.kind == "console":
            for command, expected in commands(block.text):
                check_command(f"{page.name}:{block.line}", command, expected, tmp_path)


def commands(text: str) -> Iterator[tuple[str, str]]:
    """Each command of a block with the output that is expected of it."""
    command, output, goes_on = "", "", False
    for line in text.splitlines(keepends=True):
        if goes_on or line.startswith("$ "):
            if command and not goes_on:
                yield command, output
                command, output = "", ""
            command += line if goes_on else line[2:]
            goes_on = line.rstrip("\n").endswith("\\")
        else:
            output += line
    if command:
        yield command, output


def check_command(place: str, command: str, expected: str, directory: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-c", command],
        cwd=directory,
        env={**os.environ, "PATH": path, "HOME": str(directory)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=30,
        start_new_session=True,
        check=False,
    )
    if not doctest.OutputChecker().check_output(expected, done.stdout, doctest.ELLIPSIS):
        raise AssertionError(f"{place}: $ {command}expected:\n{expected}got:\n{done.stdout}")


# ── the reader itself ─────────────────────────────────────────────────────────────────────────────

PAGE = """\
```python
a = 1
```
<!-- not run: it would -->

```python
raise SystemExit
```

```console
$ echo a \\
  b
a b
$ true
$ seq 3
1
...
```
```text
nothing
```
"""


def test_reader(tmp_path: Path) -> None:
    first, second, third = blocks(PAGE)
    assert first == Block("python", 2, "a = 1\n") and third.kind == "text"
    assert list(commands(second.text)) == [
        ("echo a \\\n  b\n", "a b\n"),
        ("true\n", ""),
        ("seq 3\n", "1\n...\n"),
    ]
    for command, expected in commands(second.text):
        check_command("here", command, expected, tmp_path)
    with pytest.raises(AssertionError, match=r"^here: \$ echo a\nexpected:\nb\ngot:\na\n$"):
        check_command("here", "echo a\n", "b\n", tmp_path)
    with pytest.raises(AssertionError):
        check_command("here", "echo a\n", "", tmp_path)


def test_python_reader(tmp_path: Path) -> None:
    namespace: dict[str, Any] = {}
    run_python(tmp_path / "page.md", Block("python", 2, "a = 1\n"), namespace)
    run_python(tmp_path / "page.md", Block("python", 5, ">>> a + 1\n2\n"), namespace)
    with pytest.raises(AssertionError, match=r"page.md"):
        run_python(tmp_path / "page.md", Block("python", 5, ">>> a\n2\n"), namespace)
