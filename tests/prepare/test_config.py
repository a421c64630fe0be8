"""The settings of an engine: checked, each named when it is wrong."""

import math
from typing import Any

import pytest

import arrea
from arrea import InvalidOption, Policy
from arrea._prepare.config import DEFAULTS, Config


def test_defaults() -> None:
    config = Config()
    assert {name: getattr(config, name) for name in Config.__slots__} == {
        "allowed_shells": ("sh", "bash", "zsh", "fish", "dash"),
        "base_policy": Policy(),
        "default_policy": Policy(),
        "kill_grace_ms": 2000.0,
        "max_commands_per_batch": 500,
        "max_output_bytes": 8 * 2**20,
        "max_workers": 100,
        "shell": None,
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
    "kill_grace": DURATIONS,
    "shell": [5, True, b"bash", ["bash"], ""],
    "allowed_shells": ["bash", "", [], (), [""], [5], None, 5, {"bash": 1}, [b"bash"]],
    "max_output_bytes": COUNTS,
}


@pytest.mark.parametrize("key", DEFAULTS)
def test_wrong_values(key: str) -> None:
    for number, value in enumerate(WRONG[key]):
        with pytest.raises(InvalidOption) as caught:
            arrea.Engine(**{key: value})
        assert caught.value.code == "invalid_option", number
        fields = key == "default_policy" and isinstance(value, dict)
        assert caught.value.option == (next(iter(value)) if fields else key), number
        assert caught.value.option in str(caught.value) and len(str(caught.value)) < 250, number


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("max_worker", "unknown configuration key 'max_worker'; did you mean 'max_workers'?"),
        ("workers", "unknown configuration key 'workers'; did you mean 'max_workers'?"),
        ("zzz", "unknown configuration key 'zzz'"),
    ],
)
def test_unknown_keys(key: str, message: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        arrea.Engine(**{key: 1})
    assert str(caught.value) == message


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


def test_workers_hold_over_all_batches() -> None:
    with arrea.Engine(max_workers=1) as engine:
        one, two = engine.submit(["sleep 0.1"]), engine.submit(["true"])
        assert max(one.wait()[0].queued_ms, two.wait()[0].queued_ms) >= 90
