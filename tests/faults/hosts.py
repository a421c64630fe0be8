"""Programs that use Arrea, each in a process of its own, so that what happens to them happens to nobody else."""

import os
import signal
import subprocess
import sys
import time
from types import TracebackType

# What a host finds at hand. The mark is in its environment, so whatever it leaves behind is seen.
PRELUDE = """
import os, signal, sys, threading, time
import arrea
MARK = os.environ["ARREA_CHAOS"]
NAP = ["sleep", MARK]  # it lasts for hours, and its command line holds the mark

def status(field):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(field + ":"))

def say(*words):
    print(*words, flush=True)

def pause():
    sys.stdin.readline()
"""


class Host:
    """A Python program that runs `script`; ended with whatever it started if a test leaves it.

    In development mode, and with warnings as errors: what it forgets to close or to await is seen on its stderr.
    """

    def __init__(self, mark: str, script: str, *, dev: bool = True) -> None:
        options = ["-X", "dev", "-W", "error"] if dev else []
        self._process = subprocess.Popen(
            [sys.executable, *options, "-c", PRELUDE + script],
            stdin=subprocess.PIPE,  # open, and nothing comes: what reads it hangs
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "ARREA_CHAOS": mark},
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def line(self) -> str:
        """The next line that it says."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def go_on(self) -> None:
        """Gives it a line, for which it waits with `pause()`."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def end(self, within: float) -> "Ended":
        """Waits until it has exited. The time counts from now."""
        began = time.monotonic()
        try:
            self._process.wait(within)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise AssertionError(f"it didn't end within {within} s: {self._rest(0.0)}") from None
        return self._rest(time.monotonic() - began)

    def _rest(self, took: float) -> "Ended":
        # Not `communicate`: it doesn't know what `readline` has read ahead.
        out, err = self._process.stdout, self._process.stderr
        assert out is not None and err is not None
        return Ended(self._process.wait(), out.read(), err.read(), took)

    def __enter__(self) -> "Host":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()
        self._process.wait()


class Ended:
    """How a host ended. out: the lines that it said and nobody took yet. took: seconds that were waited."""

    def __init__(self, code: int, out: str, err: str, took: float) -> None:
        self.code = code
        self.out = out.splitlines()
        self.err = err
        self.took = took

    def __repr__(self) -> str:
        return f"<code {self.code}, {self.took:.2f} s, out {self.out}, err {self.err}>"


def run_host(mark: str, script: str, *, within: float = 20.0, dev: bool = True) -> Ended:
    """Runs a host to its end, which must be a good one: code 0 and nothing on stderr."""
    with Host(mark, script, dev=dev) as host:
        ended = host.end(within)
    assert (ended.code, ended.err) == (0, ""), ended
    return ended
