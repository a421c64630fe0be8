"""`arrea validate`: what `arrea run` would refuse, and why, without running anything."""

from __future__ import annotations

from arrea._model.errors import ArreaError
from arrea._model.text import in_quotes, printable
from arrea.cli.exit_codes import REFUSED, WRONG_USAGE
from arrea.cli.flags import Flag, flags_help, parse
from arrea.cli.sources import source_of
from arrea.cli.streams import STDOUT, say, tell, write, writing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from arrea._model.simple_command import SimpleCommand
    from arrea._model.verdict import Verdict
    from arrea._prepare.judging import Judge
    from arrea.cli.flags import Arguments
    from arrea.cli.sources import Source

    Seen = Sequence[SimpleCommand] | None

FLAGS = (
    Flag("--command", "a shell command (repeatable)", "CMD", short="-c", many=True),
    Flag("--file", "a file with a command a line; - is standard input (repeatable)", "FILE", short="-f", many=True),
    Flag("--rules", "instead of those configured: names between commas, strict, or none", "NAMES"),
    Flag("--allow-substitution", "let $(...), backticks and <(...) pass; what is inside is judged"),
    Flag("--shell", "sh (default), bash, zsh, fish, dash, a path to one, or auto", "NAME"),
    Flag("--explain", "the simple commands that were seen, and by which way"),
    Flag("--json", "verdicts as JSON on stdout, an object a line"),
    Flag("--quiet", "only what is refused", short="-q"),
    Flag("--help", "this text", short="-h"),
)  # fmt: skip

HELP = """\
usage: arrea validate [flags] [-c CMD ...] [--file FILE ...] [-]
       arrea validate [flags] -- PROG [ARGS ...]

Says of each command whether `arrea run` would let it run. Starts nothing. A guard rail against accidents, no sandbox:
scripts and programs that a command runs are not read.

{flags}

exit code: 0 all may run; 126 at least one is refused; 2 wrong usage.

  arrea validate -c 'make clean && rm -rf build'
  arrea validate --explain -c 'find . -name "*.o" | xargs rm'
  arrea validate --json --rules strict --file commands.txt
"""


def validate(words: Sequence[str]) -> int:
    """The exit code of `arrea validate`."""
    try:
        given = parse(words, FLAGS, dash="--file")
        if given.has("--help"):
            return say(HELP.format(flags=flags_help(FLAGS)))
        judge, source = _judge(given), source_of(given)
        return writing(lambda: _judge_all(judge, source, given))
    except ArreaError as error:
        tell(f"arrea validate: {printable(str(error))}")
        return WRONG_USAGE


def _judge(given: Arguments) -> Judge:
    from arrea._app.validating import judge
    from arrea._prepare.keys import read_names_or_none

    names = given.get("--rules")
    return judge(
        None if names is None else read_names_or_none(names),
        shell=given.get("--shell"),
        allow_substitution=given.has("--allow-substitution"),
    )


def _judge_all(judge: Judge, source: Source, given: Arguments) -> int:
    told = _as_json if given.has("--json") else _as_text
    code = 0
    for index, (place, command) in enumerate(source.placed()):
        text = command.decode("utf-8", "surrogateescape") if isinstance(command, bytes) else command
        verdict = judge.verdict(text)
        code = code if verdict.allowed else REFUSED
        if not (verdict.allowed and given.has("--quiet")):
            seen = judge.seen(text) if given.has("--explain") else None
            write(STDOUT, told(index, place, text, verdict, seen))
    return code


# ── how a verdict looks ───────────────────────────────────────────────────────────────────────────


def _as_text(index: int, place: str, command: object, verdict: Verdict, seen: Seen) -> bytes:
    lines = [f"{place}: {'allowed' if verdict.allowed else f'refused ({verdict.rule or verdict.code})'}"]
    if not verdict.allowed:
        lines += [f"  {verdict.reason}", f"  {verdict.hint}"]
    lines += [f"  would run: {_as_line(each)}" for each in seen or ()]
    return "".join(f"{printable(line)}\n" for line in lines).encode("utf-8", "backslashreplace")


def _as_line(command: SimpleCommand) -> str:
    """Its words; `...` for one that only exists at run time. And the commands that start it."""
    words = " ".join("..." if word is None else in_quotes(word) for word in command.words)
    return f"{words}  (by {', '.join(command.through)})" if command.through else words


def _as_json(index: int, place: str, command: object, verdict: Verdict, seen: Seen) -> bytes:
    from arrea.cli.render.json_lines import line_of

    told: dict[str, Any] = {"index": index, "place": place, "command": command, **verdict.as_dict()}
    if seen is not None:
        told["would_run"] = [each.as_dict() for each in seen]
    return line_of(told)
