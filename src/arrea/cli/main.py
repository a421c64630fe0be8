"""`arrea`: finds the sub-command, and turns every ending into an exit code.

Nothing is imported before it is needed: `arrea --version` has to cost no more than the interpreter's own start.
"""

from __future__ import annotations

import sys

from arrea.cli.streams import replace_closed, say, tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS = ("run", "validate")
WRONG_USAGE = 2

HELP = """\
Arrea runs many commands at once, so that nothing hangs, nothing is lost, nothing is left running.

usage: arrea run [flags] -c CMD [-c CMD ...]         run shell commands in parallel
       arrea validate [flags] -c CMD [-c CMD ...]    say what would be refused, and run nothing
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
    if first == "help" and words[1:2] and words[1] in COMMANDS:
        first, words = words[1], [words[1], "--help"]
    if first in ("--help", "-h", "help"):
        return say(HELP)
    if first == "run":
        from arrea.cli.run import run

        return run(words[1:])
    if first == "validate":
        from arrea.cli.validate import validate

        return validate(words[1:])
    return _unknown(first)


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
