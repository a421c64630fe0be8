"""The settings of an engine: checked, each named when it is wrong."""

import math
import os
from typing import Any

import pytest

import arrea
from arrea import Policy
from arrea._model.batch_options import ConfigKeys
from arrea._model.checks import shown
from arrea._model.errors import InvalidConfig
from arrea._prepare.config import DEFAULTS, Config


def test_defaults() -> None:
    config = Config()
    assert {name: getattr(config, name) for name in Config.__slots__} == {
        "allowed_shells": ("sh", "bash", "zsh", "fish", "dash"),
        "base_policy": Policy(),
        "default_policy": Policy(),
        "isolation": "process",
        "kill_grace_ms": 2000.0,
        "log_level": "info",
        "max_commands_per_batch": 500,
        "max_output_bytes": 8 * 2**20,
        "max_processes": len(os.sched_getaffinity(0)),
        "max_workers": 100,
        "shell": None,
        "sudo_allowlist": (),
        "validation_rules": ("no_rm_rf", "no_sudo", "no_dd", "no_mkfs", "no_fork_bomb"),
    }


COUNTS: list[Any] = [-1, 1.0, "3", "", True, math.nan, math.inf, 10**400, 10**5000, [1]]
DURATIONS: list[Any] = [
    -1,
    math.nan,
    math.inf,
    True,
    "5 parsecs",
    "",
    "1e3",
    10**400,
    1e300,
    [5],
    None,
    "none",
]
WRONG: dict[str, list[Any]] = {
    "max_workers": [*COUNTS, 0, None, 100_001],
    "max_commands_per_batch": [*COUNTS, 0],
    "default_policy": ["retyr", "", None, 5, {"max_retires": 1}, {"max_retries": -1}, lambda *_: "retry"],
    "max_retries": [*COUNTS, None],
    "retry_delay": DURATIONS,
    "max_processes": [*COUNTS, 0, None, 10_001],
    "isolation": ["", "proces", "Thread", "interpreter", None, 5, True, b"thread", ["thread"], "\ud800"],
    "kill_grace": DURATIONS,
    "shell": [5, True, b"bash", ["bash"], "", " ", "ba\0sh", "ba\ud800sh"],
    "allowed_shells": ["bash", "", [], (), [""], [5], None, 5, {"bash": 1}, [b"bash"], ["a\0"], ["\ud800"]],
    "max_output_bytes": COUNTS,
    "validation_rules": [
        "no_dd",
        "",
        ["no_rm"],
        ["nodd"],
        [""],
        [5],
        None,
        5,
        {"no_dd": 1},
        [b"no_dd"],
        ["a\0"],
    ],
    "sudo_allowlist": ["id", "", [""], [" "], [5], None, 5, {"id": 1}, [b"id"], ["a\0"], ["\ud800"]],
    "log_level": ["", "loud", "wran", None, 10, True, b"info", ["info"], "in\0fo", "\ud800"],
}


@pytest.mark.parametrize("key", DEFAULTS)
def test_wrong_values(key: str) -> None:
    for number, value in enumerate(WRONG[key]):
        with pytest.raises(InvalidConfig) as caught:
            arrea.Engine(**{key: value})
        error = caught.value
        assert (error.code, error.option, error.key, error.layer) == ("invalid_config", key, key, "engine")
        assert str(error).startswith(f"{key}=") and f" (engine): {key}" in str(error), number
        assert str(error).isprintable() and len(str(error)) < 250, number


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("max_workers", 0, "max_workers=0 (engine): max_workers must be a whole number from 1 to 100000"),
        (
            "max_output_bytes",
            10**5000,
            "max_output_bytes=a number of many digits (engine): "
            "max_output_bytes must be a whole number from 0 to 4611686018427387904, or none",
        ),
        (
            "max_processes",
            0,
            "max_processes=0 (engine): max_processes must be a whole number from 1 to 10000",
        ),
        (
            "isolation",
            "thraed",
            "isolation='thraed' (engine): isolation must be 'process' or 'thread'; did you mean 'thread'?",
        ),
        (
            "kill_grace",
            "5 parsecs",
            "kill_grace='5 parsecs' (engine): kill_grace must be a duration from 0 to 100 years; "
            'expected milliseconds, or text with a unit such as "500ms", "5s", "2m", "1.5h"',
        ),
        (
            "default_policy",
            "retyr",
            "default_policy='retyr' (engine): default_policy must be 'retry', 'stop', 'continue', 'strict', "
            "'tolerant' or 'once', a Policy or a mapping of its fields; did you mean 'retry'?",
        ),
        (
            "default_policy",
            {"max_retires": 1},
            "default_policy=a dict (engine): "
            "default_policy: unknown policy field 'max_retires'; did you mean 'max_retries'?",
        ),
        (
            "default_policy",
            len,
            "default_policy=<built-in function len> (engine): "
            "default_policy must be a policy; a function goes into arrea.policies.custom(...)",
        ),
        ("shell", 5, "shell=5 (engine): shell must be a shell's name, its path, 'auto', or none"),
        (
            "allowed_shells",
            "bash",
            "allowed_shells='bash' (engine): allowed_shells must be a list of names, at least one",
        ),
        (
            "log_level",
            "warnin",
            "log_level='warnin' (engine): log_level must be 'debug', 'info', 'warning', 'error' or 'critical'; "
            "did you mean 'warning'?",
        ),
    ],
    ids=shown,
)
def test_messages(key: str, value: Any, message: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        Config(**{key: value})
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("max_worker", "unknown configuration key 'max_worker'; did you mean 'max_workers'?"),
        ("workers", "unknown configuration key 'workers'; did you mean 'max_workers'?"),
        ("zzz", "unknown configuration key 'zzz'"),
    ],
)
def test_unknown_keys(key: str, message: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        arrea.Engine(**{key: 1})
    assert (str(caught.value), caught.value.key) == (message, key)


@pytest.mark.parametrize(
    ("key", "value", "name", "kept"),
    [
        ("max_workers", 1, "max_workers", 1),
        ("max_commands_per_batch", None, "max_commands_per_batch", None),
        ("max_output_bytes", None, "max_output_bytes", None),
        ("max_output_bytes", 0, "max_output_bytes", 0),
        ("kill_grace", 0, "kill_grace_ms", 0.0),
        ("kill_grace", "5s", "kill_grace_ms", 5000.0),
        ("shell", "auto", "shell", "auto"),
        ("shell", None, "shell", None),
        ("max_workers", 100_000, "max_workers", 100_000),
        ("max_processes", 1, "max_processes", 1),
        ("max_processes", 10_000, "max_processes", 10_000),
        ("isolation", "thread", "isolation", "thread"),
        ("log_level", "debug", "log_level", "debug"),
        ("log_level", "warn", "log_level", "warning"),
        ("log_level", "WARNING", "log_level", "warning"),
        ("allowed_shells", ["bash"], "allowed_shells", ("bash",)),
        ("default_policy", "stop", "default_policy", Policy("stop", on_timeout="stop")),
        ("default_policy", Policy(jitter=0.5), "default_policy", Policy(jitter=0.5)),
        ("default_policy", {"jitter": 0.5}, "default_policy", Policy(jitter=0.5)),
    ],
)
def test_right_values(key: str, value: Any, name: str, kept: object) -> None:
    assert getattr(Config(**{key: value}), name) == kept


def test_retries_hold_for_policies_that_leave_them_open() -> None:
    config = Config(max_retries=7, retry_delay="2s")
    assert config.default_policy == config.base_policy == Policy(max_retries=7, retry_delay=2000)
    config = Config(max_retries=7, default_policy="tolerant")
    assert config.default_policy.max_retries == 10
    assert Config(max_retries=7, default_policy={"retry_delay": 5}).default_policy.max_retries == 7


def test_every_key_is_documented() -> None:
    assert [key for key in DEFAULTS if key not in (arrea.Engine.__doc__ or "")] == []


def test_every_key_is_known_to_type_checkers() -> None:
    assert ConfigKeys.__annotations__.keys() == DEFAULTS.keys()


def test_workers_hold_over_all_batches() -> None:
    with arrea.Engine(max_workers=1) as engine:
        one, two = engine.submit(["sleep 0.1"]), engine.submit(["true"])
        assert max(one.wait()[0].queued_ms, two.wait()[0].queued_ms) >= 90
