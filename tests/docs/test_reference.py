"""The tables of the reference say what the code does."""

import re
from pathlib import Path

from arrea._model.event import FIELDS
from arrea._prepare.keys import KEYS, written_as
from arrea.cli.run import FLAGS

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
        assert default.strip("`") == text_of(written_as(KEYS[name].default))


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
