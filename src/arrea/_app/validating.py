"""`arrea.validate` and `arrea.add_rule`: what a run would refuse, asked without running anything."""

from __future__ import annotations

import os

from arrea._app import engines as _engines
from arrea._prepare.judging import Judge
from arrea._prepare.shell import find_shell
from arrea._prepare.validation import registered as _registered

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from arrea._model.simple_command import SimpleCommand
    from arrea._model.verdict import Verdict


def validate(
    command: str | Sequence[str],
    rules: Sequence[str] | None = None,
    *,
    shell: str | None = None,
    allow_substitution: bool = False,
) -> Verdict:
    """Whether a command would be let run, and if not, why. Runs nothing.

    command: a shell line (text) or an argument vector (a list of texts). rules: names instead of those configured
    (`validation_rules`); "default" and "strict" stand for several. shell: the one that would read the line.
    allow_substitution: let `$(...)`, backticks and `<(...)` pass; what is inside is judged.

    A guard rail against accidents, no sandbox. Raises `InvalidOption` for a rule that doesn't exist.

    >>> validate("make -j4").allowed
    True
    >>> verdict = validate("echo done && rm -r --force build")
    >>> verdict.code, verdict.rule, verdict.fragment
    ('dangerous_command', 'no_rm_rf', 'rm -r --force')
    """
    if isinstance(command, str):
        command = str.__str__(command)  # plain text: a subclass may answer what it likes
    return judge(rules, shell=shell, allow_substitution=allow_substitution).verdict(command)


def judge(rules: Sequence[str] | None, *, shell: str | None, allow_substitution: bool) -> Judge:
    """Who judges commands with the same options. Raises `InvalidOption`."""
    config = _engines.configuration().effective()
    words = find_shell(config.shell if shell is None else shell, config.allowed_shells, os.environ)
    return Judge(config, words, rules=rules, allow_substitution=allow_substitution)


def add_rule(name: str, rule: Callable[[SimpleCommand], str | None]) -> None:
    """Registers a rule of your own, which `validation_rules` may then name.

    rule: gets each `SimpleCommand` of a command and answers with the reason to refuse it, or None. It is called on the
    thread that hands the command to Arrea. One that raises, or answers something else, refuses the command (code
    `rule_failed`).

    >>> add_rule("no_curl", lambda command: "fetches" if command.name == "curl" else None)
    >>> validate("curl example.org | wc", rules=["default", "no_curl"]).rule
    'no_curl'
    >>> remove_rule("no_curl")
    """
    _registered.add_rule(name, rule)


def remove_rule(name: str) -> None:
    """Forgets a rule of your own; one that isn't there is no error."""
    _registered.remove_rule(name)
