"""Options of tasks: which one wins, and what becomes of it."""

import os
import sys
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arrea import InvalidOption, Policy, Task
from arrea._model.task import Command
from arrea._model.text import in_quotes
from arrea._prepare.config import Config
from arrea._prepare.options import TASK_OPTIONS, Options, encodable
from arrea._prepare.plan import Preparer

TIMEOUTS: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any], float | None]] = [
    # configuration, call, task: what holds
    ({}, {}, {}, 30_000.0),
    ({}, {"policy": {"timeout": 50}}, {}, 50.0),
    ({}, {"timeout": 40, "policy": {"timeout": 50}}, {}, 40.0),
    ({}, {"timeout": 40, "policy": {"timeout": 50}}, {"timeout": 30}, 30.0),
    ({}, {"timeout": 40}, {"policy": {"timeout": 20}}, 40.0),
    ({}, {"timeout": 40}, {"timeout": 30, "policy": {"timeout": 20}}, 30.0),
    ({}, {"policy": {"timeout": 50}}, {"policy": {"timeout": 20}}, 20.0),
    ({}, {"policy": {"timeout": 50}}, {"policy": "once"}, 30_000.0),
    ({}, {"policy": {"timeout": 50}}, {"label": "x"}, 50.0),
    ({}, {"timeout": None}, {}, None),
    ({}, {"timeout": "none"}, {"timeout": 30}, 30.0),
    ({}, {"timeout": 40}, {"timeout": None}, None),
    ({}, {"policy": Policy(timeout=None)}, {}, None),
    ({"default_policy": Policy(timeout=70)}, {}, {}, 70.0),
    ({"default_policy": Policy(timeout=70)}, {"policy": "once"}, {}, 30_000.0),
    ({"default_policy": Policy(timeout=70)}, {"timeout": 40}, {}, 40.0),
]


def prepared(element: object, call: dict[str, Any] | None = None, config: Config | None = None) -> Command:
    config = config or Config()
    return Preparer(call or {}, config, config.default_policy).command(0, element)


@pytest.mark.parametrize(("configured", "call", "task", "expected"), TIMEOUTS)
def test_timeout_of_the_task_the_call_the_policy(
    configured: dict[str, Any], call: dict[str, Any], task: dict[str, Any], expected: float | None
) -> None:
    element = Task("true", **task) if task else "true"
    assert prepared(element, call, Config(**configured)).settings.timeout_ms == expected


@pytest.mark.parametrize(
    ("option", "of_call", "of_task", "read"),
    [
        ("cwd", "/", "/tmp", lambda command: command.settings.cwd),
        ("stdin", b"a", b"b", lambda command: command.settings.stdin),
        ("max_output_bytes", 1, 2, lambda command: command.settings.max_output_bytes),
        ("label", "a", "b", lambda command: command.label),
        ("policy", Policy(max_retries=1), Policy(max_retries=2), lambda command: command.settings.policy),
        ("inherit_output", True, False, lambda command: command.settings.inherit_output),
    ],
)
def test_task_wins_over_call(option: str, of_call: Any, of_task: Any, read: Any) -> None:
    call = {option: of_call}
    assert read(prepared("true", call)) == of_call
    assert read(prepared(Task("true"), call)) == of_call
    assert read(prepared(Task("true", timeout=5), call)) == of_call
    assert read(prepared(Task("true", **{option: of_task}), call)) == of_task


def test_environment() -> None:
    values = prepared("true", {"env": {"A": "1"}}).settings.variables.values
    assert values == {**os.environ, "A": "1"}
    assert prepared("true", {"env": {"A": "1"}, "inherit_env": False}).settings.variables.values == {"A": "1"}
    assert prepared("true", {"env": MappingProxyType({"A": ""})}).settings.variables.values["A"] == ""
    assert prepared("true", {"env": {}}).settings.variables.values == dict(os.environ)
    assert prepared("true", {"env": None}).settings.variables.values == dict(os.environ)
    task = Task("true", env={"B": "2"})
    assert "A" not in prepared(task, {"env": {"A": "1"}}).settings.variables.values


def test_environment_of_the_host_is_read_at_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARREA_EXAMPLE", "now")
    assert prepared("true").settings.variables.values["ARREA_EXAMPLE"] == "now"


def test_commands_with_the_same_options_share_their_settings() -> None:
    preparer = Preparer({}, Config(), Policy())
    first, second, third = (preparer.command(i, e) for i, e in enumerate(["a", ["b"], Task("c", label="x")]))
    assert first.settings is second.settings is third.settings


def test_relative_directory_is_the_hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path)
    assert prepared("true", {"cwd": "sub"}).settings.cwd == str(tmp_path / "sub")
    assert prepared("true", {"cwd": b"sub"}).settings.cwd == str(tmp_path / "sub")


def test_input() -> None:
    assert prepared("true", {"stdin": "ä\udcff"}).settings.stdin == b"\xc3\xa4\xff"
    assert prepared("true", {"stdin": memoryview(b"ab")[:1]}).settings.stdin == b"a"
    assert prepared("true", {"stdin": Path(__file__)}).settings.stdin == __file__
    assert prepared("true", {"stdin": Path("/dev/null")}).settings.stdin == "/dev/null"
    with open(os.devnull) as file:
        assert prepared("true", {"stdin": file}).settings.stdin is file


def test_argument_vector() -> None:
    command = prepared(["grep", "-c", "it's", "", "a b"])
    assert command.argv == ("grep", "-c", "it's", "", "a b")
    assert command.text == r"grep -c 'it'\''s' '' 'a b'"
    assert prepared(("true",)).argv == ("true",)


def test_line() -> None:
    command = prepared("echo  $HOME")
    assert (command.argv, command.text) == (("/bin/sh", "-c", "echo  $HOME"), "echo  $HOME")


@given(st.lists(st.text(st.characters(exclude_characters="\0", codec="utf-8")), min_size=1, max_size=4))
def test_quoted_words_are_read_back_by_a_shell(words: list[str]) -> None:
    import shlex

    assert shlex.split(" ".join(map(in_quotes, words))) == words


def test_encodable() -> None:
    assert encodable("tëxt \U0001f600") and encodable(os.fsdecode(b"\xff"))
    assert encodable("\ud800") is False
    assert sys.getfilesystemencodeerrors() == "surrogateescape"


def test_every_option_is_documented() -> None:
    import arrea

    told = (arrea.execute.__doc__ or "") + (Task.__doc__ or "")
    assert [name for name in TASK_OPTIONS if name not in told] == ["inherit_output"]  # the command line's own


# ── the whole batch ───────────────────────────────────────────────────────────────────────────────


def test_plan() -> None:
    config = Config(max_workers=7, kill_grace="1s", max_commands_per_batch=50)
    preparer = Preparer({"workers": 3, "deadline": "2s", "policy": "strict"}, config, config.default_policy)
    plan = preparer.plan(preparer.all_commands(["a", ["b"]]))
    assert (plan.workers, plan.deadline_ms, plan.kill_grace_ms, plan.window) == (3, 2000.0, 1000.0, 50)
    assert (len(plan.commands), plan.open, plan.policy.on_error) == (2, False, "stop")
    assert len(plan.batch_id) == 12 and plan.batch_id != preparer.plan([]).batch_id


def test_plan_without_options() -> None:
    config = Config(max_workers=7)
    plan = Preparer({}, config, config.default_policy).plan([], open=True)
    assert (plan.workers, plan.deadline_ms, plan.open, plan.policy) == (7, None, True, Policy())


def test_most_workers_are_the_configured_ones() -> None:
    config = Config(max_workers=7)
    with pytest.raises(InvalidOption, match="workers must be from 1 to 7, not 8"):
        Preparer({"workers": 8}, config, Policy()).plan([])


def test_options_of_the_batch_are_none_of_a_task() -> None:
    with pytest.raises(InvalidOption, match="unknown option 'workers'"):
        Options({"workers": 1}, Config(), Policy())
