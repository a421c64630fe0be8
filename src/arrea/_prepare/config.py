"""The settings of an engine: given keys and values, hands back a checked `Config`.

Every wrong value raises `InvalidOption` naming the key, the value and what was expected.
"""

from __future__ import annotations

from arrea._model.checks import count, known, shown
from arrea._model.duration import parse_duration
from arrea._model.errors import InvalidOption
from arrea._model.policy import Policy, parse_policy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULTS: Mapping[str, object] = {
    "max_workers": 100,
    "max_commands_per_batch": 500,
    "default_policy": "retry",
    "max_retries": 3,
    "retry_delay": 1000,
    "kill_grace": 2000,
    "shell": None,
    "allowed_shells": ("sh", "bash", "zsh", "fish", "dash"),
    "max_output_bytes": 8 * 2**20,
}
MOST_WORKERS = 100_000


class Config:
    """What an engine was told; see `arrea.Engine` for the keys. Values are checked.

    base_policy gives what the name or the mapping of a policy leaves open.
    """

    __slots__ = (
        "allowed_shells", "base_policy", "default_policy", "kill_grace_ms", "max_commands_per_batch",
        "max_output_bytes", "max_workers", "shell",
    )  # fmt: skip

    def __init__(self, **given: object) -> None:
        known(given, DEFAULTS, "configuration key")
        values = {**DEFAULTS, **given}
        self.max_workers = count(values["max_workers"], "max_workers", least=1, most=MOST_WORKERS)
        self.max_commands_per_batch = _optional_count(values, "max_commands_per_batch", 1)
        self.max_output_bytes = _optional_count(values, "max_output_bytes", 0)
        self.kill_grace_ms = _duration(values, "kill_grace")
        self.base_policy = _base_policy(values)
        self.default_policy = parse_policy(values["default_policy"], self.base_policy, "default_policy")
        self.shell = _shell(values["shell"])
        self.allowed_shells = _names(values["allowed_shells"])


def _optional_count(values: Mapping[str, object], key: str, least: int) -> int | None:
    return None if values[key] is None else count(values[key], key, least=least, most=2**62)


def _duration(values: Mapping[str, object], key: str) -> float:
    milliseconds = parse_duration(values[key], key, zero=True, none=False)
    assert milliseconds is not None
    return milliseconds


def _base_policy(values: Mapping[str, object]) -> Policy:
    retries = count(values["max_retries"], "max_retries")
    return Policy(max_retries=retries, retry_delay=_duration(values, "retry_delay"))


def _shell(value: object) -> str | None:
    if value is not None and (not isinstance(value, str) or not value):
        raise InvalidOption("shell", f"shell must be text, a name or a path, not {shown(value)}")
    return value


def _names(value: object) -> tuple[str, ...]:
    names = tuple(value) if isinstance(value, (list, tuple)) else ()
    if not names or not all(isinstance(name, str) and name for name in names):
        raise InvalidOption("allowed_shells", f"allowed_shells must be a list of names, not {shown(value)}")
    return names
