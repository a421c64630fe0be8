"""What somebody found who tried to break functions without having seen how they are made."""

import asyncio
import gc
import inspect
import os
import signal
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from arrea import Engine, Task
from arrea._runtime import processes, seed
from tests.faults.conftest import GRACE_MS, mark
from tests.faults.hosts import Host, run_host
from tests.faults.test_functions import lives
from tests.support import wait_until

__all__ = ["mark"]

pytestmark = pytest.mark.timeout(40)


@pytest.fixture
def engine() -> Iterator[Engine]:
    with Engine(kill_grace=GRACE_MS, max_processes=2, default_policy="once") as engine:
        yield engine


# ── nothing is left ───────────────────────────────────────────────────────────────────────────────


def becomes_a_daemon(place: str) -> None:
    """Nobody's child, in a session of its own, and never exec'd: only its environment tells whose it is."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            Path(place).write_text(str(os.getpid()))
            time.sleep(60)
        os._exit(0)
    os.wait()
    time.sleep(60)


def noted(place: Path) -> int:
    assert wait_until(lambda: place.exists() and place.read_text() != "")
    return int(place.read_text())


@pytest.mark.parametrize("end", ["timeout", "cancel", "close"])
def test_a_function_that_forked_a_daemon(end: str, tmp_path: Path) -> None:
    place = tmp_path / "pid"
    with Engine(kill_grace=GRACE_MS, max_processes=1, default_policy="once") as engine:
        batch = engine.submit(
            [Task(becomes_a_daemon, str(place))], timeout="2s" if end == "timeout" else None
        )
        daemon = noted(place)
        if end == "cancel":
            batch.cancel()
        if end != "close":
            batch.wait("10s")
            assert not lives(daemon)
    assert wait_until(lambda: not lives(daemon), 2.0)


@pytest.mark.parametrize("nested", [False, True])
def test_a_function_that_forked_a_daemon_and_a_host_that_is_killed(
    nested: bool, mark: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARREA_TASK", "somebody's own")
    place = tmp_path / "pid"
    call = "lambda: becomes_a_daemon(PLACE)"
    if nested:
        call = f"lambda: arrea.execute({call}, timeout=None)"
    script = f"from pathlib import Path\n{inspect.getsource(becomes_a_daemon)}\nPLACE = {str(place)!r}\n"
    with Host(mark, script + f"arrea.submit([{call}], timeout=None)\npause()") as host:
        daemon = noted(place)
        os.kill(host.pid, signal.SIGKILL)
        assert wait_until(lambda: not lives(daemon), 2.0)


def test_idle_processes_that_do_not_end_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("arrea._runtime.pool.IDLE_MS", 300.0)
    monkeypatch.setattr(processes, "LEAVES_WITHIN_MS", 300.0)

    def sticks() -> int:
        import atexit

        atexit.register(time.sleep, 60)
        return os.getpid()

    with Engine(max_processes=2) as engine:
        pids = engine.run([sticks] * 2, workers=2).unwrap()
        assert wait_until(lambda: not any(map(lives, pids)), 5.0)


# ── nothing hangs ─────────────────────────────────────────────────────────────────────────────────


def test_a_seed_that_cannot_start(mark: str) -> None:
    ended = run_host(
        mark,
        """
os.environ["PYTHONHOME"] = "/nowhere"
os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what its interpreter says
began = time.monotonic()
say(arrea.execute(lambda: 1, timeout="5s").error.code, time.monotonic() - began < 8)
del os.environ["PYTHONHOME"]
say(arrea.execute(lambda: 1).data)
""",
    )
    assert ended.out == ["spawn_failed True", "1"]


def test_functions_that_kill_the_seed_again_and_again(engine: Engine) -> None:
    """Also the one that is just being forked to be there for the next kill."""

    def kills() -> None:
        os.kill(os.getppid(), 9)
        time.sleep(0.05)

    policy: Any = {"max_retries": 2, "retry_delay": 1}
    for _ in range(5):
        results = engine.run([kills] * 4, workers=2, policy=policy, timeout="5s")
        assert {result.error.code for result in results if result.error} == {"worker_crashed"}
    assert engine.run([os.getpid] * 4, workers=2).success


def test_time_in_which_the_host_did_not_run_is_no_silence_of_the_seed(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a pause of the machine both go on, and whoever comes first must not take the other for dead."""
    parent = engine.execute(os.getppid).unwrap()
    slow = engine.submit([lambda: (time.sleep(1.5), 1)[1]])
    os.kill(parent, signal.SIGSTOP)
    monkeypatch.setattr(seed, "monotonic", lambda: time.monotonic() + 3600)
    monkeypatch.setattr(seed, "SIGCONT", signal.SIGCONT)
    assert engine.run([lambda: os._exit(3), abs], workers=2)[0].error is not None
    assert slow.wait().unwrap() == [1] and engine.execute(os.getppid).unwrap() == parent


def test_sockets_that_time_out(mark: str) -> None:
    ended = run_host(
        mark,
        """
import socket
socket.setdefaulttimeout(0.2)
say(arrea.run([lambda: (time.sleep(0.6), 1)[1]] * 3, policy="once").data)
say(list(arrea.map(abs, range(-3, 0))), arrea.execute("echo a").data.stdout.strip())
""",
    )
    assert ended.out == ["[1, 1, 1]", "[3, 2, 1] a"]


class Masked:
    """Asking for its class takes a minute, here."""

    @property
    def __class__(self) -> Any:
        if threading.current_thread().name == "arrea-opener":
            time.sleep(60)
        return Masked


class Unmasks(Exception):
    def __reduce__(self) -> Any:
        return Masked, ()


def test_an_exception_that_becomes_something_that_hangs(engine: Engine) -> None:
    def fails() -> None:
        raise Unmasks("x")

    began = time.monotonic()
    failed, slow = engine.run([fails, "sleep 30"], workers=2, timeout="1s")
    assert failed.error is not None and failed.error.code == "exception"
    assert slow.error is not None and slow.error.code == "timeout"
    assert time.monotonic() - began < 5


class Judge(type):
    def __instancecheck__(cls, _: object) -> bool:
        raise RuntimeError("asked in the engine's turn")

    def __subclasscheck__(cls, _: object) -> bool:
        raise RuntimeError("asked in the engine's turn")


class Judging(ZeroDivisionError, metaclass=Judge):
    pass


@pytest.mark.parametrize("kind", [Judging, ZeroDivisionError, ArithmeticError])
def test_exception_classes_that_judge_by_themselves(kind: type[Exception], engine: Engine) -> None:
    policy: Any = {"max_retries": 1, "retry_delay": 1, "retry_on": (kind,)}
    result = engine.execute(lambda: 1 / 0, policy=policy)
    assert result.error is not None and result.error.code == "exception"
    assert result.attempts == (1 if kind is Judging else 2)


def test_a_loop_that_makes_no_tasks(engine: Engine) -> None:
    """It has a factory of the user's, which fails for one of them."""

    async def runs(number: int) -> int:
        return number

    async def among_others() -> Any:
        loop = asyncio.get_running_loop()
        calls: list[int] = []

        def factory(loop: Any, coroutine: Any, **more: Any) -> Any:
            calls.append(1)
            if len(calls) == 2:
                raise RuntimeError("no task for you")
            return asyncio.Task(coroutine, loop=loop, **more)

        batch = [Task(runs, number) for number in range(4)]
        loop.set_task_factory(factory)
        return await engine.run_async(batch, workers=4)

    results = asyncio.run(among_others())
    assert sorted(result.success for result in results) == [False, True, True, True]


def test_thousands_of_coroutines_are_cancelled_at_once() -> None:
    async def waits() -> None:
        await asyncio.sleep(60)

    count = 6000
    with Engine(max_workers=count, max_commands_per_batch=None, default_policy="once") as engine:
        batch = engine.submit([waits] * count, workers=count, timeout=None)
        assert wait_until(lambda: len(engine.running()) == count, 10.0)
        began = time.monotonic()
        batch.cancel()
        results = batch.wait("30s")
        assert time.monotonic() - began < 4  # it was 7
    assert {(r.error.code, r.error.abandoned) for r in results if r.error} == {("cancelled", False)}


# ── values are what they were ─────────────────────────────────────────────────────────────────────

HOME = """
LEVEL = 1
class Account(Base):
    total = 0
    books = {}
    def level(self): return LEVEL
class Refused(Exception):
    def level(self): return LEVEL
def spend():
    Account.total += 1
    Account.books["there"] = 1
    return Account()
def refuse(): raise Refused("no")
"""


@pytest.mark.parametrize("base", ["object", "Registered"])
def test_a_class_of_the_script_stays_as_it_is_here(base: str, mark: str) -> None:
    """Though one of its instances comes back, from where its attributes were changed."""
    ended = run_host(
        mark,
        f"""
made = []
class Registered:
    def __init_subclass__(cls): made.append(cls.__name__)
Base = {base}
{HOME}
books, level = Account.books, Account.level
for _ in range(3):
    account = arrea.execute(spend).data
    refused = arrea.execute(refuse).error.exception
LEVEL = 2
say(type(account) is Account, type(refused) is Refused, account.level(), refused.level())
say(Account.total, Account.books is books, books, Account.level is level, made in ([], ["Account"]))
""",
    )
    assert ended.out == ["True True 2 2", "0 True {} True True"]


def test_classes_with_slots(mark: str) -> None:
    """They have them there too: else their instances had another state than they can have here."""
    ended = run_host(
        mark,
        """
import dataclasses
@dataclasses.dataclass(slots=True)
class Row: number: int
@dataclasses.dataclass(slots=True, frozen=True)
class Fixed: number: int
class Plain:
    __slots__ = "number", "__weakref__"
    def __init__(self, number): self.number = number
class Inner(Plain):
    __slots__ = ("more",)
class Open(Plain): pass
def makes(kind):
    made = kind(7)
    try: made.other = 1
    except (AttributeError, TypeError): return made
    return made.other
for kind in (Row, Fixed, Plain, Inner):
    made = arrea.execute(arrea.Task(makes, kind)).unwrap()
    say(type(made) is kind, made.number, arrea.execute(arrea.Task(lambda row: row.number, kind(8))).unwrap())
say(arrea.execute(arrea.Task(makes, Open)).unwrap())
""",
    )
    assert ended.out == ["True 7 8"] * 4 + ["1"]


def test_a_class_that_is_only_there(engine: Engine) -> None:
    """It has to come with all that it is."""

    def makes() -> Any:
        class Point:
            scale = 3

            def far(self) -> int:
                return self.scale * 2

        return Point()

    first, second = engine.run([makes, makes], workers=1).unwrap()
    assert (first.far(), second.far()) == (6, 6)


def test_functions_that_remember(mark: str) -> None:
    ended = run_host(
        mark,
        """
import functools
@functools.cache
def fibonacci(number): return number if number < 2 else fibonacci(number - 1) + fibonacci(number - 2)
@functools.lru_cache(maxsize=3, typed=True)
def one(value): return value
class Account:
    @functools.lru_cache
    def owner(self): return "me"
say(arrea.execute(arrea.Task(fibonacci, 30)).data, arrea.execute(lambda: fibonacci(20)).data)
say(arrea.execute(lambda: (one(1), one.cache_parameters())[1]).data, arrea.execute(Account().owner).data)
say(fibonacci.cache_info().currsize)
""",
    )
    assert ended.out == ["832040 6765", "{'maxsize': 3, 'typed': True} me", "0"]


class Uncountable(type):
    """Its classes can't be compared, nor looked up."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(cls, _: object) -> bool:
        raise RuntimeError("compared")


def test_values_of_a_class_that_cannot_be_compared(engine: Engine) -> None:
    class Value(metaclass=Uncountable):
        pass

    results = list(engine.map(lambda _: 1, [1, Value(), 2], return_results=True))
    assert [result.data for result in results][::2] == [1, 1]
    result = engine.execute(lambda: Value())
    assert result.success or (result.error is not None and result.error.code == "not_picklable")
    assert engine.execute(lambda: 1).unwrap() == 1


def test_a_module_that_another_thread_is_just_importing(mark: str) -> None:
    ended = run_host(
        mark,
        """
import builtins
engine, troubles = arrea.Engine(), []
imports = builtins.__import__
def slowly(name, *more, **named):
    if name.endswith("cloudpickle") and threading.current_thread() is not threading.main_thread():
        time.sleep(0.02)
    return imports(name, *more, **named)
builtins.__import__ = slowly
threading.Thread(target=lambda: arrea.submit([lambda: 1])).start()
until = time.monotonic() + 0.4
while time.monotonic() < until:
    engine.submit([arrea.Task(time.sleep, 0)], policy="once").wait()
say("fine")
engine.close()
""",
        within=30,
    )
    assert ended.out == ["fine"]


def test_a_function_that_remembers_under_another_decorator(mark: str) -> None:
    """What is under it can't be told: refused is better than called without a part of it."""
    ended = run_host(
        mark,
        """
import functools
def memo(function):
    @functools.wraps(function)
    @functools.cache
    def around(value): return function(value) * 100
    return around
@memo
def one(value): return value + 1
@functools.cache
def tries(): return getattr(tries, "limit", 1)
tries.limit = 5
try:
    arrea.run([arrea.Task(one, 1)])
except arrea.InvalidBatch as error:
    say("__wrapped__ was changed" in str(error))
say(arrea.execute(tries).data)
""",
    )
    assert ended.out == ["True", "5"]


@pytest.mark.parametrize("how", ["hook", "metaclass"])
def test_books_that_are_kept_of_classes(how: str, mark: str) -> None:
    """They have the classes that there are, here and there, and no empty ones."""
    base = {
        "hook": """
class Base:
    books = {}
    def __init_subclass__(cls): Base.books[cls.__name__] = cls
""",
        "metaclass": """
class Books(type):
    books = {}
    def __init__(cls, *more): Books.books[cls.__name__] = cls
class Base(metaclass=Books): pass
""",
    }
    ended = run_host(
        mark,
        base[how]
        + """
class Entry(Base):
    def hi(self): return "hi"
def makes(): return Entry()
def looks(): return Base.books["Entry"] is Entry, hasattr(Base.books["Entry"], "hi")
with arrea.Engine(max_processes=1) as engine:
    for _ in range(2):
        say(type(engine.execute(makes).data) is Entry, *looks(), *engine.execute(looks).data)
""",
    )
    assert ended.out == ["True True True True True"] * 2


def test_a_class_that_is_only_there_and_is_changed_there(engine: Engine) -> None:
    def changes(number: int) -> Any:
        global Changing
        if number == 0:

            class Changing:
                value = 0

        Changing.value = number
        return Changing

    with Engine(max_processes=1) as one:
        assert [one.execute(Task(changes, number)).unwrap().value for number in range(3)] == [0, 1, 2]


def test_what_a_function_mentions_is_not_asked_anything(mark: str, tmp_path: Path) -> None:
    (tmp_path / "mentions.py").write_text("""
class Proxy:
    def __getattribute__(self, name): raise SystemExit("working outside of context")
proxy = Proxy()
def function(use=False): return proxy.user if use else 1
""")
    ended = run_host(
        mark,
        f"""
sys.path.insert(0, {str(tmp_path)!r})
import mentions
say(arrea.execute(mentions.function).data)
""",
    )
    assert ended.out == ["1"]


def test_modules_that_are_found_though_they_do_not_look_so(mark: str, tmp_path: Path) -> None:
    """They hold what can't be sent, and needn't be sent."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    lock = "import os, sys, threading, types\nLOCK = threading.Lock()\ndef f():\n    with LOCK: return 5\n"
    (tmp_path / "real" / "resolved.py").write_text(lock + "__file__ = os.path.realpath(__file__)\n")
    makes = "part = types.ModuleType('single.part')\npart.f, f.__module__ = f, 'single.part'\n"
    (tmp_path / "real" / "single.py").write_text(f"{lock}{makes}sys.modules['single.part'] = part\n")
    ended = run_host(
        mark,
        f"""
sys.path.insert(0, {str(tmp_path / "link")!r})
import resolved, single
f = single.part.f
say(arrea.execute(resolved.f).data, arrea.execute(f).data, arrea.execute(lambda: f()).data)
""",
    )
    assert ended.out == ["5 5 5"]


def test_a_module_that_cannot_be_sent_whole_goes_by_its_name(mark: str, tmp_path: Path) -> None:
    (tmp_path / "locked.py").write_text(
        "import threading\nLOCK = threading.Lock()\ndef f():\n    with LOCK: return 5\n"
    )
    ended = run_host(
        mark,
        f"""
import cloudpickle
sys.path.insert(0, {str(tmp_path)!r})
import locked
cloudpickle.register_pickle_by_value(locked)
say(arrea.execute(locked.f).data)
""",
    )
    assert ended.out == ["5"]


def test_a_directory_with_the_name_of_a_module(mark: str, tmp_path: Path) -> None:
    (tmp_path / "tool").mkdir()
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "tool.py").write_text("def f(): return 1")
    ended = run_host(
        mark,
        f"""
import importlib.util
sys.path.insert(0, {str(tmp_path)!r})
spec = importlib.util.spec_from_file_location("tool", {str(tmp_path / "plugins" / "tool.py")!r})
sys.modules["tool"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules["tool"])
say(arrea.execute(sys.modules["tool"].f).data)
""",
    )
    assert ended.out == ["1"]


# ── nothing is kept ───────────────────────────────────────────────────────────────────────────────


def test_threads_keep_no_value_of_a_call_that_is_over(engine: Engine) -> None:
    class Value:
        pass

    results = engine.run([Task(Value, isolation="thread")] * 8, workers=8)
    values = [weakref.ref(result.data) for result in results]
    del results
    assert wait_until(lambda: gc.collect() >= 0 and not any(value() for value in values))


def test_functions_that_were_sent_are_not_kept_for_ever(mark: str) -> None:
    ended = run_host(
        mark,
        """
import functools
for number in range(400):
    arrea.execute(functools.partial(len, os.urandom(200_000))).unwrap()
say(status("VmRSS") < 90_000, arrea.execute(lambda: status("VmRSS") < 90_000).data)
""",
        within=60,
    )
    assert ended.out == ["True True"]


def test_arguments_that_are_large_where_there_is_no_memory_file(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.execute(lambda: 1)
    monkeypatch.setattr(os, "memfd_create", refused)
    began = time.monotonic()
    assert engine.execute(Task(len, bytes(100_000_000))).unwrap() == 100_000_000
    assert time.monotonic() - began < 8


def refused(*_: object) -> int:
    raise OSError(38, "no memory files here")
