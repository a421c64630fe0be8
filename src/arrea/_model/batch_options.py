"""The options of a batch, and the keys of a configuration, for type checkers and for wrappers, like those of a task."""

from __future__ import annotations

from typing import TypedDict

from arrea._model.options import TaskOptions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from arrea._model.duration import Duration
    from arrea._model.event import Event
    from arrea._model.policy import Policy


class BatchOptions(TaskOptions, total=False):
    """Of `run`, `stream` and `submit`."""

    workers: int
    deadline: Duration
    on_output: Callable[[Event], object] | None


class ConfigKeys(TypedDict, total=False):
    """Of `configure` and `Engine`."""

    max_workers: int
    max_processes: int
    isolation: str
    max_commands_per_batch: int | None
    default_policy: Policy | str | Mapping[str, Any]
    max_retries: int
    retry_delay: Duration
    kill_grace: Duration
    shell: str | None
    allowed_shells: list[str] | tuple[str, ...]
    max_output_bytes: int | None
    log_level: str
    validation_rules: list[str] | tuple[str, ...]
    sudo_allowlist: list[str] | tuple[str, ...]


class EngineOptions(ConfigKeys, total=False):
    """Of `Engine`."""

    name: str | None
