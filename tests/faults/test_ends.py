"""Work in flight when its caller, its engine or its program ends: nothing of it goes on."""

import signal
import time

import pytest

import arrea
from arrea import Engine
from tests.faults.conftest import GRACE_MS
from tests.faults.hosts import Host, run_host
from tests.support import marked_survivors, open_descriptors, wait_until

GRACE_S = GRACE_MS / 1000
# Ten commands that ignore SIGTERM, with children in sessions of their own, on the default engine or on one of ours.
WORK = f"""
stubborn = ["trap '' TERM; setsid sleep " + MARK + " & wait; wait"] * 10
engine = arrea.Engine(kill_grace={GRACE_MS})
def running():
    time.sleep(0.2)
    say("running")
"""


# ── the interpreter ───────────────────────────────────────────────────────────────────────────────

FORKED = """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)
engine.execute("true")
pid = os.fork()
if pid:
    os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
engine = arrea.Engine(kill_grace=engine.config.get("kill_grace"))
"""
COROUTINES = """
import asyncio
async def main():
    tasks = [asyncio.create_task(engine.run_async(stubborn[:2])) for _ in range(6)]
    await asyncio.to_thread(running)
    raise SystemExit(5)
asyncio.run(main())
"""

EXITS = {
    "sys.exit": "batch = engine.submit(stubborn); running(); sys.exit(5)",
    "the end of the script": "batch = engine.submit(stubborn); running()",
    "an exception": "batch = engine.submit(stubborn); running(); raise SystemExit(5) from ValueError()",
    "a daemon thread in run": "threading.Thread(target=engine.run, args=(stubborn,), daemon=True).start(); running()",
    "a stream half read": "stream = engine.stream(['true'] + stubborn); next(stream); running()",
    "a source that never ends": "batch = engine.submit(iter(lambda: stubborn[0], 0), workers=10); running()",
    "the default engine": "batch = arrea.submit([NAP] * 10); running()",
    "twenty threads": """
for _ in range(20):
    threading.Thread(target=engine.run, args=(stubborn[:1],), daemon=True).start()
running()
""",
    "the child of a fork": FORKED + "batch = engine.submit(stubborn); running(); sys.exit(5)",
    "a subscriber that is slow": """
engine.subscribe(lambda event: time.sleep(0.06))
batch = engine.submit(stubborn)
running()
""",
    "output that nobody takes": """
batch = engine.submit(stubborn + ["yes"], on_output=lambda event: time.sleep(60))
running()
""",
    "coroutines": COROUTINES,
    "several engines": "for _ in range(5): arrea.Engine(kill_grace=100).submit(stubborn[:2])\nrunning()",
}


@pytest.mark.parametrize("how", EXITS)
def test_the_interpreter_ends_with_work_in_flight(how: str, mark: str) -> None:
    with Host(mark, WORK + EXITS[how]) as host:
        assert host.line() == "running"
        ended = host.end(within=10)
        assert marked_survivors(mark) == []
    assert ended.err == ""
    assert ended.code == (5 if "5" in EXITS[how] and "range(5)" not in EXITS[how] else 0)
    assert ended.took < GRACE_S + 2.0


def test_the_main_thread_raises_with_work_in_flight(mark: str) -> None:
    with Host(mark, WORK + "batch = engine.submit(stubborn); running(); 1 / 0") as host:
        host.line()
        ended = host.end(within=10)
        assert marked_survivors(mark) == []
    assert ended.code == 1 and ended.err.count("Traceback") == 1 and "ZeroDivisionError" in ended.err
    assert ended.took < GRACE_S + 2.0


def test_warnings_of_the_interpreter_stay_away_at_its_end(mark: str) -> None:
    script = "batch = engine.submit(stubborn); stream = engine.stream([NAP]); running()"
    with Host(mark, WORK + script, dev=True) as host:
        host.line()
        ended = host.end(within=10)
        assert marked_survivors(mark) == []
    assert (ended.code, ended.err) == (0, "")


# ── Ctrl-C ────────────────────────────────────────────────────────────────────────────────────────

WAITS = {
    "run": "engine.run(stubborn)",
    "execute": "engine.execute(stubborn[0])",
    "stream": "for result in engine.stream(stubborn): pass",
    "wait": "engine.submit(stubborn).wait()",
    "run of an iterator": "engine.run(iter(stubborn))",
    "run that waits for retries": "engine.run(['exit 1'], policy=arrea.Policy(retry_delay=60_000))",
}
INTERRUPTED = """
threading.Thread(target=running, daemon=True).start()
try:
    {wait}
except KeyboardInterrupt:
    say("interrupted")
    with open("/proc/self/task/" + str(os.getpid()) + "/children") as children:
        say(children.read().split())
    pause()
    say(engine.execute("echo usable").data.stdout.strip())
engine.close()
"""


@pytest.mark.parametrize("how", WAITS)
def test_ctrl_c_ends_the_batch_and_is_raised_again(how: str, mark: str) -> None:
    with Host(mark, WORK + INTERRUPTED.format(wait=WAITS[how])) as host:
        host.line()
        began = time.monotonic()
        host.signal(signal.SIGINT)
        assert host.line() == "interrupted"
        took = time.monotonic() - began
        assert len(marked_survivors(mark)) == 1  # the host itself
        host.go_on()
        ended = host.end(within=5)
    assert took < GRACE_S + 1.0
    assert (ended.code, ended.err, ended.out) == (0, "", ["[]", "usable"])


def test_a_second_ctrl_c_kills_at_once(mark: str) -> None:
    script = WORK.replace(f"kill_grace={GRACE_MS}", "kill_grace=20_000")
    with Host(mark, script + INTERRUPTED.format(wait=WAITS["run"])) as host:
        host.line()
        host.signal(signal.SIGINT)
        time.sleep(0.2)
        began = time.monotonic()
        host.signal(signal.SIGINT)
        assert host.line() == "interrupted"
        took = time.monotonic() - began
        assert len(marked_survivors(mark)) == 1
        host.go_on()
        ended = host.end(within=5)
    assert took < 1.0
    assert (ended.code, ended.err, ended.out) == (0, "", ["[]", "usable"])


def test_ctrl_c_while_an_engine_is_closed_kills_at_once(mark: str) -> None:
    """An exception in `Thread.join` makes Python 3.11 take a running thread for ended (bpo-45274)."""
    script = """
engine = arrea.Engine()
engine.submit(["trap '' TERM INT; while :; do sleep 0.1; done # " + MARK] * 3)
time.sleep(0.5)
say("running")
try:
    engine.close()
except KeyboardInterrupt:
    say("interrupted")
    os._exit(0)
"""
    with Host(mark, script) as host:
        assert host.line() == "running"
        time.sleep(0.3)
        host.signal(signal.SIGINT)
        assert host.line() == "interrupted"
        assert host.end(within=3).code == 0


def test_ctrl_c_at_any_moment_of_many_batches(mark: str) -> None:
    script = """
engine = arrea.Engine(kill_grace=100)
count = 0
arrea.validate("true;")  # an interrupted import may leave a file for the collector to close, and to complain of
say("running")
for number in range(40):
    timer = threading.Timer(number / 1500, os.kill, (os.getpid(), signal.SIGINT))
    try:
        timer.start()
        while True:
            engine.run(["true", NAP, ["true"]], timeout=5, policy="once")
            engine.execute("true")
    except KeyboardInterrupt:
        count += 1
engine.close()
say(count)
"""
    ended = run_host(mark, script)
    assert ended.out == ["running", "40"]


# ── one batch, one engine ─────────────────────────────────────────────────────────────────────────


def all_run(mark: str) -> bool:
    """Whether the ten sleepers of a test are there: what is cancelled before comes and goes unseen."""
    return wait_until(lambda: len(marked_survivors(mark)) == 10)


def all_gone(mark: str) -> bool:
    return wait_until(lambda: not marked_survivors(mark), timeout=GRACE_S + 1.0)


def test_a_stream_that_is_left_early_cancels_the_rest(engine: Engine, mark: str) -> None:
    for result in engine.stream(["true"] + [["sleep", mark]] * 10, env={"ARREA_CHAOS": mark}):
        assert result.success and all_run(mark)
        break
    assert all_gone(mark)


def test_a_stream_that_is_closed_leaves_nothing(engine: Engine, mark: str) -> None:
    commands = ["true"] + [f"trap '' TERM; sleep {mark} & wait"] * 10
    with engine.stream(commands, env={"ARREA_CHAOS": mark}) as stream:
        assert next(stream).success
        time.sleep(0.1)
    assert marked_survivors(mark) == []


def test_a_generator_over_a_stream_that_is_dropped_cancels_the_rest(engine: Engine, mark: str) -> None:
    def results() -> object:
        yield from engine.stream(["true"] + [["sleep", mark]] * 10, env={"ARREA_CHAOS": mark})

    generator = results()
    next(generator)  # type: ignore[call-overload]
    assert all_run(mark)
    del generator
    assert all_gone(mark)


def test_an_exception_in_the_loop_over_a_stream_cancels_the_rest(engine: Engine, mark: str) -> None:
    with pytest.raises(ZeroDivisionError):
        for _ in engine.stream(["true"] + [["sleep", mark]] * 10, env={"ARREA_CHAOS": mark}):
            assert all_run(mark)
            raise ZeroDivisionError
    assert all_gone(mark)


def test_a_source_that_raises_lets_what_runs_finish(engine: Engine, mark: str) -> None:
    def source() -> object:
        yield "sleep 0.2; echo x"
        raise ZeroDivisionError("the source's own")

    stream = engine.stream(source(), env={"ARREA_CHAOS": mark})  # type: ignore[arg-type]
    assert next(stream).unwrap().stdout == "x\n"
    with pytest.raises(ZeroDivisionError):
        next(stream)


def test_closing_an_engine_whose_commands_ignore_sigterm(mark: str) -> None:
    engine = Engine(kill_grace=GRACE_MS)
    batch = engine.submit([f"trap '' TERM; sleep {mark} & wait; wait"] * 20, env={"ARREA_CHAOS": mark})
    assert wait_until(lambda: len(marked_survivors(mark)) >= 40)
    began = time.monotonic()
    engine.close()
    assert time.monotonic() - began < GRACE_S + 1.0
    assert marked_survivors(mark) == []
    assert {result.error.code for result in batch.wait(100) if result.error} == {"cancelled"}
    with pytest.raises(arrea.EngineStopped):
        engine.execute("true")


def test_closing_an_engine_right_after_submitting(mark: str) -> None:
    for number in range(50):
        engine = Engine(kill_grace=GRACE_MS)
        batch = engine.submit([["sleep", mark]] * 5, env={"ARREA_CHAOS": mark})
        time.sleep(number % 10 / 2000)
        engine.close()
        assert len(batch.wait(100)) == 5
    assert marked_survivors(mark) == []


def test_two_hundred_engines_one_after_the_other_leave_nothing(mark: str) -> None:
    ended = run_host(
        mark,
        """
def left():
    until = time.monotonic() + 2  # a thread that was joined is on its way out of the kernel
    while len(os.listdir("/proc/self/task")) > 1 and time.monotonic() < until:
        time.sleep(0.001)
    return len(os.listdir("/proc/self/fd")), threading.active_count(), len(os.listdir("/proc/self/task"))
for number in range(200):
    if number == 10:
        before = left()
    with arrea.Engine() as engine:
        assert engine.execute(["true"]).success
after = left()
say(before == after, *after[1:])
""",
        dev=True,
    )
    assert ended.out == ["True 1 1"]


def test_two_thousand_short_commands_keep_descriptors_memory_and_zombies_flat(mark: str) -> None:
    ended = run_host(
        mark,
        """
def zombies():
    with open("/proc/self/task/" + str(os.getpid()) + "/children") as children:
        pids = children.read().split()
    return sum(state_of(pid) == "Z" for pid in pids)
def state_of(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0]
    except OSError:
        return "gone"
def sample():
    while not over.wait(0.02):
        samples.append((len(os.listdir("/proc/self/fd")), zombies()))
engine = arrea.Engine(max_commands_per_batch=None, max_workers=20, default_policy="once")
engine.run(["echo x", "echo 'x'"] * 100)
before, fds, samples, over = status("VmRSS"), len(os.listdir("/proc/self/fd")), [], threading.Event()
sampler = threading.Thread(target=sample)
sampler.start()
for _ in range(4):
    assert engine.run(["echo x"] * 250 + [["true"]] * 250).success
over.set()
sampler.join()
say(len(samples) > 10, max(open for open, _ in samples) < fds + 20 * 4 + 30)
say(max(dead for _, dead in samples), len(os.listdir("/proc/self/fd")) - fds, status("VmRSS") - before)
engine.close()
say(zombies())
""",
    )
    assert ended.out[0] == "True True"
    most_zombies, more_descriptors, grown_kib = map(int, ended.out[1].split())
    assert most_zombies <= 20  # between an exit and the reactor's next turn, never more than workers
    assert more_descriptors <= 0  # fewer: for some milliseconds there is one for the guardian that starts
    assert grown_kib < 4096
    assert ended.out[2] == "0"


def test_dropped_engines_and_results_hold_no_descriptor(mark: str) -> None:
    before = len(open_descriptors())
    for _ in range(20):
        with Engine() as engine:
            engine.submit(["echo x"] * 3, env={"ARREA_CHAOS": mark})
    assert len(open_descriptors()) == before
