"""What lost its parent, its session and its environment comes to the command line, a subreaper, and is found."""

import os
import signal
import time
from pathlib import Path

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
        assert zombies_of(running.process.pid) < 15  # they are looked for once a second
        assert running.end().code == 0


def test_what_a_successful_command_left_may_go_on_to_fork(seconds: str, tmp_path: Path) -> None:
    """Its children are orphans that are younger than its end; they still have its marks."""
    script = tmp_path / "service"
    script.write_text(f"(sleep 0.5; sh -c 'sleep {seconds} & exit'; sleep 5) >/dev/null 2>&1 & exit 0\n")
    ran = arrea(
        "run", "-q", "-p2", "--timeout", "1200", "-c", f"sh {script}", "-c", "sleep 60", checked=False
    )
    assert ran.code == 1
    (left,) = sleepers(seconds)
    os.kill(left, signal.SIGKILL)


def test_commands_that_ended_before_it_or_began_after_it_save_no_orphan(seconds: str) -> None:
    late = f"sleep 0.3; {LOST.format(seconds)}; sleep 60"
    ran = arrea(
        "run",
        "-q",
        "-p3",
        "--timeout",
        "1500",
        "--retries",
        "1",
        "--retry-delay",
        "500",
        "-c",
        late,
        "-c",
        "false",
    )
    assert ran.code == 1
    assert sleepers(seconds) == []


def test_a_command_that_forks_without_end_leaves_few_zombies() -> None:
    storm = "i=0; while [ $i -lt 4000 ]; do (sleep 0.001 &) ; i=$((i+1)); done"
    with started("run", "-q", "-c", storm) as running:
        most = 0
        while running.process.poll() is None:
            most = max(most, zombies_of(running.process.pid))
            time.sleep(0.1)
        assert running.end().code == 0
    assert most < 2500


def zombies_of(parent: int) -> int:
    pids = (int(name) for name in os.listdir("/proc") if name.isdigit())
    stats = (process_stat(pid) for pid in pids)
    return sum(1 for stat in stats if stat is not None and stat[1] == "Z" and stat[2] == parent)
