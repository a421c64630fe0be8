"""The checks that options share, and how messages show a value."""

import enum
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arrea._model import checks
from arrea._model.errors import InvalidOption


@pytest.mark.parametrize("value", [True, 1.0, "1", None, math.nan, math.inf, 1j, b"1", [1]])
def test_count_is_a_whole_number(value: object) -> None:
    with pytest.raises(InvalidOption, match=r"^workers must be a whole number, not "):
        checks.count(value, "workers")


@pytest.mark.parametrize(
    ("value", "told"),
    [(0, "0"), (-1, "-1"), (11, "11"), (10**400, "a number of many digits")],
    ids=checks.shown,
)
def test_count_is_in_its_range(value: int, told: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        checks.count(value, "workers", least=1, most=10)
    assert str(caught.value) == f"workers must be from 1 to 10, not {told}"


class Word(str):
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = str.__hash__


class Choice(enum.StrEnum):
    KILL = "kill"


def test_one_of_compares_plain_text() -> None:
    assert type(checks.one_of(Choice.KILL, "on_stop", ("finish", "kill"))) is str
    with pytest.raises(InvalidOption, match="on_stop must be 'finish' or 'kill', not 'banana'"):
        checks.one_of(Word("banana"), "on_stop", ("finish", "kill"))


@pytest.mark.parametrize(
    "value", [-0.1, 1.1, math.nan, math.inf, True, "0.5", None, 10**5000], ids=checks.shown
)
def test_share(value: object) -> None:
    with pytest.raises(InvalidOption, match=r"^jitter must be a share from 0.0 to 1.0, not "):
        checks.share(value, "jitter")
    assert (checks.share(0, "jitter"), checks.share(1, "jitter")) == (0.0, 1.0)


def test_known_suggests_what_was_meant() -> None:
    checks.known(["timeout"], ["timeout", "policy"])
    for name, message in [
        ("polcy", "unknown option 'polcy'; did you mean 'policy'?"),
        ("zzz", "unknown option 'zzz'"),
        ("x" * 10_000, f"unknown option '{'x' * 37}..."),
        (5, "unknown option 5"),
    ]:
        with pytest.raises(InvalidOption) as caught:
            checks.known([name], ["timeout", "policy"])
        assert str(caught.value) == message


class Wild:
    def __repr__(self) -> str:
        return "a\nb\x1b[2J" + "x" * 1000


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError


class NotText:
    def __repr__(self) -> Any:
        return 5


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (5, "5"),
        ("a", "'a'"),
        ({"TOKEN": "secret"}, "a dict"),
        (10**18, "a number of many digits"),
        (-(10**5000), "a number of many digits"),
        ([10**5000], "a list"),
        (Broken(), "a Broken"),
        ([Broken()], "a list"),
        (NotText(), "a NotText"),
        ("\ud800\0\n", r"'\ud800\x00\n'"),
    ],
    ids=range(10),
)
def test_shown(value: object, text: str) -> None:
    assert checks.shown(value) == text


def test_shown_environment_is_no_leak() -> None:
    import os

    assert checks.shown(os.environ) == "a _Environ"


@settings(max_examples=40)
@given(st.lists(st.text() | st.integers() | st.just(Wild()), max_size=5) | st.text() | st.binary())
def test_shown_is_short_and_on_one_line(value: object) -> None:
    text = checks.shown(value)
    assert len(text) <= 80 and text.isprintable()
