"""What a call finds around it, when the program, or a call before it, has changed that."""

import io
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest

import arrea
from arrea import Engine, Task
from tests.faults.conftest import mark
from tests.faults.hosts import run_host

__all__ = ["mark"]

pytestmark = pytest.mark.timeout(30)


@pytest.fixture
def engine() -> Iterator[Engine]:
    with Engine(max_processes=1, default_policy="once") as engine:
        yield engine


def test_a_directory_that_was_made_anew(engine: Engine, tmp_path: Path) -> None:
    place = tmp_path / "place"
    for number in range(3):
        place.mkdir()
        (place / "number").write_text(str(number))
        assert engine.execute(lambda: Path("number").read_text(), cwd=place).unwrap() == str(number)
        engine.execute(lambda: Path("written").write_text("here"), cwd=place).unwrap()
        assert (place / "written").read_text() == "here"
        shutil.rmtree(place)


def test_a_link_that_leads_elsewhere_now(engine: Engine, tmp_path: Path) -> None:
    link = tmp_path / "current"
    for number in range(3):
        release = tmp_path / str(number)
        release.mkdir()
        link.unlink(missing_ok=True)
        link.symlink_to(release)
        assert engine.execute(os.getcwd, cwd=link).unwrap() == str(release)


def change_arguments() -> None:
    sys.argv.append("left behind")


def change_stdin() -> None:
    sys.stdin = io.StringIO("left behind")


@pytest.mark.parametrize("change", [change_arguments, change_stdin])
def test_what_a_call_changed_is_not_the_next_ones(change: Callable[[], None], engine: Engine) -> None:
    def look() -> Any:
        return sys.argv, sys.stdin.read()

    before, _, after = engine.run([look, change, look]).unwrap()
    assert after == before == engine.execute(look).unwrap() == (sys.argv, "")


def test_places_of_modules_that_a_module_adds_stay(engine: Engine, tmp_path: Path) -> None:
    """It does so once, when it is imported, and relies on it from then on."""
    (tmp_path / "vendored").mkdir()
    (tmp_path / "vendored" / "inner_part.py").write_text("HERE = 1")
    (tmp_path / "outer_part.py").write_text(f"import sys; sys.path.insert(0, {str(tmp_path / 'vendored')!r})")

    def first() -> None:
        sys.path.insert(0, str(tmp_path))
        __import__("outer_part")

    def later() -> Any:
        return __import__("inner_part").HERE

    assert engine.run([first, later], workers=1)[1].unwrap() == 1
    assert engine.execute(later, env={"OTHER": "surroundings"}).unwrap() == 1
    assert engine.execute(lambda: setattr(sys, "path", None)).success
    assert engine.execute(lambda: sys.path, env={"OTHER": "ones"}).unwrap() == sys.path


class Mode(StrEnum):
    FAST = "fast"


class Odd:
    """No text can be had of it, nor a pickle."""

    def __str__(self) -> str:
        raise ValueError("no text")

    def __reduce__(self) -> str:
        raise ValueError("no pickle")


def test_what_is_no_plain_text_in_the_surroundings(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [Path("program"), Mode.FAST, Odd(), 7])
    monkeypatch.setattr(sys, "path", [*sys.path, Path("/somewhere"), Mode.FAST])
    result = engine.execute(lambda: (os.environ["MODE"], sys.argv, sys.path[-2:]), env={"MODE": Mode.FAST})
    assert result.unwrap() == ("fast", ["program", "fast", "", "7"], ["/somewhere", "fast"])


def test_the_time_zone(engine: Engine) -> None:
    """The C library reads `TZ` once, if nobody tells it to do so again."""

    def hour() -> str:
        import time

        return time.strftime("%H", time.gmtime(0)) + time.strftime(" %H %Z", time.localtime(0))

    tasks = [Task(hour, env={"TZ": zone}) for zone in ("UTC0", "JST-9", "EST5", "UTC0")]
    assert engine.run(tasks, workers=1).unwrap() == ["00 00 UTC", "00 09 JST", "00 19 EST", "00 00 UTC"]


def test_a_place_of_modules_that_comes_later(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that has looked for it in vain looks again."""
    late = tmp_path / "late"
    monkeypatch.syspath_prepend(late)

    def find() -> Any:
        import importlib

        try:
            return importlib.import_module("comes_later").HERE
        except ImportError:
            return None

    assert engine.execute(find).unwrap() is None
    late.mkdir()
    (late / "comes_later.py").write_text("HERE = 1")
    assert engine.execute(find, env={"OTHER": "surroundings"}).unwrap() == 1


def test_a_value_that_no_program_can_be_started_with(mark: str) -> None:
    """Set with `putenv` after the start, say; calls get theirs in another way."""
    ended = run_host(
        mark,
        """
os.environ["LONG"] = "x" * 300_000
say(arrea.execute(lambda: len(os.environ["LONG"])).data)
""",
    )
    assert ended.out == ["300000"]


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["-X", "int_max_str_digits=0"], "len(str(10**5000))"),
        (["-X", "tracemalloc"], "__import__('tracemalloc').is_tracing()"),
        (["-X", "faulthandler"], "__import__('faulthandler').is_enabled()"),
        (["-X", "pycache_prefix=/nowhere"], "sys.pycache_prefix"),
        (["-X", "importtime"], "1"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_options_of_the_interpreter(options: list[str], code: str) -> None:
    program = f"import sys, arrea; print({code}, arrea.execute(lambda: {code}).unwrap())"
    ended = subprocess.run(
        [sys.executable, *options, "-c", program], capture_output=True, text=True, timeout=20
    )
    here, there = ended.stdout.split()
    assert here == there


def test_another_arrea_that_is_installed_too(tmp_path: Path) -> None:
    """The worker processes run the one that the program runs."""
    shutil.copytree(
        Path(arrea.__file__).parent, tmp_path / "arrea", ignore=shutil.ignore_patterns("__pycache__")
    )
    frames = tmp_path / "arrea" / "_runtime" / "frames.py"
    frames.write_text(frames.read_text().replace("\nVERSION = ", "\nVERSION = 100 + "))
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import arrea; "
        "print(arrea.__file__ == arrea.execute(lambda: arrea.__file__).unwrap() != '')"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20)
    assert (ended.stdout, ended.stderr) == ("True\n", "")
