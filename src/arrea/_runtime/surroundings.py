"""What a call in a worker process finds around it: directory, environment, import path, and where its output goes.

They are the host's, as they were when the batch was submitted, at the beginning of each call: whatever the last one
did to them. The objects in `sys.stdin`, `sys.stdout`, `sys.stderr` and `os.environ` are the process's own then, too,
and so is what SIGTERM and SIGALRM do.
"""

from __future__ import annotations

import os
import sys
from _signal import ITIMER_REAL, SIG_DFL, SIGALRM, SIGTERM, getsignal, setitimer, signal
from contextlib import suppress
from time import tzset

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HIGHEST, ROOM = 1000, 24


def lifted(fd: int) -> int:
    """The same file by a number that hardly anybody closes by the way, or gets for a file of his own.

    By the number that it has, where there is no such one.
    """
    from fcntl import F_DUPFD_CLOEXEC, fcntl
    from resource import RLIMIT_NOFILE, getrlimit

    soft, _ = getrlimit(RLIMIT_NOFILE)
    lowest = max(3, min(HIGHEST, soft - ROOM if soft > 0 else HIGHEST))
    try:
        high = fcntl(fd, F_DUPFD_CLOEXEC, lowest)
    except (OSError, ValueError):
        return fd
    os.close(fd)
    return high


class Watched(dict[bytes, bytes]):
    """What `os.environ` keeps its variables in: to ask whether it changed is quicker than to compare it, each time."""

    changed = False

    def __setitem__(self, name: bytes, value: bytes) -> None:
        self.changed = True
        super().__setitem__(name, value)

    def __delitem__(self, name: bytes) -> None:
        self.changed = True
        super().__delitem__(name)


class Surroundings:
    """Directory, environment, import path and output of the host, as they were when the batch was submitted."""

    def __init__(self) -> None:
        self._directory = -1
        self._cwd = "/"
        self._import_path, self._arguments = list(sys.path), list(sys.argv)
        self._stdin = sys.stdin
        self._stdout: Any = sys.stdout or open(os.devnull, "w")  # noqa: SIM115 - as long as the process
        self._stderr: Any = sys.stderr or self._stdout
        self._use_streams()
        self._on_term, self._on_alarm = getsignal(SIGTERM), getsignal(SIGALRM)
        self._environ: Any = os.environ
        self._data = self._environ._data = os.environb._data = Watched(self._environ._data)  # type: ignore[attr-defined]
        self._variables = dict(self._data)
        self._own = {name: os.environ[name] for name in ("ARREA_TASK", "ARREA_ATTEMPT")}

    def change(self, told: tuple[str, dict[str, str], list[str], list[str]], outputs: list[int]) -> None:
        self._cwd, variables, path, self._arguments = told
        self._set_import_path(path)
        for own, fd in zip((1, 2), outputs, strict=False):
            os.dup2(fd, own)
        close_all(outputs)
        with suppress(OSError):  # not open yet; closed by a function
            os.close(self._directory)
        self._directory = -1
        self._set_variables({**variables, **self._own})

    def _set_variables(self, variables: dict[str, str]) -> None:
        environ = self._environ
        for name in [name for name in environ if name not in variables]:
            del environ[name]
        environ.update(variables)
        self._variables, self._data.changed = dict(self._data), False
        tzset()  # which reads TZ, as nobody does by himself

    def _set_import_path(self, path: list[str]) -> None:
        """What was put into it over here stays: modules that are here may need it, and won't put it there again."""
        own: list[str] = []
        with suppress(Exception):  # somebody put something else in its place
            own = [place for place in sys.path if place not in self._import_path and place not in path]
        self._import_path = path
        sys.path = path + own
        _forget_missing_places()

    def restore(self) -> None:
        """Before each call: the last one may have changed them."""
        environ = self._environ
        if os.environ is not environ:
            os.environ = environ  # noqa: B003 - it is the one that does
        try:
            os.fchdir(self._directory)
        except (OSError, ValueError):  # closed by a function; not open yet
            os.chdir(self._cwd)
            self._open_directory()
        if sys.argv != self._arguments:
            sys.argv = list(self._arguments)
        if sys.stdin is not self._stdin:
            sys.stdin = self._stdin
        if self._data.changed:
            self._set_variables(
                {os.fsdecode(name): os.fsdecode(value) for name, value in self._variables.items()}
            )

    def _open_directory(self) -> None:
        fd = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._directory = lifted(fd)

    def leave(self) -> None:
        """At the end of a call: what it printed is out before its result is, as far as that can be."""
        if getsignal(SIGTERM) is not self._on_term or getsignal(SIGALRM) is not self._on_alarm:
            self._mend_signals()
        try:
            if sys.stdout is self._stdout and sys.stderr is self._stderr:
                self._flush_out()
                self._flush_err()
            else:
                self._mend_streams()
        except Exception:  # noqa: BLE001 - closed, detached, deleted; or nobody reads it
            self._mend_streams()

    def _mend_signals(self) -> None:
        """What ends the process, and what would interrupt it in the middle of another call."""
        setitimer(ITIMER_REAL, 0)
        for number, handler in ((SIGTERM, self._on_term), (SIGALRM, self._on_alarm)):
            signal(number, SIG_DFL if handler is None else handler)

    def _mend_streams(self) -> None:
        """A function put others in their places, or did something to them."""
        for name in ("stdout", "stderr"):
            with suppress(BaseException):  # it may be anything
                getattr(sys, name).flush()
        self._stdout, self._stderr = _sound(self._stdout, 1), _sound(self._stderr, 2)
        self._use_streams()

    def _use_streams(self) -> None:
        for name, stream in (("stdout", self._stdout), ("stderr", self._stderr)):
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)
        self._flush_out, self._flush_err = self._stdout.flush, self._stderr.flush


def _forget_missing_places() -> None:
    """Places that were looked for once and weren't there are looked for again: they may be by now."""
    for place in [place for place, finder in sys.path_importer_cache.items() if finder is None]:
        sys.path_importer_cache.pop(place, None)


def close_all(descriptors: list[int]) -> None:
    for fd in descriptors:
        os.close(fd)


def _sound(stream: Any, fd: int) -> Any:
    """The stream, flushed; another one like it if a function closed it, or took its buffer away."""
    try:
        stream.flush()
    except ValueError:
        lines = 1 if stream.line_buffering else -1
        return open(fd, "w", lines, encoding=stream.encoding, errors=stream.errors, closefd=False)
    except OSError:  # nobody reads it
        return stream
    return stream
