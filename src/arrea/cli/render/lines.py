"""Output line by line, while the commands run: each line as soon as it is whole, never mixed with another.

Given the pieces of output as they come (on a thread of the batch's own) and results (on the screen's thread); all
pieces of a command come before its result. Lines may be of any length, as long as the unfinished ones of all
commands together are at most `MOST_HELD_BYTES`. Beyond that the longest is written as far as it is there; if a line
of another command comes before the rest of it, a newline is put between.
"""

from __future__ import annotations

import _thread

from arrea._model.text import in_quotes
from arrea.cli.render.grouped import Nothing
from arrea.cli.render.tags import between, tag_of
from arrea.cli.streams import STDERR, STDOUT, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Protocol

    from arrea._model.result import Result
    from arrea.cli.sources import Element

    class Printed(Protocol):
        """What a command wrote at once. `attempt` counts from 1; `stream`: "stdout" or "stderr"."""

        @property
        def index(self) -> int: ...
        @property
        def attempt(self) -> int: ...
        @property
        def stream(self) -> str: ...
        @property
        def chunk(self) -> bytes: ...


MOST_HELD_BYTES = 64 * 2**20
STREAMS = {"stdout": STDOUT, "stderr": STDERR}


class Unfinished:
    """The line that a command is writing to one of its streams, as far as it isn't shown yet."""

    __slots__ = ("attempt", "fd", "held", "tag")

    def __init__(self, fd: int, attempt: int, tag: bytes) -> None:
        self.fd = fd
        self.attempt = attempt
        self.tag = tag
        self.held = bytearray()


class Lines(Nothing):
    """Shows lines; with `tags`, the command's name before each.

    `failed` is told, once, why nothing more can be written; what comes after that is dropped, so that nobody waits.
    """

    def __init__(self, failed: Callable[[OSError], object], *, tags: bool) -> None:
        self._failed = failed
        self._tags = tags
        self._names: dict[int, str] = {}  # of the commands that aren't over, by their index
        self.options = {"on_output": self.printed}
        self._lock = _thread.allocate_lock()
        self._lines: dict[tuple[int, str], Unfinished] = {}
        self._held_bytes = 0
        self._begun: dict[int, Unfinished | None] = {STDOUT: None, STDERR: None}  # written in part
        self._dropping = False

    def fed(self, commands: list[Element] | Iterator[Element]) -> list[Element] | Iterator[Element]:
        if not self._tags:
            return commands
        named = self._named(commands)
        return list(named) if isinstance(commands, list) else named

    def _named(self, commands: Iterable[Element]) -> Iterator[Element]:
        """The same commands; a name is known before the engine gets its command."""
        for index, command in enumerate(commands):
            self._names[index] = _name(command)
            yield command

    # ── on the batch's thread ─────────────────────────────────────────────────────────────────────

    def printed(self, event: Printed) -> None:
        """The next piece of output of a command."""
        if self._dropping:
            return
        try:
            with self._lock:
                self._take(event)
        except OSError as error:
            self._dropping = True
            self._failed(error)

    def _take(self, event: Printed) -> None:
        line = self._line_of(event)
        end = event.chunk.rfind(b"\n") + 1
        if end:
            self._write(line, memoryview(event.chunk)[:end])
        line.held += memoryview(event.chunk)[end:]
        self._held_bytes += len(event.chunk) - end
        if self._held_bytes > MOST_HELD_BYTES:
            self._write(max(self._lines.values(), key=lambda line: len(line.held)))

    def _line_of(self, event: Printed) -> Unfinished:
        """What it goes on with. The next attempt doesn't go on with the line of the one before."""
        key = (event.index, event.stream)
        line = self._lines.get(key)
        if line is not None and line.attempt != event.attempt:
            self._end(line)
            line.attempt = event.attempt
        if line is None:
            line = self._lines[key] = Unfinished(STREAMS[event.stream], event.attempt, self._tag(event.index))
        return line

    def _tag(self, index: int) -> bytes:
        return tag_of(self._names[index]) if self._tags else b""

    # ── on the screen's thread ────────────────────────────────────────────────────────────────────

    def show(self, result: Result) -> bool:
        """The command is over: what it left without a newline gets one."""
        with self._lock:
            for stream in STREAMS:
                line = self._lines.pop((result.index, stream), None)
                if line is not None and not self._dropping:
                    self._end(line)
        self._names.pop(result.index, None)
        return True

    # ── writing ───────────────────────────────────────────────────────────────────────────────────

    def _end(self, line: Unfinished) -> None:
        if line.held or self._begun[line.fd] is line:
            self._write(line, b"\n")

    def _write(self, line: Unfinished, ended: bytes | memoryview = b"") -> None:
        """What is held of a line, and what ends it: whole lines, or nothing."""
        held, line.held = line.held, bytearray()
        self._held_bytes -= len(held)
        write(line.fd, self._before(line), held, between(line.tag, bytes(ended)) if line.tag else ended)
        self._begun[line.fd] = None if ended else line

    def _before(self, line: Unfinished) -> bytes:
        begun = self._begun[line.fd]
        if begun is line:
            return b""
        return line.tag if begun is None else b"\n" + line.tag


def _name(command: Element) -> str:
    return " ".join(map(in_quotes, command)) if isinstance(command, list) else str(command)
