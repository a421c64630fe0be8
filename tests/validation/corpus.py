"""The corpus: commands, and what validation has to say of each. Text only; nothing here is ever run.

Given: `corpus/*.jsonl`, one object a line, written without a look at the validator. Decides which lines
are cases: a malformed or repeated one is an error. Hands back the cases of each file, and splits them by a hash
of their id into `tuned` (two thirds, which the validator may be improved with) and `aside` (a third, of which
only totals are looked at).

    id                      unique, also the seed of the split
    command | argv          a shell line, or an argument vector
    then                    [[text, times], ...] appended to the command: limits, without a line of 64 KiB in the file
    expect                  "allowed" | "refused"
    code, rule              what is right for a refused one; a list where several are
    form                    how the command comes along, one of `FORMS`
    profile                 "default" | "strict"
    allow_substitution, sudo_allowlist      as given to the validator
    xfail                   why the validator is known to be wrong here; the test fails once it isn't any more
    from                    where such a command is seen
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).with_name("corpus")

REFUSED_FORMS = (
    "literal",
    "respelled",
    "nested",
    "launcher",
    "text_to_shell",
    "interpreter",
    "dynamic",
    "limit",
)
ALLOWED_FORMS = ("ordinary", "text_only", "dynamic", "limit")
FORMS = frozenset(REFUSED_FORMS + ALLOWED_FORMS)
PROFILES = frozenset(("default", "strict"))
DEFAULT_RULES = ("no_rm_rf", "no_sudo", "no_dd", "no_mkfs", "no_fork_bomb")
STRICT_RULES = (
    "no_shutdown",
    "no_chown_root",
    "no_chmod_777",
    "no_block_device_write",
    "no_pipe_to_shell",
    "no_find_delete",
    "no_shred",
    "no_kill_init",
)
RULES = frozenset(DEFAULT_RULES + STRICT_RULES)
CODES = frozenset(
    (
        "empty_command",
        "command_too_long",
        "possible_injection",
        "dangerous_command",
        "unparseable",
        "too_deep",
    )
)
_REQUIRED = frozenset(("id", "expect", "form", "profile"))
_OPTIONAL = frozenset(
    ("command", "argv", "then", "code", "rule", "allow_substitution", "sudo_allowlist", "xfail", "from")
)


class MalformedCase(ValueError):
    """A line of the corpus that is no case, or one that was there before."""


class Case(NamedTuple):
    """One command and its expectation. `command` is a text for a shell line, a tuple for an argument vector."""

    file: str
    id: str
    command: str | tuple[str, ...]
    refused: bool
    codes: tuple[str, ...]
    rules: tuple[str, ...]
    form: str
    profile: str = "default"
    allow_substitution: bool = False
    sudo_allowlist: tuple[str, ...] = ()
    xfail: str = ""
    seen_in: str = ""


# --- the cases --------------------------------------------------------------------------------


def load_corpus(folder: Path = FOLDER) -> dict[str, tuple[Case, ...]]:
    """The cases of each file by its stem, in the order of their lines."""
    files = {path.stem: tuple(load_file(path)) for path in sorted(folder.glob("*.jsonl"))}
    _refuse_repeated(case for cases in files.values() for case in cases)
    return files


def load_file(path: Path) -> Iterator[Case]:
    """The cases of one file; the error names the line."""
    for number, line in enumerate(path.read_text("ascii").splitlines(), 1):
        try:
            yield parse(path.stem, line)
        except (ValueError, TypeError, KeyError) as error:
            raise MalformedCase(f"{path.name}, line {number}: {error}") from error


def parse(file: str, line: str) -> Case:
    """One line as a case, checked as far as a corpus can be checked without a validator."""
    row = json.loads(line)
    _check_keys(row)
    case = Case(
        file=file,
        id=row["id"],
        command=_command(row),
        refused=_one_of(row["expect"], ("allowed", "refused")) == "refused",
        codes=_names(row.get("code", []), CODES),
        rules=_names(row.get("rule", []), RULES),
        form=_one_of(row["form"], FORMS),
        profile=_one_of(row["profile"], PROFILES),
        allow_substitution=row.get("allow_substitution", False),
        sudo_allowlist=tuple(row.get("sudo_allowlist", ())),
        xfail=row.get("xfail", ""),
        seen_in=row.get("from", ""),
    )
    _check_expectation(case)
    return case


def _check_keys(row: dict[str, Any]) -> None:
    if missing := _REQUIRED - row.keys():
        raise MalformedCase(f"without {sorted(missing)}")
    if unknown := row.keys() - _REQUIRED - _OPTIONAL:
        raise MalformedCase(f"unknown {sorted(unknown)}")
    if ("command" in row) == ("argv" in row):
        raise MalformedCase("one of command and argv, not both")


def _command(row: dict[str, Any]) -> str | tuple[str, ...]:
    if "argv" in row:
        return tuple(map(_text, row["argv"]))
    return _text(row["command"]) + "".join(_text(text) * times for text, times in row.get("then", ()))


def _check_expectation(case: Case) -> None:
    if case.refused != bool(case.codes):
        raise MalformedCase("refused ones have a code, allowed ones have none")
    if ("dangerous_command" in case.codes) != bool(case.rules):
        raise MalformedCase("dangers have a rule, others have none")
    if case.form not in (REFUSED_FORMS if case.refused else ALLOWED_FORMS):
        raise MalformedCase(f"form {case.form} does not go with the expectation")
    if case.profile == "default" and not set(DEFAULT_RULES).issuperset(case.rules):
        raise MalformedCase("a rule of the strict profile under the default one")


def _names(value: str | list[str], known: frozenset[str]) -> tuple[str, ...]:
    names = (value,) if isinstance(value, str) else tuple(value)
    return tuple(_one_of(name, known) for name in names)


def _one_of(value: str, known: Iterable[str]) -> str:
    if value not in known:
        raise MalformedCase(f"{value!r} is none of {sorted(known)}")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise MalformedCase(f"{value!r} is no text")
    return value


def _refuse_repeated(cases: Iterable[Case]) -> None:
    seen: dict[object, str] = {}
    for case in cases:
        for key in (case.id, (case.command, case.profile, case.allow_substitution, case.sudo_allowlist)):
            if key in seen:
                raise MalformedCase(f"{case.id} repeats {seen[key]}")
            seen[key] = case.id


# --- the two sets -----------------------------------------------------------------------------


def is_aside(case: Case) -> bool:
    """Whether the case belongs to the third that nobody looks at; it never changes as long as the id doesn't."""
    return hashlib.sha256(case.id.encode()).digest()[0] % 3 == 0


def tuned(cases: Iterable[Case]) -> list[Case]:
    """Two thirds: shown when they are wrong."""
    return [case for case in cases if not is_aside(case)]


def aside(cases: Iterable[Case]) -> list[Case]:
    """One third: only its totals are shown."""
    return [case for case in cases if is_aside(case)]
