"""A pseudo-terminal with `arrea` in its foreground."""

import os
import pty
import select
import signal
import time
from collections.abc import Mapping, Sequence

from tests.cli.door import ARREA


class Terminal:
    """Type with `type`, read with `read_until`; `end` waits and hands back the wait status as `Popen` would."""

    def __init__(
        self, *args: str, env: Mapping[str, str] | None = None, program: Sequence[str] = (ARREA,)
    ) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execvpe(program[0], [*program, *args], {**os.environ, "ARREA": ARREA, **(env or {})})
        self.text = ""

    def type(self, keys: str) -> None:
        os.write(self.fd, keys.encode())

    def read_until(self, word: str, timeout: float = 10) -> bool:
        until = time.monotonic() + timeout
        while word not in self.text:
            if not self._wait(until) or not self._read():
                return word in self.text
        return True

    def hang_up(self) -> None:
        """The window is closed: the kernel sends SIGHUP to the foreground."""
        os.close(self.fd)
        self.fd = -1

    def _wait(self, until: float) -> bool:
        return bool(select.select([self.fd], [], [], max(0.0, until - time.monotonic()))[0])

    def _read(self) -> bool:
        try:
            data = os.read(self.fd, 65_536)
        except OSError:  # EIO: nobody has the other end open any more
            return False
        self.text += data.decode("utf-8", "replace")
        return bool(data)

    def end(self, timeout: float = 15) -> int:
        until = time.monotonic() + timeout
        while self.fd >= 0 and self._wait(until) and self._read():
            continue
        if self.fd >= 0:
            os.close(self.fd)
        if time.monotonic() >= until:
            os.kill(self.pid, signal.SIGKILL)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
