"""Which shell runs a line, and with which words: given a name, hands back the argument vector before the line.

No start files are read: zsh and fish have a flag for that; bash reads only what BASH_ENV names, which is left
out of the environment (`silenced`); sh and dash read none for a line.
"""

from __future__ import annotations

import os

from arrea._model.checks import alternatives, meant, shown
from arrea._model.errors import InvalidOption

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SH = ("/bin/sh", "-c")
NO_START_FILES: Mapping[str, tuple[str, ...]] = {"zsh": ("-f",), "fish": ("--no-config",)}
SILENCED: Mapping[str, tuple[str, ...]] = {"bash": ("BASH_ENV",)}


def find_shell(wanted: object, allowed: Sequence[str], variables: Mapping[str, str]) -> tuple[str, ...]:
    """The words before the line: the shell's path and its flags, "-c" included.

    wanted: a name, a path, "auto" (the user's own) or None (sh). Raises `InvalidOption` with code
    `shell_not_found` for one that is missing or not allowed.

    >>> find_shell(None, ("sh",), {})
    ('/bin/sh', '-c')
    """
    if wanted is None:
        return SH
    if not isinstance(wanted, str) or not wanted or "\0" in wanted:
        raise InvalidOption("shell", f"shell must be text, a name or a path, not {shown(wanted)}")
    shell = _users_own(variables) if wanted == "auto" else wanted
    _check_allowed(shell, allowed)
    if shell == "sh":
        return SH
    return (_path(shell, variables), *NO_START_FILES.get(os.path.basename(shell), ()), "-c")


def line_words(prefix: tuple[str, ...], line: str) -> tuple[str, ...]:
    """The whole argument vector. A line that begins with a dash would be taken for an option.

    >>> line_words(("/bin/sh", "-c"), "-x")
    ('/bin/sh', '-c', '--', '-x')
    """
    guarded = line[:1] in "-+" and not prefix[0].endswith("fish")
    return (*prefix, "--", line) if guarded else (*prefix, line)


def silenced(prefix: tuple[str, ...]) -> tuple[str, ...]:
    """Variables of the host that make this shell read a start file."""
    return SILENCED.get(os.path.basename(prefix[0]), ())


def _users_own(variables: Mapping[str, str]) -> str:
    own = variables.get("SHELL")
    if own:
        return own
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_shell or "sh"
    except KeyError:  # a user that the system doesn't list, as in many containers
        return "sh"


def _check_allowed(shell: str, allowed: Sequence[str]) -> None:
    if shell not in allowed and os.path.basename(shell) not in allowed:
        raise InvalidOption(
            "shell",
            f"shell {shell!r} is not allowed: {alternatives(tuple(allowed))}{meant(shell, allowed)}; "
            "allowed_shells adds others",
            code="shell_not_found",
        )


def _path(shell: str, variables: Mapping[str, str]) -> str:
    places = [""] if "/" in shell else variables.get("PATH", os.defpath).split(":")
    for place in places:
        path = os.path.join(place, shell)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return os.path.abspath(path)
    raise InvalidOption(
        "shell", f"shell {shell!r} was not found, or is not executable", code="shell_not_found"
    )
