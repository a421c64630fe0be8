"""Configuration as programs see it: `arrea.Config` and `arrea.configure`, for this process."""

from __future__ import annotations

from arrea._app import engines as _engines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Unpack

    from arrea._model.batch_options import ConfigKeys


class Config:
    """The settings of this process: what they are, and where they come from.

    Layers, lowest first: "default", "user file", "project file", "environment" (`ARREA_MAX_WORKERS=50`), "process"
    (`set` and `arrea.configure`), "engine" (what an `Engine` was given). The options of a call stand above all.
    A wrong key or value raises `InvalidConfig`, and what was in force before stays.

    >>> Config.set("max_workers", 50)
    >>> Config.get("max_workers"), Config.source("max_workers")
    (50, 'process')
    >>> Config.unset("max_workers")
    >>> Config.get("max_workers"), Config.source("max_workers")
    (100, 'default')
    """

    @staticmethod
    def get(key: str) -> Any:
        """The value in force: durations in milliseconds, lists as lists."""
        return _engines.configuration().get(key)

    @staticmethod
    def set(key: str, value: object) -> None:
        """Sets a key for this process, from now on; batches that run already keep what they had."""
        _engines.configuration().set(key, value)

    @staticmethod
    def all() -> dict[str, Any]:
        """All values in force."""
        return _engines.configuration().all()

    @staticmethod
    def unset(key: str) -> None:
        """Takes back what `set` or `configure` did: the layer below holds again."""
        _engines.configuration().unset(key)

    @staticmethod
    def source(key: str) -> str:
        """The name of the layer that the value comes from."""
        return _engines.configuration().source(key)

    @staticmethod
    def reload() -> None:
        """Reads the environment again. Is something wrong there, all stays as it was."""
        _engines.configuration().reload()


def configure(values: Mapping[str, object] | None = None, /, **keys: Unpack[ConfigKeys]) -> None:
    """Sets several keys for this process, all or none of them; a mapping will do, too.

    >>> configure(max_workers=50, retry_delay="2s")
    >>> configure({"max_workers": 100, "retry_delay": 1000})
    """
    _engines.configuration().configure(values, **keys)
