"""Ctrl-Z: arrea and all that it runs stop, time stands still, and SIGCONT continues both."""

import signal
import time
from pathlib import Path

import pytest

from tests.cli.door import SLACK, Started, started
from tests.cli.terminal import Terminal
from tests.cli.test_signals import wait_for_commands
from tests.support import marked_survivors, process_stat, wait_until

# Not a leader of its own session, so somebody could continue it: otherwise the kernel ignores SIGTSTP.
JOB = {"start_new_session": False, "process_group": 0}
STOPPED = {"T", "D"}  # D: a shell that waits in vfork(2) for its child, which is stopped before its exec
# Work that a stop interrupts: a `sleep` is over at its hour, stopped or not.
WORK = "for i in 1 2 3 4 5 6; do sleep 0.1; done"


def states(running: Started) -> dict[int, str]:
    """The state letter of arrea and of each of its commands' processes."""
    pids = [running.process.pid, *(int(line.split()[0]) for line in marked_survivors(running.mark))]
    stats = {pid: process_stat(pid) for pid in pids}
    return {pid: stat[1] for pid, stat in stats.items() if stat is not None and "guardian" not in stat[0]}


def commands(running: Started) -> dict[int, str]:
    return {pid: state for pid, state in states(running).items() if _is_command(pid)}


def _is_command(pid: int) -> bool:
    """Arrea marks what it starts."""
    try:
        return b"\0ARREA_TASK=" in b"\0" + Path(f"/proc/{pid}/environ").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False


def state(running: Started) -> str:
    stat = process_stat(running.process.pid)
    return stat[1] if stat else "gone"


def stop(running: Started) -> None:
    running.signal(signal.SIGTSTP)
    assert wait_until(lambda: state(running) == "T", 5), state(running)


def test_arrea_and_its_commands_stop_and_go_on() -> None:
    words = [
        "-c",
        f"{WORK} & {WORK}; wait; echo a",
        "-c",
        "exec sleep 71",
        "-c",
        f"setsid sh -c '{WORK}'; echo b",
    ]
    with started("run", "-q", "-p3", *words, **JOB) as running:
        wait_for_commands(running, 3)
        stop(running)
        assert len(commands(running)) >= 5
        assert wait_until(lambda: set(commands(running).values()) <= STOPPED, 1), commands(running)
        time.sleep(0.5)
        assert set(commands(running).values()) <= STOPPED
        running.signal(signal.SIGCONT)
        assert wait_until(lambda: "T" not in states(running).values(), 5), states(running)
        assert running.process.stdout
        assert {running.process.stdout.readline(), running.process.stdout.readline()} == {b"a\n", b"b\n"}
        running.signal(signal.SIGTERM)
        assert running.end().code == -15


@pytest.mark.parametrize("flags", [[], ["--output=lines"], ["--json"]])
def test_a_timeout_counts_only_the_time_that_ran(flags: list[str]) -> None:
    with started(
        "run", "-q", "--timeout=2s", *flags, "-c", f"{WORK}; echo a", "-c", "true", **JOB
    ) as running:
        wait_for_commands(running, 1)
        stop(running)
        time.sleep(2.2)
        running.signal(signal.SIGCONT)
        ran = running.end()
    assert ran.code == 0 and b"a" in ran.out


def test_a_command_that_writes_directly() -> None:
    with started("run", "-q", "--timeout=2s", "-c", f"{WORK}; echo a", **JOB) as running:
        wait_for_commands(running, 1)
        stop(running)
        time.sleep(2.2)
        running.signal(signal.SIGCONT)
        assert running.end()[:3] == (0, b"a\n", "")


def test_a_deadline_counts_only_the_time_that_ran() -> None:
    with started("run", "-q", "--deadline=2s", "-c", f"{WORK}; echo a", "-c", "true", **JOB) as running:
        wait_for_commands(running, 1)
        stop(running)
        time.sleep(2.2)
        running.signal(signal.SIGCONT)
        assert running.end()[:3] == (0, b"a\n", "")


def test_a_timeout_still_comes() -> None:
    with started("run", "-q", "--timeout=600", "-c", "exec sleep 71", **JOB) as running:
        wait_for_commands(running, 1)
        stop(running)
        time.sleep(1)
        running.signal(signal.SIGCONT)
        ran = running.end()
    assert ran.code == 124 and ran.seconds < SLACK


def test_again_and_again() -> None:
    with started("run", "-q", "-c", f"{WORK}; echo a", "-c", f"{WORK}; echo b", **JOB) as running:
        wait_for_commands(running, 2)
        for _ in range(5):
            stop(running)
            time.sleep(0.05)
            running.signal(signal.SIGCONT)
            assert wait_until(lambda: state(running) != "T", 5)
        ran = running.end()
    assert ran.code == 0 and sorted(ran.out.split()) == [b"a", b"b"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_ended_while_it_is_stopped(number: int) -> None:
    with started("run", "-q", "-c", "exec sleep 71", "-c", "exec sleep 72", **JOB) as running:
        wait_for_commands(running, 2)
        stop(running)
        running.signal(number)
        time.sleep(0.2)
        assert state(running) == "T"
        running.signal(signal.SIGCONT)
        ran = running.end()
    assert ran.code == -number and ran.seconds < SLACK


def test_ctrl_c_after_it_was_continued() -> None:
    with started("run", "-c", "exec sleep 71", "-c", "exec sleep 72", **JOB) as running:
        wait_for_commands(running, 2)
        stop(running)
        running.signal(signal.SIGCONT)
        time.sleep(0.2)
        running.signal(signal.SIGINT)
        ran = running.end()
    assert ran.code == -2 and "interrupted: 2 commands" in ran.err and ran.seconds < SLACK


def test_where_nobody_could_continue_it_the_work_goes_on() -> None:
    """In a session of its own its group is orphaned, and the kernel doesn't stop it."""
    with started("run", "-q", "-c", f"{WORK}; echo a", "-c", "true") as running:
        wait_for_commands(running, 1)
        running.signal(signal.SIGTSTP)
        assert running.end()[:3] == (0, b"a\n", "")


def test_ignored_it_stays_ignored() -> None:
    words = ["-q", "-c", f"{WORK}; echo a", "-c", "true"]
    with started("run", *words, before=("env", "--ignore-signal=TSTP"), **JOB) as running:
        wait_for_commands(running, 1)
        running.signal(signal.SIGTSTP)
        time.sleep(0.1)
        assert state(running) != "T"
        assert running.end()[:3] == (0, b"a\n", "")


def test_killed_while_it_is_stopped() -> None:
    """Nothing of its commands is left: they are stopped too, and have to die all the same."""
    with started("run", "-q", "-c", "exec sleep 71", "-c", "exec sleep 72", **JOB) as running:
        wait_for_commands(running, 2)
        stop(running)
        running.signal(signal.SIGKILL)
        running.process.communicate(timeout=10)
        assert wait_until(lambda: not marked_survivors(running.mark), 4), marked_survivors(running.mark)


def test_with_many_that_come_and_go(tmp_path: Path) -> None:
    """Whatever is just being started when the signal comes."""
    (tmp_path / "f").write_text("sleep 0.02\n" * 300)
    with started("run", "-q", "-p8", "--timeout=10s", "-f", str(tmp_path / "f"), **JOB) as running:
        wait_for_commands(running, 1)
        for _ in range(10):
            stop(running)
            assert wait_until(lambda: set(commands(running).values()) <= {*STOPPED, "Z"}, 1)
            running.signal(signal.SIGCONT)
            time.sleep(0.03)
        assert running.end()[:3] == (0, b"", "")


def test_a_shell_with_jobs() -> None:
    """Ctrl-Z, `jobs`, `fg` as at any terminal, in a bash that controls jobs."""
    line = f"$ARREA run -q -c '{WORK}; echo done' -c true"
    terminal = Terminal(program=["bash", "--norc", "-i"], env={"PS1": "prompt$ ", "HISTFILE": ""})
    assert terminal.read_until("prompt$ ")
    terminal.type(line + "\n")
    assert wait_until(lambda: bool(_jobs_of(terminal.pid)), 10)
    time.sleep(0.3)
    terminal.type("\x1a")
    assert terminal.read_until("Stopped")
    terminal.type("fg; echo code $?\n")
    assert terminal.read_until("code 0") and "\ndone" in terminal.text
    terminal.type("exit\n")
    assert terminal.end() == 0


def _jobs_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
