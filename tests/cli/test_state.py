"""SIGUSR1 asks how things stand: the answer comes on stderr, once for each time, and the work goes on."""

import re
import signal
import subprocess
import time
from pathlib import Path

from tests.cli.door import SLACK, Started, shell, started
from tests.cli.test_signals import wait_for_commands

GATE = "until test -e {0}/go; do sleep 0.05; done"


def ask(running: Started) -> list[str]:
    """Asks, and reads the lines of the answer."""
    assert running.process.stderr
    time.sleep(0.1)  # that a process has started is known a moment after it is there
    running.signal(signal.SIGUSR1)
    first = running.process.stderr.readline().decode()
    counts = re.fullmatch(r"arrea: (\d+) done, (\d+) failed, (\d+) running, (\d+) waiting\n", first)
    assert counts, first
    shown = min(int(counts[3]), 21)
    return [first.rstrip(), *(running.process.stderr.readline().decode().rstrip() for _ in range(shown))]


def wait_for_ends(running: Started, count: int) -> None:
    """Until so many lines of output have come."""
    assert running.process.stdout
    for _ in range(count):
        running.process.stdout.readline()


def test_counts_and_what_runs(tmp_path: Path) -> None:
    wait = GATE.format(tmp_path)
    words = [
        "-c",
        "echo a",
        "-c",
        "echo b; exit 3",
        "-c",
        "echo c",
        "-c",
        f"true {'x' * 300}; {wait}",
        "-c",
        wait,
    ]
    with started("run", "-q", "-p2", *words, *["-c", "true"] * 7) as running:
        wait_for_ends(running, 3)
        wait_for_commands(running, 2, "until test")
        counts, *tasks = ask(running)
        assert counts == "arrea: 2 done, 1 failed, 2 running, 7 waiting"
        assert re.fullmatch(r"  task 3 \(true x+\.\.\.\): attempt 1, for \d+\.\d s", tasks[0])
        assert re.fullmatch(r"  task 4 \(until test .*\): attempt 1, for \d+\.\d s", tasks[1])
        (tmp_path / "go").touch()
        assert running.end()[:3] == (1, b"", "")


def test_quiet_or_not_it_answers_each_time() -> None:
    for flags in (["-q"], ["--output=lines"], ["--json"], ["--output=none"]):
        with started("run", *flags, "-c", "exec sleep 71") as running:
            wait_for_commands(running, 1)
            for _ in range(3):
                assert ask(running)[0] == "arrea: 0 done, 0 failed, 1 running, 0 waiting"
            running.signal(signal.SIGTERM)
            assert running.end().code == -15


def test_which_attempt() -> None:
    with started(
        "run", "-q", "--retries=1", "--retry-delay=0", "--timeout=1s", "-c", "exec sleep 71"
    ) as running:
        time.sleep(1.4)
        assert "task 0 (exec sleep 71): attempt 2, for 0." in ask(running)[1]
        assert running.end().code == 124


def test_at_most_twenty_are_listed() -> None:
    with started("run", "-q", "-p30", *["-c", "exec sleep 71"] * 30) as running:
        wait_for_commands(running, 30)
        counts, *tasks = ask(running)
        assert counts == "arrea: 0 done, 0 failed, 30 running, 0 waiting"
        assert len(tasks) == 21 and tasks[-1] == "  ... and 10 more"
        running.signal(signal.SIGINT)
        assert running.end().code == -2


def test_of_a_file_all_lines_are_counted(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("exec sleep 71\n" * 5000)
    with started("run", "-q", "-p2", "-f", str(tmp_path / "f")) as running:
        wait_for_commands(running, 2)
        assert ask(running)[0] == "arrea: 0 done, 0 failed, 2 running, 4998 waiting"
        running.signal(signal.SIGINT)
        running.end()


def test_control_characters_are_escaped() -> None:
    with started("run", "-q", "-c", "true \x1b[2J\x9b\nexec sleep 71") as running:
        wait_for_commands(running, 1)
        told = "\n".join(ask(running))
        assert "\x1b" not in told and "\\x1b[2J\\x9b\\x0a" in told
        running.signal(signal.SIGINT)
        running.end()


def test_it_is_answered_even_where_it_was_ignored() -> None:
    with started("run", "-q", "-c", "exec sleep 71", before=("env", "--ignore-signal=USR1")) as running:
        wait_for_commands(running, 1)
        assert ask(running)[0].startswith("arrea: 0 done")
        running.signal(signal.SIGINT)
        running.end()


def test_a_reader_that_never_reads_holds_nothing_up() -> None:
    """Nobody reads stderr; the answers wait, and signals are heard."""
    line = "yes | head -c 1000000 >&2; exec sleep 71"
    with started("run", "-q", "-c", line, "-c", "echo a", "-c", "exec sleep 72") as running:
        wait_for_commands(running, 2)
        for _ in range(50):
            running.signal(signal.SIGUSR1)
            time.sleep(0.01)
        running.signal(signal.SIGTERM)
        assert running.process.wait(timeout=5 + SLACK) == -15
        running.end()


def test_a_closed_stderr() -> None:
    ran = shell("$ARREA run -q -c 'kill -USR1 $PPID; sleep 0.2; echo a' -c true 2>&-")
    assert ran[:3] == (0, b"a\n", "")


def test_many_questions() -> None:
    with started("run", "-c", "sleep 0.8; echo a", "-c", "echo b", stderr=subprocess.PIPE) as running:
        wait_for_ends(running, 1)
        for _ in range(200):
            running.process.send_signal(signal.SIGUSR1)
            time.sleep(0.001)
        ran = running.end()
    assert ran.code == 0 and ran.err.count("1 done, 0 failed, 1 running, 0 waiting") > 5
