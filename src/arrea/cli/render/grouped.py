"""The output of each command whole, in one piece and untouched, when the command is over; or none of it."""

from __future__ import annotations

from arrea.cli.streams import STDERR, STDOUT, WRITTEN_TOGETHER_BYTES, Together, write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from arrea._model.result import Output, Result
    from arrea.cli.sources import Element


class Nothing:
    """Shows no output: it isn't wanted, or the command writes it itself."""

    options: Mapping[str, Any] = {}
    wants_all = False

    def fed(self, commands: list[Element] | Iterator[Element]) -> list[Element] | Iterator[Element]:
        return commands

    def show(self, result: Result) -> bool:
        return True

    def flush(self) -> None:
        """There is nothing."""


class Grouped(Nothing):
    """Shows each command's output when it is handed the result."""

    def __init__(self) -> None:
        self._stdout = Together()

    def show(self, result: Result) -> bool:
        output = result.data
        if output is None:
            return True
        self._show_stdout(output)
        if output.stderr_total_bytes:
            self._write(STDERR, output.stderr_chunks())
        return not output.truncated

    def _show_stdout(self, output: Output) -> None:
        if output.stdout_total_bytes <= WRITTEN_TOGETHER_BYTES:
            self._stdout.put(output.stdout_bytes)
        else:
            self._write(STDOUT, output.stdout_chunks())

    def _write(self, fd: int, chunks: Iterator[bytes]) -> None:
        self.flush()
        write_all(fd, chunks)

    def flush(self) -> None:
        self._stdout.flush()


class Tagged(Grouped):
    """The same with the command's name before each line."""

    def show(self, result: Result) -> bool:
        from arrea.cli.render.tags import tag_of, tagged

        output = result.data
        if output is None:
            return True
        tag = tag_of(result.command)
        for piece in tagged(tag, output.stdout_chunks()):
            self._stdout.put(piece)
        if output.stderr_total_bytes:
            self._write(STDERR, tagged(tag, output.stderr_chunks()))
        return not output.truncated
