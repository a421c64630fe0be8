"""`arrea run`: many commands at once, their output whole, and an exit code that says what happened."""

from __future__ import annotations

from arrea._model.errors import ArreaError, InvalidConfig, InvalidOption, NoRoom, TooManyCommands
from arrea._model.task import Command
from arrea._model.text import printable
from arrea.cli.batch import run_batch
from arrea.cli.exit_codes import FAILED, REFUSED, WRONG_USAGE
from arrea.cli.flags import Flag, flags_help, parse
from arrea.cli.options import Look, batch_options, engine_of, standard_input, task_options
from arrea.cli.sources import WrongLines, source_of
from arrea.cli.streams import say, tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from arrea._app.engine import Engine
    from arrea.cli.flags import Arguments
    from arrea.cli.sources import Source

FLAGS = (
    Flag("--command", "a shell command (repeatable)", "CMD", short="-c", many=True),
    Flag("--file", "a file with a command a line; - is standard input (repeatable)", "FILE", short="-f", many=True),
    Flag("--parallel", "most at once (default: as configured, or the number of CPUs)", "N", short="-p"),
    Flag("--timeout", "of each attempt: milliseconds, or 500ms, 5s, 2m, 1.5h", "TIME"),
    Flag("--deadline", "of the whole batch", "TIME"),
    Flag("--policy", "on failure: retry, stop, continue, strict, tolerant, once (default)", "NAME"),
    Flag("--retries", "tries after the first (default: 0; as configured, 3, with --retry-on)", "N"),
    Flag("--retry-delay", "before each retry (default: 1s)", "TIME"),
    Flag("--retry-on", "retry only on exit codes, signals, error codes: 1,75,SIGSEGV,timeout", "WHAT", many=True),
    Flag("--backoff", "delays stay the same (constant), or double (exponential)", "HOW"),
    Flag("--halt", "at the first failure: now kills what runs, soon lets it finish", "now|soon"),
    Flag("--max-failures", "the same at the Nth failure, or at N percent; soon without --halt", "N|N%"),
    Flag("--output", "grouped: as commands finish (default); ordered: as given; lines: as they come; none", "HOW"),
    Flag("--tag", "the command's name before each line of its output"),
    Flag("--json", "results as JSON on stdout, an object a line, the output in it"),
    Flag("--dry-run", "show what would run, and start nothing"),
    Flag("--stdin", "what one command reads: a file, or our own standard input", "FILE|inherit"),
    Flag("--shell", "sh (default), bash, zsh, fish, dash, a path to one, or auto", "NAME"),
    Flag("--cwd", "directory to run in", "DIR"),
    Flag("--env", "a variable for the commands (repeatable)", "NAME=VALUE", many=True),
    Flag("--no-validate", "run also what validation would refuse"),
    Flag("--allow-substitution", "let $(...), backticks and <(...) pass; what is inside is judged"),
    Flag("--quiet", "no progress and no summary", short="-q"),
    Flag("--help", "this text", short="-h"),
)  # fmt: skip

# Options of the library that have another name here.
FLAG_OF = {"max_workers": "--parallel", "max_retries": "--retries"}

HELP = """\
usage: arrea run [flags] -c CMD [-c CMD ...]
       arrea run [flags] --file FILE
       arrea run [flags] -- PROG [ARGS ...]

Runs each command once (no retry, no time limit, unless a flag or the configuration says so), several at a time. The
commands' output goes to stdout and stderr, each command's whole and in one piece; progress and summary go to stderr.

{flags}

exit code: 0 all succeeded; one command: its own, 124 timed out, 126 not executable, 127 not found, 128+n signal n;
several: 1 if any failed; 2 wrong usage, 126 a command was refused, nothing was started; 130 Ctrl-C.
signals: Ctrl-C ends what runs, twice kills it; Ctrl-Z stops it until we are continued; SIGUSR1 shows how things stand.

  arrea run -c 'make lint' -c 'make test' -p 2
  arrea run --file commands.txt --timeout 5m --retries 2 --retry-delay 10s
  arrea run --halt now --output ordered -c ./unit -c ./integration
  arrea run --output lines --tag -c 'tail -f app.log' -c 'tail -f db.log'
  arrea run --json --quiet --file commands.txt | jq -r 'select(.success | not) | .command'
  arrea run --retry-on 75,timeout --timeout 30s -- rsync -a 'my files/' backup/
"""


def run(words: Sequence[str]) -> int:
    """The exit code of `arrea run`."""
    try:
        given = parse(words, FLAGS)
        if given.has("--help"):
            return say(HELP.format(flags=flags_help(FLAGS)))
        return _run(given)
    except WrongLines as error:
        return _refused(error.lines, REFUSED if error.refused else WRONG_USAGE)
    except NoRoom as error:
        tell(f"arrea run: could not start: {error}")
        return FAILED
    except ArreaError as error:
        return _refused([_explained(error)])
    except (
        OSError,
        RuntimeError,
    ) as error:  # the machine has no room for the engine: descriptors, memory, threads
        tell(f"arrea run: could not start: {getattr(error, 'strerror', None) or error}")
        return FAILED


def _refused(lines: list[str], code: int = WRONG_USAGE) -> int:
    for line in lines:
        tell(f"arrea run: {printable(line)}")
    return code


def _run(given: Arguments) -> int:
    """What flags say is checked first: to open a source may take as long as somebody else likes."""
    look, engine = Look(given), engine_of(given)
    options = task_options(given, engine)
    source = source_of(given)
    if given.has("--dry-run"):
        return _dry_run(given, source, engine, options)
    if not source.is_list:  # a list is checked by the engine
        source.check(lambda elements: _prepared(engine, elements, options))
        if source.total is not None:  # all of it was judged just now, and is in memory
            options["validate"] = False
    options = batch_options(options, look, source.total) | standard_input(given, source.total)
    return run_batch(source, engine, options, look)


def _dry_run(given: Arguments, source: Source, engine: Engine, options: dict[str, Any]) -> int:
    from arrea.cli.dry_run import dry_run

    _check_length(source, engine)
    source.check(lambda elements: _prepared(engine, elements, options))
    options |= standard_input(given, source.total)
    names = list(options.get("env", ()))
    commands = _prepared(engine, source.commands(), options)
    return dry_run(commands, names, json=given.has("--json"), at_once=source.total is None)


def _prepared(engine: Engine, elements: Any, options: dict[str, Any]) -> Iterator[Command]:
    """A source of the command line has no functions."""
    return (work for work in engine.prepare(elements, **options) if isinstance(work, Command))


def _check_length(source: Source, engine: Engine) -> None:
    """As the engine does for a list that it is to run."""
    limit: Any = engine.config.get("max_commands_per_batch")
    if source.is_list and source.total is not None and limit is not None and source.total > limit:
        raise TooManyCommands(source.total, limit)


def _explained(error: ArreaError) -> str:
    """The message in the words of the command line: flags, not options."""
    text = str(error)
    if isinstance(error, TooManyCommands):
        return f"{error.count} commands given with -c, the limit is {error.limit}: put them in a file, --file FILE"
    if isinstance(error, InvalidConfig):  # it names the variable or the file
        return text
    if isinstance(error, InvalidOption) and text.startswith(error.option):
        flag = FLAG_OF.get(error.option, "--" + error.option.replace("_", "-"))
        text = text.replace(error.option, flag, 1)
    return text.replace("use None for", "use none for")
