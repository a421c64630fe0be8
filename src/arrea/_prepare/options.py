"""Options of a task: given what a call or a `Task` says, hands back `Settings`, all checked.

Every option has one function that checks it; wrong ones raise `InvalidOption` naming it.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Mapping

from arrea._model.call import Surroundings
from arrea._model.checks import count, known, one_of, shown
from arrea._model.duration import parse_duration
from arrea._model.errors import ArreaError, InvalidOption
from arrea._model.policy import Policy, parse_policy
from arrea._model.task import ISOLATIONS, Direct, Settings, Variables
from arrea._model.text import encodable
from arrea._prepare.direct import Shell, plain_words
from arrea._prepare.judging import Judge
from arrea._prepare.shell import find_shell, silenced

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO, Any

    from arrea._prepare.config import Config

TASK_OPTIONS = (
    "timeout", "policy", "shell", "cwd", "env", "inherit_env", "stdin", "max_output_bytes", "label", "inherit_output",
    "validate", "allow_substitution", "isolation",
)  # fmt: skip


class Options:
    """Options of one task, checked: its `settings`, the `shell` that would run a line, and who judges its command.

    default_policy is for a task that names none. judge: None where the caller wants no validation.
    """

    __slots__ = ("_shell", "_silenced", "_surroundings", "isolation", "judge", "settings", "shell")

    def __init__(self, given: Mapping[str, Any], config: Config, default_policy: Policy) -> None:
        self._shell: Shell | None = None
        self._surroundings: Surroundings | None = None
        try:
            self._read(given, config, default_policy)
        except ArreaError:
            raise
        except Exception as error:
            told = f"an option can't be read: its own code raised {type(error).__name__}"
            raise InvalidOption("options", told) from error

    def direct(self, line: str) -> Direct | None:
        """How the line runs without the shell, if that makes no difference."""
        words = plain_words(line)
        if words is None:
            return None
        shell = self._shell = self._shell or self._look_at_shell()
        return Direct(words, shell.tells_path) if shell.changes_nothing else None

    def surroundings(self) -> Surroundings:
        """Of functions in worker processes: where the program is now."""
        if self._surroundings is None:
            variables = {**self.settings.variables.values, **self._silenced}
            directory = self.settings.cwd or _own_directory()
            self._surroundings = Surroundings(directory, variables, sys.path, getattr(sys, "argv", ()))
        return self._surroundings

    def _look_at_shell(self) -> Shell:
        """Once, when the first line comes that could do without it."""
        return Shell(self.shell, self.settings.variables.values, self.settings.cwd)

    def _read(self, given: Mapping[str, Any], config: Config, default_policy: Policy) -> None:
        known(given, TASK_OPTIONS)
        policy = parse_policy(given["policy"], config.base_policy) if "policy" in given else default_policy
        values = _variables(given.get("env"), _switch(given, "inherit_env", True))
        self.shell = find_shell(given.get("shell", config.shell), config.allowed_shells, values)
        self.judge = _judge(given, config, self.shell)
        self.isolation = one_of(given.get("isolation", config.isolation), "isolation", ISOLATIONS)
        self._silenced = {
            name: values.pop(name)
            for name in silenced(self.shell)
            if name in values and name not in (given.get("env") or ())
        }
        self.settings = Settings(
            policy=policy,
            timeout_ms=parse_duration(given["timeout"], "timeout") if "timeout" in given else policy.timeout,
            cwd=_cwd(given.get("cwd")),
            variables=Variables(values),
            stdin=_stdin(given.get("stdin")),
            max_output_bytes=_max_output(given, config),
            inherit_output=_switch(given, "inherit_output", False),
        )


def _own_directory() -> str:
    try:
        return os.getcwd()
    except OSError:
        raise InvalidOption(
            "cwd",
            "the directory of this program was deleted: give another one with cwd=",
            code="cwd_not_found",
        ) from None


def check_label(label: object) -> object:
    """A label may be anything hashable, so that results can be looked up by it."""
    try:
        hash(label)
    except Exception:  # noqa: BLE001 - TypeError, or what the user's own `__hash__` raises
        raise InvalidOption("label", f"label must be hashable, not {shown(label)}") from None
    return label


def _switch(given: Mapping[str, Any], name: str, default: bool) -> bool:
    value = given.get(name, default)
    if not isinstance(value, bool):
        raise InvalidOption(name, f"{name} must be True or False, not {shown(value)}")
    return value


def _judge(given: Mapping[str, Any], config: Config, shell: tuple[str, ...]) -> Judge | None:
    substitution = _switch(given, "allow_substitution", False)
    return Judge(config, shell, allow_substitution=substitution) if _switch(given, "validate", True) else None


def _max_output(given: Mapping[str, Any], config: Config) -> int | None:
    if "max_output_bytes" not in given:
        return config.max_output_bytes
    value = given["max_output_bytes"]
    return None if value is None else count(value, "max_output_bytes", most=2**62)


def _cwd(value: object) -> str | None:
    if value is None:
        return None
    path = _text_path(value, "cwd")
    if not os.path.isdir(path):
        problem = "is not a directory" if os.path.exists(path) else "does not exist"
        raise InvalidOption("cwd", f"cwd {path!r} {problem}", code="cwd_not_found")
    return _absolute(path, "cwd")


def _absolute(path: str, option: str) -> str:
    try:
        return os.path.abspath(path)
    except OSError:  # the directory that we are in was deleted
        raise InvalidOption(option, f"{option} {path!r} leads nowhere", code="cwd_not_found") from None


def _text_path(value: object, option: str) -> str:
    try:
        path = os.fsdecode(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise InvalidOption(option, f"{option} must be a path, not {shown(value)}") from None
    if "\0" in path or not path or not encodable(path):
        raise InvalidOption(option, f"{option} must be a path, not {shown(value)}")
    return path


def _variables(given: object, inherit: bool) -> dict[str, str]:
    values = dict(os.environ) if inherit else {}
    if given is None:
        return values
    if not isinstance(given, Mapping):
        raise InvalidOption("env", f"env must be a mapping of texts, not {_type_name(given)}")
    values.update(_variable(name, value) for name, value in given.items())
    return values


def _variable(name: object, value: object) -> tuple[str, str]:
    """Values may be secrets: messages never show them."""
    if not isinstance(name, str):
        raise InvalidOption("env", f"env has a name that is no text: {_type_name(name)}")
    if not name or "=" in name or "\0" in name or not encodable(name):
        before = shown(name.partition("=")[0])  # what comes after may be a value
        raise InvalidOption(
            "env", f"env has a name that is empty or has '=', NUL or a lone surrogate: {before}"
        )
    if not isinstance(value, str):
        raise InvalidOption("env", f"env value of {shown(name)} must be text, not {_type_name(value)}")
    if "\0" in value or not encodable(value):
        raise InvalidOption(
            "env", f"env value of {shown(name)} can't be passed to a program (NUL or a lone surrogate)"
        )
    return name, value


def _type_name(value: object) -> str:
    return type(value).__name__


def _stdin(value: object) -> bytes | str | IO[Any] | None:
    """Text and bytes are what the command reads; a path is opened anew for each attempt."""
    if value is None:
        return None
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    if isinstance(value, str):
        return _encoded(value)
    if isinstance(value, os.PathLike):
        return _readable(_text_path(value, "stdin"))
    return _open_file(value)


def _encoded(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise InvalidOption(
            "stdin", f"stdin has a lone surrogate at character {error.start}: pass bytes instead"
        ) from None


def _readable(path: str) -> str:
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        raise InvalidOption("stdin", f"stdin {path!r}: {error.strerror}") from None
    is_file = stat.S_ISREG(mode) or stat.S_ISCHR(mode) or stat.S_ISBLK(mode)
    if not is_file or not os.access(path, os.R_OK):
        raise InvalidOption("stdin", f"stdin {path!r} is not a file that can be read")
    return os.path.abspath(path)


def _open_file(value: Any) -> IO[Any]:
    try:
        value.fileno()
    except (AttributeError, OSError, ValueError):
        raise InvalidOption(
            "stdin",
            f"stdin must be bytes, text, a path (pathlib.Path), an open file or None, not {_type_name(value)}",
        ) from None
    return value  # type: ignore[no-any-return]
