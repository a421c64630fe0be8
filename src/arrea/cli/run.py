"""`arrea run`: many commands at once, their output whole, and an exit code that says what happened."""

from __future__ import annotations

import os

from arrea._model.checks import shown
from arrea._model.errors import ArreaError, InvalidOption, TooManyCommands, UsageError
from arrea._model.policy import parse_policy
from arrea._model.text import printable
from arrea.cli.exit_codes import FAILED, WRONG_USAGE, exit_code
from arrea.cli.flags import Flag, flags_help, parse
from arrea.cli.render.plain import Plain
from arrea.cli.render.screen import Screen
from arrea.cli.signals import Signals, die_by
from arrea.cli.sources import commands_of
from arrea.cli.streams import end_for_broken_pipe, say, tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from arrea._app import Engine
    from arrea._model.policy import Policy
    from arrea.cli.flags import Arguments
    from arrea.cli.sources import Source

FLAGS = (
    Flag("--command", "a shell command (repeatable)", "CMD", short="-c", many=True),
    Flag(
        "--file",
        "a file with a command a line; - is standard input (repeatable)",
        "FILE",
        short="-f",
        many=True,
    ),
    Flag("--parallel", "most at once (default: the number of CPUs)", "N", short="-p"),
    Flag("--timeout", "of each attempt: milliseconds, or 500ms, 5s, 2m, 1.5h", "TIME"),
    Flag("--deadline", "of the whole batch", "TIME"),
    Flag("--policy", "on failure: retry, stop, continue, strict, tolerant, once (default)", "NAME"),
    Flag("--retries", "tries after the first (default: 0)", "N"),
    Flag("--retry-delay", "before each retry (default: 1s)", "TIME"),
    Flag("--halt", "at the first failure: now kills what runs, soon lets it finish", "now|soon"),
    Flag("--output", "grouped: as commands finish (default); ordered: as they were given", "HOW"),
    Flag("--shell", "sh (default), bash, zsh, fish, dash, a path to one, or auto", "NAME"),
    Flag("--cwd", "directory to run in", "DIR"),
    Flag("--env", "a variable for the commands (repeatable)", "NAME=VALUE", many=True),
    Flag("--quiet", "no progress and no summary", short="-q"),
    Flag("--help", "this text", short="-h"),
)

# Options of the library that have another name here.
FLAG_OF = {"max_workers": "--parallel", "max_retries": "--retries"}

HELP = """\
usage: arrea run [flags] -c CMD [-c CMD ...]
       arrea run [flags] --file FILE
       arrea run [flags] -- PROG [ARGS ...]

Runs each command once (no retry, no time limit, unless a flag says so), several at a time. The commands' output
goes to stdout and stderr, each command's whole and in one piece; progress and summary go to stderr.

{flags}

exit code: 0 all succeeded; one command: its own, 124 timed out, 126 not executable, 127 not found, 128+n signal n;
several: 1 if any failed; 2 wrong usage, nothing was started; 130 Ctrl-C.

  arrea run -c 'make lint' -c 'make test' -p 2
  arrea run --file commands.txt --timeout 5m --retries 2 --retry-delay 10s
  arrea run --halt now --output ordered -c ./unit -c ./integration
  arrea run --timeout 30s -- rsync -a 'my files/' backup/
"""


def run(words: Sequence[str]) -> int:
    """The exit code of `arrea run`."""
    try:
        given = parse(words, FLAGS)
        if given.has("--help"):
            return say(HELP.format(flags=flags_help(FLAGS)))
        return _run_batch(commands_of(given), given)
    except ArreaError as error:
        tell(f"arrea run: {printable(_explained(error))}")
        return WRONG_USAGE
    except (
        OSError,
        RuntimeError,
    ) as error:  # the machine has no room for the engine: descriptors, memory, threads
        tell(f"arrea run: could not start: {getattr(error, 'strerror', None) or error}")
        return FAILED


def _run_batch(commands: Source, given: Arguments) -> int:
    from arrea._batch import Stream

    total = len(commands) if isinstance(commands, list) else None
    display = Plain(total, ordered=_output(given) == "ordered", quiet=given.has("--quiet"), direct=total == 1)
    options = _options(given, direct=total == 1)
    with Signals() as signals, _engine(given) as engine:
        screen = Screen(display, signals)
        screen.show(Stream(engine.submit(commands, **options)))
    return _ending(display, signals.first, screen.problem)


def _ending(display: Plain, signal: int, problem: BaseException | None) -> int:
    if signal:
        return die_by(signal)
    if isinstance(problem, BrokenPipeError):
        return end_for_broken_pipe()
    if isinstance(problem, OSError):
        tell(f"arrea run: can't write the output: {problem.strerror}; what still ran was ended")
        return FAILED
    if problem is not None:  # the source of the commands: what had started has finished
        display.summary()
        raise problem
    code = exit_code(display.done, display.failed, display.last_error)
    return FAILED if display.incomplete and not code else code


def _explained(error: ArreaError) -> str:
    """The message in the words of the command line: flags, not options."""
    text = str(error)
    if isinstance(error, TooManyCommands):
        return f"{error.count} commands given with -c, the limit is {error.limit}: put them in a file, --file FILE"
    if isinstance(error, InvalidOption) and text.startswith(error.option):
        flag = FLAG_OF.get(error.option, "--" + error.option.replace("_", "-"))
        text = text.replace(error.option, flag, 1)
    return text.replace("use None for", "use none for")


# ── from flags to options ─────────────────────────────────────────────────────────────────────────


def _engine(given: Arguments) -> Engine:
    from arrea._app import Engine

    workers = _number(given, "--parallel") or os.cpu_count() or 1
    if given.has("--file"):
        return Engine(max_workers=workers, max_commands_per_batch=None)
    return Engine(max_workers=workers)


def _options(given: Arguments, direct: bool) -> dict[str, Any]:
    """Options as `Engine.stream` takes them. What is shown is whole, so all output is kept until it is shown."""
    options: dict[str, Any] = {
        "policy": _policy(given),
        "timeout": given.get("--timeout"),
        "max_output_bytes": None,
        "inherit_output": direct,
    }
    for name in ("deadline", "shell", "cwd"):
        if given.has(f"--{name}"):
            options[name] = given.get(f"--{name}")
    if given.has("--env"):
        options["env"] = dict(_variable(text) for text in given.all("--env"))
    return options


def _policy(given: Arguments) -> Policy:
    policy = parse_policy(given.get("--policy", "once"))
    retries, delay = _number(given, "--retries", least=0), given.get("--retry-delay")
    if retries is not None:
        policy = policy.replace(on_error="retry", on_timeout="retry", max_retries=retries)
    if delay is not None:
        policy = policy.replace(retry_delay=delay)
    halt = given.get("--halt")
    if halt is None:
        return policy
    if halt not in ("now", "soon"):
        raise UsageError(f"--halt must be now or soon, not {shown(halt)}")
    return policy.replace(max_failures=1, on_stop="kill" if halt == "now" else "finish")


def _output(given: Arguments) -> str:
    output = given.get("--output", "grouped")
    if output not in ("grouped", "ordered"):
        raise UsageError(f"--output must be grouped or ordered, not {shown(output)}")
    return output


def _number(given: Arguments, flag: str, least: int = 1) -> int | None:
    text = given.get(flag)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) >= least):
        raise UsageError(f"{flag} must be a whole number from {least}, not {shown(text)}")
    return int(text)


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UsageError("--env takes NAME=VALUE")
    return name, value
