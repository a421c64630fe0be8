"""Ctrl-C and its like: everything is ended, the summary printed, and the command dies by the signal itself."""

import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.cli.door import GRACE_AND_A_SECOND, SLACK, Started, arrea, shell, started
from tests.cli.terminal import Terminal
from tests.support import marked_survivors, wait_until

STUBBORN = "trap '' INT TERM HUP; echo up; while :; do sleep 1; done"
ENDING = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT]


def wait_for_commands(running: Started, count: int, name: str = "sleep") -> None:
    """Until so many processes of that name run."""

    def there() -> bool:
        lines = marked_survivors(running.mark)
        return sum(name in line and "arrea run" not in line for line in lines) >= count

    assert wait_until(there, 10)


@pytest.mark.parametrize("number", ENDING)
def test_a_signal_ends_everything_and_then_us(number: int) -> None:
    with started(
        "run", "-p4", "-c", "echo done", "-c", "exec sleep 71", "-c", "exec sleep 72", "-c", "exit 3"
    ) as running:
        wait_for_commands(running, 2)
        time.sleep(0.2)
        running.signal(number)
        ran = running.end()
    assert ran.code == -number
    assert ran.out == b"done\n"
    assert "arrea: interrupted: 4 commands, 1 succeeded, 3 failed" in ran.err
    assert ran.seconds < SLACK  # they hear SIGTERM, so no grace is needed


@pytest.mark.parametrize(("number", "code"), [(2, 130), (15, 143), (1, 129)])
def test_what_a_shell_sees(number: int, code: int) -> None:
    ran = shell(f"$ARREA run -q -c 'kill -{number} $PPID; sleep 30' -c 'sleep 30'; echo $?")
    assert ran.out == b"%d\n" % code


def test_partial_output_is_shown() -> None:
    with started("run", "-c", "echo partial; exec sleep 71", "-c", "exec sleep 72") as running:
        wait_for_commands(running, 2)
        running.signal(signal.SIGINT)
        assert running.end().out == b"partial\n"


def test_who_wont_hear_is_killed_after_the_grace() -> None:
    with started("run", "-c", STUBBORN, "-c", STUBBORN) as running:
        wait_for_commands(running, 2)
        running.signal(signal.SIGINT)
        ran = running.end()
    assert ran.code == -2 and 1.9 < ran.seconds < GRACE_AND_A_SECOND + SLACK / 2
    assert "interrupted" in ran.err


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("gap", [0.02, 0.5])
def test_a_second_signal_kills_at_once(second: int, gap: float) -> None:
    with started("run", "-c", STUBBORN, "-c", STUBBORN) as running:
        wait_for_commands(running, 2)
        running.signal(signal.SIGINT)
        time.sleep(gap)
        running.signal(second)
        ran = running.end()
    assert ran.code == -2 and ran.seconds < 1.5


def test_two_signals_at_once_kill_at_once() -> None:
    for _ in range(5):
        with started("run", "-q", "-c", "trap '' TERM INT; sleep 70; sleep 70", "-c", "true") as running:
            wait_for_our_code(running.process.pid)
            time.sleep(0.3)
            running.process.send_signal(signal.SIGSTOP)  # so that it sees both together
            running.process.send_signal(signal.SIGINT)
            running.process.send_signal(signal.SIGTERM)
            running.signal(signal.SIGCONT)
            ran = running.end()
        assert ran.code in (-signal.SIGINT, -signal.SIGTERM)
        assert ran.seconds < 1.5


def test_an_interrupt_is_heard_though_very_many_could_still_be_told(tmp_path: Path) -> None:
    lines = tmp_path / "lines"
    lines.write_text("sleep 5\n" * 300_000)
    with started("run", "--json", "-q", "-f", str(lines), "-p2", stdout=subprocess.DEVNULL) as running:
        wait_for_our_code(running.process.pid)
        time.sleep(4)
        running.signal(signal.SIGINT)
        ran = running.end()
    assert ran.code == -signal.SIGINT
    assert ran.seconds < GRACE_AND_A_SECOND + 1


@pytest.mark.parametrize("output", ["lines", "grouped"])
def test_a_reader_that_is_stuck_holds_up_no_interrupt(output: str) -> None:
    reading, writing = os.pipe()
    try:
        words = ("run", "-q", "--output", output, "-c", "seq 30000", "-c", "exec sleep 71")
        with started(*words, stdout=writing) as running:
            wait_for_commands(running, 1)
            time.sleep(0.5)
            running.signal(signal.SIGTERM)
            ran = running.end()
    finally:
        os.close(reading)
        os.close(writing)
    assert ran.code == -signal.SIGTERM
    assert ran.seconds < 1 + SLACK / 2


def test_a_storm_of_signals() -> None:
    with started("run", "-c", STUBBORN, "-c", STUBBORN, "-c", STUBBORN) as running:
        wait_for_commands(running, 3)
        for _ in range(200):
            running.signal(random.choice(ENDING))
            time.sleep(0.001)
            if running.process.poll() is not None:
                break
        ran = running.end()
    assert ran.code in [-number for number in ENDING] and ran.seconds < 1.5


def test_with_a_command_that_writes_directly() -> None:
    with started("run", "-c", STUBBORN) as running:
        wait_for_commands(running, 1)
        running.signal(signal.SIGINT)
        time.sleep(0.1)
        running.signal(signal.SIGINT)
        assert running.end().code == -2


def test_while_nobody_reads_the_output() -> None:
    """The main thread waits for signals and for nothing else."""
    with started(
        "run", "-c", "yes | head -c 3000000; exec sleep 71", "-c", "exec sleep 72", "--halt=now"
    ) as running:
        wait_for_commands(running, 1, "sleep 72")
        time.sleep(0.2)
        running.signal(signal.SIGTERM)
        assert running.process.wait(timeout=GRACE_AND_A_SECOND + SLACK) == -15
        running.end()


def test_while_the_next_line_of_standard_input_is_waited_for() -> None:
    with started("run", "-p1", "-f", "-", stdin=subprocess.PIPE) as running:
        assert running.process.stdin
        running.process.stdin.write(b"echo a\nexec sleep 71\n")
        running.process.stdin.flush()
        wait_for_commands(running, 1)
        running.signal(signal.SIGINT)
        assert running.process.wait(timeout=GRACE_AND_A_SECOND + SLACK) == -2
        ran = running.end()
    assert ran.out == b"a\n" and "interrupted: 2 commands, 1 succeeded" in ran.err


def test_while_a_retry_is_waited_for() -> None:
    with started("run", "--retries=3", "--retry-delay=1h", "-c", "exit 3", "-c", "exec sleep 71") as running:
        wait_for_commands(running, 1)
        running.signal(signal.SIGINT)
        ran = running.end()
    assert ran.code == -2 and ran.seconds < SLACK


def test_with_many_commands_left(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("exec sleep 71\n" * 5000)
    with started("run", "-p8", "-f", str(tmp_path / "f")) as running:
        wait_for_commands(running, 8)
        running.signal(signal.SIGINT)
        ran = running.end()
    assert ran.code == -2 and ran.seconds < SLACK
    assert "8 failed, 4992 not started" in ran.err and ran.err.count("\n") < 30


def test_what_left_the_group_dies_too() -> None:
    with started(
        "run", "-c", "setsid sleep 81 & (setsid sleep 82 &) & wait; sleep 83", "-c", "sleep 84"
    ) as running:
        wait_for_commands(running, 4, "sleep 8")
        running.signal(signal.SIGINT)
        assert running.end().code == -2


@pytest.mark.parametrize("keys", ["\x03", "\x1c"])
def test_keys_at_a_terminal(keys: str) -> None:
    terminal = Terminal("run", "-c", "echo up; exec sleep 71", "-c", "exec sleep 72")
    wait_until(lambda: len(_children(terminal.pid)) >= 2, 10)
    terminal.type(keys)
    assert terminal.end() == (-2 if keys == "\x03" else -3)
    assert "interrupted: 2 commands" in terminal.text and "Traceback" not in terminal.text


def test_twice_at_a_terminal() -> None:
    terminal = Terminal("run", "-c", STUBBORN)
    assert terminal.read_until("up")
    began = time.monotonic()
    terminal.type("\x03")
    time.sleep(0.2)
    terminal.type("\x03")
    assert terminal.end() == -2 and time.monotonic() - began < SLACK


def test_a_terminal_that_goes_away() -> None:
    terminal = Terminal("run", "-c", "echo up; exec sleep 71", "-c", "exec sleep 72")
    wait_until(lambda: len(_children(terminal.pid)) >= 2, 10)
    terminal.hang_up()
    assert terminal.end() == -1


def _children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split() + [
        child
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text().split()
        if task.name != str(pid)
    ]


# ── ignored signals stay ignored ──────────────────────────────────────────────────────────────────


def test_under_nohup_a_hangup_changes_nothing() -> None:
    with started("run", "-q", "-c", "sleep 0.6; echo a", "-c", "echo b", before=("nohup",)) as running:
        wait_for_commands(running, 1)
        running.signal(signal.SIGHUP)
        ran = running.end()
    assert ran.code == 0 and ran.out == b"b\na\n"


def test_in_the_background_of_a_script_ctrl_c_changes_nothing() -> None:
    ran = shell(
        'sh -c \'"$ARREA" run -q -c "sleep 0.6; echo a" & sleep 0.3; kill -INT $!; wait $!; echo $?\''
    )
    assert ran.out == b"a\n0\n"


# ── at any moment ─────────────────────────────────────────────────────────────────────────────────


def wait_for_our_code(pid: int) -> None:
    """Until the interpreter has set up its signals, and our first line has put Ctrl-C back to its default.

    Or we hear signals ourselves by now, SIGTERM included, which the interpreter leaves alone. Before that the
    interpreter is on its own, and prints what it likes.
    """
    assert wait_until(lambda: ignores_broken_pipes(pid), 10)
    began = time.monotonic()
    seen = False

    def ours() -> bool:
        nonlocal seen
        caught = signals_of(pid, "SigCgt")
        back = not caught & bit(signal.SIGINT)
        # That of the interpreter comes some microseconds after what was waited for, and stays for milliseconds.
        seen = seen or not back or time.monotonic() > began + 0.1
        return bool(caught & bit(signal.SIGTERM)) or (seen and back)

    assert wait_until(ours, 10)


def ignores_broken_pipes(pid: int) -> bool:
    return bool(signals_of(pid, "SigIgn") & bit(signal.SIGPIPE))


def signals_of(pid: int, kind: str) -> int:
    """The mask of this kind in /proc/PID/status."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return 0
    return next((int(line.split()[1], 16) for line in status.splitlines() if line.startswith(kind)), 0)


def bit(number: int) -> int:
    return 1 << (number - 1)


@pytest.mark.slow
@pytest.mark.timeout(170)
@pytest.mark.parametrize("part", range(4))
def test_ctrl_c_at_any_moment(part: int) -> None:
    """Two hundred times in all: from the first line of ours on, through start-up, into the middle of the run."""
    with ThreadPoolExecutor(5) as interrupting:
        moments = [(number + part / 4) * 0.008 for number in range(50)]
        assert list(interrupting.map(_interrupted, moments)) == [-signal.SIGINT] * 50


def _interrupted(moment: float) -> int:
    """The code of a run that was interrupted at this moment, or up to 2 ms later."""
    with started("run", "-p4", *["-c", "sleep 71"] * 3, *["-c", "echo a"] * 20) as running:
        wait_for_our_code(running.process.pid)
        time.sleep(moment + random.random() * 0.002)
        running.signal(signal.SIGINT)
        ran = running.end()
    assert ran.seconds < GRACE_AND_A_SECOND + SLACK / 2
    return ran.code


def test_python_m_arrea_hears_them_too() -> None:
    words = [sys.executable, "-m", "arrea", "run", "-c", "exec sleep 71", "-c", "exec sleep 72"]
    running = Started(words, "mark-" + random.randbytes(8).hex())
    wait_for_commands(running, 2)
    running.signal(signal.SIGINT)
    assert running.end().code == -2


def test_a_blocked_signal_still_gives_the_code() -> None:
    def block() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])

    ran = arrea("run", "-q", "-c", "kill -INT $PPID; sleep 30", "-c", "true", preexec_fn=block)
    assert ran.code == -2
