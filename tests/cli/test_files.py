"""--file: what counts as a command, what is wrong with a file, and standard input as it comes."""

import os
import subprocess
import threading
import time
from pathlib import Path

import pytest

from tests.cli.door import SLACK, arrea, shell, started
from tests.cli.test_signals import wait_for_our_code


@pytest.mark.parametrize(
    ("content", "out"),
    [
        (b"echo 1\necho 2\n", b"1\n2\n"),
        (b"echo 1\necho 2", b"1\n2\n"),
        (b"\n\n  \t\necho 1\n\n# echo no\n  # echo no\necho 2 # yes\n#", b"1\n2\n"),
        (b"echo 1\r\necho 2\r\n\r\n# no\r\n", b"1\n2\n"),
        (b"\xef\xbb\xbfecho 1\necho 2\n", b"1\n2\n"),
        (b"\xef\xbb\xbf# no\necho 1\n", b"1\n"),
        ("echo é\n".encode(), "é\n".encode()),
        (b"  echo 1 \n\techo 2\n", b"1\n2\n"),
        (b"echo '#1'\n", b"#1\n"),
        (b"echo 'a  b' \\\\\n", b"a  b \\\n"),
    ],
)
def test_what_counts_as_a_command(tmp_path: Path, content: bytes, out: bytes) -> None:
    (tmp_path / "f").write_bytes(content)
    expected = (0, out, "")
    assert arrea("run", "-q", "--output=ordered", "-f", str(tmp_path / "f"))[:3] == expected
    assert arrea("run", "-q", "--output=ordered", "-f", "-", stdin=content)[:3] == expected


def test_5000_lines(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("".join(f"echo {n}\n" for n in range(5000)))
    ran = arrea("run", "--output=ordered", "--file", str(tmp_path / "f"))
    assert ran.code == 0 and ran.out.decode().split() == [str(n) for n in range(5000)]
    assert ran.err.count("\n") < 60  # counts, not a line each


def test_what_is_wrong_with_a_file(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "blank").write_bytes(b"\n# nothing\n\n")
    (tmp_path / "latin").write_bytes(b"echo 1\n\n# x\necho \xe9\n")
    (tmp_path / "nul").write_bytes(b"echo 1\necho a\0b\necho 2\n")
    told = {
        "missing": "No such file or directory",
        "": "Is a directory",
        "loop": "Too many levels of symbolic links",
        "empty": "there is no command in it",
        "blank": "there is no command in it",
        "latin": "line 4: not UTF-8",
        "nul": "nul, line 2: the command has a NUL byte",
        "a\x1b[2Jb": "a\\x1b[2Jb: No such file",
        "empty/below": "Not a directory",
    }
    for name, message in told.items():
        ran = arrea("run", "-c", "echo started", "-f", str(tmp_path / name))
        assert (ran.code, ran.out) == (2, b""), ran
        assert message in ran.err and ran.err.count("\n") == 1


def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    """Not by root either, who may read everything: in a user namespace of nobody."""
    secret = tmp_path / "f"
    secret.write_text("echo 1\n")
    secret.chmod(0)
    if os.access(secret, os.R_OK):
        tmp_path.chmod(0o711)
        for parent in tmp_path.parents:
            if parent == Path("/tmp"):
                break
            parent.chmod(0o711)
        ran = arrea_as_nobody("run", "-f", str(secret))
    else:
        done = arrea("run", "-f", str(secret))
        ran = (done.code, done.err)
    assert ran == (2, f"arrea run: --file {secret}: Permission denied\n")


def arrea_as_nobody(*args: str) -> tuple[int, str]:
    """In a child that gives up its rights after it has loaded everything: nobody may not read our sources."""
    code = (
        "import os, sys, encodings.utf_8_sig; import arrea.cli.run, arrea._app.engine;"
        "from arrea.cli.main import main; os.setgroups([]); os.setgid(65534); os.setuid(65534);"
        f"sys.exit(main({list(args)!r}))"
    )
    import sys

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


def test_a_fifo_is_read_to_its_end(tmp_path: Path) -> None:
    ran = shell("$ARREA run -q --output=ordered -f <(echo echo 1; sleep 0.2; echo echo 2)")
    assert ran[:3] == (0, b"1\n2\n", "")


@pytest.mark.parametrize("name", ["fifo", "/dev/stdin"])
def test_what_is_no_regular_file_is_read_as_it_comes(tmp_path: Path, name: str) -> None:
    """Not to its end before anything starts, and never all of it at once."""
    os.mkfifo(tmp_path / "fifo")
    path = str(tmp_path / name)
    with started("run", "-q", "-f", path, stdin=subprocess.PIPE) as running:
        assert running.process.stdin and running.process.stdout
        with open(path, "wb") if name == "fifo" else running.process.stdin as writing:
            for word in (b"one", b"two"):
                writing.write(b"echo %b\n" % word)
                writing.flush()
                assert running.process.stdout.readline() == word + b"\n"
        if name == "/dev/stdin":
            running.process.stdin = None
        assert running.end()[:3] == (0, b"", "")


def test_standard_input_that_is_a_file_is_read_from_its_beginning(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("echo 1\necho 2\n")
    ran = shell(f"$ARREA run -q --output=ordered -f /dev/stdin <{tmp_path}/f")
    assert ran[:3] == (0, b"1\n2\n", "")


def test_commands_of_a_fifo_dont_read_it() -> None:
    ran = shell("$ARREA run -q -p1 --output=ordered -f <(printf 'ls /proc/self/fd | wc -l\necho 2\n')")
    assert ran[:3] == (0, b"4\n2\n", "")  # three and the listing's own


def test_one_bad_element_and_nothing_starts(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(
        b"".join(b"touch %b/%d\n" % (bytes(tmp_path), n) for n in range(20)) + b"a\0\n"
    )
    ran = arrea("run", "-f", str(tmp_path / "f"))
    assert ran.code == 2 and f"arrea run: {tmp_path}/f, line 21: the command has a NUL byte" in ran.err
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_all_bad_lines_are_told_but_no_more_than_twenty(tmp_path: Path) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    first.write_bytes(b"echo 1\n# x\necho \xff\necho a\0\n")
    second.write_bytes(b"echo 2\n" + b"echo \xe9\n" * 30)
    ran = arrea("run", "-c", "echo started", "-f", str(first), "-f", str(second))
    lines = ran.err.splitlines()
    assert (ran.code, ran.out) == (2, b"")
    assert lines[0] == f"arrea run: {first}, line 3: not UTF-8"
    assert lines[1].startswith(f"arrea run: {first}, line 4: the command has a NUL byte")
    assert lines[2] == f"arrea run: {second}, line 2: not UTF-8"
    assert len(lines) == 21 and lines[20] == "arrea run: and 12 more"


def test_a_bad_command_beside_a_good_file(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("echo started\n")
    for words, told in (
        (["-c", " "], "-c ' ': the command is empty"),
        (["--", ""], "-- ['']: the program's name"),
    ):
        ran = arrea("run", "-f", str(tmp_path / "f"), *words)
        assert (ran.code, ran.out) == (2, b"") and f"arrea run: {told}" in ran.err


def test_a_file_longer_than_any_list(tmp_path: Path) -> None:
    """Memory holds its bytes and the window; what an unfinished batch leaves is counted."""
    (tmp_path / "f").write_text("true\n" * 200_000)
    with started("run", "-f", str(tmp_path / "f"), "-f", str(tmp_path / "f")) as running:
        time.sleep(4)
        peak_kib = memory_peak_kib(running.process.pid)
        running.signal(15)
        ran = running.end()
    assert peak_kib < 40_000
    assert ran.code == -15 and "/400000] " in ran.err and "interrupted: 400000 commands" in ran.err
    assert ran.seconds < SLACK


def memory_peak_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])


@pytest.mark.parametrize("flags", [[], ["--dry-run", "--stdin=inherit"]])
def test_ctrl_c_while_the_file_is_checked(tmp_path: Path, flags: list[str]) -> None:
    (tmp_path / "f").write_text("true\n" * 2_000_000)
    with started("run", "-q", *flags, "-f", str(tmp_path / "f")) as running:
        wait_for_our_code(running.process.pid)
        time.sleep(0.7)
        running.signal(2)
        ran = running.end()
    assert ran[:3] == (-2, b"", "") and ran.seconds < 1


def test_each_line_runs_once_and_in_its_order(tmp_path: Path) -> None:
    """More than fit into the window, from files and beside them."""
    first, second = tmp_path / "1", tmp_path / "2"
    first.write_text("".join(f"echo {n}\n# no\n\n" for n in range(700)))
    second.write_text("".join(f"echo {n}\r\n" for n in range(700, 1400)))
    words = ["-c", "echo first", "-f", str(first), "-f", str(second), "--", "echo", "last"]
    ran = arrea("run", "-p8", "--output=ordered", *words)
    assert ran.code == 0 and ran.out.decode().split() == ["first", *map(str, range(1400)), "last"]
    assert "1402 commands, 1402 succeeded" in ran.err


def test_what_was_checked_is_what_runs(tmp_path: Path) -> None:
    """The file is changed while its commands run."""
    (tmp_path / "f").write_text(f"echo no > {tmp_path}/f\n" + "echo yes\n" * 800)
    ran = arrea("run", "-q", "-p1", "-f", str(tmp_path / "f"))
    assert ran.code == 0 and ran.out == b"yes\n" * 800


def test_one_command_in_a_file_is_one_command(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("# one\nexit 7\n")
    assert arrea("run", "-q", "-f", str(tmp_path / "f")).code == 7


def test_a_batch_of_a_file_that_stops_at_its_first_line(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("exit 7\n" + "echo no\n" * 2000)
    ran = arrea("run", "-p1", "--policy=stop", "-f", str(tmp_path / "f"))
    assert (ran.code, ran.out) == (1, b"")
    assert "2001 commands, 0 succeeded, 1 failed, 2000 not started" in ran.err


def test_the_window_is_as_large_as_configured(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("true\n" * 50)
    ran = arrea("run", "-f", str(tmp_path / "f"), env={"ARREA_MAX_COMMANDS_PER_BATCH": "3"})
    assert ran.code == 0 and "50 commands, 50 succeeded" in ran.err


# ── standard input ────────────────────────────────────────────────────────────────────────────────


def test_commands_of_a_slow_pipe_start_at_once_and_their_results_come() -> None:
    with started("run", "-q", "-f", "-", stdin=subprocess.PIPE) as running:
        assert running.process.stdin and running.process.stdout
        for word in (b"one", b"two", b"three"):
            running.process.stdin.write(b"echo %b\n# a comment\n\n" % word)
            running.process.stdin.flush()
            assert running.process.stdout.readline() == word + b"\n"  # before the next line is there
        running.process.stdin.write(b"echo last")
        assert running.end()[:3] == (0, b"last\n", "")


def test_a_line_in_two_pieces() -> None:
    ran = shell(
        "(printf 'echo \\303'; sleep 0.1; printf '\\251 1\\necho'; sleep 0.1; echo ' 2') | $ARREA run -q -p1 -f -"
    )
    assert ran[:3] == (0, "é 1\n2\n".encode(), "")


@pytest.mark.parametrize("flags", [["--deadline=300"], ["--halt=now"], ["--policy=stop"]])
def test_a_batch_that_ends_waits_for_no_more_lines(flags: list[str]) -> None:
    with started("run", "-f", "-", *flags, stdin=subprocess.PIPE) as running:
        assert running.process.stdin
        running.process.stdin.write(b"sleep 0.1; exit 3\n")
        running.process.stdin.flush()
        assert running.process.wait(timeout=10) == 3
        assert running.end().seconds < SLACK


def test_20000_lines_in_bounded_memory() -> None:
    """They come quicker than they run; a million of them must not need a million objects."""
    with started("run", "-q", "-f", "-", stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as running:
        stdin, written = running.process.stdin, [0]
        assert stdin is not None

        def feed() -> None:
            try:
                for _ in range(20_000):
                    written[0] += stdin.write(b"exec true " + b"#" * 1000 + b"\n")
            except BrokenPipeError:
                return

        feeder = threading.Thread(target=feed)
        feeder.start()
        time.sleep(1.5)
        peak_kib = memory_peak_kib(running.process.pid)
        started_by_now = written[0] // 1000
        running.process.terminate()
        running.end()
        feeder.join()
        stdin.close() if not stdin.closed else None
    assert started_by_now < 18_000, "all lines were read at once"
    assert peak_kib < 60_000


def test_bad_lines_of_standard_input() -> None:
    ran = arrea("run", "--output=ordered", "-f", "-", stdin=b"echo 1\necho \xff\necho 3\n")
    assert (ran.code, ran.out) == (1, b"1\n3\n")  # what can't run is a failed result at its place
    assert "2 succeeded, 1 failed" in ran.err and "task 1 (standard input, line 2: not UTF-8)" in ran.err
    ran = arrea("run", "--output=ordered", "-f", "-", stdin=b"echo 1\necho a\0b\necho 3\n")
    assert (ran.code, ran.out) == (1, b"1\n3\n")
    assert "task 1 (echo a\\x00b): the command has a NUL byte" in ran.err
    ran = arrea("run", "-f", "-", stdin=b"x" * 3_000_000)
    assert ran.code == 2 and "more than 1048576 bytes" in ran.err


def test_nothing_on_standard_input() -> None:
    assert arrea("run", "-q", "-f", "-")[:3] == (0, b"", "")
    ran = shell("$ARREA run -f - <&-")
    assert ran.code == 2 and "standard input: Bad file descriptor" in ran.err


def test_a_bad_file_is_found_before_standard_input_is_waited_for() -> None:
    with started("run", "-f", "-", "-f", "/nowhere", stdin=subprocess.PIPE) as running:
        assert running.process.wait(timeout=10) == 2
        assert "/nowhere: No such file" in running.end().err


def test_standard_input_that_somebody_made_non_blocking() -> None:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    try:
        with started("run", "-q", "-f", "-", stdin=reading) as running:
            time.sleep(0.3)
            os.write(writing, b"echo 1\n")
            os.close(writing)
            assert running.end()[:3] == (0, b"1\n", "")
    finally:
        os.close(reading)


def test_commands_dont_read_the_list_of_commands() -> None:
    ran = arrea("run", "-q", "-p1", "--output=ordered", "-f", "-", stdin=b"cat; echo 1\ncat\necho 3\n")
    assert ran[:3] == (0, b"1\n3\n", "")
