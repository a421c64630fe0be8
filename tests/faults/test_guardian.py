"""A host, or its guardian, or both are killed with SIGKILL: what ran is dead within two seconds."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.faults.hosts import PRELUDE, Host
from tests.support import command_line, marked_survivors, wait_until

DEAD_WITHIN_S = 2.0

# Each prints "ready" when all of it is there.
SHAPES = {
    "a group": "sleep {mark} & sleep {mark}",
    "one that ignores SIGTERM": "trap '' TERM; sleep {mark} & sleep {mark} & wait",
    "its own session": "setsid sleep {mark} & sleep {mark}",
    "a daemon": "(setsid sleep {mark} &) ; sleep {mark}",
    "a stopped one": "sleep {mark} & kill -STOP $!; sleep {mark}",
    "without an environment": "exec env -i sleep {mark}",
}
MID_BATCH = """
batch = arrea.submit([shape.replace("{mark}", MARK) for shape in SHAPES], timeout=None, policy="once")
while len(arrea._app.default.default_engine().running()) < len(SHAPES):
    time.sleep(0.01)
time.sleep(0.3)
say("ready")
time.sleep(60)
"""


def guardians(host: int) -> list[int]:
    """The pids of the pair that watches this host."""
    wanted = f" {host} "
    pids = (int(name) for name in os.listdir("/proc") if name.isdigit())
    return [pid for pid in pids if (line := command_line(pid)).endswith("arrea-guardian") and wanted in line]


def kill(*pids: int) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


@pytest.fixture
def host(mark: str) -> Iterator[Host]:
    """In the middle of a batch, and with a guardian."""
    script = f"import arrea._app.default\nSHAPES = {list(SHAPES.values())!r}\n{MID_BATCH}"
    with Host(mark, script) as host:
        assert host.line() == "ready"
        assert wait_until(lambda: len(guardians(host.pid)) == 2)
        yield host


def survivors(mark: str, host: Host) -> list[str]:
    """The host itself is a zombie until the test waits for it."""
    return [line for line in marked_survivors(mark) if not line.startswith(f"{host.pid} ")]


def assert_dead(mark: str, host: Host) -> None:
    """Nothing of it lives when two seconds have passed, and nobody watches what is gone."""
    assert wait_until(lambda: not survivors(mark, host), DEAD_WITHIN_S), survivors(mark, host)
    assert wait_until(lambda: not guardians(host.pid)), "the guardian stays"


def test_a_host_is_killed_in_the_middle_of_a_batch(host: Host, mark: str) -> None:
    assert len(marked_survivors(mark)) > 2 * len(SHAPES) - 2
    kill(host.pid)
    assert_dead(mark, host)


def test_one_guardian_is_killed_and_then_the_host(host: Host, mark: str) -> None:
    one, other = guardians(host.pid)
    kill(one)
    assert wait_until(lambda: len(guardians(host.pid)) == 2 and one not in guardians(host.pid))
    assert other in guardians(host.pid)
    kill(host.pid)
    assert_dead(mark, host)


def test_both_guardians_are_killed_and_others_take_their_place(host: Host, mark: str) -> None:
    before = guardians(host.pid)
    kill(*before)
    assert wait_until(lambda: len(set(guardians(host.pid)) - set(before)) == 2)
    kill(host.pid)
    assert_dead(mark, host)


@pytest.mark.parametrize("which", [0, 1])
def test_a_guardian_and_its_host_are_killed_at_once(host: Host, mark: str, which: int) -> None:
    kill(guardians(host.pid)[which], host.pid)
    assert_dead(mark, host)


def test_the_host_and_then_a_guardian_are_killed_at_once(host: Host, mark: str) -> None:
    first = guardians(host.pid)[0]
    kill(host.pid, first)
    assert_dead(mark, host)


def test_a_host_that_ends_without_a_word_leaves_nothing(mark: str) -> None:
    with Host(mark, "arrea.submit([NAP] * 3); time.sleep(0.2); os._exit(3)") as host:
        assert host.end(10).code == 3
        assert_dead(mark, host)


def test_what_a_successful_command_left_on_purpose_lives_on(mark: str) -> None:
    script = """
arrea.execute("setsid sleep $ARREA_CHAOS >/dev/null 2>&1 &")
arrea.submit([NAP])
time.sleep(0.3)
say("ready")
time.sleep(60)
"""
    with Host(mark, script) as host:
        assert host.line() == "ready"
        kill(host.pid)
        assert wait_until(lambda: len(survivors(mark, host)) == 1, DEAD_WITHIN_S), survivors(mark, host)
        assert wait_until(lambda: not guardians(host.pid))
        (left,) = survivors(mark, host)
        kill(int(left.split()[0]))
        assert wait_until(lambda: not survivors(mark, host))


# ── between the start of a process and its being noted ────────────────────────────────────────────

# The switch: the host kills itself as soon as the kernel has handed out a pid, before anybody is told of it.
KILLED_BEFORE_ITS_CHILD_IS_NOTED = """
from arrea._runtime import spawner
real = spawner.spawn
def spawn_and_die(*arguments):
    real(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)
spawner.spawn = spawn_and_die
arrea.execute(["sh", "-c", "sleep $ARREA_CHAOS & sleep $ARREA_CHAOS"])
"""
# The clock: at a random moment of a run that starts commands all the time.
KILLED_AT_ANY_MOMENT = """
threading.Timer({delay}, os.kill, (os.getpid(), signal.SIGKILL)).start()
arrea.run((["sh", "-c", "sleep $ARREA_CHAOS & sleep $ARREA_CHAOS"] for _ in range(500)), timeout=5, workers=4)
"""


@pytest.mark.slow
@pytest.mark.timeout(170)
@pytest.mark.parametrize("how", ["before its child is noted", "at any moment"])
def test_two_hundred_hosts_are_killed_while_they_start_commands(mark: str, how: str) -> None:
    """Two hundred each way, twenty at a time."""
    for group in range(10):
        hosts = [_doomed(mark, how, 20 * group + number) for number in range(20)]
        assert [host.wait(30) for host in hosts] == [-signal.SIGKILL] * 20
        died_at = time.monotonic()
        assert wait_until(lambda: not marked_survivors(mark), 2 * DEAD_WITHIN_S), marked_survivors(mark)
        print(f"group {group}: dead after {time.monotonic() - died_at:.2f} s")


def _doomed(mark: str, how: str, number: int) -> "subprocess.Popen[bytes]":
    at_any_moment = KILLED_AT_ANY_MOMENT.format(delay=number * 0.002)
    script = KILLED_BEFORE_ITS_CHILD_IS_NOTED if how == "before its child is noted" else at_any_moment
    return subprocess.Popen(
        [sys.executable, "-c", PRELUDE + script],
        stdin=subprocess.DEVNULL,
        env={**os.environ, "ARREA_CHAOS": mark},
    )
