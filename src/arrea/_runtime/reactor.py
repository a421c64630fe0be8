"""The reactor: one thread, one readiness loop. It feeds the engine and carries out its effects.

A turn: collect what is ready and what was posted, give it to the engine with the time, carry out what comes
back, tell each caller once. The thread owns all state here; other threads only append to the mailbox and, if
the reactor sleeps, wake it.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections import deque
from itertools import count

from arrea._model.errors import EngineStopped
from arrea._model.step import (
    Abandon,
    Ask,
    Cancelled,
    Close,
    Emit,
    Exited,
    ExitSeen,
    Fed,
    Forget,
    Kill,
    Resolve,
    Spawn,
    Spawned,
    SpawnFailed,
    Submitted,
    Terminate,
    Want,
)
from arrea._runtime.callbacks import Callbacks
from arrea._runtime.capture import Budget
from arrea._runtime.child import SIGKILL, Child
from arrea._runtime.spawner import Spawners
from arrea._runtime.spool import Spool
from arrea._runtime.tree import Census

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Protocol

    from arrea._model.plan import Plan
    from arrea._model.result import Outcome
    from arrea._model.step import AttemptId, Effect, Input
    from arrea._model.task import Command

    class Engine(Protocol):
        """What the reactor drives."""

        def step(self, now: float, inputs: Sequence[Input]) -> list[Effect]: ...
        def next_due(self) -> float | None: ...

    class Port(Protocol):
        """A batch's caller, told from the reactor's thread; `flush` comes once after each turn that told something."""

        def resolved(self, outcome: Outcome) -> None: ...
        def abandoned(self, tasks: Sequence[tuple[int, Command]], reason: str) -> None: ...
        def wanted(self, count: int) -> None: ...
        def closed(self, close: Close) -> None: ...
        def failed(self, error: EngineStopped) -> None: ...
        def flush(self) -> None: ...

    class Observer(Protocol):
        def observe(self, effects: Sequence[Effect]) -> None: ...


MOST_SPAWNERS = 4
STOP_WITHIN_S = 3.0
# A process that lives longer has its output watched; also the longest sleep while starts are pending.
FRESH_MS = 10.0
# After a read of half a pipe, commands are taken to print much, and watched from their start, for so long.
MUCH_BYTES, EAGER_MS = 32_768, 1000.0
LONGEST_SLEEP_S = 86_400.0  # epoll takes no more than 24.8 days
KILL_AGAIN_MS = 10.0
KILL_AGAIN_MOST_MS = 100.0
READABLE, ENDED = select.EPOLLIN, select.EPOLLHUP | select.EPOLLERR


def clock() -> float:
    """Milliseconds of the monotonic clock, which no change of the date moves."""
    return time.monotonic() * 1000.0


class Reactor:
    """Runs an engine against the operating system. Methods without an underscore may be called from any thread."""

    def __init__(self, engine: Engine, observer: Observer) -> None:
        self._engine = engine
        self._observer = observer
        self._ports: dict[int, Port] = {}
        self._touched: dict[int, Port] = {}
        self._children: dict[AttemptId, Child] = {}
        self._watched: dict[int, Child] = {}
        self._fresh: deque[tuple[float, Child]] = deque()  # when to watch the streams of each, in order
        self._draining: set[Child] = set()
        self._dying: dict[Child, float] = {}  # killed, and when to look after its family again
        self._mail: deque[Input | Child] = deque()
        self._inputs: list[Input] = []
        self._census: Census | None = None
        self._budget, self._spool = Budget(), Spool()
        self.numbers = count(1)
        self._submitting = threading.Lock()
        self._waking = threading.RLock()  # finalizers wake too, wherever the collector runs them
        # Not `Thread.join`: an exception in it (Ctrl-C) makes Python 3.11 take the thread for ended (bpo-45274).
        self._ended = threading.Event()
        self._sleeping = False
        self._stopping = False
        self._failure: EngineStopped | None = None
        self._epoll = select.epoll()
        self._eager_until = 0.0
        self._wake_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._epoll.register(self._wake_fd, READABLE)
        self._spawners = Spawners(min(os.cpu_count() or 1, MOST_SPAWNERS), self._hand_over, self._post, clock)
        self._callbacks = Callbacks(self._post)
        self._thread = threading.Thread(target=self._run, name="arrea-reactor", daemon=True)
        self._thread.start()

    # ── from any thread ───────────────────────────────────────────────────────────────────────────

    def submit(self, number: int, plan: Plan, port: Port) -> None:
        """Hands a batch to the engine. `number`, one of `numbers`, names it in `feed` and `cancel`."""
        with self._submitting:
            if self._stopping:
                raise self._failure or EngineStopped("the engine was closed")
            self._ports[number] = port
            self._post(Submitted(number, plan))

    def feed(self, batch: int, commands: Sequence[Command], last: bool) -> None:
        self._post(Fed(batch, commands, last))

    def cancel(self, batch: int, hard: bool = False) -> None:
        self._post(Cancelled(batch, hard))

    def call_outside(self, function: Callable[..., object], *arguments: object) -> None:
        """Runs something slow on a callback thread. For observers: they are called on the reactor's."""
        self._callbacks.call(function, *arguments)

    def stop(self, grace_s: float) -> None:
        """Ends all batches by the kill ladder, then the threads. Starts none. Safe to call twice."""
        with self._submitting:
            self._stopping = True
        if self._thread is threading.current_thread():
            return
        try:
            self._cancel_all(hard=False)
            self._ended.wait(grace_s)
        finally:  # also when a second Ctrl-C ends the waiting
            self._cancel_all(hard=True)
            self._ended.wait(STOP_WITHIN_S)

    def _cancel_all(self, hard: bool) -> None:
        for number in list(self._ports):
            self.cancel(number, hard)
        self._wake()

    def _post(self, item: Input | Child) -> None:
        self._mail.append(item)
        self._wake()

    def _hand_over(self, child: Child) -> None:
        """A spawner's process. No wake-up: its exit is one, and while starts are pending no sleep is long."""
        self._mail.append(child)
        if child.pidfd < 0 or not self._try_to_watch(child):
            self._wake()

    def _try_to_watch(self, child: Child) -> bool:
        """Whether the exit will be told. False: the kernel has no room (ENOMEM, ENOSPC); tried again later."""
        try:
            self._epoll.register(child.pidfd, READABLE)
        except OSError:
            return False
        child.watched = True
        return True

    def _wake(self) -> None:
        # The reactor sets the flag, then looks at the mail, then sleeps: either it sees the mail, or we the flag.
        # Only the reactor takes it back: an interrupt (Ctrl-C) between two steps here must not lose the wake-up.
        if self._sleeping:
            with self._waking:  # so that the number isn't another file's already
                if self._wake_fd >= 0:
                    os.eventfd_write(self._wake_fd, 1)

    # ── the loop ──────────────────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        try:
            while not (self._stopping and self._is_idle()):
                self._turn()
        except BaseException as error:
            self._fail(error)
            raise
        finally:
            self._close()
            self._ended.set()

    def _turn(self) -> None:
        ready = self._sleep_until_ready()
        now = clock()
        self._open_mail(now)  # before looking at what is ready: a process that exited already may be in it
        for fd, mask in ready:
            self._on_ready(fd, mask, now)
        self._tend_fresh(now)
        self._tend_draining(now)
        self._tend_dying(now)
        inputs, self._inputs = self._inputs, []
        effects = self._engine.step(now, inputs)
        for effect in effects:
            self._carry_out(effect, now)
        self._observer.observe(effects)
        for port in self._touched.values():
            port.flush()
        self._touched.clear()
        self._census = None

    def _sleep_until_ready(self) -> list[tuple[int, int]]:
        self._sleeping = True
        timeout = 0.0 if self._mail or self._inputs else self._timeout()
        ready = self._epoll.poll(timeout)
        self._sleeping = False
        return ready

    def _timeout(self) -> float | None:
        """Seconds until something is due; None is for ever."""
        due = self._engine.next_due()
        if self._spawners.pending:
            due = _sooner(due, clock() + FRESH_MS)
        if self._fresh:
            due = _sooner(due, self._fresh[0][0])
        for child in self._draining:
            due = _sooner(due, child.drain_until)
        for at in self._dying.values():
            due = _sooner(due, at)
        return None if due is None else min(max(0.0, due - clock()) / 1000.0, LONGEST_SLEEP_S)

    def _open_mail(self, now: float) -> None:
        mail = self._mail
        while mail:
            item = mail.popleft()
            if isinstance(item, Child):
                self._spawners.delivered()
                self._welcome(item, now)
            else:
                if isinstance(item, SpawnFailed):
                    self._spawners.delivered()
                self._inputs.append(item)

    def _is_idle(self) -> bool:
        return not (self._ports or self._children or self._mail or self._inputs)

    # ── children ──────────────────────────────────────────────────────────────────────────────────

    def _welcome(self, child: Child, now: float) -> None:
        """A new process. Its exit is watched at once, its output only if it lives for some milliseconds.

        Most commands end sooner, and what they wrote waits in the pipes: two descriptors less to register, and
        no turn for each of their writes, which is a quarter of all work for a short command.
        """
        self._children[child.spawn.attempt] = child
        self._inputs.append(Spawned(child.spawn.attempt))
        if child.pidfd < 0:
            child.status_lost = True
            self._on_exit(child, now)
            return
        self._watched[child.pidfd] = child
        if now < self._eager_until:
            self._watch_streams(child)
        elif child.streams_open or not child.watched:
            self._fresh.append((now + FRESH_MS, child))

    def _tend_fresh(self, now: float) -> None:
        fresh = self._fresh
        while fresh and (fresh[0][0] <= now or fresh[0][1].exited_at is not None):
            child = fresh.popleft()[1]
            if child.exited_at is None:
                self._watch_streams(child)
                if not child.watched and child.pidfd >= 0 and not self._try_to_watch(child):
                    fresh.append((now + FRESH_MS, child))

    def _watch_streams(self, child: Child) -> None:
        for fd in (child.out_fd, child.err_fd):
            if fd >= 0 and fd not in self._watched:
                self._watched[fd] = child
                self._epoll.register(fd, READABLE)

    def _on_ready(self, fd: int, mask: int, now: float) -> None:
        child = self._watched.get(fd)
        if child is None:
            if fd == self._wake_fd:
                os.eventfd_read(fd)
        elif fd == child.pidfd:
            self._on_exit(child, now)
        else:
            self._read(child, fd, now, bool(mask & ENDED))

    def _read(self, child: Child, fd: int, now: float, to_end: bool) -> None:
        before = child.bytes_read
        if child.read(fd, self._budget, self._spool, to_end):
            self._close_stream(child, fd)
        if child.bytes_read - before >= MUCH_BYTES:  # it may have waited for us: nobody else shall
            self._eager_until = now + EAGER_MS

    def _close_stream(self, child: Child, fd: int) -> None:
        self._unwatch(fd)
        if fd == child.out_fd:
            child.out_fd = -1
        else:
            child.err_fd = -1

    def _unwatch(self, fd: int) -> None:
        # Unregistering comes first: a process that is just being started has copies of all our descriptors until
        # it execs, and epoll goes on reporting a closed one while any copy lives (epoll(7), Q6).
        if self._watched.pop(fd, None) is not None:
            try:
                self._epoll.unregister(fd)
            except FileNotFoundError:  # there was no room to register it (`_try_to_watch`)
                pass
        os.close(fd)

    def _on_exit(self, child: Child, now: float) -> None:
        if child.pidfd >= 0:
            self._unwatch(child.pidfd)
            child.pidfd = -1
        child.note_exit(now)
        self._read_rest(child, now)
        if child.streams_open or child.signalled:
            self._inputs.append(ExitSeen(child.spawn.attempt))
            self._watch_streams(child)
            self._draining.add(child)
        else:
            self._finish(child, now)

    def _read_rest(self, child: Child, now: float) -> None:
        for fd in (child.out_fd, child.err_fd):
            if fd >= 0:
                self._read(child, fd, now, to_end=True)

    def _tend_draining(self, now: float) -> None:
        for child in [child for child in self._draining if child.drained(now)]:
            self._read_rest(child, now)
            self._draining.discard(child)
            if child.signalled:
                self._dying[child] = now
            else:
                self._finish(child, now)

    def _finish(self, child: Child, now: float, forgotten: bool = False) -> None:
        ending = child.reap(now, forgotten)
        for fd in (child.out_fd, child.err_fd, child.pidfd):
            if fd >= 0:
                self._unwatch(fd)
        child.out_fd = child.err_fd = child.pidfd = -1
        del self._children[child.spawn.attempt]
        self._inputs.append(Exited(child.spawn.attempt, ending))

    # ── killing ───────────────────────────────────────────────────────────────────────────────────

    def _look_around(self) -> Census:
        """All processes of the machine, looked at once a turn at most, however many are killed in it."""
        if self._census is None:
            self._census = Census()
        return self._census

    def _tend_dying(self, now: float) -> None:
        """A killed attempt is over when its process has exited and nobody of its family lives."""
        for child, at in list(self._dying.items()):
            if at <= now:
                self._look_after(child, now)

    def _look_after(self, child: Child, now: float) -> None:
        if self._is_extinct(child):
            del self._dying[child]
            self._read_rest(child, now)  # the last words of whoever died since we looked at the pipes
            self._finish(child, now)
            return
        if child.signalled == SIGKILL:
            child.kill(self._look_around)  # somebody forked while we looked
        assert child.exited_at is not None
        pause = min(KILL_AGAIN_MOST_MS, KILL_AGAIN_MS + (now - child.exited_at) / 4)
        self._dying[child] = now + pause

    def _is_extinct(self, child: Child) -> bool:
        try:
            return not child.family(self._look_around())
        except OSError:
            return False  # no descriptor left to look with (EMFILE): again later

    def _terminate(self, child: Child) -> None:
        child.terminate(self._look_around)

    def _kill(self, child: Child, now: float) -> None:
        child.kill(self._look_around)
        if child in self._dying:
            self._dying[child] = now

    # ── effects ───────────────────────────────────────────────────────────────────────────────────

    def _carry_out(self, effect: Effect, now: float) -> None:
        match effect:
            case Emit():
                return
            case Spawn():
                self._spawners.start(effect)
            case Resolve():
                self._port(effect.batch).resolved(effect.outcome)
            case Terminate() | Kill() | Forget():
                self._end(effect, now)
            case _:
                self._tell_port(effect)

    def _tell_port(self, effect: Close | Want | Abandon | Ask) -> None:
        match effect:
            case Close():
                self._port(effect.batch).closed(effect)
                del self._ports[effect.batch]
            case Want():
                self._port(effect.batch).wanted(effect.count)
            case Abandon():
                self._port(effect.batch).abandoned(effect.tasks, effect.reason)
            case Ask():
                self._callbacks.ask(effect)

    def _end(self, effect: Terminate | Kill | Forget, now: float) -> None:
        child = self._children.get(effect.attempt)
        if child is None:
            return  # its exit is among the inputs of the next turn
        match effect:
            case Terminate():
                self._terminate(child)
            case Kill():
                self._kill(child, now)
            case Forget():
                self._draining.discard(child)
                self._dying.pop(child, None)
                self._finish(child, now, forgotten=True)

    def _port(self, batch: int) -> Port:
        port = self._ports[batch]
        self._touched[batch] = port
        return port

    # ── the end ───────────────────────────────────────────────────────────────────────────────────

    def _fail(self, error: BaseException) -> None:
        """A fault of our own: nobody waits for ever, nothing is left running."""
        self._failure = EngineStopped(
            f"the engine failed, which is a fault of Arrea: {type(error).__name__}: {error}"
        )
        self._failure.__cause__ = error
        with self._submitting:
            self._stopping = True
        for port in self._ports.values():
            port.failed(self._failure)
            port.flush()
        for child in list(self._children.values()):
            child.kill(Census)

    def _close(self) -> None:
        self._spawners.stop()
        self._callbacks.stop()
        self._spawners.join(1.0)
        for item in self._mail:  # only after a failure: what was started meanwhile
            if isinstance(item, Child):
                self._children[item.spawn.attempt] = item
                item.kill(Census)
        for child in self._children.values():
            self._let_go(child)
        self._sleeping = False
        self._epoll.close()
        with self._waking:
            os.close(self._wake_fd)
            self._wake_fd = -1
        self._spool.close()

    def _let_go(self, child: Child) -> None:
        for fd in (child.out_fd, child.err_fd, child.pidfd):
            if fd >= 0:
                os.close(fd)
        child.reap(clock())


def _sooner(one: float | None, other: float | None) -> float | None:
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)
