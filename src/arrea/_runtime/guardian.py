"""The host's side of the guardian: starts it, has it replaced when it is lost, dismisses it at the end.

The guardian itself (`guardian_child`) is two processes that watch this one, and end what the roster names when it is
killed. They are nobody's children: a host that waits for all of its children doesn't wait for them. What is started
here is a process that forks the first of them and ends.

Decides which interpreter they run in, and when to give up. Given the roster by whoever notes attempts in it; hands
back, in `problem`, why nobody guards this engine.

Source: pidfd_open(2), pidfd_send_signal(2), waitid(2), pipe(7).
"""

from __future__ import annotations

import _signal
import errno
import os
import select
import sys
import threading
from time import monotonic

from arrea._runtime.environment import Environment
from arrea._runtime.interpreter import find_interpreter, home
from arrea._runtime.roster import Roster, open_process, signed_in
from arrea._runtime.spawn import spawn
from arrea._runtime.tree import look_at

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

SIGKILL = 9
TRANSIENT = (errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC)
MOST_STARTS, WITHIN_S = 6, 60.0
AGAIN_S = 1.0
# Of a dismissal. It takes a millisecond or two; the time is for a machine that is stuck.
LOCK_S, DISMISS_S, REAP_MS = 0.2, 0.5, 100.0
LOOK_AGAIN_MS = 5.0
SAID_BYTES = 1000

# Last in the path: what lies beside Arrea shall not stand in for the standard library.
CODE = "import sys; sys.path.append(sys.argv[1]); from arrea._runtime.guardian_child import main; main()"
MEANING = "if this program is killed with SIGKILL, the commands that it runs will go on"


class Guardian:
    """The guardian of one engine. roster: where its attempts are noted. problem: why there is no guardian, or None.

    `watch` puts a descriptor into the readiness loop, from any thread; `unwatch` takes it out, and may be called for
    one that isn't in it. What is ready there is told by `on_ready`. Nothing here raises.
    """

    def __init__(self, watch: Callable[[int], None], unwatch: Callable[[int], None]) -> None:
        self.roster = Roster()
        self.problem: str | None = None
        self._watch = watch
        self._unwatch = unwatch
        self._lock = threading.Lock()
        self._settled = False  # there is nothing to start: it runs, or never will
        self._dismissed = False
        self._starts: list[float] = []
        self._not_before = 0.0
        self._starter = -1  # its pidfd
        self._pipe = -1  # at its end when nobody of them is left
        self._said = b""

    def start(self) -> None:
        """Before the start of a process, from the thread that makes it. The first takes a millisecond, others none."""
        if self._settled:
            return
        with self._lock:
            self._launch()

    def on_ready(self, fd: int) -> bool:
        """Something happened at a descriptor; whether it is one of ours. Reactor's thread only."""
        if fd not in (self._starter, self._pipe):
            return False
        with self._lock:
            # What the loop saw may have been one of the last pair, which had the same number.
            if fd in (self._starter, self._pipe) and _is_ready(fd, 0):
                self._take(fd)
        return True

    def dismiss(self) -> None:
        """The end, when nothing runs any more: nobody of them is left, and no descriptor. Reactor's thread only.

        A start that is stuck in another thread tidies up after itself when it comes back.
        """
        self._dismissed = True
        if self._lock.acquire(timeout=LOCK_S):
            try:
                self._end()
            finally:
                self._lock.release()

    # ── starting ──────────────────────────────────────────────────────────────────────────────────

    def _launch(self) -> None:
        """Starts a pair. Where the machine has no room for it, a later `start` tries again."""
        if self._settled or monotonic() < self._not_before or self._is_hopeless():
            return
        try:
            self._spawn(find_interpreter())
            self._settled = True
        except OSError as error:
            self._let_go()
            self._not_before = monotonic() + AGAIN_S
            if error.errno not in TRANSIENT:
                self._give_up(f"it can't be started: {error.strerror}")
        if self._dismissed:
            self._end()

    def _is_hopeless(self) -> bool:
        now = monotonic()
        self._starts = [*(at for at in self._starts if at > now - WITHIN_S), now]
        if self.roster.fd < 0:
            self._give_up("there is no memory to share with it")
        elif len(self._starts) > MOST_STARTS:
            said = self._said.decode("utf-8", "replace").strip().rpartition("\n")[2]
            self._give_up(f"it was lost again and again ({said or 'it said nothing'})")
        return self._settled

    def _give_up(self, reason: str) -> None:
        self._settled = True
        self.problem = f"no guardian: {reason}; {MEANING}"

    def _spawn(self, interpreter: str) -> None:
        argv = [os.fsencode(word) for word in _command_line(interpreter)]
        block = _environment().block()
        self._pipe, writing = os.pipe()
        try:
            # What it says when it fails goes to the pipe too.
            pid = spawn(interpreter, argv, block, None, self.roster.fd, writing, writing)
        finally:
            os.close(writing)
        self._starter = _open_starter(pid)
        for fd in (self._pipe, self._starter):
            if fd >= 0:
                self._watch(fd)

    # ── ending ────────────────────────────────────────────────────────────────────────────────────

    def _take(self, fd: int) -> None:
        """The starter has ended; they say why they fail; or all are gone, undismissed: another pair, at once."""
        if fd == self._starter:
            self._drop_starter()
            return
        if self._read():
            return
        self._let_go()
        if not self._dismissed:
            self._settled = False
            self._launch()

    def _read(self) -> bytes:
        data = os.read(self._pipe, 4096)
        self._said = (self._said + data)[-SAID_BYTES:]
        return data

    def _end(self) -> None:
        if self.roster.fd >= 0:
            self._settled = True
            self.roster.dismiss()
            self._kill_all()
            self._let_go()
            self.roster.shut()

    def _kill_all(self) -> None:
        """SIGKILL to the starter and to each that has signed in, until all are gone: they have nothing to tidy up.

        One that hasn't signed in goes by itself, for it looks after that whether it is dismissed; unless it looked
        just before that was noted, and then it is seen at the next look here.
        """
        killed: dict[tuple[int, int], int] = {}
        until = monotonic() + DISMISS_S
        _kill(self._starter)
        while monotonic() < until:
            for guardian in signed_in(self.roster.fd):
                if guardian not in killed and (pidfd := _open(*guardian)) >= 0:
                    killed[guardian] = pidfd
                    _kill(pidfd)
            if self._hears_end():
                break
        _reap(*killed.values())

    def _hears_end(self) -> bool:
        """Waits a moment for it. A child that the host forked while they were started has a copy of the other end."""
        return self._pipe < 0 or (_is_ready(self._pipe, LOOK_AGAIN_MS) and not self._read())

    def _let_go(self) -> None:
        if self._starter >= 0:
            _kill(self._starter)
            self._drop_starter()
        if self._pipe >= 0:
            self._unwatch(self._pipe)
            os.close(self._pipe)
            self._pipe = -1

    def _drop_starter(self) -> None:
        self._unwatch(self._starter)
        _reap(self._starter)
        self._starter = -1


# ── How to start it ──────────────────────────────────────────────────────────────────────────────


def _command_line(interpreter: str) -> list[str]:
    """The last word is for whoever reads it in `ps`."""
    me = look_at(os.getpid())
    if me is None:
        raise OSError(errno.ENOENT, "/proc isn't there")
    options = ["-I", "-S", "-B"] if sys.dont_write_bytecode or sys.pycache_prefix else ["-I", "-S"]
    return [interpreter, *options, "-c", CODE, home(), str(me.pid), str(me.start_time), "arrea-guardian"]


def _environment() -> Environment:
    """Nothing of the host's, above all no marks; but some interpreters aren't loaded without this."""
    path = os.environ.get("LD_LIBRARY_PATH")
    return Environment({} if path is None else {"LD_LIBRARY_PATH": path})


# ── The processes ────────────────────────────────────────────────────────────────────────────────


def _open_starter(pid: int) -> int:
    """Its pidfd; -1 if it is gone already (SIGCHLD is ignored). Without a descriptor for it, it mustn't go on."""
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return -1
    except OSError:
        os.kill(pid, SIGKILL)
        os.waitpid(pid, 0)
        raise


def _open(pid: int, start_time: int) -> int:
    try:
        return open_process(pid, start_time)
    except OSError:
        return -1  # no descriptor left: perhaps at the next look


def _kill(pidfd: int) -> None:
    if pidfd >= 0:
        try:
            _signal.pidfd_send_signal(pidfd, SIGKILL)
        except (ProcessLookupError, PermissionError):
            return  # it is gone, or we are somebody else since it was started, and it goes when we do


def _reap(*pidfds: int) -> None:
    """Closes them. A host that is process 1, or a subreaper, has become the parent of all of them."""
    for pidfd in pidfds:  # first of all, for one may be another's child until that one is gone
        _is_ready(pidfd, REAP_MS)
    for pidfd in pidfds:
        try:
            os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG)
        except ChildProcessError:
            pass  # it is another's, or the host reaped it
        os.close(pidfd)


def _is_ready(fd: int, milliseconds: float) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(milliseconds))
