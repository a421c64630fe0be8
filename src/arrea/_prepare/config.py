"""Which setting is in force, and where it comes from: layers of keys and values become one checked `Config`.

Layers, lowest first: what is built in; the user's file; the project's file; the environment
(`ARREA_MAX_WORKERS=50`); what the program set for its process; what one engine was given. The options of a call
stand above all of them. A wrong value raises `InvalidConfig`, and what was in force stays in force; `keys` judges
the values.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping

from arrea._model.checks import shown
from arrea._model.errors import InvalidConfig
from arrea._model.policy import Policy, parse_policy
from arrea._prepare.keys import KEYS, checked, find_key, from_text, written_as

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Values = Mapping[str, object]
    Layers = Mapping[str, Values]
    Listener = Callable[["Config"], object]

LAYERS = ("default", "user file", "project file", "environment", "process", "engine")
DEFAULTS: Values = {name: key.default for name, key in KEYS.items()}


class Config:
    """The settings in force at one moment; see `arrea.Engine` for the keys. Values are checked.

    base_policy gives what the name or the mapping of a policy leaves open.
    """

    __slots__ = (
        "allowed_shells", "base_policy", "default_policy", "isolation", "kill_grace_ms", "log_level",
        "max_commands_per_batch", "max_output_bytes", "max_processes", "max_workers", "shell", "sudo_allowlist",
        "validation_rules",
    )  # fmt: skip

    def __init__(self, /, **given: object) -> None:
        values: dict[str, Any] = {**DEFAULTS, **checked(given, "engine")}
        self.max_workers: int = values["max_workers"]
        self.max_processes: int = values["max_processes"]
        self.isolation: str = values["isolation"]
        self.max_commands_per_batch: int | None = values["max_commands_per_batch"]
        self.max_output_bytes: int | None = values["max_output_bytes"]
        self.kill_grace_ms: float = values["kill_grace"]
        self.base_policy = Policy(max_retries=values["max_retries"], retry_delay=values["retry_delay"])
        self.default_policy = parse_policy(values["default_policy"], self.base_policy, "default_policy")
        self.shell: str | None = values["shell"]
        self.allowed_shells: tuple[str, ...] = values["allowed_shells"]
        self.log_level: str = values["log_level"]
        self.validation_rules: tuple[str, ...] = values["validation_rules"]
        self.sudo_allowlist: tuple[str, ...] = values["sudo_allowlist"]


class Configuration:
    """The layers of one process or one engine. Methods may be called from any thread and any signal handler.

    The environment is read at the first use. `on_change` has functions that are called with the new `Config` after
    each change, on the thread that made it. Two threads may call at once, and the later call have the older
    `Config`: one who must end with the newest takes a lock of its own and asks `effective`.

    >>> configuration = Configuration()
    >>> configuration.set("retry_delay", "2s")
    >>> configuration.get("retry_delay"), configuration.source("retry_delay")
    (2000.0, 'process')
    >>> configuration.unset("retry_delay")
    >>> configuration.get("retry_delay"), configuration.source("retry_delay")
    (1000.0, 'default')
    """

    __slots__ = ("_lock", "_state", "_top", "on_change")

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._state: _State | None = None
        self._top = "process"
        self.on_change: list[Listener] = []

    # ── asking ────────────────────────────────────────────────────────────────────────────────────

    def effective(self) -> Config:
        """What is in force. The same object until something changes, so that it is cheap to ask for each batch."""
        return self._current().config

    @property
    def version(self) -> int:
        """Grows with each change; 0 before the first use."""
        return 0 if self._state is None else self._state.version

    def get(self, key: str) -> object:
        """The value in force, as a user would write it: durations in milliseconds, lists as lists."""
        return written_as(self._current().values[find_key(key, self._top)])

    def all(self) -> dict[str, object]:
        """All values in force."""
        return {key: written_as(value) for key, value in self._current().values.items()}

    def source(self, key: str) -> str:
        """The layer that the value comes from, one of `LAYERS`."""
        name, layers = find_key(key, self._top), self._current().layers
        return next(layer for layer in reversed(LAYERS) if name in layers.get(layer, ()))

    # ── changing ──────────────────────────────────────────────────────────────────────────────────

    def set(self, key: str, value: object) -> None:
        """Sets one key for this process, or for this engine where the configuration is an engine's own."""
        self.configure({find_key(key, self._top): value})

    def configure(self, values: Mapping[str, object] | None = None, /, **keys: object) -> None:
        """Sets several keys, all or none of them.

        >>> configuration = Configuration()
        >>> configuration.configure(max_workers=8, kill_grace="1s")
        >>> configuration.effective().max_workers, configuration.effective().kill_grace_ms
        (8, 1000.0)
        """
        new = checked(_together(values, keys, self._top), self._top)
        self._change(lambda layers: _with(layers, self._top, new))

    def unset(self, key: str) -> None:
        """Takes back what was set here: the value of the layer below holds again."""
        name = find_key(key, self._top)
        self._change(lambda layers: _without(layers, self._top, name))

    def reload(self) -> None:
        """Reads again what comes from outside the program. Is something wrong there, all stays as it was."""
        found = _read_layers()
        self._change(lambda layers: _replaced(layers, found))

    def derived(self, /, **engine_keys: object) -> Configuration:
        """The configuration of one engine: a copy of all layers with its keys on top. It goes its own way.

        >>> engine = Configuration().derived(max_workers=4)
        >>> engine.get("max_workers"), engine.source("max_workers")
        (4, 'engine')
        """
        own = checked(engine_keys, "engine")
        derived = Configuration()
        derived._top = "engine"
        derived._state = _State(_with(self._current().layers, "engine", own), 1)
        return derived

    def copy(self) -> Configuration:
        """Another one with the same layers, and without listeners. Takes no lock: for the child of a fork."""
        copy = Configuration()
        copy._top, copy._state = self._top, self._state
        return copy

    # ── one state after another ───────────────────────────────────────────────────────────────────
    # A state is never changed, only replaced by the next: who asks needs no lock.

    def _current(self) -> _State:
        if self._state is None:
            self._replace(None, _State(_read_layers(), 1))
        assert self._state is not None
        return self._state

    def _change(self, change: Callable[[Layers], Layers]) -> None:
        while True:
            before = self._current()
            layers = change(before.layers)
            if layers is before.layers:
                return
            if self._replace(before, _State(layers, before.version + 1)):
                break
        for listener in tuple(self.on_change):
            listener(self.effective())

    def _replace(self, before: _State | None, after: _State) -> bool:
        """Whether nobody came between: another thread, or a signal handler on this one (so the lock is an RLock)."""
        with self._lock:
            if self._state is before:
                self._state = after
                return True
        return False


class _State:
    """What all layers say, and what follows from it."""

    __slots__ = ("config", "layers", "values", "version")

    def __init__(self, layers: Layers, version: int) -> None:
        self.layers = layers
        self.version = version
        self.values: dict[str, object] = {}
        for layer in LAYERS:
            self.values.update(layers.get(layer, {}))
        self.config = Config(**self.values)


# ── layers ────────────────────────────────────────────────────────────────────────────────────────


def _read_layers() -> Layers:
    """The layers that don't come from the program itself."""
    return {"default": DEFAULTS, "environment": read_environment(os.environ)}


def read_environment(variables: Mapping[str, str]) -> dict[str, object]:
    """The keys among the variables; an empty one counts as not set, and other names are none of our business.

    >>> read_environment({"ARREA_MAX_WORKERS": "50", "ARREA_SHELL": "", "ARREA_TASK": "7"})
    {'max_workers': 50}
    """
    written = {key: f"ARREA_{key.upper()}" for key in KEYS}
    return {
        key: from_text(key, text, "environment", variable)
        for key, variable in written.items()
        if (text := variables.get(variable))
    }


def _with(layers: Layers, layer: str, new: Values) -> Layers:
    """The very same where nothing is new."""
    if not new:
        return layers
    return {**layers, layer: {**layers.get(layer, {}), **new}}


def _without(layers: Layers, layer: str, key: str) -> Layers:
    """The very same where there is nothing to take out."""
    values = layers.get(layer, {})
    if key not in values:
        return layers
    return {**layers, layer: {name: value for name, value in values.items() if name != key}}


def _replaced(layers: Layers, found: Layers) -> Layers:
    """The very same where nothing else was found."""
    after = {**layers, **found}
    return layers if after == layers else after


def _together(values: object, keys: Values, layer: str) -> Mapping[str, object]:
    if values is None:
        return keys
    if not isinstance(values, Mapping):
        raise InvalidConfig(
            "configuration", layer, f"configuration must be a mapping of keys to values, not {shown(values)}"
        )
    try:
        return {**values, **keys}
    except Exception as error:  # noqa: BLE001 - of the mapping's own methods
        told = f"configuration can't be read: its own code raised {type(error).__name__}"
        raise InvalidConfig("configuration", layer, told) from None
