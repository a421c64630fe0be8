"""Who belongs to an attempt: real trees of processes, and made-up ones for the corner cases."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from arrea._runtime import tree
from arrea._runtime.environment import Environment
from arrea._runtime.spawn import spawn
from arrea._runtime.tree import Census, Process, family, send, send_group, snapshot
from tests.support import marked_survivors, wait_until

FAR = 2**22  # the kernel's highest pid is one less: nobody real has these


class Attempt:
    """One leader, a shell, with a mark of its own; it tells the pids it starts, one a line."""

    def __init__(self) -> None:
        self.mark = f"ARREA_TASK={uuid.uuid4()}".encode()
        self.leader = 0
        self.told: list[int] = []

    def start(self, script: str, pids: int) -> list[int]:
        """Run `script` as the leader until it has told `pids` pids."""
        block = Environment(dict(os.environ)).block([self.mark])
        reading, writing = os.pipe()
        with os.fdopen(reading) as pipe:
            argv = [b"sh", b"-c", script.encode()]
            self.leader = spawn("/bin/sh", argv, block, None, -1, writing, 2)
            os.close(writing)
            self.told = [int(pipe.readline()) for _ in range(pids)]
        return self.told

    def family(self, known: tuple[tuple[int, int], ...] = ()) -> set[int]:
        found = family(snapshot(), self.leader, [self.mark], known)
        return {process.pid for process in found}

    def end(self) -> None:
        """Leave nothing; survivors are found by the tests' own means, not by those under test."""
        if self.leader:
            os.killpg(self.leader, signal.SIGKILL)
            os.waitpid(self.leader, 0)
        assert wait_until(self._is_empty)

    def _is_empty(self) -> bool:
        # Again and again: a shell may start one more while it is being killed.
        marked = [int(line.split()[0]) for line in marked_survivors(self.mark.decode())]
        living = [pid for pid in {*marked, *self.told} if is_living(pid)]
        for pid in living:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not living


def is_living(pid: int) -> bool:
    process = snapshot().get(pid)
    return process is not None and process.living


def has_session(pid: int, sid: int) -> bool:
    return snapshot()[pid].sid == sid


def is_cleared(pid: int) -> bool:
    environ, line = (Path(f"/proc/{pid}/{name}").read_bytes() for name in ("environ", "cmdline"))
    return not environ and line.startswith(b"sleep")


def is_orphan(pid: int, leader: int) -> bool:
    """Whether the chain from `pid` upwards ends above init without meeting the leader."""
    processes = snapshot()
    while pid in processes and pid != leader:
        pid = processes[pid].ppid
    return pid == 0


@pytest.fixture
def attempt() -> Iterator[Attempt]:
    started = Attempt()
    yield started
    started.end()


@pytest.fixture
def stranger() -> Iterator[Attempt]:
    started = Attempt()
    yield started
    started.end()


# ── Looking ──────────────────────────────────────────────────────────────────────────────


def test_snapshot_shows_ourselves() -> None:
    mine = snapshot()[os.getpid()]
    assert (mine.ppid, mine.pgid, mine.sid) == (os.getppid(), os.getpgid(0), os.getsid(0))
    assert mine.state == "R"
    assert mine.living


def test_name_with_parentheses_and_blanks(attempt: Attempt, tmp_path: Path) -> None:
    program = tmp_path / ") S (1 2"
    shutil.copy(shutil.which("sleep") or "/bin/sleep", program)
    (pid,) = attempt.start(f"'{program}' 60 & echo $!; wait", 1)
    comm = Path(f"/proc/{pid}/comm")
    assert wait_until(lambda: comm.read_text() == f"{program.name}\n")
    process = snapshot()[pid]
    assert (process.ppid, process.sid) == (attempt.leader, attempt.leader)
    assert process.state in "RSD"


def test_line_is_parsed_by_the_manual() -> None:
    line = b"7 (a) R (b\n)) S 3 5 6 0 -1 1 2 3 4 5 6 7 8 9 20 0 4 0 9876 1 2 3\n"
    process = tree._parse(line)
    assert (process.pid, process.ppid, process.pgid, process.sid) == (7, 3, 5, 6)
    assert (process.state, process.threads, process.start_time) == ("S", 4, 9876)
    assert process.identity == (7, 9876)


# ── The four traces ──────────────────────────────────────────────────────────────────────


def test_members_of_the_group(attempt: Attempt) -> None:
    pids = attempt.start("sleep 60 & echo $!; sleep 60 & echo $!; wait", 2)
    assert attempt.family() == set(pids)


def test_orphan_in_the_session_with_cleared_environment(attempt: Attempt) -> None:
    (pid,) = attempt.start("(env -i sleep 60 & echo $!); wait; sleep 60", 1)
    assert wait_until(lambda: is_orphan(pid, attempt.leader))
    assert pid in attempt.family()


def test_child_in_a_session_of_its_own(attempt: Attempt) -> None:
    (pid,) = attempt.start("setsid sleep 60 & echo $!; wait", 1)
    assert wait_until(lambda: has_session(pid, pid))
    assert attempt.family() == {pid}


def test_child_with_cleared_environment_is_found_by_its_parent(attempt: Attempt) -> None:
    (pid,) = attempt.start("env -i setsid sleep 60 & echo $!; wait", 1)
    assert wait_until(lambda: has_session(pid, pid))
    assert wait_until(lambda: is_cleared(pid))
    assert attempt.family() == {pid}


DAEMON = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        print(os.getpid(), flush=True)
        os.closerange(0, 3)
        time.sleep(60)
    os._exit(0)
"""


def test_daemon_is_found_by_its_mark(attempt: Attempt) -> None:
    (pid,) = attempt.start(f"{sys.executable} -I -S -c '{DAEMON}'; sleep 60; true", 1)
    assert wait_until(lambda: pid not in {one.pid for one in family(snapshot(), attempt.leader, [])})
    assert pid in attempt.family()


def test_family_of_a_daemon_is_found_through_it(attempt: Attempt) -> None:
    """Cleared environments below a marked daemon: its child, and an orphan in its session."""
    inner = "echo $$; env -i setsid sleep 60 & echo $!; (env -i sleep 60 & echo $!); sleep 60; :"
    daemon, child, orphan = attempt.start(f"(setsid sh -c '{inner}' &); sleep 60; :", 3)
    assert wait_until(lambda: is_orphan(daemon, attempt.leader) and has_session(child, child))
    assert wait_until(lambda: snapshot()[orphan].ppid != daemon)
    assert {daemon, child, orphan} <= attempt.family()


def test_what_lost_every_trace_escapes_unless_it_was_seen_before(attempt: Attempt) -> None:
    inner = "echo $$; env -i sleep 60 & echo $!"
    shell, pid = attempt.start(f"(setsid sh -c '{inner}' &); sleep 60; :", 2)
    assert wait_until(lambda: is_cleared(pid))
    seen = snapshot()[pid]
    assert wait_until(lambda: pid not in attempt.family())  # as the module's docstring says
    assert not is_living(shell)
    assert pid in attempt.family(known=(seen.identity,))
    assert pid not in attempt.family(known=((pid, seen.start_time + 1),))


def test_daemon_outlives_a_reaped_leader(attempt: Attempt) -> None:
    (pid,) = attempt.start("setsid sleep 60 & echo $!", 1)
    leader, attempt.leader = attempt.leader, 0
    started = snapshot()[leader].start_time
    os.waitpid(leader, 0)
    found = family(snapshot(), leader, [attempt.mark], [(leader, started)])
    assert [process.pid for process in found] == [pid]


def test_daemon_in_the_middle_of_exec_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a moment exec shows neither environment nor command line; seen once in 30 runs."""
    shown = {"environ": [b"", b"", b"A=1\0ARREA_TASK=7\0"], "cmdline": [b"", b"sleep\x0060\0"]}
    monkeypatch.setattr(tree, "_read", lambda pid, name: shown[name].pop(0))
    found = family(alone(Process(FAR, 1, FAR, FAR, "R", 100)), FAR + 1, [b"ARREA_TASK=7"])
    assert [process.pid for process in found] == [FAR]


def test_what_never_shows_an_environment_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "_read", lambda pid, name: b"")
    assert family(alone(Process(FAR, 1, FAR, FAR, "R", 100)), FAR + 1, [b"ARREA_TASK=7"]) == []


def test_one_census_serves_many_families(attempt: Attempt, stranger: Attempt) -> None:
    (first,) = attempt.start("(setsid sleep 60 & echo $!); sleep 60; :", 1)
    (second,) = stranger.start("(setsid sleep 60 & echo $!); sleep 60; :", 1)
    assert wait_until(lambda: has_session(first, first) and has_session(second, second))
    census = Census()
    for asked, mine, other in ((attempt, first, second), (stranger, second, first)):
        found = {process.pid for process in census.family(asked.leader, [asked.mark])}
        assert mine in found
        assert other not in found


# ── Who does not belong ──────────────────────────────────────────────────────────────────


def test_stranger_is_not_found(attempt: Attempt, stranger: Attempt) -> None:
    attempt.start("echo $$; sleep 60; :", 1)
    assert stranger.start("setsid sleep 60 & echo $!; wait", 1)
    assert stranger.told[0] not in attempt.family()
    assert stranger.leader not in attempt.family()


def test_marks_are_whole_entries_and_all_of_them_count(attempt: Attempt) -> None:
    (pid,) = attempt.start("(setsid sleep 60 & echo $!); sleep 60; :", 1)
    assert wait_until(lambda: is_orphan(pid, attempt.leader) and has_session(pid, pid))

    def found(*marks: bytes) -> bool:
        return pid in {one.pid for one in family(snapshot(), attempt.leader, marks)}

    assert found(attempt.mark)
    assert not found(attempt.mark[:-1])
    assert not found(attempt.mark[1:])
    assert not found(attempt.mark, b"ARREA_BATCH=other")
    assert not found()


@pytest.mark.parametrize("mark", [b"", b"ARREA_TASK", b"=7"])
def test_mark_that_is_no_entry_is_refused(mark: bytes) -> None:
    with pytest.raises(ValueError, match="whole entry"):
        family({}, 4711, [mark])


def test_zombie_is_not_listed(attempt: Attempt) -> None:
    # It ends only after its parent has become a program that waits for nobody.
    ends_later = "while read name < /proc/$$/comm; [ $name != sleep ]; do :; done"
    (pid,) = attempt.start(f"({ends_later}) & echo $!; exec sleep 60", 1)
    assert wait_until(lambda: snapshot()[pid].state == "Z")
    assert attempt.family() == set()
    assert not send(snapshot()[pid], signal.SIGKILL)


HALF_DEAD = """
import ctypes, os, platform, threading, time
threading.Thread(target=time.sleep, args=(60,)).start()
print(os.getpid(), flush=True)
ctypes.CDLL(None).syscall(60 if platform.machine() == "x86_64" else 93, 0)
"""


def test_process_whose_first_thread_ended_is_no_zombie(attempt: Attempt) -> None:
    (pid,) = attempt.start(f"{sys.executable} -I -S -c '{HALF_DEAD}' & wait", 1)
    assert wait_until(lambda: snapshot()[pid].state == "Z")
    assert snapshot()[pid].threads == 2
    assert attempt.family() == {pid}
    assert send(snapshot()[pid], signal.SIGKILL)
    assert wait_until(lambda: not is_living(pid))


SELF = """
import os, sys
from arrea._runtime.tree import family, snapshot
processes = snapshot()
me, parent = processes[os.getpid()], processes[os.getppid()]
found = family(processes, 2**22 + 1, [os.environb[b"ARREA_TASK"].join([b"ARREA_TASK=", b""])])
print(*[one.pid for one in found])
print(*[one.pid for one in family(processes, parent.pid, [], [me.identity, parent.identity])])
print(parent.pid, me.pid)
"""


def test_caller_and_its_ancestors_are_never_found() -> None:
    """All of them carry the mark: the shell, its background child and the one that asks."""
    done = subprocess.run(
        ["/bin/sh", "-c", 'sleep 60 & echo $!; "$0" -c "$1"; kill $!; wait', sys.executable, SELF],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "ARREA_TASK": str(uuid.uuid4()),
        },
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    sleeper, marked, below_parent, _ = done.stdout.splitlines()
    assert marked == sleeper
    assert below_parent == ""


def made_up(*rows: tuple[int, int, int, int]) -> dict[int, Process]:
    """Processes from (pid, ppid, sid, start_time), next to the real ones above us."""
    chain = {pid: process for pid, process in snapshot().items() if is_above(pid)}
    made = {pid: Process(pid, ppid, sid, sid, "S", start) for pid, ppid, sid, start in rows}
    return chain | made


def alone(process: Process) -> dict[int, Process]:
    return {process.pid: process}


def is_above(pid: int) -> bool:
    processes, at = snapshot(), os.getpid()
    while at in processes and at != pid:
        at = processes[at].ppid
    return at == pid


def test_chain_of_parents_is_followed_to_its_end() -> None:
    rows = [(FAR + n, FAR + n - 1, FAR + n, 100 + n) for n in range(1, 50)]
    found = family(made_up((FAR, os.getpid(), FAR, 100), *rows), FAR, [])
    assert [process.pid for process in found] == [FAR + n for n in range(1, 50)]


def test_new_bearer_of_the_leaders_number_is_not_followed() -> None:
    processes = made_up((FAR, 1, FAR, 500), (FAR + 1, FAR, FAR, 501))
    assert [one.pid for one in family(processes, FAR, [])] == [FAR + 1]
    assert family(processes, FAR, [], [(FAR, 100)]) == []


def test_leader_that_is_our_ancestor_or_the_kernels_has_no_family() -> None:
    processes = made_up((FAR, os.getpid(), FAR, 100), (FAR + 1, 2, 0, 1))
    for leader in (os.getpid(), os.getppid(), 1, 0):
        assert family(processes, leader, []) == []


# ── Signalling ───────────────────────────────────────────────────────────────────────────


def test_signal_reaches_exactly_the_process(attempt: Attempt) -> None:
    first, second = attempt.start("sleep 60 & echo $!; sleep 60 & echo $!; wait", 2)
    process = snapshot()[first]
    assert send(process, signal.SIGTERM)
    assert wait_until(lambda: not is_living(first))
    assert is_living(second)
    assert wait_until(lambda: not send(process, signal.SIGTERM))


def test_signal_to_the_group_of_a_process(attempt: Attempt) -> None:
    first, second = attempt.start("sleep 60 & echo $!; sleep 60 & echo $!; wait", 2)
    process = snapshot()[first]
    assert send_group(process, signal.SIGTERM)
    assert wait_until(lambda: not is_living(first) and not is_living(second))
    assert wait_until(lambda: not send_group(process, signal.SIGTERM))


@pytest.mark.parametrize("changed", [{"start_time": 1}, {"pgid": 1}, {"pgid": 0}, {"pgid": -1}])
def test_signal_to_a_group_that_the_process_is_not_in(attempt: Attempt, changed: dict[str, int]) -> None:
    (pid,) = attempt.start("sleep 60 & echo $!; wait", 1)
    process = snapshot()[pid]
    for name, value in changed.items():
        setattr(process, name, value)
    assert not send_group(process, 0)


def test_signal_is_refused_for_another_start_time(attempt: Attempt) -> None:
    (pid,) = attempt.start("sleep 60 & echo $!; wait", 1)
    process = snapshot()[pid]
    process.start_time -= 1
    assert not send(process, signal.SIGKILL)
    assert is_living(pid)


def test_signal_to_a_process_that_is_gone() -> None:
    assert not send(Process(FAR, 1, FAR, FAR, "S", 100), signal.SIGKILL)


def test_signal_that_we_may_not_send() -> None:
    """As nobody, to pid 1; in a child, because the way back from nobody is barred."""
    child = os.fork()
    if child == 0:
        try:
            if os.getuid() == 0:
                os.setresuid(65534, 65534, 65534)
            os._exit(3 if send(snapshot()[1], 0) else 0)
        finally:
            os._exit(4)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
