"""Where the commands of `arrea run` come from: `-c`, `--file`, what follows `--`.

A regular file is read once and whole: what was checked is what runs. Standard input is read as there is room.
"""

from __future__ import annotations

import sys

from arrea._model.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO

    from arrea.cli.flags import Arguments

    Source = list[str | list[str]] | Iterator[str | list[str]]


def commands_of(given: Arguments) -> Source:
    """All commands in the order -c, --file, --. An iterator if standard input is among them.

    Raises `UsageError` naming the file and the line.
    """
    listed: list[str | list[str]] = list(given.all("--command"))
    if given.program is not None:
        _check_program(given.program)
    last: list[str | list[str]] = [] if given.program is None else [given.program]
    files = given.all("--file")
    if "-" in files:
        return _lazily(listed, files, last)
    for path in files:
        listed += _lines_of_file(path)
    listed += last
    if not listed:
        raise UsageError("no command: give one with -c, with --file, or after --")
    return listed


def _check_program(program: list[str]) -> None:
    if not program:
        raise UsageError("no program after --: arrea run -- PROG [ARGS ...]")


def _lazily(
    first: list[str | list[str]], files: list[str], last: list[str | list[str]]
) -> Iterator[str | list[str]]:
    """Files are read, and their faults found, before standard input is waited for."""
    read = {path: _lines_of_file(path) for path in files if path != "-"}
    return _chain(first, files, read, last)


def _chain(
    first: list[str | list[str]], files: list[str], read: dict[str, list[str]], last: list[str | list[str]]
) -> Iterator[str | list[str]]:
    yield from first
    for path in files:
        yield from _lines(sys.stdin.buffer, "standard input") if path == "-" else read[path]
    yield from last


def _lines_of_file(path: str) -> list[str]:
    try:
        with open(path, "rb") as file:
            lines = list(_lines(file, path))
    except OSError as error:
        raise UsageError(f"--file {path}: {error.strerror}") from None
    if not lines:
        raise UsageError(f"--file {path}: there is no command in it")
    return lines


def _lines(file: IO[bytes], name: str) -> Iterator[str]:
    """A command a line; blank lines, and lines that begin with #, are none."""
    for number, line in enumerate(file, 1):
        try:
            command = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError:
            raise UsageError(f"{name}, line {number}: not UTF-8") from None
        if command.strip() and not command.lstrip().startswith("#"):
            yield command
