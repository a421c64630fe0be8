"""The values that validation hands out: they say what they must, and can't be changed."""

import pickle

import pytest

from arrea._model.simple_command import SimpleCommand
from arrea._model.verdict import ALLOWED, Verdict

REFUSED = Verdict(
    code="dangerous_command", rule="no_dd", reason="it is", span=(0, 2), fragment="dd", hint="don't"
)


def test_allowed_and_refused() -> None:
    assert ALLOWED.allowed
    assert not REFUSED.allowed
    assert ALLOWED
    assert not REFUSED


def test_refused_is_false_so_that_if_verdict_means_what_it_says() -> None:
    assert [bool(ALLOWED), bool(REFUSED)] == [True, False]


def test_fields_by_name() -> None:
    assert REFUSED.as_dict() == {
        "allowed": False,
        "code": "dangerous_command",
        "rule": "no_dd",
        "reason": "it is",
        "span": (0, 2),
        "fragment": "dd",
        "hint": "don't",
    }
    assert list(ALLOWED.as_dict()) == list(REFUSED.as_dict())


def test_shown_without_what_is_none() -> None:
    assert repr(ALLOWED) == "Verdict(allowed=True)"
    assert "rule='no_dd'" in repr(REFUSED)
    assert "hint" not in repr(Verdict(code="empty_command"))


def test_equal_by_value_and_hashable() -> None:
    assert Verdict() == ALLOWED != REFUSED
    assert Verdict(code="empty_command") != "empty_command"
    assert len({ALLOWED, Verdict(), REFUSED}) == 2


@pytest.mark.parametrize("value", [ALLOWED, SimpleCommand("ls", ("ls",))], ids=repr)
@pytest.mark.parametrize("name", ["allowed", "name", "other"])
def test_nothing_can_be_set(value: object, name: str) -> None:
    with pytest.raises(AttributeError):
        setattr(value, name, 1)


@pytest.mark.parametrize("verdict", [ALLOWED, REFUSED], ids=repr)
def test_travels_between_processes(verdict: Verdict) -> None:
    assert pickle.loads(pickle.dumps(verdict)) == verdict


def test_a_simple_command_shows_who_starts_it() -> None:
    assert repr(SimpleCommand("ls", ("ls", None))) == "SimpleCommand('ls', ('ls', None))"
    assert "through=('env',)" in repr(SimpleCommand("ls", ("ls",), through=("env",)))
