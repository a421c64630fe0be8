"""Tasks, and how messages name them."""

import copy
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arrea import Task
from arrea._model.task import Command
from arrea._model.text import describe, printable


def named(text: str, label: object) -> str:
    settings: Any = None  # a name needs none
    return Command(text, (), settings, label).name


def test_task_keeps_what_it_was_given() -> None:
    task = Task(["make", "-j2"], timeout="10m", label="build")
    assert (task.command, dict(task.options)) == (["make", "-j2"], {"timeout": "10m", "label": "build"})
    assert repr(task) == "Task(['make', '-j2'], timeout='10m', label='build')"


def test_task_is_immutable() -> None:
    task = Task("true")
    with pytest.raises(AttributeError, match="a Task is immutable"):
        task.command = "false"  # type: ignore[misc]
    with pytest.raises(AttributeError):
        task.retries = 3  # type: ignore[attr-defined]


def test_task_travels() -> None:
    task = Task("true", env={"A": "b"}, label=("x", 1))
    for other in (pickle.loads(pickle.dumps(task)), copy.copy(task), copy.deepcopy(task)):
        assert (other.command, other.options) == (task.command, task.options)


def test_values_that_may_be_secret_are_not_shown() -> None:
    assert "secret" not in repr(Task("true", env={"A": "secret"}, stdin="secret"))


@pytest.mark.parametrize(
    ("text", "label", "name"),
    [
        ("make", None, "task 3 (make)"),
        ("make", "build", "task 3 (build)"),
        ("make", 0, "task 3 (0)"),
        ("make", "", "task 3 ()"),
        ("make", ("a", 1), "task 3 (('a', 1))"),
        ("a" * 60, None, f"task 3 ({'a' * 60})"),
        ("a" * 61, None, f"task 3 ({'a' * 57}...)"),
        ("echo a\necho b", None, r"task 3 (echo a\x0aecho b)"),
        ("x", "\x1b[31mred", r"task 3 (\x1b[31mred)"),
    ],
)
def test_describe(text: str, label: object, name: str) -> None:
    assert describe(3, named(text, label)) == name


def test_label_that_cannot_be_told() -> None:
    class Label:
        def __str__(self) -> str:
            raise ValueError

    assert describe(0, named("x", Label())) == "task 0 (<Label>)"


@given(st.text(st.characters(codec=None)))
def test_printable(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert shown == text or not text.isprintable()
    shown.encode()  # no surrogate is left


def test_printable_escapes() -> None:
    assert printable("\0\x7f\x85\u2028\ud800\U000e0001") == r"\x00\x7f\x85\u2028\ud800\U000e0001"
    assert printable("tëxt 漢") == "tëxt 漢"
