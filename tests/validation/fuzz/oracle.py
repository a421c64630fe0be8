"""What a shell and shfmt see in a text: whether it is a command at all, and which names its commands have.

Both only parse: `bash -n` reads from its standard input without running anything, shfmt prints a syntax tree; the same
with dash and shfmt's dialect `posix`, for that is what `/bin/sh` often is. Many
texts go to one shfmt: first as a file each, which tells the good ones; those are then read as one text with a marker
behind each. Where a marker isn't a command of the top level at its place, a text has reached over its end (a backslash
or an `&&` at the end of the last line), and the texts are halved until each is right or alone.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.validation.fuzz.quotes import first_word

SHFMT = Path(sys.executable).parent / "shfmt"
AT_ONCE = 200
_MARK = "arrea-mark"


class Shell(NamedTuple):
    """The command that parses its input without running it, and shfmt's name for its language."""

    command: tuple[str, ...]
    dialect: str


BASH = Shell(("/bin/bash", "--norc", "--noprofile", "-n"), "bash")
DASH = Shell(("/bin/dash", "-n"), "posix")


class Sight(NamedTuple):
    """What is in a text.

    names: of all commands at any depth, quotes undone. unknown: how many only exist at run time. live: whether there is
    a substitution of a command or a process, and one that isn't empty.
    """

    names: frozenset[str]
    unknown: int
    live: bool

    def has(self, verbs: frozenset[str]) -> bool:
        return not verbs.isdisjoint(name.rpartition("/")[2] for name in self.names)


class OracleFailed(Exception):
    """bash or shfmt is not there, or does something unheard of."""


def sights(texts: Sequence[str], shell: Shell = BASH) -> list[Sight | None]:
    """What is seen in each; None for what either of the two refuses."""
    found: list[Sight | None] = []
    with tempfile.TemporaryDirectory(prefix="arrea-fuzz-") as folder:
        for start in range(0, len(texts), AT_ONCE):
            found += _sights_of_some(texts[start : start + AT_ONCE], shell, Path(folder))
    return found


def _sights_of_some(texts: Sequence[str], shell: Shell, folder: Path) -> list[Sight | None]:
    bad = _refused_by_shfmt(texts, shell.dialect, folder)
    good = [n for n in range(len(texts)) if n not in bad and accepts(texts[n], shell)]
    seen = dict(zip(good, _trees([texts[n] for n in good], shell.dialect), strict=True))
    return [_sight(seen[n]) if n in seen else None for n in range(len(texts))]


def accepts(text: str, shell: Shell = BASH) -> bool:
    """Nothing runs: `-n`, no start-up files, no variables, and the text is only read."""
    return _run(shell.command, text).returncode == 0


def _refused_by_shfmt(texts: Sequence[str], dialect: str, folder: Path) -> set[int]:
    files = [folder / f"{n}.sh" for n in range(len(texts))]
    for file, text in zip(files, texts, strict=True):
        file.write_text(text, encoding="utf-8", newline="")
    run = _run([str(SHFMT), "-l", "-ln", dialect, *map(str, files)], "")
    lines = run.stderr.decode(errors="replace").splitlines()
    bad = {line.split(":")[0] for line in lines}
    if not bad <= set(map(str, files)):
        raise OracleFailed("shfmt says: " + "\n".join(lines[:20]))
    return {n for n, file in enumerate(files) if str(file) in bad}


def _trees(texts: Sequence[str], dialect: str) -> list[list[Any]]:
    """The statements of each text; all are good for shfmt by themselves."""
    if len(texts) < 2:
        return [_statements(text, dialect) for text in texts]
    found = _split_at_markers(texts, dialect)
    if found is None:
        half = len(texts) // 2
        found = _trees(texts[:half], dialect) + _trees(texts[half:], dialect)
    return found


def _split_at_markers(texts: Sequence[str], dialect: str) -> list[list[Any]] | None:
    """None where the texts can't be read in one go."""
    pieces = [f"{text}\n{_MARK} {n}\n" for n, text in enumerate(texts)]
    try:
        statements = _statements("".join(pieces), dialect)
    except OracleFailed:
        return None
    found: list[list[Any]] = [[]]
    for statement in statements:
        if _is_marker(statement, len(found) - 1):
            found.append([])
        else:
            found[-1].append(statement)
    in_place = len(found) == len(texts) + 1 and not found.pop()
    return found if in_place and _ends_right(statements, pieces) else None


def _is_marker(statement: Any, number: int) -> bool:
    return _plain_words(statement) == [_MARK, str(number)]


def _ends_right(statements: list[Any], pieces: Sequence[str]) -> bool:
    """Whether each marker stands where its text ends, and not where another one has put it."""
    wanted, total = [], 0
    for n, piece in enumerate(pieces):
        total += len(piece.encode())
        wanted.append(total - len(f"{_MARK} {n}\n"))
    places = [s["Pos"]["Offset"] for s in statements if (_plain_words(s) or [""])[0] == _MARK]
    return places == wanted


def _plain_words(statement: Any) -> list[str] | None:
    """The words of a simple command without anything else; None for others."""
    command = statement.get("Cmd", {})
    if command.get("Type") != "CallExpr" or statement.keys() - {"Pos", "End", "Position", "Cmd"}:
        return None
    parts = [word["Parts"] for word in command.get("Args", ())]
    return [part[0].get("Value", "") if len(part) == 1 else "" for part in parts]


def _statements(text: str, dialect: str) -> list[Any]:
    run = _run([str(SHFMT), "--to-json", "-ln", dialect], text)
    if run.returncode:
        raise OracleFailed(f"shfmt says {run.stderr.decode(errors='replace')[:500]!r} of {text!r}")
    found: list[Any] = json.loads(run.stdout).get("Stmts", [])
    return found


def _sight(statements: list[Any]) -> Sight:
    nodes = list(_nodes(statements))
    commands = [node["Args"] for node in nodes if node.get("Type") == "CallExpr" and node.get("Args")]
    names = [first_word(words) for words in commands]
    live = any(node.get("Type") in ("CmdSubst", "ProcSubst") and node.get("Stmts") for node in nodes)
    return Sight(frozenset(name for name in names if name is not None), names.count(None), live)


def _nodes(statements: list[Any]) -> Iterator[dict[str, Any]]:
    """Every node at any depth."""
    left: list[Any] = list(statements)
    while left:
        node = left.pop()
        if isinstance(node, list):
            left += node
        elif isinstance(node, dict):
            left += [child for child in node.values() if isinstance(child, (dict, list))]
            yield node


def _run(command: Sequence[str], text: str) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(command, input=text.encode(), capture_output=True, env={}, cwd="/", timeout=30)
    except FileNotFoundError as error:
        raise OracleFailed(f"{command[0]} is missing: pip install shfmt-py, apt install bash") from error
