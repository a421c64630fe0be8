"""The installed command as a real process: run to its end, or started and met with signals."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from tests.support import marked_survivors, wait_until

ARREA = str(Path(sys.executable).parent / "arrea")
# kill_grace and a second, the promise; and as much again for a machine that has other things to do.
GRACE_AND_A_SECOND = 3.0
SLACK = 2.0


class Ran(NamedTuple):
    """What became of it. `code` is negative when a signal ended it."""

    code: int
    out: bytes
    err: str
    seconds: float


def arrea(*args: str, **options: Any) -> Ran:
    """`arrea` with these arguments; fails if anything is left running or it shows a traceback."""
    return run([ARREA, *args], **options)


def shell(line: str, args: Sequence[str] = (), **options: Any) -> Ran:
    """A line of bash in which $ARREA is the command, and "$@" are `args`."""
    return run(["bash", "-c", line, "bash", *args], **options)


def run(
    words: list[str],
    *,
    stdin: bytes | None = b"",
    env: Mapping[str, str] | None = None,
    timeout: float = 40,
    checked: bool = True,
    **options: Any,
) -> Ran:
    """`checked`: nothing of it may run on."""
    mark = uuid.uuid4().hex
    began = time.monotonic()
    done = subprocess.run(
        words, input=stdin, env=_environment(mark, env), timeout=timeout, capture_output=True,
        start_new_session=True, check=False, **options,
    )  # fmt: skip
    ran = Ran(done.returncode, done.stdout, done.stderr.decode("utf-8", "replace"), time.monotonic() - began)
    if checked:
        assert_clean(mark, ran.err)
    return ran


def assert_clean(mark: str, err: str) -> None:
    """Nothing of it runs any more, and it said nothing that only a programmer could read."""
    assert wait_until(lambda: not marked_survivors(mark), 1.0), marked_survivors(mark)
    for word in ("Traceback", "Exception ignored", "Fatal Python error"):
        assert word not in err, err


def _environment(mark: str, env: Mapping[str, str] | None) -> dict[str, str]:
    return {**os.environ, "ARREA": ARREA, "DOOR_MARK": mark, **(env or {})}


class Started:
    """A running `arrea`: `signal` it, then `end` tells what became of it."""

    def __init__(self, words: list[str], mark: str, **options: Any) -> None:
        self.mark = mark
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        given = {**pipes, "start_new_session": True, **options}
        self.process = subprocess.Popen(words, env=_environment(mark, None), **given)
        self.signalled_at = time.monotonic()

    def signal(self, number: int) -> None:
        self.signalled_at = time.monotonic()
        self.process.send_signal(number)

    def end(self, timeout: float = 30) -> Ran:
        """`seconds` counts from the last signal."""
        out, err = self.process.communicate(timeout=timeout)
        ran = Ran(
            self.process.returncode, out or b"", (err or b"").decode(), time.monotonic() - self.signalled_at
        )
        assert_clean(self.mark, ran.err)
        return ran


@contextmanager
def started(*args: str, before: tuple[str, ...] = (), **options: Any) -> Iterator[Started]:
    """`arrea` with these arguments, started; killed with all that it started if the test doesn't end it."""
    running = Started([*before, ARREA, *args], uuid.uuid4().hex, **options)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.process.kill()
            running.process.communicate()
        for line in marked_survivors(running.mark):
            with suppress(ProcessLookupError):
                os.kill(int(line.split()[0]), signal.SIGKILL)
