"""Whether the commands of one call may run: the rules in force, and the shell that would read a line.

The grammar is that of sh and bash. Of any other shell only lines of plain words can be judged; of zsh also what
means the same to bash.
"""

from __future__ import annotations

import os

from arrea._model.checks import shown
from arrea._model.errors import InvalidOption, RefusedCommand
from arrea._model.verdict import Verdict
from arrea._prepare.validation.plain import PLAIN
from arrea._prepare.validation.validator import DEFAULT_RULES, MAX_BYTES, Validator

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from arrea._model.simple_command import SimpleCommand
    from arrea._prepare.config import Config

AS_BASH = ("sh", "bash", "dash", "ash", "ksh", "mksh")


class Judge:
    """Judges commands. `rules`: instead of those that are configured. `shell`: the words before a line."""

    __slots__ = ("_shell", "_validator")

    def __init__(
        self,
        config: Config,
        shell: tuple[str, ...],
        *,
        rules: Sequence[str] | None = None,
        allow_substitution: bool = False,
    ) -> None:
        names = config.validation_rules if rules is None else _names(rules)
        self._validator = _validator(names, allow_substitution, config.sudo_allowlist)
        self._shell = os.path.basename(shell[0])

    def check(self, command: str | Sequence[str], stdin: object = None) -> None:
        """Raises `RefusedCommand` for one that may not run. stdin: of `Settings`; a shell would run what it reads."""
        verdict = self.verdict(command, _read_by(stdin))
        if not verdict.allowed:
            raise RefusedCommand(verdict)

    def verdict(self, command: str | Sequence[str], stdin: str | None = None) -> Verdict:
        if not isinstance(command, str):
            return self._validator.words(command, stdin)
        foreign = None if self._shell in AS_BASH else _foreign(command, self._shell)
        return self._validator.line(command, stdin) if foreign is None else foreign

    def seen(self, command: str | Sequence[str]) -> tuple[SimpleCommand, ...]:
        """The simple commands that are judged, and those that they would start."""
        return self._validator.seen(command)


def _read_by(stdin: object) -> str | None:
    """Text that is at hand. A file isn't read, as a script isn't; nor is what is longer than any line may be."""
    if not isinstance(stdin, bytes) or len(stdin) > MAX_BYTES:
        return None
    return stdin.decode("utf-8", "replace")


def _validator(
    names: tuple[str, ...], allow_substitution: bool, sudo_allowlist: tuple[str, ...]
) -> Validator:
    if names == DEFAULT_RULES and not sudo_allowlist:
        return Validator(allow_substitution=allow_substitution)
    from arrea._prepare.validation.registered import validator_of  # few have others

    return validator_of(names, allow_substitution, sudo_allowlist)


def _names(rules: Sequence[str]) -> tuple[str, ...]:
    from arrea._prepare.validation.registered import check_names

    if not isinstance(rules, (list, tuple)) or not all(isinstance(name, str) for name in rules):
        raise InvalidOption("rules", f"rules must be a list of names, not {shown(rules)}")
    return check_names(tuple(map(str.__str__, rules)), "rules")


def _foreign(line: str, shell: str) -> Verdict | None:
    """Why this line for a shell of another grammar can't be judged; None where it can."""
    at = len(line) - len(line.lstrip(PLAIN))
    if shell == "zsh":
        return _only_zsh(line)
    if at == len(line):
        return None
    return _unreadable(
        line,
        (at, at + 1),
        f"of lines for {shell} only those of plain words can be judged, and this has {line[at]!r}",
    )


def _only_zsh(line: str) -> Verdict | None:
    """`=program` is that program's path; `*(e:...:)` runs what is in it."""
    import re

    found = re.search(r"(?:^|(?<=[\s;&|(]))=\w|(?<=[^\s$;&|(<>=])\((?!\))", line)
    if found is None:
        return None
    return _unreadable(line, found.span(), f"{found[0]!r} means something else to zsh than to bash")


def _unreadable(line: str, span: tuple[int, int], reason: str) -> Verdict:
    return Verdict(
        code="unparseable",
        reason=reason,
        span=span,
        fragment=line[slice(*span)],
        hint="give the line to sh or bash, or give the words as a list, which no shell reads",
    )
