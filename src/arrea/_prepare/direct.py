"""Lines that need no shell: an external program and plain words, run as the shell would have run it.

Decides two things: whether a shell, with these variables and in this directory, would change nothing (`Shell`, once for
all lines that share them), and whether a line is plain (`plain_words`). In any doubt the shell gets the line; it gets
it as well where the program can't be found or executed, so that messages and codes are its own.
`make` has run plain lines so for decades; a shell costs as much as starting another small program.

Source: POSIX.1-2024, 2.1 and 2.9.1 (what a shell does at its start, and with a simple command); dash(1); bash(1),
INVOCATION and Shell Variables. `tests/prepare/test_direct.py` compares with the shells that are there.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

# Characters that mean themselves to sh, dash and bash wherever they stand, but for "=" in the first word.
PLAIN = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./,:=@%+- "

# What dash and bash do themselves, and the words of their grammar.
_OWN = """
alias bg bind break builtin caller case cd chdir command compgen complete compopt continue coproc declare dirs disown do
done echo elif else enable esac eval exec exit export false fc fg fi for function getopts hash help history if in jobs
kill let local logout mapfile popd printf pushd pwd read readarray readonly return select set shift shopt source suspend
test then time times trap true type typeset ulimit umask unalias unset until wait while
"""
OWN = frozenset(_OWN.split())

# It forks if it leads its group, as a program without a shell does: then nobody would wait for what it starts.
OTHERWISE_AS_LEADER = frozenset(("setsid",))

# Variables that make a shell do something at its start, or that it sets or takes away; all that begin with BASH, too.
_MEANT_FOR_SHELLS = """
COMP_WORDBREAKS DIRSTACK ENV EPOCHREALTIME EPOCHSECONDS EUID FUNCNAME GROUPS HISTCMD IFS LD_AUDIT LD_DEBUG LD_PRELOAD
LD_PROFILE LINENO OPTARG OPTERR OPTIND POSIXLY_CORRECT PPID PS1 PS2 PS4 RANDOM SECONDS SHELLOPTS SRANDOM UID
"""
MEANT_FOR_SHELLS = frozenset(_MEANT_FOR_SHELLS.split())
LEVELS = frozenset(map(str, range(1, 999)))  # of others bash makes something else
CALLED = ("sh", "dash", "bash")
SURE_LOCALES = ("", "C", "POSIX", "C.UTF-8")


def plain_words(line: str) -> tuple[str, ...] | None:
    """The words of a plain line; None for one that a shell has to read.

    >>> plain_words("gzip -9 access.log")
    ('gzip', '-9', 'access.log')
    >>> plain_words("gzip *.log"), plain_words("cd /tmp"), plain_words("A=1 make")
    (None, None, None)
    """
    if line.strip(PLAIN):
        return None
    words = tuple(line.split())
    return words if _is_program(words[0]) else None


def _is_program(word: str) -> bool:
    """It could be the name of one, and is nothing that a shell does itself."""
    return (
        word not in OWN
        and "=" not in word
        and (word[0].isalnum() or word[0] in "/_" or word[:2] in ("./", ".."))
    )


class Shell:
    """The one that would run lines, for one set of variables and one directory.

    changes_nothing: a program finds the same environment with it or without. tells_path: it sets `_`.
    """

    __slots__ = ("changes_nothing", "tells_path")

    def __init__(self, words: tuple[str, ...], variables: Mapping[str, str], cwd: str | None) -> None:
        called = os.path.basename(words[0])  # `rbash` is bash too, but not the same
        name = _real_name(words[0]) if called in CALLED else ""
        self.tells_path = name == "bash"
        suits = name == "dash" or (name == "bash" and _suits_bash(variables))
        self.changes_nothing = suits and _is_quiet(variables, cwd)


def _is_quiet(variables: Mapping[str, str], cwd: str | None) -> bool:
    """Nothing in it makes a shell do or change something at its start."""
    if any(map(_concerns_shells, variables)):
        return False
    return _is_plain_path(variables.get("PATH", "")) and _is_here(variables.get("PWD", ""), cwd)


def _concerns_shells(variable: str) -> bool:
    # Shells drop names that can't be theirs, or move them.
    return variable in MEANT_FOR_SHELLS or variable.startswith("BASH") or not _is_name(variable)


def _is_name(variable: str) -> bool:
    return variable.isascii() and variable.isidentifier()


def _real_name(shell: str) -> str:
    """`sh` is a link to one of many; and what has a shell's name may be a script that somebody put before it."""
    real = os.path.realpath(shell)
    try:
        with open(real, "rb", buffering=0) as file:
            return os.path.basename(real) if file.read(4) == b"\x7fELF" else ""
    except OSError:
        return ""


def _suits_bash(variables: Mapping[str, str]) -> bool:
    """It sets SHLVL where there is none, takes away an OLDPWD that is no directory, complains of an LC_ALL."""
    level, before = variables.get("SHLVL", ""), variables.get("OLDPWD", "/")
    if variables.get("LC_ALL", "") not in SURE_LOCALES:
        return False
    return level in LEVELS and before.startswith("/") and os.path.isdir(before)


def _is_plain_path(path: str) -> bool:
    """All entries absolute; for dash `%` begins an option, and a slash at the end stays."""
    return "%" not in path and all(entry[:1] == "/" != entry[-1:] for entry in path.split(":"))


def _is_here(pwd: str, cwd: str | None) -> bool:
    """A shell sets PWD where it doesn't name the directory that it starts in."""
    try:
        there = os.path.samestat(os.stat(pwd), os.stat(cwd or "."))
    except (OSError, ValueError):
        return False
    return there and pwd == os.path.normpath(pwd) and pwd.startswith("/")
