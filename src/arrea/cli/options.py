"""From flags to the engine and the options of a batch, and which flags don't go together."""

from __future__ import annotations

import os
import stat

from arrea._model.checks import shown
from arrea._model.errors import UsageError
from arrea.cli.flags import number
from arrea.cli.policy_flags import counted_out, policy_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from arrea._app.engine import Engine
    from arrea.cli.flags import Arguments

OUTPUTS = ("grouped", "ordered", "lines", "none")
MOST_WORKERS = 100_000
# Where no output is kept to be shown; warnings are still looked for in it.
KEPT_FOR_WARNINGS_BYTES = 65_536


class Look:
    """How output is shown: `output` is one of `OUTPUTS`. Raises `UsageError` for what doesn't go together."""

    def __init__(self, given: Arguments) -> None:
        self.output = _output(given)
        self.tag = given.has("--tag")
        self.json = given.has("--json")
        self.quiet = given.has("--quiet")
        self._check()

    def _check(self) -> None:
        if self.json and self.output == "lines":
            raise UsageError(
                "--json shows output in the results, --output lines as it comes: leave out one of them"
            )
        if self.json and self.tag:
            raise UsageError("--json names the command of each output itself: leave out --tag")
        if self.tag and self.output == "none":
            raise UsageError("--output none shows no output that --tag could mark: leave out one of them")

    def is_direct(self, total: int | None) -> bool:
        """Whether the command writes its output itself: there is nothing that it could be mixed with."""
        return total == 1 and not self.json and not self.tag and self.output in ("grouped", "ordered")


def _output(given: Arguments) -> str:
    output = given.get("--output", "grouped")
    if output not in OUTPUTS:
        raise UsageError(f"--output must be grouped, ordered, lines or none, not {shown(output)}")
    return output


def engine_of(given: Arguments) -> Engine:
    """As many at once as the flag or the configuration says, otherwise as there are CPUs. Starts nothing."""
    from arrea._app.engine import Engine

    workers = number(given, "--parallel", most=MOST_WORKERS)
    engine = Engine()
    if workers is not None:
        engine.config.set("max_workers", workers)
    elif engine.config.source("max_workers") == "default":
        engine.config.set("max_workers", os.cpu_count() or 1)
    return engine


def task_options(given: Arguments, engine: Engine) -> dict[str, Any]:
    """What the flags say about every command, as `Engine.submit` takes it."""
    options: dict[str, Any] = {"policy": policy_of(given, engine.config), "timeout": given.get("--timeout")}
    for name in ("deadline", "shell", "cwd"):
        if given.has(f"--{name}"):
            options[name] = given.get(f"--{name}")
    if given.has("--no-validate"):
        options["validate"] = False
    if given.has("--allow-substitution"):
        options["allow_substitution"] = True
    if given.has("--env"):
        options["env"] = dict(_variable(text) for text in given.all("--env"))
    return options


def batch_options(options: dict[str, Any], look: Look, total: int | None) -> dict[str, Any]:
    """The same with what depends on how many commands there are, and on how they are shown."""
    options = {**options, "policy": counted_out(options["policy"], total)}
    if look.is_direct(total):
        options["inherit_output"] = True
    elif look.output == "none":
        options["max_output_bytes"] = KEPT_FOR_WARNINGS_BYTES
    elif not look.json and look.output != "lines":
        options["max_output_bytes"] = None  # what is shown is whole, so all is kept until it is shown
    return options


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UsageError("--env takes NAME=VALUE")
    return name, value


# ── standard input of the command ─────────────────────────────────────────────────────────────────


class Path:
    """A file that the command reads. `pathlib` has more of it, and costs 5 ms."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __fspath__(self) -> str:
        return self._path


class Descriptor:
    """Something that is open already."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def fileno(self) -> int:
        return self._fd


def standard_input(given: Arguments, total: int | None) -> dict[str, Any]:
    """The option `stdin`, if the flag was given. Raises `UsageError`, also for more than one command."""
    wanted = given.get("--stdin")
    if wanted is None:
        return {}
    if total != 1:
        raise UsageError("--stdin is for exactly one command: several can't share one input")
    if wanted == "-":
        raise UsageError("to hand our standard input on: --stdin inherit")
    return {"stdin": Descriptor(0) if wanted == "inherit" else _input_file(wanted)}


def _input_file(path: str) -> object:
    """A FIFO is opened once, here, for what was read from it doesn't come again; anything else for each attempt."""
    try:
        is_fifo = stat.S_ISFIFO(os.stat(path).st_mode)
        return open(path, "rb", buffering=0) if is_fifo else Path(path)
    except (OSError, ValueError) as error:
        raise UsageError(f"--stdin {path}: {getattr(error, 'strerror', None) or error}") from None
