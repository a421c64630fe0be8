"""The table that outlives its writer: what is noted is read, what is half noted isn't, and no refusal raises."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from arrea._runtime import roster as module
from arrea._runtime.roster import (
    NO_ROW,
    Roster,
    Row,
    is_closed,
    is_roster,
    open_process,
    read_rows,
    sign_in,
    signed_in,
)
from arrea._runtime.tree import snapshot
from tests.support import open_descriptors, wait_until

TASK = b"0123456789ab:17"


@pytest.fixture
def roster() -> Iterator[Roster]:
    roster = Roster()
    yield roster
    roster.shut()


def rows(roster: Roster) -> list[tuple[bytes, int, int]]:
    return [(row.task, row.number, row.pid) for row in read_rows(roster.fd)]


# ── what is noted ────────────────────────────────────────────────────────────────────────────────


def test_a_new_one_is_empty(roster: Roster) -> None:
    assert is_roster(roster.fd)
    assert not is_closed(roster.fd)
    assert (rows(roster), signed_in(roster.fd)) == ([], [])


def test_an_attempt_is_noted_before_its_pid_is_known(roster: Roster) -> None:
    row = roster.open(TASK, 3)
    assert row != NO_ROW
    assert rows(roster) == [(TASK, 3, 0)]


def test_the_pid_is_added(roster: Roster) -> None:
    roster.started(roster.open(TASK, 3), 4_194_303)
    assert rows(roster) == [(TASK, 3, 4_194_303)]


def test_what_is_over_is_struck_out(roster: Roster) -> None:
    first, second = roster.open(b"a:0", 1), roster.open(b"a:1", 1)
    roster.close(first)
    assert rows(roster) == [(b"a:1", 1, 0)]
    roster.close(second)
    assert rows(roster) == []


def test_a_row_is_used_again_and_nothing_of_its_past_is_left(roster: Roster) -> None:
    old = roster.open(b"0123456789ab:1234567890123", 4_000_000_000)
    roster.started(old, 77)
    roster.close(old)
    assert roster.open(b"b:1", 2) == old
    [row] = read_rows(roster.fd)
    assert (row.task, row.number, row.pid, row.started) == (b"b:1", 2, 0, 0)


def test_closing_twice_gives_the_row_to_one_only(roster: Roster) -> None:
    row = roster.open(TASK, 1)
    roster.close(row)
    roster.close(row)
    assert roster.open(b"a:1", 1) != roster.open(b"a:2", 1)


def test_it_grows_and_keeps_what_it_had(roster: Roster) -> None:
    wanted = [(b"%012x:%d" % (index, index), 1 + index % 3, 1000 + index) for index in range(1000)]
    for task, number, pid in wanted:
        roster.started(roster.open(task, number), pid)
    assert rows(roster) == wanted
    assert os.fstat(roster.fd).st_size < 200 * len(wanted)


def test_it_is_no_longer_than_most_rows_at_once(roster: Roster) -> None:
    for index in range(10_000):
        roster.close(roster.open(b"a:%d" % index, 1))
    assert os.fstat(roster.fd).st_size == module.FIRST_BYTES


def test_any_order_of_opening_and_closing(roster: Roster) -> None:
    chance, held = random.Random(7), dict[int, tuple[bytes, int, int]]()
    for index in range(5000):
        if chance.random() < 0.53:
            row = roster.open(b"a:%d" % index, index)
            assert row not in held
            roster.started(row, index + 1)
            held[row] = (b"a:%d" % index, index, index + 1)
        elif held:
            row = chance.choice(list(held))
            roster.close(row)
            del held[row]
    assert sorted(rows(roster)) == sorted(held.values())


def test_another_process_reads_it_when_the_writer_was_killed() -> None:
    """And what it was told after its file had grown."""
    writing = """if True:
        import os, sys
        from arrea._runtime.roster import Roster
        roster = Roster()
        for index in range(200):
            roster.started(roster.open(b"a:%d" % index, 1), index + 1)
        roster.close(64)
        print(roster.fd, flush=True)
        sys.stdin.read()
    """
    with subprocess.Popen(
        [sys.executable, "-c", writing], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as host:
        assert host.stdout is not None
        fd = os.open(f"/proc/{host.pid}/fd/{int(host.stdout.readline())}", os.O_RDWR)
        host.kill()
        host.wait()
        found = [(row.task, row.pid) for row in read_rows(fd)]
        os.close(fd)
    assert found == [(b"a:%d" % index, index + 1) for index in range(1, 200)]


# ── what is half noted ───────────────────────────────────────────────────────────────────────────


def test_a_note_that_was_cut_off_is_none(roster: Roster) -> None:
    row = roster.open(TASK, 3)
    roster.started(row, 77)
    whole = os.pread(roster.fd, 64, row)
    roster.close(row)
    for cut in range(1, 64):  # the state comes last, so it is still that of a free row
        os.pwrite(roster.fd, whole[1:cut], row + 1)
        assert rows(roster) == []


def test_a_pid_that_was_cut_off_is_none(roster: Roster) -> None:
    row = roster.open(TASK, 3)
    before = os.pread(roster.fd, 64, row)
    roster.started(row, 77)
    whole = os.pread(roster.fd, 64, row)
    for cut in range(1, 64):
        os.pwrite(roster.fd, before[:1] + whole[1:cut] + before[cut:], row)
        assert rows(roster) == [(TASK, 3, 0)]


def test_a_file_that_was_cut_off_gives_whole_rows(roster: Roster) -> None:
    fd = os.memfd_create("torn")
    for index in range(3):
        roster.open(b"a:%d" % index, 1)
    table = os.pread(roster.fd, 64 * 4, 0)
    for length in range(len(table)):
        os.ftruncate(fd, 0)
        os.pwrite(fd, table[:length], 0)
        assert len(read_rows(fd)) == max(0, length // 64 - 1)
    os.close(fd)


def test_a_writer_that_is_killed_anywhere_leaves_only_whole_rows() -> None:
    """What it notes names itself: task, number and pid agree, or the pid isn't there."""
    writing = """if True:
        import os, sys
        from arrea._runtime.roster import Roster
        roster, kept, index = Roster(), [], 0
        print(roster.fd, flush=True)
        while True:
            index = index % 1_000_000 + 1
            row = roster.open(b"%d" % index, index)
            roster.started(row, index)
            kept.append(row)
            if len(kept) > 20:
                roster.close(kept.pop(index % 20))
    """
    for turn in range(20):
        with subprocess.Popen([sys.executable, "-c", writing], stdout=subprocess.PIPE) as host:
            assert host.stdout is not None
            fd = os.open(f"/proc/{host.pid}/fd/{int(host.stdout.readline())}", os.O_RDWR)
            time.sleep(0.005 + turn / 10_000)
            host.kill()
        found = read_rows(fd)
        os.close(fd)
        assert 0 < len(found) <= 22
        assert all(row.task == b"%d" % row.number and row.pid in (0, row.number) for row in found), found
        assert sum(row.pid == 0 for row in found) <= 1


def test_what_is_no_roster_is_seen() -> None:
    fd = os.memfd_create("other")
    assert not is_roster(fd)
    os.write(fd, b"arrea 0\n" + bytes(200))
    assert not is_roster(fd)
    os.close(fd)


# ── what is refused ──────────────────────────────────────────────────────────────────────────────


def test_a_name_that_is_too_long_has_no_row(roster: Roster) -> None:
    assert roster.open(b"a" * 32, 1) != NO_ROW
    assert roster.open(b"a" * 33, 1) == NO_ROW
    assert rows(roster) == [(b"a" * 32, 1, 0)]


def test_no_row_is_a_row_that_takes_everything(roster: Roster) -> None:
    roster.started(NO_ROW, 77)
    roster.close(NO_ROW)
    assert rows(roster) == []
    assert is_roster(roster.fd)
    assert not is_closed(roster.fd)


def test_without_memory_there_are_no_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "memfd_create", refuse)
    roster = Roster()
    assert roster.fd == -1
    assert roster.open(TASK, 1) == NO_ROW
    roster.dismiss()
    roster.shut()


def test_without_room_to_grow_more_attempts_have_no_row(
    roster: Roster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", refuse)
        held = [roster.open(b"a:%d" % index, 1) for index in range(100)]
        fits = len([row for row in held if row != NO_ROW])
        assert fits == module.FIRST_BYTES // 64 - 1
        assert len(rows(roster)) == fits
        roster.close(held[5])
        assert roster.open(TASK, 1) == held[5]
    assert roster.open(TASK, 1) != NO_ROW


def test_shutting_closes_every_descriptor() -> None:
    before = open_descriptors()
    roster = Roster()
    held = [roster.open(b"a:%d" % index, 1) for index in range(500)]
    roster.shut()
    assert open_descriptors() == before
    roster.started(held[0], 77)  # a start that comes late
    roster.close(held[0])
    assert roster.open(TASK, 1) in (NO_ROW, held[0])
    roster.dismiss()
    roster.shut()


# ── the guardians' places ────────────────────────────────────────────────────────────────────────


def test_guardians_sign_in_each_at_its_place(roster: Roster) -> None:
    sign_in(roster.fd, 1, 20, 2)
    assert signed_in(roster.fd) == [(20, 2)]
    sign_in(roster.fd, 0, 10, 1)
    sign_in(roster.fd, 1, 30, 3)
    assert signed_in(roster.fd) == [(10, 1), (30, 3)]


def test_dismissal_is_seen_in_the_file(roster: Roster) -> None:
    roster.open(TASK, 1)
    roster.dismiss()
    assert is_closed(roster.fd)
    assert rows(roster) == [(TASK, 1, 0)]


# ── whose process is it? ─────────────────────────────────────────────────────────────────────────


def test_one_tick_of_rounding_is_allowed_on_both_sides() -> None:
    row = Row(TASK, 1, pid=77, opened=1000, started=1005)
    assert [time for time in range(990, 1015) if row.is_leader(time)] == list(range(999, 1007))


def test_the_window_fits_real_processes(roster: Roster) -> None:
    """And isn't wide: a process that was started well before isn't meant."""
    old = subprocess.Popen(["sleep", "60"])
    time.sleep(0.05)
    for _ in range(50):
        row = roster.open(TASK, 1)
        process = subprocess.Popen(["sleep", "60"])
        roster.started(row, process.pid)
        [noted] = read_rows(roster.fd)
        processes = snapshot()
        assert noted.is_leader(processes[process.pid].start_time)
        assert not noted.is_leader(processes[old.pid].start_time)
        roster.close(row)
        process.kill()
        process.wait()
    old.kill()
    old.wait()


def test_a_process_is_opened_only_under_its_own_start_time() -> None:
    process = subprocess.Popen(["sleep", "60"])
    started = snapshot()[process.pid].start_time
    pidfd = open_process(process.pid, started)
    assert pidfd >= 0
    os.close(pidfd)
    before = open_descriptors()
    assert open_process(process.pid, started - 1) == -1
    assert open_descriptors() == before
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert wait_until(lambda: open_process(process.pid, started) == -1)
