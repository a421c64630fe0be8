"""`--dry-run`: what would run, a line for each command on stdout; nothing is started.

A line is what a shell could be given: where it would run, names of the variables that flags set (never their
values), and the final argument vector. With --json it is an object.
"""

from __future__ import annotations

from arrea._model.text import printable
from arrea.cli.exit_codes import REFUSED, WRONG_USAGE
from arrea.cli.quoting import quoted, quoted_word
from arrea.cli.streams import Together, tell, writing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from arrea._model.policy import Policy
    from arrea._model.task import Command

    Told = Callable[[int, Command, Sequence[str]], bytes]


def dry_run(commands: Iterable[Command], variables: Sequence[str], *, json: bool, at_once: bool) -> int:
    """The exit code. variables: names of those that flags set; at_once: commands come one by one, so do lines."""
    return writing(lambda: _tell_all(commands, variables, _as_json if json else _as_line, at_once))


def _tell_all(commands: Iterable[Command], variables: Sequence[str], told: Told, at_once: bool) -> int:
    stdout, code = Together(), 0
    for index, command in enumerate(commands):
        if command.refusal is not None:
            code = max(code, REFUSED if command.refusal.verdict is not None else WRONG_USAGE)
            tell(f"arrea run: {printable(str(command.refusal))}")
            continue
        stdout.put(told(index, command, variables))
        if at_once:
            stdout.flush()
    stdout.flush()
    return code


def _as_line(index: int, command: Command, variables: Sequence[str]) -> bytes:
    where = command.settings.cwd
    line = f"cd {quoted_word(where)} && " if where else ""
    line += _assignments(variables)
    return (line + quoted(command.argv) + "\n").encode("utf-8", "surrogateescape")


def _assignments(names: Sequence[str]) -> str:
    """What is no name to a shell only `env` can set."""
    if all(name.isidentifier() and name.isascii() for name in names):
        return "".join(f"{name}=... " for name in names)
    return "env " + "".join(f"{quoted_word(name + '=...')} " for name in names)


def _as_json(index: int, command: Command, variables: Sequence[str]) -> bytes:
    from arrea.cli.render.json_lines import line_of

    return line_of(
        {
            "index": index,
            "command": command.text,
            "argv": command.argv,
            "cwd": command.settings.cwd,
            "env": variables,
            "timeout_ms": command.settings.timeout_ms,
            "retries": _retries(command.settings.policy),
        }
    )


def _retries(policy: Policy) -> int:
    return policy.max_retries if "retry" in (policy.on_error, policy.on_timeout) else 0
