"""What a call in a worker process finds around it: directory, environment, import path, and where its output goes.

They are the host's, as they were when the batch was submitted, at the beginning of each call: whatever the last one
did to them.
"""

from __future__ import annotations

import os
import sys

HIGHEST = 1000


def lifted(fd: int) -> int:
    """The same file by a number that hardly anybody closes by the way, or gets for a file of his own."""
    from fcntl import F_DUPFD_CLOEXEC, fcntl
    from resource import RLIMIT_NOFILE, getrlimit

    soft, _ = getrlimit(RLIMIT_NOFILE)
    high = fcntl(fd, F_DUPFD_CLOEXEC, max(3, min(HIGHEST, soft - 24 if soft > 0 else HIGHEST)))
    os.close(fd)
    return high


class Surroundings:
    """Directory, environment, import path and output of the host, as they were when the batch was submitted."""

    def __init__(self) -> None:
        self._directory = -1
        self._path = "/"
        self._variables: dict[bytes, bytes] | None = None
        self._own = {name: os.environ[name] for name in ("ARREA_TASK", "ARREA_ATTEMPT")}

    def change(self, told: tuple[str, dict[str, str], list[str], list[str]], outputs: list[int]) -> None:
        self._path, variables, sys.path[:], sys.argv[:] = told
        for own, fd in zip((1, 2), outputs, strict=False):
            os.dup2(fd, own)
        close_all(outputs)
        if self._directory >= 0:
            os.close(self._directory)
        self._directory = -1
        self._set_variables({**variables, **self._own})

    def _set_variables(self, variables: dict[str, str]) -> None:
        for name in [name for name in os.environ if name not in variables]:
            del os.environ[name]
        os.environ.update(variables)
        self._variables = dict(os.environ._data)  # type: ignore[attr-defined]

    def restore(self) -> None:
        """Before each call: the last one may have changed them."""
        try:
            os.fchdir(self._directory)
        except (OSError, ValueError):  # closed by a function; not open yet
            os.chdir(self._path)
            self._open_directory()
        if self._variables is not None and os.environ._data != self._variables:  # type: ignore[attr-defined]
            self._set_variables(
                {os.fsdecode(name): os.fsdecode(value) for name, value in self._variables.items()}
            )

    def _open_directory(self) -> None:
        fd = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._directory = lifted(fd)


def close_all(descriptors: list[int]) -> None:
    for fd in descriptors:
        os.close(fd)
