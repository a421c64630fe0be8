"""Whom Arrea is measured against: for lines of commands, the programs that run them, and how they are called."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
PYTHON = sys.executable
ARREA = str(Path(PYTHON).parent / "arrea")
LIMIT, XARGS, GNU, MOREUTILS = "C limit", "xargs -P", "GNU parallel -k", "moreutils parallel"
THREADS, ASYNCIO = "subprocess + threads", "asyncio"


@cache
def limit_program() -> str | None:
    """The path of the compiled `limit.c`; None where there is no compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    program = str(Path(tempfile.mkdtemp(prefix="arrea-bench-")) / "limit")
    subprocess.run([compiler, "-O2", "-pthread", "-o", program, str(HERE / "limit.c")], check=True)
    return program


def script(name: str, *words: object) -> list[str]:
    return [PYTHON, str(HERE / "programs" / name), *map(str, words)]


def of_lines(workers: int) -> dict[str, list[str] | None]:
    """Who takes lines from standard input and prints their output in order; None for one that isn't installed."""
    return {
        LIMIT: _call(limit_program(), str(workers)),
        GNU: _call(shutil.which("parallel"), "--will-cite", "-k", f"-j{workers}"),
        THREADS: script("threads.py", workers),
        ASYNCIO: script("coroutines.py", workers),
    }


def of_arguments(workers: int, shell_line: str) -> dict[str, list[str] | None]:
    """Who puts each line of standard input in the place of `{}`; in no order."""
    return {XARGS: _call(shutil.which("xargs"), "-P", str(workers), "-I", "{}", "sh", "-c", shell_line)}


def moreutils(workers: int, shell_line: str, arguments: list[str]) -> list[str] | None:
    """Takes its arguments on the command line. Where GNU parallel is installed too, it has a name of its own.

    It may end before all that was printed is written; who reads it through a pipe sees the end of that.
    """
    program = shutil.which("parallel.moreutils")
    whole = _call(shutil.which("sh"), "-c", '"$@" | cat', "sh")
    call = _call(program, "-j", str(workers), "-i", "sh", "-c", shell_line, "--", *arguments)
    return whole + call if whole and call else None


def _call(program: str | None, *words: str) -> list[str] | None:
    return None if program is None else [program, *words]
