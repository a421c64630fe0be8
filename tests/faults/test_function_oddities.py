"""Functions, exceptions and arguments whose own methods raise, lie or never end: a clear result all the same."""

import datetime
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from unittest import mock

import pytest

import arrea
from arrea import Engine, Task
from arrea._model.call import Program
from arrea._model.checks import code_flags
from arrea._model.ending import Return, Stuck
from arrea._model.step import Returned
from arrea._prepare.functions import ASYNC, name_of
from arrea._runtime import opener as opening
from arrea._runtime.letters import Opened
from arrea._runtime.opener import Opener
from arrea._runtime.worker_process import Sealed
from tests.support import wait_until

pytestmark = pytest.mark.timeout(20)


@pytest.fixture
def engine() -> Iterator[Engine]:
    with Engine(max_processes=2, default_policy="once") as engine:
        yield engine


# ── exceptions that can't be described ────────────────────────────────────────────────────────────


def oddities() -> dict[str, Callable[[], Any]]:
    """Each makes an exception. Nested, so that they go by value: there is no `Any` in their classes there."""

    def frozen() -> Any:
        from dataclasses import dataclass

        @dataclass(frozen=True)
        class Odd(Exception):
            code: int

        return Odd(3)

    def notes_that_are_a_number() -> Any:
        error: Any = ValueError("odd")
        error.__notes__ = 5
        return error

    def notes_that_raise() -> Any:
        class Odd(Exception):
            @property
            def __notes__(self) -> object:  # type: ignore[override]
                raise RuntimeError("no notes")

        return Odd()

    def a_metaclass_that_raises() -> Any:
        class Meta(type):
            def __getattribute__(cls, name: str) -> object:
                if name in ("__qualname__", "__module__", "__name__"):
                    raise RuntimeError(name)
                return super().__getattribute__(name)

        class Odd(Exception, metaclass=Meta):
            pass

        return Odd()

    def a_traceback_that_raises() -> Any:
        class Odd(Exception):
            @property
            def __traceback__(self) -> object:  # type: ignore[override]
                raise RuntimeError("no traceback")

        return Odd()

    def a_module_that_is_a_number() -> Any:
        class Odd(Exception):
            pass

        Odd.__module__ = 5  # type: ignore[assignment]
        return Odd()

    def a_text_that_raises() -> Any:
        class Odd(Exception):
            def __str__(self) -> str:
                raise SystemExit("no text")

        return Odd()

    return {make.__name__: make for make in list(locals().values())}


def raising(make: Callable[[], Any], isolation: str) -> tuple[Callable[[], Any], dict[str, Any]]:
    def function() -> None:
        raise make()

    async def coroutine() -> None:
        raise make()

    return (coroutine, {}) if isolation == "coroutine" else (function, {"isolation": isolation})


@pytest.mark.parametrize("isolation", ["process", "thread", "coroutine"])
@pytest.mark.parametrize("which", oddities())
def test_an_odd_exception_is_described(engine: Engine, which: str, isolation: str) -> None:
    function, options = raising(oddities()[which], isolation)
    error: Any = engine.execute(function, timeout=3000, **options).error
    assert error.code == "exception", error
    assert "Odd" in error.type_name or error.type_name == "ValueError"
    assert error.traceback.startswith("Traceback (most recent call last):\n")
    assert ", in function\n" in error.traceback or ", in coroutine\n" in error.traceback
    assert "arrea/_runtime" not in error.traceback
    assert all(isinstance(text, str) for text in (error.text, *error.notes))
    assert engine.execute(lambda: 7).data == 7


# ── functions that answer to every name ───────────────────────────────────────────────────────────


class Anything:
    """Any attribute of it is another one of these."""

    def __getattr__(self, name: str) -> Any:
        return Anything()

    def __call__(self) -> int:
        return 3


class Refusing:
    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)

    def __call__(self) -> int:
        return 3


@pytest.mark.parametrize(
    "function",
    [mock.Mock(return_value=3), mock.MagicMock(return_value=3), Anything(), Refusing()],
    ids=["mock", "magic mock", "anything", "refusing"],
)
def test_what_has_any_attribute_can_be_called(engine: Engine, function: Any) -> None:
    assert engine.execute(function, isolation="thread").data == 3


def test_only_what_is_wrapped_for_certain_is_unwrapped() -> None:
    class Calling:
        async def __call__(self) -> None: ...

        async def method(self: Any) -> None: ...

        half = partial(method, None)

    for wrapped in (Calling(), partial(Calling()), Calling().method, partial(Calling().method), Calling.half):
        assert code_flags(wrapped) & ASYNC, wrapped
    assert not code_flags(partial(int, "3"))
    assert name_of(partial(Calling().method)).endswith("Calling.method")
    assert (name_of(partial(int, "3")), name_of(mock.Mock())) == ("int", "unittest.mock.Mock")


# ── nothing is locked while functions are prepared ────────────────────────────────────────────────


def test_a_signal_handler_prepares_functions_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes in the middle of what makes a program, where a lock would be shut."""
    prepared: list[str] = []
    engine = Engine()

    def handler(*_: object) -> None:
        prepared.extend(command.name for command in engine.prepare([lambda: "inner"]))

    class Interrupted(Program):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            if not prepared:
                prepared.append("begun")
                signal.raise_signal(signal.SIGUSR1)

    monkeypatch.setattr("arrea._prepare.functions.Program", Interrupted)
    before = signal.signal(signal.SIGUSR1, handler)
    try:
        list(engine.prepare([lambda: "outer, of which nobody has made a program"]))
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert len(prepared) == 2


def test_a_fork_while_another_thread_prepares_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    stands, goes_on = threading.Event(), threading.Event()

    class Slow(Program):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            if not stands.is_set():
                stands.set()
                goes_on.wait(10)

    monkeypatch.setattr("arrea._prepare.functions.Program", Slow)
    thread = threading.Thread(target=lambda: list(Engine().prepare([lambda: "slow to be made"])))
    thread.start()
    assert stands.wait(5)
    try:
        assert exit_code_of_a_copy(lambda: list(Engine().prepare([lambda: "in the copy"]))) == 0
    finally:
        goes_on.set()
        thread.join()


def exit_code_of_a_copy(does: Callable[[], object], within_s: float = 3.0) -> int:
    """Of a fork that does this; a copy that hangs is killed."""
    pid = os.fork()
    if pid == 0:
        try:
            does()
            os._exit(0)
        finally:
            os._exit(1)
    until = time.monotonic() + within_s
    while (ended := os.waitpid(pid, os.WNOHANG))[0] == 0:
        if time.monotonic() > until:
            os.kill(pid, signal.SIGKILL)
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        time.sleep(0.01)
    return os.waitstatus_to_exitcode(ended[1])


# ── the opener ────────────────────────────────────────────────────────────────────────────────────


class Slept:
    """Takes its time when it is unpickled."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __reduce__(self) -> tuple[Any, ...]:
        return time.sleep, (self.seconds,)


def opened(number: int, *values: object) -> Opened:
    returns = tuple(Return(0.0, 0.0, 0, None) for _ in values)
    sealed = [Sealed(ending, pickle.dumps(value)) for ending, value in zip(returns, values, strict=True)]
    return Opened(number, sealed, Returned(0, (), returns))


def tend_until(opener: Opener, happened: Callable[[], object], within_s: float = 5.0) -> None:
    """As the reactor does, again and again."""
    until = time.monotonic() + within_s
    while not happened() and time.monotonic() < until:
        opener.tend()
        time.sleep(0.0001)
    assert happened()


def test_each_is_delivered_once_and_in_order_however_often_threads_are_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A thread is given up at any point of its work, also just as it takes something."""
    monkeypatch.setattr(opening, "WITHIN_S", 0.00003)
    switched = sys.getswitchinterval()
    sys.setswitchinterval(0.000001)
    delivered: list[Opened] = []
    opener = Opener(delivered.append)
    try:
        for number in range(2000):
            opener.open(opened(number, Slept(0.0), number))
            opener.tend()
        tend_until(opener, lambda: len(delivered) >= 2000)
    finally:
        sys.setswitchinterval(switched)
        opener.stop()
    assert [each.number for each in delivered] == list(range(2000))


def test_what_is_never_opened_fails_and_what_is_behind_it_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "WITHIN_S", 0.2)
    delivered: list[Opened] = []
    opener = Opener(delivered.append)
    opener.open(opened(0, 1, Slept(1.0), 3))
    opener.open(opened(1, 4))
    tend_until(opener, lambda: len(delivered) == 2)
    opener.stop()
    first, stuck, last = delivered[0].told.returns
    assert isinstance(stuck.problem, Stuck) and "longer than" in stuck.problem.told
    assert [first.value, last.value, delivered[1].told.returns[0].value] == [1, 3, 4]


@pytest.fixture
def no_openers(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """No thread for the opener can be started until the event is set."""
    there_are, start = threading.Event(), threading.Thread.start

    def refuse(self: threading.Thread) -> None:
        if self.name == "arrea-opener" and not there_are.is_set():
            raise RuntimeError("can't start new thread")
        start(self)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    yield there_are


def test_values_wait_for_a_thread(engine: Engine, no_openers: threading.Event) -> None:
    batch = engine.submit([partial(datetime.date, 2020, 1, 1)])
    assert engine.execute(lambda: 7).data == 7  # in the other process
    time.sleep(0.3)
    no_openers.set()
    assert batch.wait().data == [datetime.date(2020, 1, 1)]


def test_values_that_get_no_thread_fail(
    engine: Engine, no_openers: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "WITHIN_S", 0.3)
    error: Any = engine.execute(lambda: datetime.date(2020, 1, 1)).error
    assert error.code == "not_picklable" and "thread" in str(error)
    assert engine.execute(lambda: 7).data == 7
    no_openers.set()
    assert engine.execute(lambda: datetime.date(2020, 1, 2)).data == datetime.date(2020, 1, 2)


def test_values_in_memory_that_get_no_thread_leave_no_descriptor(
    engine: Engine, no_openers: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "WITHIN_S", 0.3)
    engine.execute(lambda: 7)
    assert engine.execute(lambda: b"x" * 1_000_000).error is not None
    assert wait_until(lambda: not [name for name in descriptors() if "arrea-value" in name])


def descriptors() -> list[str]:
    """What this process has open."""
    names = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            names.append(os.readlink(f"/proc/self/fd/{fd}"))
        except OSError:
            continue  # that of the listing itself
    return names


# ── what isn't told ───────────────────────────────────────────────────────────────────────────────


class Secretive:
    """Can't be pickled, and shows what it holds."""

    def __repr__(self) -> str:
        return "Secretive(password: hunter2)"

    def __reduce__(self) -> str:
        return "nowhere"

    def __call__(self, *_: object) -> int:
        return 1


@pytest.mark.parametrize(
    "task",
    [Task(repr, Secretive()), Task(repr, [1, Secretive()]), Secretive(), partial(repr, Secretive())],
    ids=["an argument", "within an argument", "a function", "within a function"],
)
def test_a_message_does_not_show_what_cannot_be_pickled(engine: Engine, task: Any) -> None:
    error: Any = engine.execute(task).error
    assert error.code == "not_picklable"
    assert "hunter2" not in str(error) + repr(error)
    if isinstance(task, Task):
        assert "argument 0, a " in str(error)


def test_nor_does_map(engine: Engine) -> None:
    with pytest.raises(arrea.TaskError, match=r"argument 0, a .*Secretive") as caught:
        list(engine.map(repr, [Secretive()]))
    assert "hunter2" not in str(caught.value)
