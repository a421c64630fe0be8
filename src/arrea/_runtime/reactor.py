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
from _thread import start_new_thread
from collections import deque
from itertools import count

from arrea._model.bell import Bell
from arrea._model.errors import EngineStopped
from arrea._model.step import (
    Cancelled,
    Fed,
    Heard,
    Log,
    Resized,
    Returned,
    SpawnFailed,
    Submitted,
)
from arrea._runtime.callbacks import Callbacks
from arrea._runtime.child import Child
from arrea._runtime.children import FRESH_MS, Children
from arrea._runtime.guardian import Guardian
from arrea._runtime.letters import Opened, Pulled, Suspension
from arrea._runtime.mail import Mail
from arrea._runtime.orders import Orders
from arrea._runtime.outflow import Outflow
from arrea._runtime.performers import Performers, take_all
from arrea._runtime.ports import Ports
from arrea._runtime.spawner import Spawners
from arrea._runtime.standard import Placeholders

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Protocol

    from arrea._model.call import Work
    from arrea._model.plan import Plan
    from arrea._model.stats import Running
    from arrea._model.step import Effect, Input
    from arrea._runtime.letters import Feed
    from arrea._runtime.ports import Port

    class Engine(Protocol):
        """What the reactor drives."""

        def step(self, now: float, inputs: Sequence[Input]) -> list[Effect]: ...
        def next_due(self) -> float | None: ...

    class Observer(Protocol):
        """Is told all effects of each turn.

        wants_events: somebody listens; wants_output: to what commands print.
        """

        @property
        def wants_events(self) -> bool: ...
        @property
        def wants_output(self) -> bool: ...
        def observe(self, effects: Sequence[Effect]) -> None: ...


MOST_SPAWNERS = 4
LOOK_MS = 2.0
STOP_WITHIN_S = 3.0
SUSPEND_WITHIN_S = 2.0
PACE_S = 0.001
LONGEST_SLEEP_S = 86_400.0  # epoll takes no more than 24.8 days
NEVER = float("inf")


def clock() -> float:
    """Milliseconds of the monotonic clock, which no change of the date moves."""
    return time.monotonic() * 1000.0


class Reactor:
    """Runs an engine against the operating system. Methods without an underscore may be called from any thread.

    ended: nothing of it runs any more, no thread and no process.
    """

    def __init__(self, engine: Engine, observer: Observer) -> None:
        self._engine = engine
        self._observer = observer
        self._ports = Ports()
        self._inputs: list[Input] = []
        self.numbers = count(1)
        self._submitting = threading.RLock()  # a signal handler may submit in the middle of it
        # Not `Thread.join`: an exception in it (Ctrl-C) makes Python 3.11 take the thread for ended (bpo-45274).
        self._over = Bell()
        self.ended = False
        self._ident = 0
        self._claim = threading.Lock()
        self._stopping = False
        self._failure: EngineStopped | None = None
        self._at_end: list[Callable[[], object]] = []
        self._suspension: Suspension | None = None
        self._suspending: Suspension | None = None
        self._suspended_ms = 0.0
        self._turned_at = 0.0
        self._placeholders = Placeholders()  # before anything else is opened
        self._epoll = select.epoll()
        self._guardian = Guardian(self._watch, self._unwatch)
        self._guardian_missed = False
        self._children = Children(self._epoll, self._inputs.append, observer, self._guardian.roster)
        try:
            self._mail = Mail()
        except OSError:  # no descriptor left
            self._guardian.roster.shut()
            raise
        self._epoll.register(self._mail.fd, select.EPOLLIN)
        most = min(os.cpu_count() or 1, MOST_SPAWNERS)
        self._spawners = Spawners(most, self._hand_over, self._mail.post, self.now, self._guardian)
        self._callbacks = Callbacks(self._mail.post)
        self._performers = Performers(
            self._epoll, self._inputs.append, self._mail.post, self._mail.post_all, self._guardian,
            self.now,
            lambda: self._suspended_ms,
        )  # fmt: skip
        self._orders = Orders(self._spawners, self._children, self._performers, self._callbacks)
        self._heard = True
        self._pulled: deque[Pulled] = deque()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """The thread; once. Raises RuntimeError if the machine has no room for it.

        A signal handler may come here in the middle of a start below, and wait for what it submits: so it starts a
        thread of its own, and the first of them to come is the reactor's.
        """
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="arrea-reactor", daemon=True)
            try:
                self._thread.start()
            except RuntimeError:
                self._thread = None
                raise
        elif not self._claim.locked():
            start_new_thread(self._run, ())

    def discard(self) -> None:
        """One that was never started."""
        self._close()

    # ── from any thread ───────────────────────────────────────────────────────────────────────────

    def now(self) -> float:
        """The engine's time: that of `clock`, but it stands still while the engine is suspended."""
        return clock() - self._suspended_ms

    def submit(self, number: int, plan: Plan, port: Port, outflow: Outflow | None = None) -> None:
        """Hands a batch to the engine. `number`, one of `numbers`, names it in `feed` and `cancel`.

        outflow: where what its commands print goes as it comes.
        """
        with self._submitting:
            if self._stopping:
                raise self._failure or EngineStopped("the engine was closed")
            self._ports.open(number, port)
            if outflow is not None:
                self._children.outflows[number] = outflow
            self._mail.post(Submitted(number, plan))

    def feed(self, batch: int, commands: Sequence[Work], last: bool) -> None:
        self._mail.post(Fed(batch, commands, last))

    def look_for(self, batch: int, feed: Feed) -> None:
        """A source was pulled, and the next one may be long in coming: what was pulled is taken in a moment."""
        self._mail.post(Pulled(batch, feed, self.now() + LOOK_MS))

    def cancel(self, batch: int, hard: bool = False) -> None:
        self._mail.post(Cancelled(batch, hard))

    def resize(self, max_workers: int, max_processes: int) -> None:
        self._mail.post(Resized(max_workers, max_processes))

    def resume(self, outflow: Outflow) -> None:
        """It has room again."""
        self._mail.post(outflow)

    def has_batch(self, batch_id: str) -> bool:
        """Whether the end of this batch is still to be told."""
        return self._ports.has_batch(batch_id)

    def running(self) -> list[Running]:
        """What runs at the moment."""
        now = self.now()
        return self._children.snapshot(now) + self._performers.running(now)

    def adopt_orphans(self) -> None:
        """Makes this process a subreaper, and ends orphans like their families. Before the first task."""
        self._children.adopt_orphans()

    def suspend(self) -> None:
        """Stops all that runs, and time; returns when that is done. What is submitted meanwhile waits."""
        suspension = self._suspension = Suspension()
        self._mail.post(suspension)
        suspension.stands.wait(SUSPEND_WITHIN_S)

    def go_on(self) -> None:
        """After `suspend`: all goes on where it was; timeouts and deadlines are so much later."""
        if self._suspension is not None:
            self._suspension.goes_on.set()
            self._suspension = None

    def stop(self, grace_s: float) -> None:
        """Ends all batches by the kill ladder, then the threads. Starts none. Safe to call twice."""
        with self._submitting:
            self._stopping = True
        if self._ident == threading.get_ident():
            return
        try:
            self._cancel_all(hard=False)
            self._wait_for_end(grace_s)
        finally:  # also when a second Ctrl-C ends the waiting
            self.kill_all()
            self._wait_for_end(STOP_WITHIN_S)

    def _wait_for_end(self, seconds: float) -> None:
        self._over.wait_for(lambda: self.ended, time.monotonic() + seconds)

    def kill_all(self) -> None:
        """Ends what runs at once."""
        self._cancel_all(hard=True)

    @property
    def failure(self) -> EngineStopped | None:
        """Why it ended by itself."""
        return self._failure

    @property
    def is_own_thread(self) -> bool:
        """Whether the caller is on a thread that work goes through: a finalizer that the reactor happened to run."""
        return threading.get_ident() == self._ident or self._spawners.is_own_thread

    def when_ended(self, function: Callable[[], object]) -> None:
        """Calls this, from the reactor's thread, when it has ended."""
        self._at_end.append(function)

    def _cancel_all(self, hard: bool) -> None:
        self.go_on()
        for outflow in list(self._children.outflows.values()):
            outflow.release()
        for number in self._ports.numbers():
            self.cancel(number, hard)
        self._mail.wake()

    def _hand_over(self, child: Child) -> None:
        """A spawner's process. No wake-up: its exit is one, and while starts are pending no sleep is long."""
        self._mail.append(child)
        watched = self._children.try_to_watch(child)
        child.tried = True
        if not watched:
            self._mail.wake()

    # ── the loop ──────────────────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        if not self._claim.acquire(blocking=False):
            return
        self._ident = threading.get_ident()
        try:
            while not (self._stopping and self._is_idle()):
                self._turn()
        except BaseException as error:
            self._fail(error)
            raise
        finally:
            self._close()
            self.ended = True
            self._over.ring()
            for function in self._at_end:
                function()

    def _turn(self) -> None:
        ready = self._sleep_until_ready()
        now = self.now()
        self._open_mail(now)  # before looking at what is ready: a process that exited already may be in it
        self._take_ready(ready, now)
        self._take_pulled(now)
        self._catch_up(now)
        self._children.tend(now)
        self._performers.tend(now)
        if not self._spawners.pending:
            self._children.reap_adopted(now)
        if self._suspending is not None:
            self._stand_still(self._suspending)
            return
        if self._observer.wants_events is not self._heard:
            self._heard = self._observer.wants_events
            self._inputs.insert(0, Heard(self._heard))
        inputs = self._inputs[:]
        self._inputs.clear()  # before what follows, which may report something
        effects = self._engine.step(now, inputs)
        told = self._orders.carry_out(effects, now)
        self._ports.note_ends(told)
        self._observer.observe(effects)  # before callers: whoever has a result finds it counted
        for number in self._ports.tell(told):
            self._children.outflows.pop(number, None)
        self._children.turn_ended()
        self._performers.turn_ended()
        if self._guardian.problem is not None and not self._guardian_missed:
            self._guardian_missed = True
            self._observer.observe([Log("Arrea", (self._guardian.problem,))])

    def _watch(self, fd: int) -> None:
        self._epoll.register(fd, select.EPOLLIN)

    def _unwatch(self, fd: int) -> None:
        try:
            self._epoll.unregister(fd)
        except OSError:  # it isn't in it
            return

    def _take_ready(self, ready: list[tuple[int, int]], now: float) -> bool:
        """Whether a process exited."""
        exited = False
        for fd, mask in ready:
            if fd == self._mail.fd:
                self._mail.heard()
            elif not self._performers.on_ready(fd, mask, now) and not self._guardian.on_ready(fd):
                exited = self._children.on_ready(fd, mask, now) or exited
        return exited

    def _take_pulled(self, now: float) -> None:
        while self._pulled and self._pulled[0].due <= now:
            self._take(self._pulled.popleft())
            self._open_mail(now)

    def _take(self, pulled: Pulled) -> None:
        """By mail, for what was pulled before may just be on its way in that."""
        pulled.feed.hand_on_meanwhile(lambda commands: self._mail.append(Fed(pulled.batch, commands, False)))

    def _catch_up(self, now: float) -> None:
        """Before a timer fires: sees every exit that came before it, also if we were held up (a busy host, SIGSTOP)."""
        due = self._engine.next_due()
        while due is not None and due <= now:
            ready = self._epoll.poll(0)
            self._open_mail(now)
            if not self._take_ready(ready, now):
                return

    def _sleep_until_ready(self) -> list[tuple[int, int]]:
        self._mail.sleeping = True
        if self._stopping and self._is_idle():
            return []  # `stop` came between the loop's look at it and the flag: nobody would wake us
        timeout = 0.0 if self._mail or self._inputs else self._timeout()
        if self._spawners.pending:
            self._pace()
        ready = self._epoll.poll(timeout)
        self._mail.sleeping = False
        return ready

    def _pace(self) -> None:
        """While starts queue up all processors are busy, and whatever comes within a millisecond makes one turn."""
        rest = self._turned_at + PACE_S - time.monotonic()
        if rest > 0.0:
            time.sleep(rest)
        self._turned_at = time.monotonic()

    def _timeout(self) -> float | None:
        """Seconds until something is due; None is for ever."""
        # Nobody is reaped while a start is under way, so that is nothing to wake up for either.
        also = self.now() + FRESH_MS if self._spawners.pending else self._children.reap_due()
        due = min(self._children.due(), self._performers.due(self.now()), also)
        if self._pulled:
            due = min(due, self._pulled[0].due)
        engine_due = self._engine.next_due()
        if engine_due is not None:
            due = min(due, engine_due)
        return None if due == NEVER else min(max(0.0, due - self.now()) / 1000.0, LONGEST_SLEEP_S)

    def _open_mail(self, now: float) -> None:
        mail = self._mail
        while mail:
            item = mail.popleft()
            if item.__class__ is Returned:  # by far the most, where there are many
                self._inputs.append(item)
            elif isinstance(item, Child):
                self._spawners.delivered()
                self._children.welcome(item, now)
            elif isinstance(item, Outflow):
                self._children.resume(item, now)
            elif isinstance(item, (Suspension, Pulled, Opened)):
                self._read(item)
            else:
                if isinstance(item, SpawnFailed):
                    self._spawners.delivered()
                    self._children.never_came(item.attempt)
                self._inputs.append(item)

    def _read(self, letter: Suspension | Pulled | Opened) -> None:
        if isinstance(letter, Suspension):
            self._suspending = letter
        elif isinstance(letter, Pulled):
            self._pulled.append(letter)
        else:
            self._performers.opened(letter)

    def _stand_still(self, suspension: Suspension) -> None:
        """Until it goes on. Not before what is just being started is there: it would run on."""
        if self._spawners.pending:
            return
        began = clock()
        self._suspending = None
        self._children.stop_all()
        suspension.stands.set()
        suspension.goes_on.wait()
        self._suspended_ms += clock() - began
        self._children.continue_all()

    def _is_idle(self) -> bool:
        return not (
            self._ports or self._children or self._mail or self._inputs
        )  # given-up threads don't count

    # ── the end ───────────────────────────────────────────────────────────────────────────────────

    def _fail(self, error: BaseException) -> None:
        """A fault of our own: nobody waits for ever, nothing is left running."""
        self._failure = EngineStopped(
            f"the engine failed, which is a fault of Arrea: {type(error).__name__}: {error}"
        )
        self._failure.__cause__ = error
        with self._submitting:
            self._stopping = True
        failure = self._failure
        take_all([lambda: self._ports.fail(failure), self._children.kill_all, self._performers.kill_all])

    def _close(self) -> None:
        """All of it, whatever goes wrong: that is told as Python does for a thread that ends with an error."""
        steps = (
            self._spawners.stop,
            self._callbacks.stop,
            lambda: self._spawners.join(1.0),
            self._performers.close,
            self._close_children,
            self._guardian.dismiss,
            self._children.end_adoption,  # the guardian was ours too
            self._close_descriptors,
            self._placeholders.let_go,
        )
        try:
            take_all(steps)
        except BaseException as error:  # noqa: BLE001 - whoever waits must still hear that it has ended
            thread = threading.current_thread()
            threading.excepthook(threading.ExceptHookArgs((type(error), error, error.__traceback__, thread)))

    def _close_children(self) -> None:
        # Only after a failure is there any: what was started meanwhile.
        self._children.close([item for item in self._mail if isinstance(item, Child)], self.now())

    def _close_descriptors(self) -> None:
        self._epoll.close()
        self._mail.close()
