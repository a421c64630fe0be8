"""Where the commands of `arrea run` come from: `-c`, `--file`, what follows `--`.

A regular file is read once and whole: what was checked is what runs. Standard input is read as there is room.
"""

from __future__ import annotations

import os

from arrea._model.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from arrea.cli.flags import Arguments

    Source = list[str | list[str]] | Iterator[str | list[str]]


# Longer than any that the kernel would pass on (MAX_ARG_STRLEN is 131,072).
LONGEST_LINE = 1_048_576


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
        yield from _standard_input() if path == "-" else read[path]
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


def _standard_input() -> Iterator[str]:
    """Its commands, each as soon as it is there."""
    number = 1
    for lines in _incoming():
        yield from _lines(lines, "standard input", number)
        number += len(lines)


def _incoming() -> Iterator[list[bytes]]:
    """The whole lines of what comes at once."""
    rest = b""
    while data := _read():
        *lines, rest = (rest + data).split(b"\n")
        if len(rest) > LONGEST_LINE:
            raise UsageError(f"standard input: a line of more than {LONGEST_LINE} bytes can't be a command")
        yield lines
    yield [rest]


def _read() -> bytes:
    while True:
        try:
            return os.read(0, 65_536)
        except BlockingIOError:  # somebody who shares it made it non-blocking
            _wait_for_input()
        except OSError as error:
            raise UsageError(f"standard input: {error.strerror}") from None


def _wait_for_input() -> None:
    import select

    poll = select.poll()
    poll.register(0, select.POLLIN)
    poll.poll()


def _lines(file: Iterable[bytes], name: str, first: int = 1) -> Iterator[str]:
    """A command a line; blank lines, and lines that begin with #, are none."""
    for number, line in enumerate(file, first):
        try:
            command = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError:
            raise UsageError(f"{name}, line {number}: not UTF-8") from None
        if command.strip() and not command.lstrip().startswith("#"):
            yield command
