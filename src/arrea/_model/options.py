"""The options that callers may give, for type checkers and for wrappers; no program that only runs imports this.

What they mean is told in `arrea.execute` and `arrea.run`; `_prepare.options` checks their values.
"""

from __future__ import annotations

from typing import TypedDict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping
    from os import PathLike
    from typing import IO, Any

    from arrea._model.duration import Duration
    from arrea._model.policy import Policy


class TaskOptions(TypedDict, total=False):
    """Of `execute` and `Task`, and defaults for the tasks of a batch."""

    timeout: Duration
    policy: Policy | str | Mapping[str, Any]
    shell: str | None
    cwd: str | PathLike[str] | None
    env: Mapping[str, str] | None
    inherit_env: bool
    stdin: bytes | str | PathLike[str] | IO[Any] | None
    max_output_bytes: int | None
    label: Hashable
    inherit_output: bool
    validate: bool
    allow_substitution: bool
    isolation: str


class FurtherFields(TypedDict, total=False):
    """Of `Policy`, but for what `policies.custom` and `policies.tolerant` name themselves."""

    on_warning: str
    on_timeout: str
    timeout: Duration
    backoff: str
    jitter: float
    max_delay: Duration
    retry_on: object
    total_retries: int | None
    on_stop: str
    max_failures: int | float | str | None


class PolicyFields(FurtherFields, total=False):
    """Of `Policy`, but for `on_error`."""

    max_retries: int
    retry_delay: Duration
