"""The tables of the reference say what the code does."""

import os
import re
from pathlib import Path

import arrea
from arrea._model.event import FIELDS
from arrea._prepare.keys import KEYS, written_as
from arrea._prepare.validation.inspection import MAX_LEVEL
from arrea._prepare.validation.interpreters import INTERPRETERS
from arrea._prepare.validation.launcher_table import USAGES
from arrea._prepare.validation.mask import MAX_DEPTH
from arrea._prepare.validation.rules import RULES
from arrea._prepare.validation.special_launchers import SHELLS, SPECIAL
from arrea._prepare.validation.validator import DEFAULT_RULES, MAX_BYTES
from arrea._prepare.validation.words import MAX_WORDS
from arrea.cli.run import FLAGS

SOURCE = Path(arrea.__file__).parent
REFERENCE = Path(__file__).parent.parent.parent / "docs" / "reference"


def rows(page: str, first: str) -> list[list[str]]:
    """The cells of the table whose first column has this head."""
    text = (REFERENCE / page).read_text()
    table = text[text.index(f"| {first} |") :].partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def names(cell: str) -> tuple[str, ...]:
    return tuple(re.findall(r"`(\w+)`", cell))


def test_events() -> None:
    told = {name: names(cells[1]) for cells in rows("events.md", "type") for name in names(cells[0])}
    assert told == dict(FIELDS)


def test_keys_of_the_configuration() -> None:
    told = {
        names(key)[0]: (default, variable) for key, default, variable, _ in rows("configuration.md", "key")
    }
    assert list(told) == list(KEYS)
    for name, (default, variable) in told.items():
        assert variable == f"`ARREA_{name.upper()}`"
        assert OF_THE_MACHINE.get(default, default.strip("`")) == text_of(written_as(KEYS[name].default))


OF_THE_MACHINE = {"the number of CPUs": str(len(os.sched_getaffinity(0)))}


def text_of(value: object) -> str:
    if isinstance(value, list):
        return ",".join(value) or "none"
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def test_flags_of_the_command_line() -> None:
    text = (REFERENCE / "cli.md").read_text()
    table = text[text.index("| flag |") :].partition("\n\n")[0].splitlines()[2:]
    told = [line.replace("\\|", "/").strip("| ").split(" | ")[0].split("`")[1].split()[0] for line in table]
    assert told == [flag.name for flag in FLAGS]
    for line, flag in zip(table, FLAGS, strict=True):
        assert flag.help.replace("|", "\\|") in line


def test_rules_of_validation() -> None:
    told = {
        names(rule)[0]: (profile, what, instead)
        for rule, profile, what, instead in rows("validation.md", "rule")
    }
    assert told == {
        name: ("default" if name in DEFAULT_RULES else "strict", rule.what, rule.hint)
        for name, rule in RULES.items()
    }


def test_codes_of_validation() -> None:
    told = {names(code)[0] for code, _ in rows("validation.md", "code")}
    source = (SOURCE / "_model" / "verdict.py").read_text()
    assert told == set(re.findall(r'^        "(\w+)",$', source, re.MULTILINE))


def test_programs_that_are_stepped_through() -> None:
    text = (REFERENCE / "validation.md").read_text()
    listed = text[text.index("## Programs that are stepped through") : text.index("## Limits")]
    known = {*USAGES, *SPECIAL, *SHELLS, *INTERPRETERS}
    assert set(re.findall(r"`([^`]+)`", listed)) == known


def test_limits_of_validation() -> None:
    limits = (REFERENCE / "validation.md").read_text().partition("## Limits")[2]
    told = f"{MAX_BYTES:,} bytes of one command; {MAX_DEPTH} levels of nesting; {MAX_LEVEL} texts inside"
    assert told in limits and f"; {MAX_WORDS} words" in limits
