"""`arrea`: finds the sub-command, and turns every ending into an exit code.

Nothing is imported before it is needed: `arrea --version` has to cost no more than the interpreter's own start.
"""

from __future__ import annotations

import sys

from arrea.cli.streams import replace_closed, say, tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS = ("run",)
WRONG_USAGE = 2

HELP = """\
Arrea runs many commands at once, so that nothing hangs, nothing is lost, nothing is left running.

usage: arrea run [flags] -c CMD [-c CMD ...]    run shell commands in parallel
       arrea --version

`arrea run --help` shows its flags.

  arrea run -c 'make lint' -c 'make test' -p 2
  arrea run --file commands.txt --timeout 5m --retries 2
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; hands back the exit code. Ends by a signal where one ended it."""
    replace_closed()
    words = list(sys.argv[1:] if argv is None else argv)
    first = words[0] if words else ""
    if first == "--version":
        from arrea._version import __version__

        return say(f"arrea {__version__}\n")
    if words[:2] == ["help", "run"]:
        return _run(["--help"])
    if first in ("--help", "-h", "help"):
        return say(HELP)
    if first == "run":
        return _run(words[1:])
    return _unknown(first)


def _run(words: Sequence[str]) -> int:
    from arrea.cli.run import run

    return run(words)


def _unknown(first: str) -> int:
    if not first:
        tell(HELP)
        return WRONG_USAGE
    from arrea._model.checks import meant, shown

    what = "flag" if first.startswith("-") else "command"
    names = ("--version", "--help") if what == "flag" else COMMANDS
    hint = meant(first, names) or (
        "; other flags come after a command: arrea run ..." if what == "flag" else ""
    )
    tell(f"arrea: unknown {what} {shown(first)}{hint}\nTry `arrea --help`.")
    return WRONG_USAGE
