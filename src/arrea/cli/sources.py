"""Where the commands of `arrea run` come from: `-c`, `--file`, what follows `--`.

A regular file is read once and whole: what was checked is what runs. Its lines become commands only as there is
room for them, so that a million lines need no million objects. Standard input, and a file that is no regular one
(a FIFO, a device), is read as there is room.
"""

from __future__ import annotations

import io
import os
import stat

from arrea._model.checks import shown
from arrea._model.errors import RefusedCommand, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from arrea._model.errors import InvalidBatch, TaskError
    from arrea._model.task import Command, Task
    from arrea.cli.flags import Arguments

    Element = str | list[str] | Task
    Prepare = Callable[[Iterable[Element]], Iterable[Command]]

# Longer than any that the kernel would pass on (MAX_ARG_STRLEN is 131,072).
LONGEST_LINE = 1_048_576
WRONG_LINES_SHOWN = 20


class WrongLines(UsageError):
    """Commands that can't run; nothing was started. `lines`: what is wrong, a line for each of the first ones.

    refused: validation refuses at least one of them.
    """

    def __init__(self, lines: list[str], count: int, refused: bool) -> None:
        more = count - len(lines)
        self.lines = [*lines, f"and {more} more"] if more else lines
        self.refused = refused
        super().__init__("; ".join(self.lines))

    @classmethod
    def of(cls, error: InvalidBatch, place_of: Callable[[int], str]) -> WrongLines:
        """The same from what the library says about a list."""
        wrong = [f"{place_of(index)}: {problem}" for index, problem in error.errors]
        refused = any(isinstance(problem, RefusedCommand) for _, problem in error.errors)
        return cls(wrong[:WRONG_LINES_SHOWN], len(wrong), refused)


class Source:
    """The commands of one call in the order -c, --file, --.

    total: how many there are; None while nobody knows it, as with standard input.
    """

    def __init__(self, parts: Sequence[Given | File | Incoming]) -> None:
        self._parts = parts
        self.is_list = all(isinstance(part, Given) for part in parts)
        self.total = sum(1 for _ in self._elements()) if self.is_list else None

    def check(self, prepare: Prepare) -> None:
        """Looks at every command that is there already, and counts them. Raises `UsageError`, or `WrongLines`."""
        wrong = _Wrong()
        counts = [part.check(prepare, wrong) for part in self._parts]
        wrong.raise_if_any()
        self.total = None if None in counts else sum(filter(None, counts))

    def commands(self) -> list[Element] | Iterator[Element]:
        """For the engine, which checks a list whole and pulls an iterator as it has room."""
        return list(self._elements()) if self.is_list else self._elements()

    def _elements(self) -> Iterator[Element]:
        for part in self._parts:
            yield from part.elements()

    def placed(self) -> Iterator[tuple[str, str | list[str] | bytes]]:
        """Each command with its place, as messages name it. What isn't UTF-8 comes as bytes."""
        for part in self._parts:
            for number, command in part.numbered():
                yield part.place(number, command), command

    def place_of(self, index: int) -> str:
        """How messages name an element of a list."""
        return [part.place(0, element) for part in self._parts for element in part.elements()][index]


def source_of(given: Arguments) -> Source:
    """Reads files, and opens what will be read later. Raises `UsageError`."""
    parts: list[Given | File | Incoming] = []
    if given.has("--command"):
        parts.append(Given(given.all("--command")))
    parts += [_opened(path) for path in given.all("--file")]
    if given.program is not None:
        parts.append(_program(given.program))
    if not parts:
        raise UsageError("no command: give one with -c, with --file, or after --")
    return Source(parts)


def _program(words: list[str]) -> Given:
    if not words:
        raise UsageError("no program after --: arrea run -- PROG [ARGS ...]")
    return Given([words])


def _opened(path: str) -> File | Incoming:
    if path == "-":
        return Incoming(0, "standard input")
    try:
        file = open(path, "rb", buffering=0)  # noqa: SIM115 - a part may read it later
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return Incoming(file.fileno(), path, file)
        with file:
            return File(path, file.readall())
    except (OSError, ValueError) as error:  # ValueError: a NUL byte
        raise UsageError(f"--file {path}: {getattr(error, 'strerror', None) or error}") from None


# ── what is wrong ─────────────────────────────────────────────────────────────────────────────────


class _Wrong:
    """Collects what is wrong: the first lines of it, and how many there are."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._count = 0
        self._refused = False

    def add(self, place: str, problem: str, refused: bool = False) -> None:
        self._count += 1
        self._refused = self._refused or refused
        if len(self._lines) < WRONG_LINES_SHOWN:
            self._lines.append(f"{place}: {problem}")

    def raise_if_any(self) -> None:
        if self._count:
            raise WrongLines(self._lines, self._count, self._refused)


def reason_of(refusal: TaskError) -> str:
    """Why a command was refused, without its name: the place says which one it is."""
    return str(refusal).removeprefix(f"{refusal.task}: ")


class _Checking:
    """Puts the elements of a part through the check, and knows which of them the last answer is about."""

    def __init__(self, part: Given | File, prepare: Prepare, wrong: _Wrong) -> None:
        self._part = part
        self._prepare = prepare
        self._wrong = wrong
        self._place: tuple[int, Element] = (0, "")

    def count(self) -> int:
        """How many commands there are."""
        commands = 0
        for command in self._prepare(self._elements()):
            commands += 1
            if command.refusal is not None:
                refused = command.refusal.verdict is not None
                self._wrong.add(self._part.place(*self._place), reason_of(command.refusal), refused)
        return commands

    def _elements(self) -> Iterator[Element]:
        for number, element in self._part.numbered():
            if isinstance(element, bytes):
                self._wrong.add(self._part.place(number, ""), "not UTF-8")
            else:
                self._place = (number, element)
                yield element


# ── parts ─────────────────────────────────────────────────────────────────────────────────────────


class Given:
    """Commands that are words of our own command line."""

    def __init__(self, words: Sequence[str | list[str]]) -> None:
        self._words = words

    def elements(self) -> Iterator[Element]:
        return iter(self._words)

    def numbered(self) -> Iterator[tuple[int, str | list[str] | bytes]]:
        return enumerate(self._words, 1)

    def check(self, prepare: Prepare, wrong: _Wrong) -> int:
        return _Checking(self, prepare, wrong).count()

    def place(self, number: int, element: Element | bytes) -> str:
        """How messages name one.

        >>> Given([]).place(1, "make all"), Given([]).place(1, ["make", "all"])
        ("-c 'make all'", "-- ['make', 'all']")
        """
        return f"{'-c' if isinstance(element, str) else '--'} {shown(element)}"


class File:
    """A regular file: its bytes as they were read. It is split into lines anew by each who asks."""

    def __init__(self, path: str, data: bytes) -> None:
        self._path = path
        self._data = data

    def elements(self) -> Iterator[Element]:
        return (command for _, command in self.numbered() if isinstance(command, str))

    def numbered(self) -> Iterator[tuple[int, str | bytes]]:
        return commands_in(io.BytesIO(self._data))

    def check(self, prepare: Prepare, wrong: _Wrong) -> int:
        commands = _Checking(self, prepare, wrong).count()
        if not commands and not any(self.numbered()):
            raise UsageError(f"--file {self._path}: there is no command in it")
        return commands

    def place(self, number: int, element: Element | bytes) -> str:
        return f"{self._path}, line {number}"


class Incoming:
    """What somebody else still writes: its commands, each as soon as it is there and there is room for it."""

    def __init__(self, fd: int, name: str, file: object = None) -> None:
        self._fd = fd
        self._name = name
        self._file = file  # closes the descriptor when nobody needs it any more

    def check(self, prepare: Prepare, wrong: _Wrong) -> None:
        """Nobody knows yet what will come."""

    def elements(self) -> Iterator[Element]:
        for number, command in self.numbered():
            yield command if isinstance(command, str) else self._no_text(number, command)

    def numbered(self) -> Iterator[tuple[int, str | bytes]]:
        number = 1
        for lines in self._lines():
            yield from commands_in(lines, number)
            number += len(lines)

    def _no_text(self, number: int, line: bytes) -> Task:
        """Refused as every wrong element: a failed result, whose name says what is wrong where."""
        from arrea._model.task import Task

        return Task(line, label=f"{self._name}, line {number}: not UTF-8")  # type: ignore[arg-type]

    def place(self, number: int, element: Element | bytes) -> str:
        return f"{self._name}, line {number}"

    def _lines(self) -> Iterator[list[bytes]]:
        """The whole lines of what comes at once."""
        rest = b""
        while data := self._read():
            *lines, rest = (rest + data).split(b"\n")
            if len(rest) > LONGEST_LINE:
                raise UsageError(f"{self._name}: a line of more than {LONGEST_LINE} bytes can't be a command")
            yield lines
        yield [rest]

    def _read(self) -> bytes:
        while True:
            try:
                return os.read(self._fd, 65_536)
            except BlockingIOError:  # somebody who shares it made it non-blocking
                _wait_for(self._fd)
            except OSError as error:
                raise UsageError(f"{self._name}: {error.strerror}") from None


def _wait_for(fd: int) -> None:
    import select

    poll = select.poll()
    poll.register(fd, select.POLLIN)
    poll.poll()


def commands_in(lines: Iterable[bytes], first: int = 1) -> Iterator[tuple[int, str | bytes]]:
    r"""A command a line, with its number; blank lines, and lines that begin with #, are none.

    What isn't UTF-8 comes as the bytes that it is.

    >>> list(commands_in([b"make\r\n", b"# no", b"\xff"]))
    [(1, 'make'), (3, b'\xff')]
    """
    for number, line in enumerate(lines, first):
        try:
            command = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError:
            yield number, line
            continue
        if command.strip() and not command.lstrip().startswith("#"):
            yield number, command
