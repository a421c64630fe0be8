"""The pool itself: many processes at once, a host that dies while it can't look, few descriptors, many values."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import arrea
from tests.faults.conftest import mark
from tests.faults.hosts import Host, run_host
from tests.faults.test_functions import lives, no_core_files
from tests.support import wait_until

__all__ = ["mark", "no_core_files"]

pytestmark = pytest.mark.timeout(60)


def test_more_processes_than_the_seed_can_be_told_of_at_once(mark: str) -> None:
    """Host and seed each have a full socket before them, and neither waits for the other."""
    ended = run_host(
        mark,
        """
with arrea.Engine(max_workers=300, max_processes=300, max_commands_per_batch=None, kill_grace=300) as engine:
    results = engine.run([lambda: time.sleep(2)] * 300, workers=300, policy="once", timeout="30s")
    say(len(results), results.success)
""",
        within=50,
    )
    assert ended.out == ["300 True"]


def test_innocent_calls_among_many_that_crash_their_processes(mark: str) -> None:
    """Numbers of descriptors are used again at once; no call may get the end of another's process."""

    def guilty(item: int) -> bool:
        return random.Random(item).random() < 0.3

    def work(item: int) -> int:
        if guilty(item):
            os._exit(7)
        return item

    with arrea.Engine(max_processes=8, kill_grace=300) as engine:
        results = list(engine.map(work, range(600), workers=8, policy="once", return_results=True))
    wrong = [number for number, result in enumerate(results) if guilty(number) == result.success]
    assert len(results) == 600
    assert wrong == []
    codes = {result.error.code for result in results if result.error}
    assert codes == {"worker_crashed"}


def test_a_host_that_is_killed_while_it_cannot_look_leaves_nobody(mark: str, tmp_path: Path) -> None:
    """It gave the order for eight processes, and holds the lock of its interpreter since: it never heard of them."""
    place = tmp_path / "pids"
    place.touch()
    script = f"""
def note():
    with open({str(place)!r}, "a") as file:
        file.write(str(os.getpid()) + "\\n")
    time.sleep(60)
engine = arrea.Engine(max_processes=12, kill_grace=300)
engine.execute(os.getpid)
time.sleep(0.3)
engine.submit([note] * 8, workers=8, timeout=None, policy="once")
say("ready")
time.sleep(0.005)
sum(range(10**11))
"""
    with Host(mark, script) as host:
        assert host.line() == "ready"
        time.sleep(1.0)
        host.signal(signal.SIGKILL)
        time.sleep(0.5)  # whoever starts late has started
        pids = [int(line) for line in place.read_text().splitlines()]
        assert wait_until(lambda: not any(lives(pid) for pid in pids), 2.0)


def test_big_values_where_descriptors_are_few(mark: str) -> None:
    """Big values come as files: for one at a time there has to be room, and none stays open."""
    ended = run_host(
        mark,
        """
import logging, resource
logging.disable()
resource.setrlimit(resource.RLIMIT_NOFILE, (48, 48))
with arrea.Engine(max_processes=16, kill_grace=300) as engine:
    many = engine.run([lambda: bytes(300_000)] * 60, workers=16, policy="once", timeout="20s")
    say(len(many), {len(result.data) if result else result.error.code for result in many})
    say(len(engine.execute(lambda: bytes(300_000)).data), engine.execute(lambda: 5).data)
""",
        within=50,
    )
    assert ended.out == ["60 {300000}", "300000 5"]


def test_values_that_were_taken_are_forgotten(mark: str) -> None:
    """Not even a place in a list is left of each: 8 bytes would be 2,200 KiB more."""
    ended = run_host(
        mark,
        """
values = arrea.map(abs, range(300_000), workers=2)
for _ in range(20_000):
    next(values)
before = status("VmHWM")
say(sum(1 for _ in values), status("VmHWM") - before < 1500)
""",
        within=60,
    )
    assert ended.out == ["280000 True"]


def test_an_engine_closes_though_its_idle_processes_are_stopped(mark: str) -> None:
    ended = run_host(
        mark,
        """
engine = arrea.Engine(max_processes=4, kill_grace=300)
with engine:
    pids = engine.run([lambda: (time.sleep(0.2), os.getpid())[1]] * 4, workers=4).unwrap()
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    begun = time.monotonic()
say(len(pids), time.monotonic() - begun < 3)
say([pid for pid in pids if os.path.exists("/proc/" + str(pid))])
""",
        within=30,
    )
    assert ended.out == ["4 True", "[]"]


def test_a_function_that_prints_a_gigabyte(mark: str) -> None:
    """It goes past the host, straight to its stdout: none of it is lost, none of it is in the host's memory."""
    program = """
import arrea, re, sys
def prints():
    for _ in range(1024):
        print("x" * ((1 << 20) - 1))
    return "printed"
said = arrea.run([prints, lambda: "another"], workers=2, timeout="60s").data
most_kib = int(re.search("VmHWM:\\s*(\\d+) kB", open("/proc/self/status").read())[1])
print(said, most_kib < 200_000, file=sys.stderr)
"""
    count = 0
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "ARREA_CHAOS": mark},
    ) as host:
        assert host.stdout and host.stderr
        while data := host.stdout.read(1 << 20):
            count += len(data)
        assert host.stderr.read() == b"['printed', 'another'] True\n"
    assert (host.returncode, count) == (0, 1 << 30)
