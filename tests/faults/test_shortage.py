"""Too few of something: processes, descriptors, memory, space for arguments, or the program itself."""

import errno
import itertools
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import arrea
from arrea import Engine
from arrea._runtime import spawner
from arrea._runtime.spawn import spawn as real_spawn
from tests.faults.hosts import run_host
from tests.support import open_descriptors


def failing(fails: Callable[[int], bool], number: int) -> Callable[..., int]:
    """`spawn`, but its nth call raises the error if `fails(n)`."""
    calls = itertools.count()

    def spawn(*arguments: Any) -> int:
        if fails(next(calls)):
            raise OSError(number, os.strerror(number))
        return real_spawn(*arguments)

    return spawn


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_one_start_in_three_fails_for_want_of_room(
    number: int, engine: Engine, mark: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spawner, "spawn", failing(lambda call: call % 3 == 0, number))
    commands = [f"echo {index}" for index in range(200)]
    results = engine.run(commands, policy="once", env={"ARREA_CHAOS": mark})
    assert [data.stdout for data in results.data if data] == [f"{index}\n" for index in range(200)]
    assert [result.attempts for result in results] == [1] * 200


def test_no_start_ever_works(engine: Engine, mark: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spawner, "spawn", failing(lambda call: True, errno.EAGAIN))
    began = time.monotonic()
    results = engine.run([["true"]] * 20, policy="once", env={"ARREA_CHAOS": mark})
    assert {result.error.code for result in results if result.error} == {"spawn_failed"}
    assert len(results.failures) == 20
    assert time.monotonic() - began < 10.0


def test_starts_that_fail_leave_no_descriptor(engine: Engine, mark: str) -> None:
    engine.execute("true", env={"ARREA_CHAOS": mark})
    before = len(open_descriptors())
    commands = [["/does/not/exist"]] * 300
    results = engine.run(commands, policy="once", stdin=b"x", env={"ARREA_CHAOS": mark})
    assert len(results.failures) == 300
    assert len(open_descriptors()) <= before  # fewer: the guardian has started meanwhile


def test_a_bug_in_the_start_loses_no_task(engine: Engine, mark: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def spawn(*arguments: object) -> int:
        raise ZeroDivisionError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr(spawner, "spawn", spawn)
        results = engine.run([["true"]] * 10, policy="once", env={"ARREA_CHAOS": mark})
    assert {result.error.code for result in results if result.error} == {"spawn_failed"}
    assert engine.execute("true", env={"ARREA_CHAOS": mark}).success


# ── the program ───────────────────────────────────────────────────────────────────────────────────


def test_programs_that_can_not_be_started(engine: Engine, mark: str, tmp_path: Path) -> None:
    text, noise = tmp_path / "text", tmp_path / "noise"
    text.write_text("no program\n")
    noise.write_bytes(b"\x7fELF no program either")
    noise.chmod(0o755)
    commands = [["/does/not/exist"], ["no-such-program"], [str(text)], [str(noise)], [str(tmp_path)]]
    results = engine.run(commands, policy="once", env={"ARREA_CHAOS": mark})
    numbers = [getattr(result.error, "errno", None) for result in results]
    assert numbers[:4] == [errno.ENOENT, errno.ENOENT, errno.EACCES, errno.ENOEXEC]
    assert numbers[4] in (errno.EACCES, errno.ENOENT)
    assert {result.error.code for result in results if result.error} == {"spawn_failed"}


def test_an_argument_that_is_too_long_for_the_kernel(engine: Engine, mark: str) -> None:
    result = engine.execute(["echo", "x" * 200 * 1024], env={"ARREA_CHAOS": mark})
    assert result.error is not None and result.error.code == "spawn_failed"
    assert getattr(result.error, "errno", None) == errno.E2BIG


def test_a_directory_that_is_removed_while_the_batch_runs(engine: Engine, mark: str, tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    commands = [f"rmdir {place}"] + ["pwd"] * 5
    results = engine.run(commands, workers=1, cwd=place, policy="continue", env={"ARREA_CHAOS": mark})
    assert results[0].success
    assert {result.error.code for result in results[1:] if result.error} == {"spawn_failed"}
    assert len(results.failures) == 5
    assert str(place) in str(results[1].error)


def test_the_hosts_own_directory_is_removed(mark: str, tmp_path: Path) -> None:
    ended = run_host(
        mark,
        f"""
os.mkdir("{tmp_path}/gone"); os.chdir("{tmp_path}/gone"); os.rmdir("{tmp_path}/gone")
results = arrea.run(["echo a", ["echo", "b"]], policy="once")
say(results.success, [data.stdout for data in results.data])
""",
    )
    assert ended.out == ["True ['a\\n', 'b\\n']"]


# ── descriptors ───────────────────────────────────────────────────────────────────────────────────

LIMIT = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({0}, {1}))\n"


def test_a_thousand_workers_with_256_descriptors(mark: str) -> None:
    script = """
with arrea.Engine(max_workers=1000, max_commands_per_batch=None, default_policy="once") as engine:
    results = engine.run([["true"]] * 1000)
say(results.success, len(results), {result.attempts for result in results})
"""
    ended = run_host(mark, LIMIT.format(256, 256) + script, within=30)
    assert ended.out == ["True 1000 {1}"]


def test_sleepers_that_fill_all_descriptors(mark: str) -> None:
    script = """
with arrea.Engine(max_workers=200, default_policy="once") as engine:
    results = engine.run(["sleep 0.3; echo x"] * 200)
say(results.success, len(results), {data.stdout for data in results.data})
"""
    ended = run_host(mark, LIMIT.format(128, 128) + script, within=30)
    assert ended.out == ["True 200 {'x\\n'}"]


@pytest.mark.parametrize("limit", [63, 64, 65])  # one of them leaves none over from three for each command
def test_timeouts_when_no_descriptor_is_left(limit: int, mark: str) -> None:
    script = """
trees = ["trap '' TERM; setsid sleep {0} & wait", "sleep {0}", "(setsid sleep {0} &); sleep {0}"]
commands = [tree.format(MARK) for tree in trees]
with arrea.Engine(max_workers=200, kill_grace=200, default_policy="continue") as engine:
    results = engine.run(commands * 20, timeout=300)
say(len(results), sorted({result.error.code for result in results}))
"""
    ended = run_host(mark, LIMIT.format(limit, limit) + script, within=30)
    assert ended.out == ["60 ['timeout']"]


def test_timeouts_when_another_thread_takes_every_descriptor(mark: str) -> None:
    script = """
def hog():
    try:
        while True:
            held.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        return

held = []
with arrea.Engine(kill_grace=200, default_policy="continue") as engine:
    batch = engine.submit(["trap '' TERM; setsid sleep " + MARK + " & wait"] * 5, timeout=300)
    time.sleep(0.2)
    hog()
    results = batch.wait("10s")
    for fd in held:
        os.close(fd)
    say({result.error.code for result in results}, engine.execute("true").success)
"""
    ended = run_host(mark, LIMIT.format(64, 64) + script, within=30)
    assert ended.out == ["{'timeout'} True"]


def test_a_soft_limit_of_descriptors_is_raised(mark: str) -> None:
    script = """
with arrea.Engine(max_workers=200, default_policy="once") as engine:
    results = engine.run(["sleep 0.5"] * 200, stdin=b"x")
say(results.success, results.stats.duration_ms < 5000, resource.getrlimit(resource.RLIMIT_NOFILE))
"""
    ended = run_host(mark, LIMIT.format(64, 4096) + script)
    assert ended.out == ["True True (4096, 4096)"]


def test_the_limit_of_processes_is_reached(mark: str) -> None:
    """As somebody else, for root has no such limit; whose interpreter a guardian can't start here either."""
    script = """
import logging, resource
import arrea._app.engine, arrea._runtime.guardian, arrea._observe.dispatch, signal
logging.disable()
arrea.execute("true 'x'")
arrea.Engine(default_policy="once").close()  # what is imported late is imported before its files can't be read
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
def is_own(name):
    try:
        return os.stat(f"/proc/{name}").st_uid == os.getuid()
    except FileNotFoundError:  # it ended meanwhile
        return False
own = sum(is_own(name) for name in os.listdir("/proc") if name.isdigit())
limit = own + len(threading.enumerate()) + 16
resource.setrlimit(resource.RLIMIT_NPROC, (limit, limit))
with arrea.Engine(default_policy="once") as engine:
    results = engine.run([f"echo {n}; exec sleep 0.05" for n in range(60)], timeout=None)
    say(results.success, [data.stdout for data in results.data] == [f"{n}\\n" for n in range(60)])
"""
    ended = run_host(mark, script)
    assert ended.out == ["True True"]


def test_no_thread_can_be_started(mark: str) -> None:
    script = """
real = threading.Thread.start
def start(thread):
    if "spawner" in thread.name and refusing:
        raise RuntimeError("can't start new thread")
    real(thread)
threading.Thread.start = start
refusing = True
with arrea.Engine(default_policy="once") as engine:
    results = engine.run(["true"] * 5)
    say({result.error.code for result in results})
    refusing = False
    say(engine.run(["true"] * 5).success)
"""
    ended = run_host(mark, script)
    assert ended.out == ["{'spawn_failed'}", "True"]


# ── space for output ──────────────────────────────────────────────────────────────────────────────


def test_a_full_disk_stops_the_keeping_and_not_the_commands(mark: str) -> None:
    script = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))
with arrea.Engine(max_output_bytes=None, default_policy="once") as engine:
    results = engine.run(["ulimit -f unlimited 2>/dev/null; head -c 100000000 /dev/zero"] * 2, workers=2)
say(results.success, [data.stdout_total_bytes for data in results.data], any(data.truncated for data in results.data))
"""
    ended = run_host(mark, script)
    assert ended.out == ["True [100000000, 100000000] True"]


def test_policy_functions_are_not_asked_about_a_start_that_waits_for_room(
    engine: Engine, mark: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spawner, "spawn", failing(lambda call: call % 2 == 0, errno.EAGAIN))
    asked: list[object] = []

    def decide(*given: object) -> str:
        asked.append(given)
        return "continue"

    policy = arrea.policies.custom(decide)
    results = engine.run([["true"]] * 20, policy=policy, env={"ARREA_CHAOS": mark})
    assert results.success and asked == []
