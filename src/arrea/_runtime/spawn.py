"""Start one process as cheaply as the kernel allows, with the interpreter lock released.

Given: a program's path, its argument vector, an environment block, a directory and three
descriptors. Hands back: a pid, or raises `OSError`. Decides nothing else: not whether to
start, not what an exit means. Safe to call from several threads at once, and meant for
threads that only do this: a signal handler that raises between the kernel's answer and
the caller's assignment would lose the pid, and Python runs handlers in the main thread.

Every child starts the same way, whatever the host program did to itself:

* it leads a new session, so one `killpg` reaches what it starts;
* it has the descriptors 0, 1 and 2 and no other;
* no signal is blocked, and all have their default action but SIGHUP, SIGINT and SIGQUIT:
  where those were ignored they stay so, for `nohup` and `&` mean something by it.

Three ways lead there; `WAY` names the one in use:

| way         | needs                        | closing descriptors above 2                   |
| ----------- | ---------------------------- | --------------------------------------------- |
| `closefrom` | glibc 2.34                   | the child, by one `close_range` system call   |
| `listing`   | glibc 2.29, musl 1.1.24      | the parent lists the inheritable ones first   |
| `popen`     | `subprocess`: anything else  | the child, one by one or by `close_range`     |

Why not `os.posix_spawn` or `subprocess`: both keep the interpreter lock while the kernel
suspends the parent until the child has exec'd (115 µs of waiting), so that a second
thread gains nothing; and `os.posix_spawn` knows neither a directory nor `closefrom`.
A `ctypes` foreign call lets go of the lock. Never `fork`: its price grows with the
parent's memory (37 ms at 1 GiB), `vfork`'s doesn't.

Source: posix_spawn(3), glibc's `sysdeps/unix/sysv/linux/spawni.c`, musl's
`src/process/posix_spawn.c`.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import sys

from arrea._runtime.environment import whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import TypeAlias

    from arrea._runtime.environment import Block

    Descriptors: TypeAlias = tuple[int, int, int]

__all__ = ["WAY", "find_program", "forget_program", "resolve_program", "spawn"]


# ── Finding the program ──────────────────────────────────────────────────────────────────

_PROGRAMS_KEPT = 256
_programs: dict[tuple[str, str | None, str | None], str] = {}


def resolve_program(name: str, path: str | None, cwd: str | None) -> str:
    """The path to give to `spawn`, found as `execvp` would find it from inside the child.

    `path` is the child's PATH (None: `os.defpath`), `cwd` the directory it will start in
    (None: ours). A name with a slash is handed back as it is. A relative PATH entry gives
    a relative result, which the kernel reads after the change of directory, as it should.

    Raises `FileNotFoundError` if no entry holds a regular file of that name, and
    `PermissionError` if some do, but none may be executed.

    >>> resolve_program("sh", "/nowhere:/bin", None)
    '/bin/sh'

    Finding it once and keeping it saves one failing `execve` for each PATH entry before
    the right one. Like a shell's hash table, the memory doesn't notice a program that
    appears earlier in PATH later on; one that disappears is forgotten by `spawn`.
    """
    if "/" in name:
        return name
    key = (name, path, cwd)
    return _programs.get(key) or _remember(key, find_program(name, path, cwd))


def find_program(name: str, path: str | None, cwd: str | None) -> str:
    """`resolve_program` without its memory: what is there now."""
    if "/" in name:
        return name
    entries = (os.defpath if path is None else path).split(":") if name else []
    candidates = [os.path.join(entry or ".", name) for entry in entries]  # "" is the directory (POSIX)
    for candidate in candidates:
        if os.access(os.path.join(cwd or "", candidate), os.X_OK) and _is_file(candidate, cwd):
            return candidate
    # As execvp, which goes on looking after one that may not be executed, but remembers the better reason.
    refused = any(_is_file(candidate, cwd) for candidate in candidates)
    error = errno.EACCES if refused else errno.ENOENT
    raise OSError(error, os.strerror(error), name)


def _is_file(candidate: str, cwd: str | None) -> bool:
    try:
        return stat.S_ISREG(os.stat(os.path.join(cwd or "", candidate)).st_mode)
    except OSError:
        return False


def forget_program(found: str) -> None:
    """Let the next `resolve_program` look again, instead of answering `found`."""
    # list() copies in one step; without it another thread's insert would break the loop.
    for key, kept in list(_programs.items()):
        if kept == found:
            _programs.pop(key, None)


def _remember(key: tuple[str, str | None, str | None], found: str) -> str:
    # A relative result holds for one directory at one time only: never kept.
    if os.path.isabs(found):
        if len(_programs) >= _PROGRAMS_KEPT:
            _programs.clear()
        _programs[key] = found
    return found


# ── The C library ────────────────────────────────────────────────────────────────────────

# The structures are opaque; on x86-64 posix_spawnattr_t takes 336 bytes, sigset_t 128 and
# posix_spawn_file_actions_t 80, in glibc and musl alike. Each gets far more than that.
_ROOM_BYTES = 1024

# Flags and signals by number: the names would need `signal`, and with it `enum`.
_SETSIGDEF, _SETSIGMASK, _SETSID = 0x04, 0x08, 0x80  # <spawn.h>, the same in glibc and musl
_SIGHUP, _SIGINT, _SIGQUIT, _SIGKILL, _SIGSTOP = 1, 2, 3, 9, 19  # Linux, but for MIPS and such
_OF_THE_LIBC = (32, 33)  # glibc's own, which sigaddset(3) refuses

# CDLL lets go of the interpreter lock around each call, PyDLL keeps it. Only the call that
# waits is worth letting go: to get the lock back from a busy thread takes up to 5 ms
# (sys.getswitchinterval), for each of the short calls that fill in a structure.
_libc = ctypes.PyDLL(None)
_posix_spawn = ctypes.CDLL(None).posix_spawn
_posix_spawn.argtypes = (ctypes.c_void_p, ctypes.c_char_p, *(ctypes.c_void_p,) * 4)


def _declare(name: str, *arguments: type) -> None:
    if hasattr(_libc, name):
        getattr(_libc, name).argtypes = arguments


_declare("posix_spawn_file_actions_adddup2", ctypes.c_void_p, ctypes.c_int, ctypes.c_int)
_declare(
    "posix_spawn_file_actions_addopen",
    *(ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_uint),
)
_declare("posix_spawn_file_actions_addclose", ctypes.c_void_p, ctypes.c_int)
_declare("posix_spawn_file_actions_addclosefrom_np", ctypes.c_void_p, ctypes.c_int)
_declare("posix_spawn_file_actions_addchdir_np", ctypes.c_void_p, ctypes.c_char_p)
_declare("posix_spawnattr_setflags", ctypes.c_void_p, ctypes.c_short)


def _signal_set(*signals: int) -> ctypes.Array[ctypes.c_char]:
    chosen = ctypes.create_string_buffer(_ROOM_BYTES)
    _libc.sigemptyset(chosen)
    for signum in signals:
        _libc.sigaddset(chosen, signum)
    return chosen


def _make_attributes() -> ctypes.Array[ctypes.c_char] | None:
    """What every child starts with, or None if this libc can't make a session (musl 1.1.21)."""
    attributes = ctypes.create_string_buffer(_ROOM_BYTES)
    _libc.posix_spawnattr_init(attributes)
    # CPython ignores SIGPIPE and SIGXFSZ, and exec hands an ignored signal on: a pipeline
    # whose reader left would then run for ever (https://bugs.python.org/issue1652). Why
    # all the others: for each signal that isn't in the set glibc makes two system calls
    # instead of one, and that is 8 µs of a start (spawni.c, __spawni_child).
    kept = (_SIGHUP, _SIGINT, _SIGQUIT, _SIGKILL, _SIGSTOP, *_OF_THE_LIBC)
    default = _signal_set(*(signum for signum in range(1, 65) if signum not in kept))
    _libc.posix_spawnattr_setsigdefault(attributes, default)
    _libc.posix_spawnattr_setsigmask(attributes, _signal_set())
    refused = _libc.posix_spawnattr_setflags(attributes, _SETSID | _SETSIGMASK | _SETSIGDEF)
    return None if refused else attributes


def _choose_way() -> str:
    if _attributes is None or not hasattr(_libc, "posix_spawn_file_actions_addchdir_np"):
        return "popen"
    closefrom = hasattr(_libc, "posix_spawn_file_actions_addclosefrom_np")
    return "closefrom" if closefrom else "listing"


# Elsewhere (macOS) the structures and flags are others.
_attributes = _make_attributes() if sys.platform == "linux" else None

WAY = _choose_way()
"""`closefrom`, `listing` or `popen`; set by tests, to hold all three to the same rules."""


# ── File actions: what the child does to its descriptors before it execs ─────────────────


class _Actions:
    """One posix_spawn_file_actions_t, destroyed when nobody holds it any more.

    The reference count is what makes sharing safe: a thread that is inside `posix_spawn`
    holds one, so emptying the cache can't free the structure under it.
    """

    __slots__ = ("_destroy", "room")

    def __init__(self) -> None:
        self.room = ctypes.create_string_buffer(_ROOM_BYTES)
        _check(_libc.posix_spawn_file_actions_init(self.room))
        self._destroy = _libc.posix_spawn_file_actions_destroy  # outlives the module's globals

    def __del__(self) -> None:
        if hasattr(self, "_destroy"):
            self._destroy(self.room)


def _check(error: int) -> None:
    if error:
        raise OSError(error, os.strerror(error))


def _make_actions(fds: Descriptors, cwd: str | None, closed: tuple[int, ...] | None) -> _Actions:
    actions = _Actions()
    _add_standard(actions, fds)
    _add_closing(actions, closed)
    if cwd is not None:
        add = _libc.posix_spawn_file_actions_addchdir_np
        _check(add(actions.room, os.fsencode(cwd)))
    return actions


def _add_standard(actions: _Actions, fds: Descriptors) -> None:
    """0, 1 and 2 in this order: no source is 0, 1 or 2, except in its own place (`_lifted`)."""
    for target, source in enumerate(fds):
        if target == 0 and source == -1:
            add = _libc.posix_spawn_file_actions_addopen
            _check(add(actions.room, 0, b"/dev/null", os.O_RDONLY, 0))
        else:
            # With source == target it clears the close-on-exec flag, which dup2(2) would
            # leave: https://austingroupbugs.net/view.php?id=411, in glibc since 2.29.
            _check(_libc.posix_spawn_file_actions_adddup2(actions.room, source, target))


def _add_closing(actions: _Actions, closed: tuple[int, ...] | None) -> None:
    if closed is None:
        _check(_libc.posix_spawn_file_actions_addclosefrom_np(actions.room, 3))
        return
    for fd in closed:
        _check(_libc.posix_spawn_file_actions_addclose(actions.room, fd))


# Descriptor numbers repeat, so a handful of entries serves a whole run; building one costs
# a `prlimit` system call for each descriptor in it (glibc checks the range). No lock: each
# step on the dict is whole by itself, two threads that build the same entry waste one, and
# a lock that another thread held during `os.fork` would stay shut in the child for ever.
_ACTIONS_KEPT = 512
_actions: dict[tuple[Descriptors, str | None, tuple[int, ...] | None], _Actions] = {}


def _actions_for(fds: Descriptors, cwd: str | None, closed: tuple[int, ...] | None) -> _Actions:
    key = (fds, cwd, closed)
    actions = _actions.get(key)
    if actions is None:
        if len(_actions) >= _ACTIONS_KEPT:
            _actions.clear()
        actions = _actions[key] = _make_actions(fds, cwd, closed)
    return actions


def _inheritable() -> tuple[int, ...]:
    """The descriptors above 2 that a child would keep (Python's own are close-on-exec, PEP 446).

    One that C code opens in another thread between this look and the start slips through;
    only a libc with `closefrom` can rule that out.
    """
    numbers = [int(name) for name in os.listdir("/proc/self/fd")]
    return tuple(sorted(fd for fd in numbers if fd > 2 and _is_inheritable(fd)))


def _is_inheritable(fd: int) -> bool:
    try:
        return os.get_inheritable(fd)
    except OSError:  # closed since it was listed; the listing's own descriptor always is
        return False


# ── Starting ─────────────────────────────────────────────────────────────────────────────


def spawn(
    path: str,
    argv: Sequence[bytes],
    block: Block,
    cwd: str | None,
    stdin: int,
    stdout: int,
    stderr: int,
) -> int:
    """Start a program and return its pid, which the caller has to wait for.

    `path` comes from `resolve_program`, `block` from `Environment.block`. The three
    descriptors become the child's 0, 1 and 2 and stay open here; `stdin` -1 is /dev/null.
    Returns once the child has exec'd, so that what goes wrong before is raised here.

    Raises `OSError` with the kernel's errno. Its `filename` is `cwd` if the directory is
    what can't be entered, else `path`. Nothing is left of a failed start: no process, no
    descriptor. Raises `ValueError` for an empty `argv` and for a NUL byte in it.

    >>> from arrea._runtime.environment import Environment
    >>> pid = spawn("/bin/true", [b"true"], Environment({}).block(), None, -1, 1, 2)
    >>> os.waitpid(pid, 0)[1]
    0
    """
    if not argv:
        raise ValueError("a program needs at least one argument: its own name")
    whole(b"".join((*argv, os.fsencode(path + (cwd or "")))))
    start = _start_with_popen if WAY == "popen" else _start_with_libc
    try:
        if stdin in (1, 2) or stdout in (0, 2) or stderr in (0, 1):
            return _lifted(start, path, argv, block, cwd, (stdin, stdout, stderr))
        return start(path, argv, block, cwd, (stdin, stdout, stderr))
    except OSError as problem:
        raise _explained(problem.errno or 0, path, cwd) from None


def _start_with_libc(
    path: str, argv: Sequence[bytes], block: Block, cwd: str | None, fds: Descriptors
) -> int:
    closed = None if WAY == "closefrom" else _inheritable()
    actions = _actions_for(fds, cwd, closed)
    pid = ctypes.c_int()
    vector = (ctypes.c_char_p * (len(argv) + 1))(*argv)  # what isn't given is NULL
    # posix_spawn, not posix_spawnp: no second search in PATH, and no shell on ENOEXEC.
    # It returns the errno; the C variable of that name is not used.
    name = os.fsencode(path)
    _check(_posix_spawn(ctypes.byref(pid), name, actions.room, _attributes, vector, block))
    return pid.value


def _lifted(
    start: Callable[[str, Sequence[bytes], Block, str | None, Descriptors], int],
    path: str,
    argv: Sequence[bytes],
    block: Block,
    cwd: str | None,
    fds: Descriptors,
) -> int:
    """Start with sources among 0, 1 and 2 copied out of the way first.

    The actions run one after another: of "2 becomes 1, 1 becomes 2" the second would read
    what the first has just written. Rare enough (a host that runs with closed standard
    descriptors, or one that swaps them) for two more system calls.
    """
    copies: list[int] = []
    try:
        placed = tuple(_place(source, target, copies) for target, source in enumerate(fds))
        return start(path, argv, block, cwd, placed)  # type: ignore[arg-type]
    finally:
        for copy in copies:
            os.close(copy)


def _place(source: int, target: int, copies: list[int]) -> int:
    if source == target or not 0 <= source <= 2:
        return source
    import fcntl

    # Not os.dup: it takes the lowest free number, which may be one of the three again.
    copies.append(fcntl.fcntl(source, fcntl.F_DUPFD_CLOEXEC, 3))
    return copies[-1]


def _explained(error: int, path: str, cwd: str | None) -> OSError:
    """The same error, naming what it is about; posix_spawn gives a number for all its steps."""
    about_files = error in (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ELOOP)
    if about_files and cwd is not None and not _enterable(cwd):
        return OSError(error, os.strerror(error), cwd)
    if about_files:
        forget_program(path)
    return OSError(error, os.strerror(error), path)


def _enterable(directory: str) -> bool:
    return os.path.isdir(directory) and os.access(directory, os.X_OK)


# ── The fallback ─────────────────────────────────────────────────────────────────────────


def _start_with_popen(
    path: str, argv: Sequence[bytes], block: Block, cwd: str | None, fds: Descriptors
) -> int:
    """The same start by the standard library: slower, and with the interpreter lock held.

    One rule is weaker here: SIGCHLD stays ignored in the child if the host ignores it.
    """
    import signal
    import subprocess

    # The child gets this thread's mask, and Popen has no option for another one. A signal
    # that the host blocks everywhere may reach this thread meanwhile; the alternative, a
    # preexec_fn, means fork.
    mask = signal.pthread_sigmask(signal.SIG_SETMASK, ())
    try:
        process = subprocess.Popen(
            list(argv),
            executable=path,
            env=_variables(block),
            cwd=cwd,
            stdin=subprocess.DEVNULL if fds[0] == -1 else fds[0],  # -1 would mean PIPE
            stdout=fds[1],
            stderr=fds[2],
            close_fds=True,
            restore_signals=True,
            start_new_session=True,
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    # For Popen it has ended: no ResourceWarning, no entry in the list that every later
    # Popen polls, and so never a wait that would take the exit status from the reactor.
    process.returncode = 0
    return process.pid


def _variables(block: Iterable[bytes | None]) -> dict[bytes, bytes]:
    pairs = (entry.partition(b"=") for entry in block if entry is not None)
    return {name: value for name, _, value in pairs}
