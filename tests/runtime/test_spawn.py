"""Starting a process: the same rules on each of the three ways that lead there."""

import errno
import gc
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from arrea._runtime import spawn as spawning
from arrea._runtime.environment import Environment
from arrea._runtime.spawn import forget_program, resolve_program, spawn
from tests.support import open_descriptors, process_stat

WAYS = ("closefrom", "listing", "popen")
NOTHING = Environment({})


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    chosen: str = request.param
    if chosen != "popen" and WAYS.index(chosen) < WAYS.index(spawning.WAY):
        pytest.skip(f"this C library can't start processes the way {chosen!r}")
    monkeypatch.setattr(spawning, "WAY", chosen)
    return chosen


@pytest.fixture(autouse=True)
def no_memory_of_programs() -> Iterator[None]:
    yield
    spawning._programs.clear()


def start(
    *argv: str | bytes,
    env: Mapping[str, str] | None = None,
    marks: tuple[bytes, ...] = (),
    cwd: str | None = None,
    stdin: int = -1,
    stdout: int = 1,
    stderr: int = 2,
) -> int:
    vector = [os.fsencode(word) for word in argv]
    block = Environment(env or {}).block(marks)
    return spawn(os.fsdecode(vector[0]), vector, block, cwd, stdin, stdout, stderr)


def exit_code(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def output(*argv: str | bytes, **options: object) -> bytes:
    """What the program writes to its standard output; it has to end with code 0."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as pipe:
        try:
            pid = start(*argv, stdout=writing, **options)  # type: ignore[arg-type]
        finally:
            os.close(writing)
        text = pipe.read()
    assert exit_code(pid) == 0
    return text


def python(code: str, *arguments: bytes, **options: object) -> bytes:
    return output(sys.executable, "-I", "-S", "-c", code, *arguments, **options)


# ── What the child sees ──────────────────────────────────────────────────────────────────


def test_arguments_arrive_byte_for_byte(way: str) -> None:
    arguments = [b"", b"two words", b"'\"$`\\\n\t*", b"\xff\xfe", "grüße 🎉".encode()]
    shown = python("import os, sys; print([os.fsencode(a) for a in sys.argv[1:]])", *arguments)
    assert shown.decode().strip() == repr(arguments)


def test_environment_arrives_byte_for_byte(way: str) -> None:
    env = {"A": "1", "EMPTY": "", "LINES": "x\ny", "EQUALS": "a=b=c", "RAW": "\udcff"}
    shown = output("/bin/cat", "/proc/self/environ", env=env, marks=(b"ARREA_TASK=7",))
    expected = {b"A=1", b"EMPTY=", b"LINES=x\ny", b"EQUALS=a=b=c", b"RAW=\xff", b"ARREA_TASK=7"}
    entries = shown.split(b"\0")[:-1]
    assert len(entries) == len(expected)
    assert set(entries) == expected


def test_program_starts_in_cwd(way: str, tmp_path: Path) -> None:
    assert output("/bin/pwd", cwd=str(tmp_path)).decode() == f"{tmp_path}\n"


def test_relative_program_is_looked_up_in_cwd(way: str, tmp_path: Path) -> None:
    (tmp_path / "here").symlink_to("/bin/true")
    assert exit_code(start("./here", cwd=str(tmp_path))) == 0


def test_child_leads_a_session(way: str) -> None:
    pid = start("/bin/sleep", "60")
    assert (os.getsid(pid), os.getpgid(pid)) == (pid, pid)
    os.kill(pid, signal.SIGKILL)
    assert exit_code(pid) == -signal.SIGKILL


def test_only_the_standard_descriptors_reach_the_child(way: str) -> None:
    pipe = os.pipe()
    high = os.dup2(pipe[0], 200)
    try:
        for fd in (*pipe, high):
            os.set_inheritable(fd, True)
        shown = output("/bin/ls", "/proc/self/fd")
    finally:
        for fd in (*pipe, high):
            os.close(fd)
    assert shown.split() == [b"0", b"1", b"2", b"3"]  # 3 is the listing itself


def test_standard_input_minus_one_is_at_its_end(way: str) -> None:
    assert output("/bin/cat") == b""


def test_standard_input_is_read_from_the_descriptor(way: str) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"hello")
    os.close(writing)
    try:
        assert output("/bin/cat", stdin=reading) == b"hello"
    finally:
        os.close(reading)


def signals_of_child() -> dict[str, int]:
    lines = output("/bin/cat", "/proc/self/status").decode().splitlines()
    fields = (line.split(":") for line in lines if line.startswith("Sig"))
    return {name: int(value, 16) for name, value in fields if name in ("SigBlk", "SigIgn")}


def bit(signum: int) -> int:
    return 1 << (signum - 1)


def test_no_signal_is_blocked_though_the_parent_blocks(way: str) -> None:
    blocked = {signal.SIGTERM, signal.SIGUSR1, signal.SIGPIPE}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
    try:
        assert signals_of_child()["SigBlk"] == 0
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before | blocked
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def test_sigpipe_is_default_and_sighup_stays_ignored(way: str) -> None:
    assert signal.getsignal(signal.SIGPIPE) == signal.SIG_IGN  # CPython's doing
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        ignored = signals_of_child()["SigIgn"]
    finally:
        signal.signal(signal.SIGHUP, before)
    assert not ignored & (bit(signal.SIGPIPE) | bit(signal.SIGXFSZ))
    assert ignored & bit(signal.SIGHUP)


@pytest.mark.parametrize("way", ["closefrom", "listing"], indirect=True)
def test_sigchld_is_default_though_the_parent_ignores_it(way: str) -> None:
    (reading, writing), (answer, answering) = os.pipe(), os.pipe()
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:  # the child waits for the end of its input, so it can't end while we ignore
        pid = start("/bin/cat", "-", "/proc/self/status", stdin=reading, stdout=answering)
    finally:
        signal.signal(signal.SIGCHLD, before)
        for fd in (reading, writing, answering):
            os.close(fd)
    with os.fdopen(answer) as pipe:
        ignored = next(line for line in pipe.read().splitlines() if line.startswith("SigIgn"))
    assert exit_code(pid) == 0
    assert not int(ignored.split()[1], 16) & bit(signal.SIGCHLD)


# Runs alone: it plays with its own descriptors 0, 1 and 2. Each is another file there, and
# close-on-exec. Of every combination of sources, the child's /proc shows what it got.
_PERMUTATIONS = """
import itertools, json, os, sys
from arrea._runtime import spawn as spawning
from arrea._runtime.environment import Environment
spawning.WAY, folder = sys.argv[1:]
report = os.dup(1)
for fd in (0, 1, 2):
    file = os.open(f"{folder}/{fd}", os.O_RDWR | os.O_CREAT)
    os.dup2(file, fd, inheritable=False)
    os.close(file)
block = Environment({}).block()
seen = []
for sources in itertools.product((-1, 0, 1, 2), (0, 1, 2), (0, 1, 2)):
    pid = spawning.spawn("/bin/sleep", [b"sleep", b"60"], block, None, *sources)
    files = [os.path.basename(os.readlink(f"/proc/{pid}/fd/{fd}")) for fd in (0, 1, 2)]
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    seen.append((sources, files, len(os.listdir("/proc/self/fd"))))
os.write(report, json.dumps(seen).encode())
"""


def test_sources_among_the_standard_descriptors_in_every_combination(way: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PERMUTATIONS, way, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        check=True,
    )
    seen = json.loads(done.stdout)
    assert len(seen) == 4 * 3 * 3
    for sources, files, _ in seen:
        assert files == [str(fd) if fd >= 0 else "null" for fd in sources], sources
    assert len({count for _, _, count in seen}) == 1


# ── What goes wrong ──────────────────────────────────────────────────────────────────────


def failure(*argv: str, cwd: str | None = None) -> tuple[int | None, str]:
    with pytest.raises(OSError) as caught:
        start(*argv, cwd=cwd)
    return caught.value.errno, caught.value.filename


def test_missing_program(way: str) -> None:
    assert failure("/nowhere/prog") == (errno.ENOENT, "/nowhere/prog")
    assert failure("/nowhere/prog", cwd="/") == (errno.ENOENT, "/nowhere/prog")


def test_file_that_may_not_be_executed(way: str, tmp_path: Path) -> None:
    (plain := tmp_path / "plain").write_text("text")
    assert failure(str(plain)) == (errno.EACCES, str(plain))


def test_file_that_is_no_program(way: str, tmp_path: Path) -> None:
    (script := tmp_path / "script").write_text("echo no first line names an interpreter")
    script.chmod(0o755)
    assert failure(str(script)) == (errno.ENOEXEC, str(script))


def test_cwd_that_is_missing_or_no_directory(way: str, tmp_path: Path) -> None:
    (plain := tmp_path / "plain").write_text("")
    gone = str(tmp_path / "gone")
    assert failure("/bin/true", cwd=gone) == (errno.ENOENT, gone)
    assert failure("/bin/true", cwd=str(plain)) == (errno.ENOTDIR, str(plain))


def test_arguments_too_long(way: str) -> None:
    assert failure("/bin/true", "x" * 200_000) == (errno.E2BIG, "/bin/true")


def test_failures_of_spawn_are_the_fitting_subclasses(way: str) -> None:
    with pytest.raises(FileNotFoundError):
        start("/nowhere")
    with pytest.raises(PermissionError):
        start("/etc/passwd")


def test_closed_descriptor_is_refused(way: str) -> None:
    with pytest.raises(OSError) as caught:
        start("/bin/true", stdout=987)
    assert caught.value.errno == errno.EBADF


def test_nul_bytes_and_empty_vectors_are_refused() -> None:
    for argv in (["/bin/true", "a\0b"], ["/bin/true\0"]):
        with pytest.raises(ValueError, match="NUL"):
            start(*argv)
    with pytest.raises(ValueError, match="NUL"):
        start("/bin/true", cwd="/\0")
    with pytest.raises(ValueError, match="at least one argument"):
        spawn("/bin/true", [], NOTHING.block(), None, -1, 1, 2)


# ── Many at once ─────────────────────────────────────────────────────────────────────────


def test_starts_from_four_threads_leave_nothing(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spawning, "_ACTIONS_KEPT", 2)  # emptied all the time, while in use
    monkeypatch.setattr(spawning, "_actions", {})  # without those of other tests' engines
    before, ended = open_descriptors(), []

    def work(number: int) -> None:
        for turn in range(50):
            word = f"{number}-{turn}"
            ended.append(output("/bin/echo", word) == f"{word}\n".encode())

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ended == [True] * 200
    assert open_descriptors() == before
    assert len(spawning._actions) <= 2 + len(threads)


def test_failures_leave_nothing(way: str) -> None:
    before = open_descriptors()
    for _, argv in itertools.product(range(20), (["/nowhere"], ["/bin/true", "x" * 200_000])):
        failure(*argv)
    assert open_descriptors() == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_popen_leaves_the_exit_status_to_us(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spawning, "WAY", "popen")
    pid = start("/bin/sh", "-c", "exit 7")
    gc.collect()
    subprocess.run(["/bin/true"], check=True)  # every Popen polls the list of the abandoned
    assert exit_code(pid) == 7


# ── Environment ──────────────────────────────────────────────────────────────────────────


def entries(environment: Environment, *marks: bytes) -> list[bytes | None]:
    return list(environment.block(marks))


def test_block_ends_with_null() -> None:
    assert entries(Environment({"A": "1"}), b"B=2") == [b"A=1", b"B=2", None]
    assert entries(NOTHING) == [None]


def test_mark_takes_the_place_of_the_variable() -> None:
    environment = Environment({"A": "1", "TRACEPARENT": "old", "Z": "9"})
    block = entries(environment, b"TRACEPARENT=new", b"ARREA_TASK=1")
    assert [entry for entry in block if entry] == [
        b"A=1",
        b"TRACEPARENT=new",
        b"Z=9",
        b"ARREA_TASK=1",
    ]
    assert block[-1] is None
    assert b"TRACEPARENT=old" in entries(environment)  # the base is untouched


def test_marks_of_an_outer_arrea_are_dropped() -> None:
    outer = {"ARREA_TASK": "1", "ARREA_BATCH": "2", "ARREA_ATTEMPT": "3", "ARREA_SLOT": "4"}
    assert entries(Environment({**outer, "ARREA_TASKS": "mine"})) == [b"ARREA_TASKS=mine", None]


def four_marks(number: int) -> tuple[bytes, bytes, bytes, bytes]:
    return (b"ARREA_TASK=b:%d" % number, b"ARREA_ATTEMPT=1", b"ARREA_BATCH=b", b"ARREA_SLOT=%d" % number)


def test_a_borrowed_block_has_the_same_entries_and_is_used_again() -> None:
    environment = Environment({"A": "1", "ARREA_SLOT": "of another"})
    first = environment.borrow(four_marks(123456))
    second = environment.borrow(four_marks(2))  # another thread, at the same time
    assert list(first) == list(environment.block(four_marks(123456)))
    assert list(second) == list(environment.block(four_marks(2)))
    environment.give_back(first)
    again = environment.borrow(four_marks(7))
    assert again is first and list(again) == [b"A=1", *four_marks(7), None]


def test_a_mark_that_is_too_long_is_not_cut() -> None:
    environment = Environment({"A": "1"})
    marks = (b"ARREA_TASK=" + b"x" * 99, *four_marks(1)[1:])
    block = environment.borrow(marks)
    assert list(block) == [b"A=1", *marks, None]
    environment.give_back(block)
    assert environment.borrow(four_marks(1)) is not block


def test_block_keeps_its_bytes_alive() -> None:
    block = Environment({f"NAME{n}": f"value{n}" for n in range(500)}).block([b"M=" + b"x" * 99])
    gc.collect()
    filler = [b"%d" % n * 3 for n in range(5000)]
    assert list(block)[:500] == [b"NAME%d=value%d" % (n, n) for n in range(500)]
    assert list(block)[500:] == [b"M=" + b"x" * 99, None]
    assert len(filler) == 5000


def test_get() -> None:
    environment = Environment({"PATH": "/bin"})
    assert (environment.get("PATH"), environment.get("HOME")) == ("/bin", None)


@pytest.mark.parametrize("variables", [{"": "x"}, {"A=B": "x"}, {"A": "x\0y"}, {"A\0": "x"}])
def test_entries_that_c_would_misread_are_refused(variables: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"environment"):
        Environment(variables)


def test_message_of_a_refused_value_keeps_the_value_secret() -> None:
    with pytest.raises(ValueError) as caught:
        Environment({"TOKEN": "hunter2\0"})
    assert "hunter2" not in str(caught.value)


# ── Finding the program ──────────────────────────────────────────────────────────────────


def make_program(folder: Path, name: str = "prog", mode: int = 0o755) -> Path:
    folder.mkdir(exist_ok=True)
    (program := folder / name).write_text("#!/bin/sh\n")
    program.chmod(mode)
    return program


def test_first_executable_file_wins(tmp_path: Path) -> None:
    (tmp_path / "folder" / "prog").mkdir(parents=True)
    make_program(tmp_path / "plain", mode=0o644)
    right = make_program(tmp_path / "right")
    make_program(tmp_path / "later")
    path = ":".join(str(tmp_path / part) for part in ("none", "folder", "plain", "right", "later"))
    assert resolve_program("prog", path, None) == str(right)


def test_names_with_a_slash_are_taken_as_they_are() -> None:
    assert resolve_program("./nowhere", "/bin", None) == "./nowhere"


def test_not_found_and_not_executable(tmp_path: Path) -> None:
    make_program(tmp_path, mode=0o644)
    with pytest.raises(PermissionError) as denied:
        resolve_program("prog", f"/none:{tmp_path}:/none", None)
    assert denied.value.filename == "prog"
    for name, path in (("prog", "/none"), ("", "/bin"), ("prog", "")):
        with pytest.raises(FileNotFoundError):
            resolve_program(name, path, "/")


def test_path_none_is_the_systems_default() -> None:
    assert resolve_program("sh", None, None) in ("/bin/sh", "/usr/bin/sh")


@pytest.mark.parametrize(("path", "found"), [("bin", "bin/prog"), ("", "./prog"), (".", "./prog")])
def test_relative_entries_mean_the_childs_directory(tmp_path: Path, path: str, found: str) -> None:
    folder = tmp_path / "bin" if path == "bin" else tmp_path
    make_program(folder)
    assert resolve_program("prog", path, str(tmp_path)) == found
    assert exit_code(start(found, cwd=str(tmp_path))) == 0
    assert not spawning._programs  # right for one directory only: not remembered


def test_program_that_disappears_is_looked_for_again(tmp_path: Path) -> None:
    first, second = make_program(tmp_path / "a"), make_program(tmp_path / "b")
    path = f"{tmp_path}/a:{tmp_path}/b"
    assert resolve_program("prog", path, None) == str(first)
    first.unlink()
    assert resolve_program("prog", path, None) == str(first)  # remembered
    assert failure(str(first))[0] == errno.ENOENT
    assert resolve_program("prog", path, None) == str(second)


def test_forget_program(tmp_path: Path) -> None:
    program = make_program(tmp_path)
    assert resolve_program("prog", str(tmp_path), None) == str(program)
    forget_program(str(program))
    assert not spawning._programs


def test_memory_of_programs_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spawning, "_PROGRAMS_KEPT", 3)
    for number in range(10):
        resolve_program("sh", f"/bin:/{number}", None)
    assert len(spawning._programs) <= 3


def test_spawned_child_is_ours() -> None:
    pid = start("/bin/sleep", "60")
    stat = process_stat(pid)
    assert stat is not None
    assert stat[2] == os.getpid()
    os.kill(pid, signal.SIGKILL)
    exit_code(pid)
