"""Standard input, output and error: endless, unread, closed early, and a gibibyte at once."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

import pytest

from arrea import Engine
from tests.faults.hosts import run_host

MIB = 2**20
GIB = 2**30


# ── output ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
def test_a_gibibyte_on_both_streams_takes_bounded_memory(mark: str) -> None:
    ended = run_host(
        mark,
        """
before = status("VmHWM")
began = time.monotonic()
result = arrea.execute("head -c 1073741824 /dev/zero & head -c 1073741824 /dev/zero >&2 & wait", timeout=None)
data = result.unwrap()
say(status("VmHWM") - before, data.stdout_total_bytes, data.stderr_total_bytes, data.truncated)
say(len(data.stdout_bytes), len(data.stderr_bytes), round(1000 * (time.monotonic() - began)))
""",
        within=60,
    )
    grown_kib, *told = ended.out[0].split()
    assert int(grown_kib) < 2 * 8 * 1024 + 32 * 1024
    assert told == [str(GIB), str(GIB), "True"]
    kept_out, kept_err, took_ms = map(int, ended.out[1].split())
    assert kept_out == kept_err == 8 * MIB
    assert took_ms < 60_000


@pytest.mark.slow
def test_whole_output_of_two_large_commands_passes_through_the_command_line(mark: str) -> None:
    size = 200 * MIB
    words = ["-c", f"head -c {size} /dev/zero", "-c", f"head -c {size} /dev/zero >&2", "-q", "-p", "2"]
    counts, peak_kib = count_output(mark, words)
    assert counts == (0, size, size)
    assert peak_kib < 160 * 1024  # 64 MiB of captures in memory, the rest in a file


@pytest.mark.slow
def test_a_gibibyte_of_one_command_passes_through_the_command_line(mark: str) -> None:
    counts, peak_kib = count_output(mark, ["-q", "--", "head", "-c", str(GIB), "/dev/zero"])
    assert counts == (0, GIB, 0)
    assert peak_kib < 48 * 1024


# The peak is from the program itself: what getrusage(2) says of a child holds that of whoever started it.
COMMAND_LINE = """
import os, sys
from arrea.cli.main import main
code = main()
with open("/proc/self/status") as lines:
    peak = next(line.split()[1] for line in lines if line.startswith("VmHWM:"))
os.write(int(os.environ["PEAK_FD"]), peak.encode())
sys.exit(code)
"""


def count_output(mark: str, words: list[str]) -> tuple[tuple[int, int, int], int]:
    """Exit code and bytes on stdout and stderr of `arrea run`, and its peak memory in KiB."""
    peak, peak_write = os.pipe()
    with (
        subprocess.Popen(
            [sys.executable, "-c", COMMAND_LINE, "run", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "ARREA_CHAOS": mark, "PEAK_FD": str(peak_write)},
            pass_fds=[peak_write],
            start_new_session=True,
        ) as process,
        ThreadPoolExecutor(1) as pool,
        open(peak) as peak_file,
    ):
        os.close(peak_write)
        assert process.stdout is not None and process.stderr is not None
        err = pool.submit(count, process.stderr)
        counts = count(process.stdout), err.result()
        return (process.wait(), *counts), int(peak_file.read())


def count(stream: IO[bytes]) -> int:
    total = 0
    while piece := stream.read(2**20):
        total += len(piece)
    return total


def test_output_without_an_end_is_kept_within_its_limit_until_the_timeout(engine: Engine, mark: str) -> None:
    result = engine.execute("yes", timeout=300, max_output_bytes=1000, env={"ARREA_CHAOS": mark})
    assert result.error is not None and result.error.code == "timeout"
    assert result.data is not None and result.data.truncated
    assert len(result.data.stdout_bytes) == 1000
    assert result.data.stdout_total_bytes > MIB


def test_both_streams_of_many_commands_at_once(engine: Engine, mark: str) -> None:
    script = "head -c 3000000 /dev/zero & head -c 3000000 /dev/zero >&2 & wait"
    results = engine.run([script] * 40, workers=20, env={"ARREA_CHAOS": mark})
    sizes = {(data.stdout_total_bytes, data.stderr_total_bytes) for data in results.data if data}
    assert results.success and sizes == {(3_000_000, 3_000_000)}


def test_a_stream_that_was_closed_early_is_no_fault(engine: Engine, mark: str) -> None:
    result = engine.execute("exec >&- 2>&-; sleep 0.1; exit 3", env={"ARREA_CHAOS": mark})
    assert result.data is not None
    assert (result.data.exit_code, result.data.stdout, result.data.pipe_left_open) == (3, "", False)


def test_a_pipeline_whose_reader_leaves_ends_at_once(engine: Engine, mark: str) -> None:
    result = engine.execute("yes | head -1", timeout=10_000, env={"ARREA_CHAOS": mark})
    assert result.unwrap().stdout == "y\n"
    assert result.duration_ms < 1000


# ── input ─────────────────────────────────────────────────────────────────────────────────────────


def test_input_ends_at_once_though_the_hosts_is_open(mark: str) -> None:
    ended = run_host(
        mark,
        """
began = time.monotonic()
results = arrea.run(["cat", ["cat"], "read line; echo $?", "cat; (cat; cat)"], policy="once", timeout=5000)
say([data.stdout for data in results.data], results.success, time.monotonic() - began < 1)
""",
    )
    assert ended.out == ["['', '', '1\\n', ''] True True"]


def test_input_is_not_taken_from_the_terminal(mark: str) -> None:
    controller, terminal = os.openpty()
    script = "import arrea; r = arrea.execute('cat; tty'); print(r.duration_ms < 1000, r.data.stdout.strip())"
    try:
        ended = subprocess.run(
            [sys.executable, "-c", script],
            stdin=terminal,
            capture_output=True,
            text=True,
            timeout=10,
            env={**os.environ, "ARREA_CHAOS": mark},
            start_new_session=True,
            check=False,
        )
    finally:
        os.close(terminal)
        os.close(controller)
    assert (ended.stdout, ended.stderr) == ("True not a tty\n", "")


def test_ten_mebibytes_of_input_from_bytes_path_and_file(engine: Engine, mark: str, tmp_path: Path) -> None:
    data = os.urandom(10 * MIB)
    path = tmp_path / "input"
    path.write_bytes(data)
    options: dict[str, Any] = {"env": {"ARREA_CHAOS": mark}, "max_output_bytes": None}
    with path.open("rb") as file:
        for stdin in (data, path, file):
            result = engine.execute("cat", stdin=stdin, **options)
            assert result.unwrap().stdout_bytes == data


def test_input_is_whole_again_at_a_retry(engine: Engine, mark: str, tmp_path: Path) -> None:
    flag = tmp_path / "second"
    script = f"cat; test -e {flag} || {{ touch {flag}; exit 1; }}"
    policy = {"on_error": "retry", "retry_delay": 10}
    for stdin in (b"x" * MIB, Path(__file__)):
        flag.unlink(missing_ok=True)
        [result] = engine.run([script], stdin=stdin, policy=policy, env={"ARREA_CHAOS": mark})
        wanted = stdin if isinstance(stdin, bytes) else stdin.read_bytes()
        assert (result.attempts, result.unwrap().stdout_bytes == wanted) == (2, True)


def test_input_that_nobody_reads_is_no_fault(engine: Engine, mark: str) -> None:
    began = time.monotonic()
    results = engine.run(
        ["true", "head -c 1", "exec <&-; true"], stdin=b"x" * 10 * MIB, env={"ARREA_CHAOS": mark}
    )
    assert results.success, results.failures
    assert time.monotonic() - began < 2.0


# ── how it ended ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["SEGV", "KILL", "TERM", "PIPE", "ABRT", "HUP"])
def test_a_signal_is_reported_by_name(name: str, engine: Engine, mark: str) -> None:
    result = engine.execute(f"ulimit -c 0; echo out; kill -{name} $$", env={"ARREA_CHAOS": mark})
    assert result.error is not None and result.error.code == "killed_by_signal"
    assert f"SIG{name}" in str(result.error)
    assert result.data is not None
    assert (result.data.signal_name, result.data.exit_code) == (f"SIG{name}", None)
    assert result.data.stdout == "out\n"


def test_a_dumped_core_hides_no_signal(engine: Engine, mark: str, tmp_path: Path) -> None:
    script = f"ulimit -c unlimited; cd {tmp_path}; kill -SEGV $$"
    data = engine.execute(script, env={"ARREA_CHAOS": mark}).data
    assert data is not None
    assert (data.signal_name, data.exit_code) == ("SIGSEGV", None)
