"""The guardian: when its host is killed, what the host ran is dead within 2 s, and nothing else is touched.

Each host is a process of its own that drives the guardian as the reactor does.
"""

import os
import select
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from arrea._runtime import guardian as module
from arrea._runtime.guardian import Guardian
from arrea._runtime.roster import signed_in
from tests.faults.hosts import Host, run_host
from tests.support import command_line, marked_survivors, open_descriptors, process_stat, wait_until

PRELUDE = """
import select, time
from arrea._runtime.guardian import Guardian
from arrea._runtime.roster import Roster, signed_in
from arrea._runtime.environment import Environment
from arrea._runtime.spawn import spawn

epoll = select.epoll()
null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
strays = []

def watch(fd):
    epoll.register(fd, select.EPOLLIN)

def unwatch(fd):
    try:
        epoll.unregister(fd)
    except FileNotFoundError:
        pass

def tend(seconds=0.01):
    for fd, _ in epoll.poll(seconds):
        guardian.on_ready(fd)

def pair():
    return sorted(pid for pid, _ in signed_in(guardian.roster.fd))

def starts():
    guardian.start()
    while len(pair()) < 2 or guardian._starter >= 0:
        tend()

def command_line(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read()
    except OSError:
        return b""

def guardians():
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        words = command_line(name).split(b"\\0")
        if words[-2:] == [b"arrea-guardian", b""] and words[-4] == b"%d" % os.getpid():
            found.append(int(name))
    return found

def childless():
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return True
    return False

def task_of(index):
    return b"%s:%d" % (MARK.partition(".")[2].zfill(15)[-12:].encode(), index)

def run(script, index=0, told=True, argv=None):
    task = task_of(index)
    row = guardian.roster.open(task, 1)
    marks = [b"ARREA_TASK=" + task, b"ARREA_ATTEMPT=1"]
    argv = [word.encode() for word in argv or ["/bin/sh", "-c", script]]
    block = Environment(dict(os.environ)).block(marks)
    pid = spawn(argv[0].decode(), argv, block, None, -1, null, null)
    if told:
        guardian.roster.started(row, pid)
    return row, pid

guardian = Guardian(watch, unwatch)
"""
UP = f"{PRELUDE}\nstarts()\n"
READY = "say('ready', os.getpid(), *pair())\npause()\n"

WITHIN_S = 2.0


@pytest.fixture
def mark() -> Iterator[str]:
    """A number of seconds that nobody else sleeps for. At the end nothing that carries it may live."""
    mark = f"31338.{uuid.uuid4().int % 10**15}"
    yield mark
    left = living(mark)
    for line in left:
        end(int(line.split()[0]))
    assert wait_until(lambda: not living(mark))
    assert not left, "survivors:\n" + "\n".join(left)


def batch_of(mark: str) -> str:
    """As `task_of` of the hosts has it: tests that run at the same time mustn't end each other's processes."""
    return mark.partition(".")[2].zfill(15)[-12:]


def living(mark: str) -> list[str]:
    return [line for line in marked_survivors(mark) if not line.endswith("(zombie)")]


def end(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def guardians_of(host: int) -> list[int]:
    """What lives of a host's guardian: the last words of its command line name it."""
    found = []
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        words = command_line(pid).split()
        if words[-1:] == ["arrea-guardian"] and words[-3] == str(host):
            found.append(pid)
    return sorted(found)


def is_living(pid: int) -> bool:
    stat = process_stat(pid)
    return stat is not None and stat[1] not in "ZX"


def ready(host: Host) -> tuple[int, list[int]]:
    """The host's pid and those of its guardians, once it has said that they are there."""
    word, pid, *pair = host.line().split()
    assert word == "ready"
    return int(pid), [int(guardian) for guardian in pair]


def kill(host: Host, mark: str, pid: int) -> float:
    """Kills the host. All that carries the mark is dead in time, and the guardian goes too. Seconds it took."""
    began = time.monotonic()
    host.signal(signal.SIGKILL)
    dead = wait_until(lambda: not living(mark), WITHIN_S)
    took = time.monotonic() - began
    assert dead, "\n".join(living(mark))
    assert wait_until(lambda: not guardians_of(pid), 10.0)
    return took


# ── start and dismissal ──────────────────────────────────────────────────────────────────────────

LEAVES_NOTHING = """
def count():
    return sorted(os.listdir("/proc/self/fd"))

def lives(seconds):
    global guardian
    guardian = Guardian(watch, unwatch)
    guardian.start()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        tend(until - time.monotonic())
    began = time.perf_counter()
    guardian.dismiss()
    took = time.perf_counter() - began
    assert (guardians(), childless(), guardian.problem) == ([], True, None), (guardians(), childless())
    assert took < 0.4, took

guardian.dismiss()
before = count()
"""


def test_dismissed_at_once_it_leaves_nothing(mark: str) -> None:
    run_host(mark, PRELUDE + LEAVES_NOTHING + "for _ in range(50): lives(0)\nassert count() == before\n")


def test_dismissed_at_any_moment_of_its_start_it_leaves_nothing(mark: str) -> None:
    script = "for n in range(50): lives(n / 1000)\nassert count() == before\n"
    run_host(mark, PRELUDE + LEAVES_NOTHING + script)


def test_a_dismissed_pair_leaves_nothing(mark: str) -> None:
    script = """
for _ in range(5):
    guardian = Guardian(watch, unwatch)
    starts()
    assert sorted(guardians()) == pair()
    guardian.dismiss()
    assert guardians() == [] and childless() and count() == before
    guardian.dismiss()
    guardian.start()
    assert guardians() == [] and count() == before
"""
    run_host(mark, PRELUDE + LEAVES_NOTHING + script)


def test_a_stopped_pair_is_dismissed_too(mark: str) -> None:
    script = """
for pid in pair():
    os.kill(pid, signal.SIGSTOP)
guardian.dismiss()
assert guardians() == []
"""
    run_host(mark, UP + script)


def test_only_one_starts_however_many_threads_ask(mark: str) -> None:
    script = """
threads = [threading.Thread(target=guardian.start) for _ in range(20)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
starts()
assert sorted(guardians()) == pair()
guardian.dismiss()
"""
    run_host(mark, PRELUDE + script)


def test_the_pair_is_found_in_ps_and_has_nothing_of_the_host(mark: str) -> None:
    with Host(mark, "os.environ['SECRET'] = 'x'\n" + UP + READY + "guardian.dismiss()") as host:
        pid, pair = ready(host)
        assert guardians_of(pid) == pair
        for guardian in pair:
            assert Path(f"/proc/{guardian}/comm").read_text() == "arrea-guardian\n"
            assert Path(f"/proc/{guardian}/environ").read_bytes() in (b"", b"\0")
            assert os.readlink(f"/proc/{guardian}/cwd") == "/"
            assert os.getsid(guardian) == guardian
            kinds = {os.readlink(f"/proc/{guardian}/fd/{fd}").split(":")[0] for fd in (0, 1, 2)}
            assert kinds == {"/memfd", "pipe"}
            assert (
                len(os.listdir(f"/proc/{guardian}/fd")) == 5
            )  # and the pidfds of the host and of the other one
        host.go_on()
        assert host.end(5).code == 0


# ── what the host does to itself ─────────────────────────────────────────────────────────────────


def test_a_host_that_waits_for_all_its_children_does_not_wait_for_it(mark: str) -> None:
    script = """
guardian.start()
while True:
    try:
        os.wait()
    except ChildProcessError:
        break
starts()
assert sorted(guardians()) == pair()
guardian.dismiss()
assert guardians() == [] and childless()
"""
    assert run_host(mark, PRELUDE + script, within=5.0).took < 3.0


def test_a_subreaper_has_no_zombie_after_the_dismissal(mark: str) -> None:
    script = """
import ctypes
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
for turn in range(3):
    guardian = Guardian(watch, unwatch)
    starts()
    assert not childless()
    if turn:  # the other one is the parent then
        os.kill(signed_in(guardian.roster.fd)[turn - 1][0], signal.SIGKILL)
        while len(guardians()) < 2 or sorted(guardians()) != pair():
            tend()
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass
    guardian.dismiss()
    assert guardians() == [] and childless()
"""
    run_host(mark, PRELUDE + "guardian.dismiss()\n" + script)


def test_a_host_that_ignores_sigchld(mark: str) -> None:
    script = "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
    run_host(mark, script + UP + "guardian.dismiss()\nassert guardians() == []")
    with Host(mark, script + UP + "run('exec sleep ' + MARK)\n" + READY) as host:
        kill(host, mark, ready(host)[0])


def test_a_host_without_standard_descriptors(mark: str) -> None:
    script = """
said = os.dup(1)
for fd in (0, 1, 2):
    os.close(fd)
"""
    rest = "\nassert guardian.roster.fd > 2\nguardian.dismiss()\nassert guardians() == []\nos.write(said, b'good')"
    ended = run_host(mark, script + UP + rest)
    assert ended.out == ["good"]


def test_a_forked_child_of_the_host_does_not_keep_the_guardian(mark: str) -> None:
    script = """
child = os.fork()
if child == 0:
    time.sleep(60)
began = time.monotonic()
guardian.dismiss()
assert time.monotonic() - began < 0.3
assert guardians() == []
os.kill(child, signal.SIGKILL)
os.waitpid(child, 0)
"""
    run_host(mark, UP + script)


def test_a_forked_child_does_not_hide_that_the_host_was_killed(mark: str) -> None:
    script = """
run("exec sleep " + MARK)
child = os.fork()
if child == 0:
    os.execve("/bin/sleep", ["sleep", "60.25"], {})
while b"sleep" not in command_line(child):
    time.sleep(0.001)
say(child)
"""
    with Host(mark, UP + script + READY) as host:
        child = int(host.line())
        kill(host, mark, ready(host)[0])
        assert is_living(child)
        end(child)


def test_without_descriptors_it_is_started_later(mark: str) -> None:
    script = """
import resource
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
for free in range(4):
    guardian = Guardian(watch, unwatch)
    before = os.listdir("/proc/self/fd")
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(before) - 1 + free, hard))
    for _ in range(20):  # so many tasks ask at once
        guardian.start()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if guardian._pipe < 0:
        assert childless() and os.listdir("/proc/self/fd") == before
    while len(pair()) < 2:
        guardian.start()
        tend()
    assert guardian.problem is None
    guardian.dismiss()
    assert guardians() == [] and childless()
"""
    run_host(mark, PRELUDE + "guardian.dismiss()\n" + script)


# ── one of the pair, or both ─────────────────────────────────────────────────────────────────────


def test_signals_that_end_others_do_not_end_it(mark: str) -> None:
    with Host(mark, UP + "run('exec sleep ' + MARK)\n" + READY) as host:
        pid, pair = ready(host)
        for guardian in pair:
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
                os.kill(guardian, number)
        end(pair[0])  # who makes a twin lives
        assert wait_until(lambda: pair[1] in (now := guardians_of(pid)) and len(now) == 2 and now != pair)
        kill(host, mark, pid)


@pytest.mark.parametrize("place", [0, 1])
def test_one_that_is_killed_is_replaced(place: int, mark: str) -> None:
    with Host(mark, UP + "run('exec sleep ' + MARK)\n" + READY) as host:
        pid, pair = ready(host)
        kept = pair[1 - place]
        for _ in range(1 + place):
            before = guardians_of(pid)
            end(next(guardian for guardian in before if guardian != kept))
            assert wait_until(lambda: len(now := guardians_of(pid)) == 2 and now != before, 3.0)  # noqa: B023
            assert kept in guardians_of(pid)
        kill(host, mark, pid)


def test_when_both_are_killed_the_host_starts_another_pair(mark: str) -> None:
    script = """
before = pair()
run("exec sleep " + MARK)
for pid in before:
    os.kill(pid, signal.SIGKILL)
while set(before) & set(pair()) or guardian._starter >= 0:
    tend()
assert sorted(guardians()) == pair() and guardian.problem is None
"""
    with Host(mark, UP + script + READY) as host:
        kill(host, mark, ready(host)[0])


def test_when_they_are_killed_again_and_again_the_host_gives_up(mark: str) -> None:
    script = """
before, lost = set(), 0
while guardian.problem is None:
    tend()
    now = [pid for pid in pair() if pid not in before]
    if len(now) == 2:
        before.update(now)
        lost += 1
        for pid in now:
            os.kill(pid, signal.SIGKILL)
assert lost == 6, lost
assert "again and again" in guardian.problem and "SIGKILL" in guardian.problem
assert guardians() == [] and childless()
guardian.start()
guardian.dismiss()
assert guardians() == []
"""
    run_host(mark, UP + script)


@pytest.mark.parametrize("order", ["guardian first", "host first"])
@pytest.mark.parametrize("place", [0, 1])
def test_the_host_and_one_guardian_are_killed_together(place: int, order: str, mark: str) -> None:
    with Host(mark, UP + "run('exec sleep ' + MARK)\n" + READY) as host:
        pid, pair = ready(host)
        both = [pair[place], pid]
        for victim in both if order == "guardian first" else reversed(both):
            end(victim)
        kill(host, mark, pid)


@pytest.mark.parametrize("place", [0, 1])
def test_the_host_is_killed_while_one_guardian_is_stopped(place: int, mark: str) -> None:
    with Host(mark, UP + "run('trap \"\" TERM; sleep ' + MARK)\n" + READY) as host:
        pid, pair = ready(host)
        os.kill(pair[place], signal.SIGSTOP)
        host.signal(signal.SIGKILL)
        dead = wait_until(lambda: not living(mark), WITHIN_S)
        os.kill(pair[place], signal.SIGCONT)
        assert dead
        assert wait_until(lambda: not guardians_of(pid), 10.0)


# ── the host is killed ───────────────────────────────────────────────────────────────────────────

SCRIPTS = {
    "a program": "exec sleep {0}",
    "one that ignores SIGTERM": "trap '' TERM; exec sleep {0}",
    "one that is stopped": "kill -STOP $$; sleep {0}",
    "one that is stopped and ignores SIGTERM": "trap '' TERM; kill -STOP $$; sleep {0}",
    "a child": "sleep {0} & sleep {0}",
    "a child in its own session": "setsid sleep {0} & wait",
    "a child in its own session that ignores SIGTERM": "(trap '' TERM; exec setsid sleep {0}) & wait",
    "a daemon without a parent": "(setsid sh -c 'sleep {0} & exec sleep {0}' &) ; sleep {0}",
    "a daemon that ignores SIGTERM": "(trap '' TERM; setsid sleep {0} &) ; sleep {0}",
    "a daemon whose leader has gone": "(setsid sleep {0} &) ; exit",
    "a group whose leader has gone": "sleep {0} & exit",
    "a cleared environment": "setsid env -i sleep {0} & wait",
    "a cleared environment two sessions away": "setsid setsid sh -c 'env -i sleep {0} & wait' & sleep {0}",
    "a leader that clears its environment": "exec env -i sleep {0}",
    "a leader that clears it and ignores SIGTERM": "trap '' TERM; exec env -i sleep {0}",
    "one that forks on and on": "trap '' TERM; while :; do sleep {0} & sleep 0.002; done",
    "one that hops from process to process": "trap '' TERM; hop() {{ sleep 0.01; hop & exit; }}; hop & sleep {0}",
    "one that starts more when it is ended": "trap 'setsid sleep {0} & setsid sleep {0} & exit' TERM; sleep {0} & wait",
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_what_the_host_ran_dies_with_it(name: str, mark: str) -> None:
    script = UP + f"run({SCRIPTS[name]!r}.format(MARK))\n" + READY
    with Host(mark, script) as host:
        pid, _ = ready(host)
        assert wait_until(lambda: any(mark in line for line in living(mark)))
        kill(host, mark, pid)


def test_all_at_once(mark: str) -> None:
    script = f"""
scripts = [script.format(MARK) for script in {list(SCRIPTS.values())!r}] * 3
for index, script in enumerate(scripts):
    run(script, index)
"""
    with Host(mark, UP + script + READY) as host:
        kill(host, mark, ready(host)[0])


def test_those_that_obey_sigterm_get_time_for_it(mark: str, tmp_path: Path) -> None:
    """A little, and one SIGTERM only: a second one means "at once" to some programs."""
    log = tmp_path / "log"
    command = (
        f"trap 'echo asked >>{log}; sleep 0.2; echo done >>{log}; exit' TERM; sleep $0 & echo >>{log}; wait"
    )
    script = f"run(None, argv=['/bin/sh', '-c', {command!r}, MARK])\n"
    with Host(mark, UP + script + READY) as host:
        pid, _ = ready(host)
        assert wait_until(log.exists)
        kill(host, mark, pid)
    assert log.read_text().split() == ["asked", "done"]


def test_one_that_is_stopped_gets_its_sigterm(mark: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = f"trap 'echo asked >>{log}; exit' TERM; kill -STOP $$; exec sleep {mark}"
    with Host(mark, UP + f"pid = run({command!r})[1]\nsay(pid)\n" + READY) as host:
        leader = int(host.line())
        pid, _ = ready(host)
        assert wait_until(lambda: (process_stat(leader) or "??")[1] == "T")
        kill(host, mark, pid)
    assert log.read_text() == "asked\n"


def test_a_shell_whose_command_is_ended_does_not_go_on_to_the_next(mark: str, tmp_path: Path) -> None:
    """It is signalled before its child."""
    log = tmp_path / "log"
    command = f"sleep {mark}; echo next >>{log}"
    script = f"for index in range(20): run({command!r}, index)\n"
    with Host(mark, UP + script + READY) as host:
        pid, _ = ready(host)
        assert wait_until(lambda: sum(line.endswith(f" sleep {mark}") for line in living(mark)) == 20)
        kill(host, mark, pid)
    assert not log.exists()


def test_a_start_that_the_host_never_heard_of(mark: str) -> None:
    scripts = [
        "exec sleep {0}",
        "(setsid sleep {0} &) ; exit",
        "trap '' TERM; setsid env -i sleep {0} & sleep {0}",
    ]
    script = f"for index, script in enumerate({scripts!r}): run(script.format(MARK), index, told=False)\n"
    with Host(mark, UP + script + READY) as host:
        kill(host, mark, ready(host)[0])


def test_a_start_that_is_under_way(mark: str) -> None:
    """Until it has exec'd, a process doesn't carry the marks that it was started with."""
    script = "guardian.roster.open(task_of(0), 1)\n"
    late = f"sleep 0.1; exec env ARREA_TASK={batch_of(mark)}:0 ARREA_ATTEMPT=1 sleep {mark}"
    with Host(mark, UP + script + READY) as host:
        pid, _ = ready(host)
        with subprocess.Popen(["sh", "-c", late], env={}) as process:
            host.signal(signal.SIGKILL)
            assert process.wait(WITHIN_S) == -signal.SIGTERM
        kill(host, mark, pid)


def test_the_host_is_killed_before_the_guardian_is_there(mark: str) -> None:
    script = "guardian.start()\nrun('exec sleep ' + MARK)\nsay('ready', os.getpid())\npause()\n"
    with Host(mark, PRELUDE + script) as host:
        kill(host, mark, ready(host)[0])


def test_the_host_is_killed_at_any_moment_of_the_start(mark: str) -> None:
    script = "pause()\nguardian.start()\nrun('exec sleep ' + MARK)\ntime.sleep({0})\nos.kill(os.getpid(), 9)"
    with ExitStack() as stack:
        hosts = [stack.enter_context(Host(mark, PRELUDE + script.format(n / 500))) for n in range(25)]
        for host in hosts:
            host.go_on()
        for host in hosts:
            assert host.end(10).code == -signal.SIGKILL
        assert wait_until(lambda: not living(mark), WITHIN_S)


@pytest.mark.parametrize("ending", ["os._exit(3)", "os.kill(os.getpid(), signal.SIGSEGV)"])
def test_a_host_that_ends_without_a_word(ending: str, mark: str) -> None:
    script = "import resource\nresource.setrlimit(resource.RLIMIT_CORE, (0, 0))\nrun('exec sleep ' + MARK)\n"
    with Host(mark, UP + script + READY + ending) as host:
        pid, _ = ready(host)
        host.go_on()
        assert wait_until(lambda: not living(mark), WITHIN_S)
        assert wait_until(lambda: not guardians_of(pid), 10.0)


def test_many_attempts(mark: str) -> None:
    script = """
for index in range(200):
    run(None, index, argv=["/bin/sleep", MARK])
"""
    with Host(mark, UP + script + READY) as host:
        kill(host, mark, ready(host)[0])


# ── what isn't killed ────────────────────────────────────────────────────────────────────────────


def test_a_daemon_of_an_attempt_that_is_over_goes_on(mark: str) -> None:
    script = """
row, leader = run("setsid sleep 61.25 & echo $!", 0)
os.waitpid(leader, 0)
guardian.roster.close(row)
run("exec sleep " + MARK, 1)
"""
    with Host(mark, UP + script + READY) as host:
        pid, _ = ready(host)
        [daemon] = [line for line in living(mark) if line.endswith("sleep 61.25")]
        host.signal(signal.SIGKILL)
        assert wait_until(lambda: living(mark) == [daemon], WITHIN_S)
        assert wait_until(lambda: not guardians_of(pid), 10.0)
        assert living(mark) == [daemon]
        end(int(daemon.split()[0]))
        assert wait_until(lambda: not living(mark))


def test_another_attempt_of_the_same_task_goes_on(mark: str) -> None:
    """The number of the attempt is part of its marks, and each mark counts as a whole."""
    script = "for index in (1, 2): guardian.roster.open(task_of(index), index)\n"
    batch = batch_of(mark)
    others = [
        (f"{batch}:1", "2"),
        (f"{batch}:2", "1"),
        (f"{batch}:2", "22"),
        (f"{batch}:22", "2"),
        (f"x{batch}:2", "2"),
    ]
    with Host(mark, UP + script + READY) as host:
        pid, _ = ready(host)
        left = [
            subprocess.Popen(["sleep", "62.25"], env={"ARREA_TASK": task, "ARREA_ATTEMPT": number})
            for task, number in others
        ]
        kill(host, mark, pid)
        assert [process.poll() for process in left] == [None] * len(others)
        for process in left:
            process.kill()
            process.wait()


def test_a_stranger_with_the_number_of_a_leader_goes_on(mark: str) -> None:
    """It leads a session, as the leader did, and has a child, but was started at another time."""
    stranger = subprocess.Popen(["sh", "-c", "sleep 63.25 & wait"], start_new_session=True, env={})
    assert wait_until(lambda: len(session(stranger.pid)) == 2)
    time.sleep(0.05)
    script = f"guardian.roster.started(guardian.roster.open(task_of(0), 1), {stranger.pid})\n"
    with Host(mark, UP + script + READY) as host:
        pid, _ = ready(host)
        kill(host, mark, pid)
        assert len(session(stranger.pid)) == 2
        assert stranger.poll() is None
    os.killpg(stranger.pid, signal.SIGKILL)
    stranger.wait()


def session(sid: int) -> list[int]:
    return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if sid_of(pid) == sid]


def sid_of(pid: int) -> int:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return -1


def test_a_host_that_ended_with_nothing_running_is_not_swept_up_after(mark: str) -> None:
    script = "row, leader = run('exit 0')\nos.waitpid(leader, 0)\nguardian.roster.close(row)\n"
    with Host(mark, UP + script + READY) as host:
        pid, _ = ready(host)
        host.signal(signal.SIGKILL)
        assert wait_until(lambda: not guardians_of(pid), 0.25)


# ── there is none ────────────────────────────────────────────────────────────────────────────────


class Loop:
    """A readiness loop, as the reactor has one."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self.guardian = Guardian(self._watch, self._unwatch)

    def _watch(self, fd: int) -> None:
        self._epoll.register(fd, select.EPOLLIN)

    def _unwatch(self, fd: int) -> None:
        try:
            self._epoll.unregister(fd)
        except FileNotFoundError:
            return

    def until(self, predicate: Callable[[], object], seconds: float = 5.0) -> None:
        deadline = time.monotonic() + seconds
        while not predicate():
            assert time.monotonic() < deadline
            for fd, _ in self._epoll.poll(0.02):
                self.guardian.on_ready(fd)

    def close(self) -> None:
        self.guardian.dismiss()
        self._epoll.close()


@pytest.fixture
def loop() -> Iterator[Loop]:
    before = open_descriptors()
    loop = Loop()
    yield loop
    loop.close()
    assert open_descriptors() == before


def test_a_program_that_embeds_python_uses_the_interpreter_beside_it(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/usr/sbin/some-server")
    loop.guardian.start()
    loop.until(lambda: len(signed_in(loop.guardian.roster.fd)) == 2)
    [pid, *_] = (pid for pid, _ in signed_in(loop.guardian.roster.fd))
    assert command_line(pid).startswith(sys.base_prefix)


@pytest.mark.parametrize("executable", ["", None, "/usr/sbin/some-server"])
def test_without_an_interpreter_it_says_so(
    executable: str | None, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", executable)
    monkeypatch.setattr(sys, "base_prefix", "/nowhere")
    loop.guardian.start()
    assert loop.guardian.problem is not None
    assert "no Python interpreter" in loop.guardian.problem
    assert repr(executable) in loop.guardian.problem


def test_a_frozen_program_is_no_interpreter(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr(sys, "base_prefix", "/nowhere")
    loop.guardian.start()
    assert "no Python interpreter" in str(loop.guardian.problem)


def test_an_interpreter_that_fails_is_tried_again_and_what_it_said_is_told(
    loop: Loop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    python = tmp_path / "python3"
    python.write_text("#!/bin/sh\necho 'a line' >&2\necho 'it is broken' >&2\nexit 1\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    loop.guardian.start()
    assert loop.guardian.problem is None
    loop.until(lambda: loop.guardian.problem)
    assert "(it is broken)" in str(loop.guardian.problem)


def test_where_it_cannot_be_watched_it_is_started_later(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(fd: int) -> None:
        raise OSError(28, "No space left on device")

    before, others = open_descriptors(), guardians_of(os.getpid())
    with monkeypatch.context() as patch:
        patch.setattr(loop.guardian, "_watch", refuse)
        loop.guardian.start()
    assert wait_until(lambda: guardians_of(os.getpid()) == others)
    assert open_descriptors() == before
    assert wait_until(lambda: loop.guardian.start() or loop.guardian._pipe >= 0)  # type: ignore[func-returns-value]
    assert loop.guardian.problem is None


def test_an_event_of_the_last_pair_does_nothing_to_the_next(loop: Loop) -> None:
    """Descriptors get the numbers of closed ones, and the loop may have seen both in one look."""
    loop.guardian.start()
    for fd in (loop.guardian._pipe, loop.guardian._starter):
        assert loop.guardian.on_ready(fd)
    loop.until(lambda: len(signed_in(loop.guardian.roster.fd)) == 2 and loop.guardian._starter < 0)
    assert not loop.guardian.on_ready(0)


def test_a_guardian_of_another_version_refuses(loop: Loop) -> None:
    os.pwrite(loop.guardian.roster.fd, b"arrea 0\n", 0)
    loop.guardian.start()
    loop.until(lambda: loop.guardian.problem)
    assert "another version" in str(loop.guardian.problem)


def test_without_memory_for_the_roster_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "memfd_create", refuse)
    loop = Loop()
    loop.guardian.start()
    assert "memory" in str(loop.guardian.problem)
    assert loop.guardian.roster.open(b"a:0", 1) == 0
    loop.close()


def test_a_start_that_is_stuck_does_not_hold_up_the_dismissal(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be on a disk that hangs. When it comes back, it tidies up."""
    import threading

    stuck, real, others = threading.Event(), module.spawn, guardians_of(os.getpid())

    def hang(*arguments: object) -> int:
        assert stuck.wait(5.0)
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "spawn", hang)
    thread = threading.Thread(target=loop.guardian.start)
    thread.start()
    assert wait_until(loop.guardian._lock.locked)
    began = time.monotonic()
    loop.guardian.dismiss()
    assert time.monotonic() - began < 0.5
    stuck.set()
    thread.join()
    assert wait_until(lambda: guardians_of(os.getpid()) == others)
