"""Programs that use Arrea in odd ways: many threads, locks held, forks, SIGCHLD ignored, every child waited for."""

import os
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import arrea
from arrea import Engine
from arrea._runtime.child import Child
from arrea._runtime.tree import Census
from tests.faults.conftest import end_process
from tests.faults.hosts import run_host
from tests.support import marked_survivors, process_stat, wait_until


def test_twenty_threads_at_once(engine: Engine, mark: str) -> None:
    def work(thread: int) -> list[str]:
        own = [engine.execute(f"echo {thread}", env={"ARREA_CHAOS": mark}).unwrap() for _ in range(10)]
        batch = engine.run([f"echo {thread}"] * 10, env={"ARREA_CHAOS": mark}).unwrap()
        return [data.stdout for data in own + batch]

    with ThreadPoolExecutor(20) as pool:
        told = list(pool.map(work, range(20)))
    assert told == [[f"{thread}\n"] * 20 for thread in range(20)]


def test_threads_that_hold_locks_and_allocate_do_no_harm(mark: str) -> None:
    ended = run_host(
        mark,
        """
import logging
over = threading.Event()
lock = logging._lock if hasattr(logging, "_lock") else threading.Lock()
def hold():
    while not over.is_set():
        with lock:
            data = [bytearray(100_000) for _ in range(50)]
            {index: str(index) for index in range(2000)}
threads = [threading.Thread(target=hold) for _ in range(3)]
for thread in threads:
    thread.start()
results = arrea.run(["echo x", ["echo", "x"]] * 100, policy="once")
over.set()
say(results.success, {data.stdout for data in results.data})
""",
    )
    assert ended.out == ["True {'x\\n'}"]


# ── exit statuses that somebody else takes ────────────────────────────────────────────────────────


def test_a_host_that_ignores_sigchld_is_told_so(mark: str) -> None:
    ended = run_host(
        mark,
        """
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
began = time.monotonic()
results = arrea.run(["echo x; exit 3", ["true"], "sleep 0.2; echo x"] * 20, policy="once")
say({result.error.code for result in results}, time.monotonic() - began < 2)
say({data.stdout for data in results.data}, {data.exit_code for data in results.data})
say("SIGCHLD" in str(results[0].error), signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN)
""",
    )
    assert ended.out[0] == "{'status_lost'} True"
    assert ended.out[1] in ("{'x\\n', ''} {None}", "{'', 'x\\n'} {None}")
    assert ended.out[2] == "True True"


@pytest.mark.parametrize(
    "script",
    [
        "sleep {0}",
        "trap '' TERM; sleep {0} & wait",
        "setsid sleep {0} & wait",
        "trap '' TERM; (setsid sleep {0} &); sleep {0}",
        "(trap '' TERM; exec sleep {0}) & sleep {0}",
    ],
)
def test_a_timeout_in_a_host_that_ignores_sigchld_kills(script: str, mark: str) -> None:
    ended = run_host(
        mark,
        f"""
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
with arrea.Engine(kill_grace=300) as engine:
    began = time.monotonic()
    result = engine.execute("{script.format(mark)}", timeout=200)
    say(result.error.code, time.monotonic() - began < 1.5)
    with open("/proc/self/task/" + str(os.getpid()) + "/children") as children:
        say(children.read().split())
""",
    )
    assert ended.out == ["timeout True", "[]"]


def test_a_host_that_waits_for_every_child_loses_statuses_and_nothing_else(mark: str) -> None:
    ended = run_host(
        mark,
        """
def reap():
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            time.sleep(0.001)
threading.Thread(target=reap, daemon=True).start()
results = arrea.run([f"echo {index}" for index in range(100)], policy="once")
say([data.stdout.strip() for data in results.data] == [str(index) for index in range(100)])
say({result.error.code if result.error else "success" for result in results} <= {"success", "status_lost"})
with arrea.Engine(kill_grace=300) as engine:
    began = time.monotonic()
    scripts = ["(trap '' TERM; exec sleep {0}) & sleep {0}", "sleep {0}", "trap '' TERM; setsid sleep {0} & wait"]
    results = engine.run([script.format(MARK) for script in scripts], timeout=200, policy="once")
    say({result.error.code for result in results}, time.monotonic() - began < 1.5)
""",
    )
    assert ended.out == ["True", "True", "{'timeout'} True"]


# ── never a stranger ──────────────────────────────────────────────────────────────────────────────


def child_of_pid(pid: int) -> Child:
    """What Arrea would hold if it had once started `pid`."""
    return Child(None, pid, -1, -1, -1, (b"ARREA_TASK=x:0",), 0.0, 0)  # type: ignore[arg-type]


def test_a_pid_that_now_is_another_process_gets_no_signal(mark: str) -> None:
    # A session leader with a child in its group, both not ours: their parent has gone.
    os.system(f"setsid sh -c 'sleep {mark} & exec sleep {mark}' >/dev/null 2>&1 &")
    assert wait_until(lambda: len(marked_survivors(mark)) == 2)
    strangers = [int(line.split()[0]) for line in marked_survivors(mark)]
    leader = next(pid for pid in strangers if os.getsid(pid) == pid)
    assert wait_until(lambda: process_stat(leader)[2] != os.getpid())  # type: ignore[index]
    child = child_of_pid(leader)
    child.terminate(Census)
    child.kill(Census)
    assert child.family(Census()) == []
    time.sleep(0.05)
    assert [process_stat(pid)[1] for pid in strangers] == ["S", "S"]  # type: ignore[index]
    for pid in strangers:
        end_process(pid)
    assert wait_until(lambda: not marked_survivors(mark))


def test_a_process_that_somebody_else_reaped_gets_no_signal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    signalled: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "killpg", lambda *given: signalled.append(given))
    pid = os.spawnvp(os.P_NOWAIT, "true", ["true"])
    os.waitpid(pid, 0)
    child = child_of_pid(pid)
    child.terminate(Census)
    child.kill(Census)
    assert signalled == [] and child.status_lost


def test_the_group_of_a_leader_that_somebody_reaped_is_asked_to_end(mark: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    script = f"(trap 'echo term >{log}; exit' TERM; echo ready >{log}; sleep {mark} & wait) & exec sleep 0.1"
    leader = subprocess.Popen(["sh", "-c", script], start_new_session=True)
    leader.wait()
    assert wait_until(lambda: log.exists() and log.read_text() == "ready\n")
    child = child_of_pid(leader.pid)
    child.terminate(Census)
    assert wait_until(lambda: not child.family(Census()))
    assert log.read_text() == "term\n"


# ── fork ──────────────────────────────────────────────────────────────────────────────────────────


def test_after_a_fork_the_child_has_an_engine_of_its_own(mark: str) -> None:
    ended = run_host(
        mark,
        """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)
arrea.execute("true")
engine = arrea.Engine(kill_grace=300)
batch = engine.submit([NAP])
stream = engine.stream([NAP])
def refusal(call):
    try:
        return call()
    except arrea.EngineStopped as error:
        return error.code
pid = os.fork()
if pid == 0:
    say(arrea.execute("echo child").unwrap().stdout.strip())
    say(refusal(lambda: engine.execute("true")))
    say(refusal(batch.wait), refusal(lambda: list(batch)), refusal(lambda: next(stream)))
    batch.cancel()
    stream.close()
    engine.close()
    with arrea.Engine() as own:
        say(own.run(["echo a"] * 3).success)
    sys.exit(7)
say(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
say(arrea.execute("echo parent").unwrap().stdout.strip(), batch.done)
stream.close()
engine.close()
say(batch.wait()[0].error.code)
""",
    )
    refusals = "engine_stopped engine_stopped engine_stopped"
    assert ended.out == ["child", "engine_stopped", refusals, "True", "7", "parent False", "cancelled"]


def test_forks_while_other_threads_start_commands(mark: str) -> None:
    ended = run_host(
        mark,
        """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)
arrea.execute("true")  # what a module that another thread is just importing is to a fork, isn't ours to mend
over = threading.Event()
def work():
    while not over.is_set():
        arrea.run(["echo x"] * 5, policy="once")
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
codes = set()
for _ in range(20):
    pid = os.fork()
    if pid == 0:
        os._exit(0 if arrea.execute("echo y", timeout=5000).data.stdout == "y\\n" else 9)
    codes.add(os.waitpid(pid, 0)[1])
over.set()
for thread in threads:
    thread.join()
say(codes)
""",
    )
    assert ended.out == ["{0}"]


# ── users' functions ──────────────────────────────────────────────────────────────────────────────


def test_a_policy_function_that_never_returns_holds_up_nobody_else(engine: Engine, mark: str) -> None:
    over = threading.Event()

    def decide(*_: object) -> str:
        over.wait(20)
        return "continue"

    slow = arrea.Task("exit 1", policy=arrea.policies.custom(decide))
    began = time.monotonic()
    try:
        stream = engine.stream([slow, *["sleep 0.1; echo x"] * 10], policy="once", env={"ARREA_CHAOS": mark})
        others = [next(stream) for _ in range(10)]
        assert time.monotonic() - began < 2.0
        assert all(result.success for result in others) and {result.index for result in others} == set(
            range(1, 11)
        )
        last = next(stream)
        assert 4.5 < time.monotonic() - began < 7.0
        assert last.error is not None and last.error.code == "exception"
    finally:
        over.set()


def test_a_source_that_two_threads_wait_for_is_pulled_by_one_at_a_time(engine: Engine, mark: str) -> None:
    def source() -> object:
        for index in range(60):
            time.sleep(0.002)
            yield f"echo {index}"

    batch = engine.submit(source(), policy="once", env={"ARREA_CHAOS": mark})  # type: ignore[arg-type]
    with ThreadPoolExecutor(3) as pool:
        waits = [pool.submit(batch.wait, "20s") for _ in range(3)]
        told = [[data.stdout for data in wait.result().data if data] for wait in waits]
    assert told == [[f"{index}\n" for index in range(60)]] * 3
