"""What lost its parent, its session and its environment comes to the command line, a subreaper, and is found."""

import os
import signal
import subprocess
import time

import pytest

from tests.cli.door import arrea, started
from tests.support import command_line, process_stat, wait_until

# Nothing is left that would tell whose it is.
LOST = "(env -i setsid sleep {0} >/dev/null 2>&1 &)"


def sleepers(seconds: str) -> list[int]:
    pids = (int(name) for name in os.listdir("/proc") if name.isdigit())
    return [pid for pid in pids if command_line(pid) == f"sleep {seconds}"]


@pytest.fixture
def seconds() -> str:
    return f"31339.{os.getpid()}{time.monotonic_ns() % 10**6}"


def test_an_orphan_of_a_command_that_timed_out_is_killed(seconds: str) -> None:
    ran = arrea("run", "-q", "-c", f"{LOST.format(seconds)}; sleep 60", "--timeout", "500")
    assert ran.code == 124
    assert sleepers(seconds) == []


def test_orphans_of_all_commands_are_killed_at_an_interrupt(seconds: str) -> None:
    with started("run", "-q", "-p3", *["-c", f"{LOST.format(seconds)}; sleep 60"] * 3) as running:
        assert wait_until(lambda: len(sleepers(seconds)) == 3)
        running.signal(signal.SIGINT)
        assert running.end().code == -signal.SIGINT
    assert sleepers(seconds) == []


def test_one_that_a_successful_command_left_goes_on(seconds: str) -> None:
    ran = arrea("run", "-q", "-p1", "-c", LOST.format(seconds), "-c", "sleep 60", "--timeout", "500")
    assert ran.code == 1
    (left,) = sleepers(seconds)
    os.kill(left, signal.SIGKILL)


def test_an_orphan_becomes_a_child_of_ours(seconds: str) -> None:
    with started(
        "run", "-q", "-p2", "-c", "sleep 2", "-c", f"{LOST.format(seconds)}; sleep 60", "--halt", "soon"
    ) as one:
        assert wait_until(lambda: len(sleepers(seconds)) == 1)
        one.signal(signal.SIGUSR1)
        assert one.process.poll() is None
        (orphan,) = sleepers(seconds)
        stat = process_stat(orphan)
        assert stat is not None and stat[2] == one.process.pid
        one.signal(signal.SIGTERM)
        assert one.end().code == -signal.SIGTERM
    assert sleepers(seconds) == []


def test_orphans_that_end_leave_no_zombie() -> None:
    lost = "(setsid sh -c 'exit 0' &); sleep 0.1"
    with started("run", "-q", "-p1", *["-c", lost] * 30) as running:
        time.sleep(2.5)
        mine = subprocess.run(
            ["ps", "--ppid", str(running.process.pid), "-o", "stat="], capture_output=True, text=True
        )
        zombies = [state for state in mine.stdout.split() if state.startswith("Z")]
        assert len(zombies) < 15, zombies  # they are looked for once a second
        assert running.end().code == 0
