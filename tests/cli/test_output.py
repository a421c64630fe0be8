"""Output: every byte of every command, whole, in one piece, where it belongs; and what if nobody takes it."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.door import SLACK, arrea, shell, started
from tests.cli.terminal import Terminal

ODD = b"\x00\xff\xfe\x1b[31mred\x1b[0m\r\n\xe2\x82 \x07no newline at the end"


@pytest.mark.parametrize("commands", [1, 2])
def test_bytes_are_untouched(tmp_path: Path, commands: int) -> None:
    (tmp_path / "odd").write_bytes(ODD)
    words = ["-c", f"cat {tmp_path}/odd"] * commands
    assert arrea("run", "-q", *words)[:3] == (0, ODD * commands, "")
    words = ["-c", f"cat {tmp_path}/odd >&2"] * commands
    ran = shell('exec $ARREA run -q "$@" 2>&1', args=words)
    assert ran[:3] == (0, ODD * commands, "")


def test_grouped_output_is_never_mixed() -> None:
    """Sixteen commands that write a little at a time, all at once."""
    line = "seq 20 | while read n; do printf %s {0}; sleep 0.01; done; echo"
    ran = arrea("run", "-q", "-p16", *[w for n in range(16) for w in ("-c", line.format(chr(65 + n)))])
    assert ran.code == 0
    assert sorted(ran.out.decode().split()) == [chr(65 + n) * 20 for n in range(16)]


def test_stdout_and_stderr_stay_apart_and_whole() -> None:
    line = "echo o{0}; echo e{0} >&2; sleep 0.0{0}; echo o{0}; echo e{0} >&2"
    ran = arrea("run", "-q", "-p4", *[w for n in range(4) for w in ("-c", line.format(n))])
    assert sorted(ran.out.decode().split("\n")[::2]) == ["", "o0", "o1", "o2", "o3"]
    for name, text in (("o", ran.out.decode()), ("e", ran.err)):
        lines = text.split()
        assert lines[::2] == lines[1::2] and sorted(lines[::2]) == [f"{name}{n}" for n in range(4)]


def test_ordered_is_input_order_though_they_finish_reversed() -> None:
    words = [w for n in range(6) for w in ("-c", f"sleep 0.{(6 - n) * 10:03d}; echo {n}; echo e{n} >&2")]
    ran = arrea("run", "-q", "-p6", "--output", "ordered", *words)
    assert ran.out.decode().split() == [str(n) for n in range(6)]
    assert ran.err.split() == [f"e{n}" for n in range(6)]


def test_grouped_comes_as_they_finish() -> None:
    ran = arrea("run", "-q", "-p2", "-c", "sleep 0.5; echo slow", "-c", "echo quick")
    assert ran.out == b"quick\nslow\n"


def test_output_of_failed_and_killed_commands_is_shown() -> None:
    words = ["-c", "echo before; exit 3", "-c", "echo partial; sleep 30", "--timeout=500"]
    ran = arrea("run", "-q", "--output=ordered", *words)
    assert (ran.code, ran.out) == (1, b"before\npartial\n")


def test_80_mib_arrive_complete() -> None:
    """More than is kept in memory; each command's own bytes, in one piece."""
    size = 20 * 2**20
    line = f"seq -s, 500 | xargs printf 'arrea-%d-%%s' | xargs yes | head -c {size}"
    words = [w for n in range(4) for w in ("-c", line % n)]
    pieces = f"split -b {size} --filter=sha256sum"
    ran = shell(f'$ARREA run -q -p4 --output=ordered "$@" | {pieces}', args=words)
    expected = [shell(f"{line % n} | sha256sum").out for n in range(4)]
    assert ran.out == b"".join(expected) and ran.code == 0


def test_quiet_silences_only_us() -> None:
    ran = arrea("run", "--quiet", "-c", "echo a; echo b >&2", "-c", "exit 4")
    assert ran[:3] == (1, b"a\n", "b\n")
    ran = arrea("run", "-q", "-c", "kill -9 $$")
    assert ran[:3] == (128 + 9, b"", "")


def test_nothing_of_ours_is_on_stdout() -> None:
    ran = arrea("run", "-c", "true", "-c", "exit 1", "--retries=1", "--retry-delay=0")
    assert ran.out == b"" and "2 commands" in ran.err


# ── none ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("commands", [1, 2])
def test_none_shows_nothing_of_the_commands(commands: int) -> None:
    ran = arrea("run", "-q", "--output=none", *["-c", "echo a; echo 'warning: b' >&2; exit 3"] * commands)
    assert ran[:3] == (3 if commands == 1 else 1, b"", "")
    ran = arrea("run", "--output=none", *["-c", "echo a; echo 'warning: b' >&2"] * commands)
    assert (ran.code, ran.out) == (0, b"") and "warning" not in ran.err.replace("'warning", "")
    assert f"{commands} succeeded" in ran.err


def test_none_keeps_little() -> None:
    """A gigabyte that nobody wants needs neither memory nor disk."""
    with started("run", "--output=none", "-c", "head -c 1000000000 /dev/zero", "-c", "exit 3") as running:
        assert running.process.stderr
        peak_kib = 0
        while b"arrea:" not in (line := running.process.stderr.readline()):
            status = Path(f"/proc/{running.process.pid}/status").read_text()
            peak_kib = max(peak_kib, int(status.split("VmHWM:")[1].split()[0]))
            assert line
        assert peak_kib < 40_000 and running.end().code == 1


def test_none_needs_no_stdout() -> None:
    assert shell("$ARREA run -q --output=none -c 'echo a' -c 'echo b' >&-").code == 0
    assert shell("$ARREA run -q --output=none -c 'echo a' -c 'echo b' >/dev/full").code == 0


# ── one command writes directly ───────────────────────────────────────────────────────────────────


def test_one_command_writes_directly() -> None:
    with started("run", "-q", "-c", "echo now; sleep 30") as running:
        assert running.process.stdout and running.process.stdout.readline() == b"now\n"
        running.signal(15)
        assert running.end().code == -15


def test_a_terminal_stays_one_for_one_command() -> None:
    code = "import os, sys; print([os.isatty(n) for n in (0, 1, 2)], os.get_terminal_size(1).columns >= 0)"
    terminal = Terminal("run", "-q", "--", sys.executable, "-c", code)
    assert terminal.end() == 0
    assert terminal.text == "[False, True, True] True\r\n"


# ── nobody takes it ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("flags", ["", "--tag", "--output=ordered"])
def test_a_full_device(flags: str) -> None:
    ran = shell(f"$ARREA run {flags} -p4 -c 'echo a' -c 'sleep 30' -c 'sleep 30' >/dev/full")
    assert ran.code == 1 and ran.seconds < SLACK + 1
    assert ran.err == "arrea run: can't write the output: No space left on device; what still ran was ended\n"


def test_a_full_device_and_ordered_output_that_was_held(tmp_path: Path) -> None:
    ran = shell("$ARREA run -q --output=ordered -p4 -c 'sleep 0.3' -c 'echo a' -c 'echo b' >/dev/full")
    assert ran.code == 1 and ran.err.count("\n") == 1


@pytest.mark.parametrize(
    "how", ["-f -", "--output=ordered -f /dev/stdin", "--tag -f -", "--output=lines -f -"]
)
def test_a_reader_that_leaves(how: str) -> None:
    ran = shell(
        f"seq 300 | sed 's/.*/echo &; sleep 0.1/' | $ARREA run -p8 {how} | head -1; exit ${{PIPESTATUS[2]}}"
    )
    assert ran.out == b"1\n" or (ran.out.endswith(b"\n") and "ordered" not in how), ran.out
    assert ran.code == 128 + 13 and ran.seconds < SLACK + 1


def test_a_reader_of_one_command_that_leaves() -> None:
    ran = shell("$ARREA run -q -c yes | head -1; exit ${PIPESTATUS[0]}")
    assert (ran.code, ran.out) == (128 + 13, b"y\n") and ran.seconds < SLACK


def test_a_reader_of_messages_that_leaves() -> None:
    ran = shell("{ $ARREA run -c 'echo a' -c 'exit 1' -c 'sleep 0.3; echo b'; } 2> >(head -1)")
    assert ran.code == 1 and b"a\n" in ran.out and b"b\n" in ran.out


def test_a_reader_that_made_it_non_blocking() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    try:
        line = "head -c 300000 /dev/zero"
        with started("run", "-q", "-c", line, "-c", line, stdout=writing) as running:
            os.close(writing)
            total = 0
            while data := os.read(reading, 65_536):
                total += len(data)
            assert running.end().code == 0 and total == 600_000
    finally:
        os.close(reading)


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&-", ">&- 2>&-", "<&- 2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("commands", [1, 2])
def test_closed_standard_descriptors(closed: str, commands: int) -> None:
    """A closed one must not become a descriptor of the engine, into which commands then write."""
    ran = shell(f'exec $ARREA run "$@" {closed}', args=["-c", "/bin/echo 42 || exit 5"] * commands)
    if closed in ("<&-", "2>&-", "<&- 2>&-"):
        assert (ran.code, ran.out) == (0, b"42\n" * commands)
    else:  # one command meets the closed descriptor itself, as it would without us; of several it is we
        assert (ran.code, ran.out) == (5 if commands == 1 else 1, b"")
    if "2>&-" in closed:
        assert ran.err == ""
    else:
        assert ("succeeded" if ran.code == 0 else "Bad file descriptor") in ran.err


@pytest.mark.parametrize("commands", [1, 3])
@pytest.mark.parametrize("closed", ["", "<&-", "<&- 2>&-"])
def test_commands_get_three_descriptors_whatever_ours_are(commands: int, closed: str) -> None:
    look = "for fd in $(seq 0 40); do test -e /proc/$$/fd/$fd && echo $fd $(readlink /proc/$$/fd/$fd); done; true"
    ran = shell(f'$ARREA run -q -p1 --allow-substitution "$@" {closed} | cat', args=["-c", look] * commands)
    lines = ran.out.decode().splitlines()
    assert [line.split()[0] for line in lines] == ["0", "1", "2"] * commands
    assert "anon_inode" not in ran.out.decode()


def test_results_come_while_others_run() -> None:
    with started("run", "-q", "-p3", "-c", "echo quick", "-c", "sleep 30", "-c", "sleep 30") as running:
        assert running.process.stdout and running.process.stdout.readline() == b"quick\n"
        running.signal(2)
        assert running.end().code == -2


def test_hashes_can_be_compared() -> None:
    """The reader at the other end is slow, and the engine keeps what can't be written yet."""
    line = "seq 400000"
    with started("run", "-q", "-c", line, "-c", line, stdout=subprocess.PIPE) as running:
        out, _ = running.process.communicate(timeout=20)
    expected = "".join(f"{n}\n" for n in range(1, 400_001)).encode() * 2
    assert hashlib.sha256(out).digest() == hashlib.sha256(expected).digest()
