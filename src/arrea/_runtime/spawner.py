"""Spawner threads: they make the one call that blocks, starting a process, and hand back what came of it.

Given a `Spawn` effect: opens the pipes, starts the process, opens its pidfd. Hands back a `Child`, or the
error, through `deliver`. A thread is worth having because the call holds no interpreter lock: while one
waits for a child to exec, the reactor reads and another starts the next.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from _queue import SimpleQueue
from fcntl import F_SETFL, fcntl
from resource import RLIMIT_NOFILE, RUSAGE_SELF, getrlimit, getrusage, setrlimit

from arrea._model.step import SpawnFailed
from arrea._runtime.child import Child, task_of
from arrea._runtime.environment import Environment
from arrea._runtime.family import SIGKILL
from arrea._runtime.spawn import find_program, resolve_program, spawn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from arrea._model.step import Spawn
    from arrea._model.task import Command, Variables
    from arrea._runtime.environment import Marks
    from arrea._runtime.guardian import Guardian

TRANSIENT = (errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOMEM)
PIDFD_WITHIN_S = 5.0
NO_THREAD = OSError(errno.EAGAIN, "can't start a thread")


class Spawners:
    """Up to `most` threads that start processes, one more whenever all are busy.

    guardian: is started before the first process, and notes each.
    From these threads `started` is called with a `Child`, or `failed` with a `SpawnFailed`; the other methods are
    for the reactor's thread only. pending: starts that were asked for and not delivered yet.
    """

    def __init__(
        self,
        most: int,
        started: Callable[[Child], None],
        failed: Callable[[SpawnFailed], None],
        clock: Callable[[], float],
        guardian: Guardian,
    ) -> None:
        self._most = most
        self._started = started
        self._failed = failed
        self._clock = clock
        self._guardian = guardian
        self._requests: SimpleQueue[tuple[Spawn, int] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self.pending = 0

    def start(self, request: Spawn, row: int) -> None:
        """`row`: where the guardian's roster has it."""
        self.pending += 1
        if self.pending > len(self._threads) < self._most and not self._add_thread() and not self._threads:
            self._failed(SpawnFailed(request.attempt, NO_THREAD, transient=True))
            return
        self._requests.put((request, row))

    @property
    def is_own_thread(self) -> bool:
        return threading.current_thread() in self._threads

    def delivered(self) -> None:
        """The reactor took what became of a start."""
        self.pending -= 1

    def stop(self) -> None:
        for _ in self._threads:
            self._requests.put(None)

    def join(self, seconds: float) -> None:
        for thread in self._threads:
            thread.join(seconds)

    def _add_thread(self) -> bool:
        thread = threading.Thread(target=self._run, name="arrea-spawner", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # "can't start new thread": the limit of processes counts threads too
            return False
        self._threads.append(thread)
        return True

    def _run(self) -> None:
        while (wanted := self._requests.get()) is not None:
            request, row = wanted
            try:
                self._guardian.start()
                child = launch(request, self._clock)
                self._guardian.roster.started(row, child.pid)
                self._started(child)
            except OSError as error:
                self._failed(SpawnFailed(request.attempt, error, error.errno in TRANSIENT))
            except Exception as error:  # noqa: BLE001 - whatever it is, the task must not be lost
                reason = OSError(errno.EINVAL, f"{type(error).__name__}: {error}")
                self._failed(SpawnFailed(request.attempt, reason, transient=False))


def launch(request: Spawn, clock: Callable[[], float]) -> Child:
    """Starts the process of an attempt. On failure nothing is left open."""
    try:
        return _launch(request, clock)
    except OSError as error:
        if error.errno != errno.EMFILE or not _raise_limit():
            raise
    return _launch(request, clock)


def _launch(request: Spawn, clock: Callable[[], float]) -> Child:
    opened: list[int] = []
    try:
        stdin = _open_stdin(request.command, opened)
        out_fd, child_out = _open_pipe(request.command, 1, opened)
        err_fd, child_err = _open_pipe(request.command, 2, opened)
        marks = _marks(request)
        started_at, peak = clock(), getrusage(RUSAGE_SELF).ru_maxrss
        fds = (stdin, child_out, child_err)
        pid = _spawn_direct(request.command, marks, fds) or _spawn(request.command, marks, fds)
    except BaseException:
        _close(opened)
        raise
    opened = [fd for fd in opened if fd != out_fd and fd != err_fd]
    _close(opened)
    return Child(request, pid, _pidfd(pid, out_fd, err_fd), out_fd, err_fd, marks, started_at, peak)


def _spawn(command: Command, marks: Marks, fds: tuple[int, int, int]) -> int:
    environment = _environment(command.settings.variables)
    cwd = command.settings.cwd
    path = resolve_program(command.argv[0], environment.get("PATH"), cwd)
    argv = [os.fsencode(word) for word in command.argv]
    try:
        return _start(path, argv, environment, marks, cwd, fds)
    except FileNotFoundError:  # it may have moved within PATH since it was found
        again = resolve_program(command.argv[0], environment.get("PATH"), cwd)
        if again == path:
            raise
        return _start(again, argv, environment, marks, cwd, fds)


def _start(
    path: str,
    argv: list[bytes],
    environment: Environment,
    marks: Marks,
    cwd: str | None,
    fds: tuple[int, int, int],
    own: bytes | None = None,
) -> int:
    """own: an entry that only this program's environment has."""
    block = environment.borrow(marks) if own is None else environment.block((*marks, own))
    try:
        return spawn(path, argv, block, cwd, *fds)
    finally:
        environment.give_back(block)


def _spawn_direct(command: Command, marks: Marks, fds: tuple[int, int, int]) -> int:
    """A plain line without its shell; 0 where that must have it, to say what is wrong in its own words."""
    direct, settings = command.direct, command.settings
    if direct is None:
        return 0
    environment = _environment(settings.variables)
    if not _is_in(environment.get("PWD"), settings.cwd):
        return 0  # the host went elsewhere since the line was looked at
    argv = [os.fsencode(word) for word in direct.words]
    try:
        # Not from memory: a new shell would look for it anew.
        path = find_program(direct.words[0], environment.get("PATH"), settings.cwd)
        own = b"_=%b" % os.fsencode(path) if direct.tells_path else None
        return _start(path, argv, environment, marks, settings.cwd, fds, own)
    except OSError as error:
        if error.errno in TRANSIENT:
            raise
        return 0


def _is_in(pwd: str | None, cwd: str | None) -> bool:
    try:
        return pwd is not None and os.path.samestat(os.stat(pwd), os.stat(cwd or "."))
    except OSError:
        return False


def _environment(variables: Variables) -> Environment:
    """Encoded once for all commands that share it; two threads that meet here do it twice, no harm."""
    if variables.prepared is None:
        variables.prepared = Environment(variables.values)
    assert isinstance(variables.prepared, Environment)
    return variables.prepared


def _marks(request: Spawn) -> Marks:
    return (b"ARREA_TASK=%b" % task_of(request), b"ARREA_ATTEMPT=%d" % request.attempt[2],
            b"ARREA_BATCH=%b" % request.batch_id.encode(), b"ARREA_SLOT=%d" % request.slot)  # fmt: skip


# ── descriptors ───────────────────────────────────────────────────────────────────────────────────


def _open_pipe(command: Command, own: int, opened: list[int]) -> tuple[int, int]:
    """A pipe to read a stream from, or our own descriptor for the child to write to."""
    if command.settings.inherit_output:
        return -1, own
    reading, writing = os.pipe()
    opened += (reading, writing)
    fcntl(reading, F_SETFL, os.O_NONBLOCK)  # ours alone: the child's end of a pipe has flags of its own
    return reading, writing


def _raise_limit() -> bool:
    """The soft limit of descriptors is a suggestion that every program may raise to the hard one."""
    soft, hard = getrlimit(RLIMIT_NOFILE)
    if soft == hard:
        return False
    try:
        setrlimit(RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):  # macOS refuses "unlimited"; a sandbox may refuse anything
        return False
    return True


def _open_stdin(command: Command, opened: list[int]) -> int:
    """-1 for none. Bytes come from a file in memory: they can't block, and an unread rest is no error."""
    stdin = command.settings.stdin
    if stdin is None:
        return -1
    if not isinstance(stdin, (bytes, str)):
        return stdin.fileno()
    fd = _memory_file(stdin) if isinstance(stdin, bytes) else os.open(stdin, os.O_RDONLY | os.O_NOCTTY)
    opened.append(fd)
    return fd


def _memory_file(data: bytes) -> int:
    fd = os.memfd_create("arrea-stdin", os.MFD_CLOEXEC)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(fd, rest) :]
        os.lseek(fd, 0, os.SEEK_SET)
    except OSError:
        os.close(fd)
        raise
    return fd


def _pidfd(pid: int, out_fd: int, err_fd: int) -> int:
    """The process's descriptor; -1 if the kernel reaped it already (SIGCHLD is ignored).

    Two descriptors were closed a moment ago, so one is free, unless another thread was quicker: then wait
    for one. A process that nobody can watch must not run on: after 5 s it is killed, and the start failed.
    """
    until = time.monotonic() + PIDFD_WITHIN_S
    while True:
        try:
            return os.pidfd_open(pid)
        except ProcessLookupError:
            return -1
        except OSError as error:
            if time.monotonic() > until:
                _undo(pid, out_fd, err_fd)
                # Not the errno that would have it started once more: it ran already.
                raise OSError(errno.EBUSY, f"killed, for it can't be watched: {error.strerror}") from error
            time.sleep(0.002)


def _undo(pid: int, out_fd: int, err_fd: int) -> None:
    _close(fd for fd in (out_fd, err_fd) if fd >= 0)
    try:
        os.killpg(pid, SIGKILL)
        os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        return  # somebody else reaped it


def _close(fds: Iterable[int]) -> None:
    for fd in fds:
        os.close(fd)
