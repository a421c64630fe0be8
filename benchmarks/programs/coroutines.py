"""Runs the lines of standard input with asyncio's subprocesses: `coroutines.py WORKERS < lines`."""

import asyncio
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Iterator


async def work(lines: Iterator[tuple[int, str]], outputs: list[bytes]) -> None:
    for number, line in lines:
        process = await asyncio.create_subprocess_exec(
            "/bin/sh", "-c", line, stdin=DEVNULL, stdout=PIPE, stderr=PIPE
        )
        outputs[number], _ = await process.communicate()
        assert process.returncode == 0


async def main(workers: int, lines: list[str]) -> None:
    outputs = [b""] * len(lines)
    rest = iter(enumerate(lines))
    await asyncio.gather(*(work(rest, outputs) for _ in range(workers)))
    sys.stdout.buffer.writelines(outputs)


asyncio.run(main(int(sys.argv[1]), sys.stdin.read().splitlines()))
