"""What tests share: looking at processes and descriptors, waiting, running the command."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path


def wait_until(predicate: Callable[[], object], timeout: float = 5.0) -> bool:
    """Poll until `predicate()` is true; False when it is not within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    pause = 0.001
    while not predicate():
        if time.monotonic() >= deadline:
            return False
        time.sleep(pause)
        pause = min(2 * pause, 0.02)
    return True


def open_descriptors() -> dict[int, str]:
    """This process's open descriptors and what each one points to, from /proc/self/fd."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            continue  # the descriptor of the listing itself, or closed meanwhile
    return found


def marked_survivors(mark: str) -> list[str]:
    """Every process that carries `mark` in its environment or command line, one line each.

    A zombie has lost both: it is listed when this process or a marked one is its parent, or
    when its name holds the mark, and its line ends in "(zombie)". This process is never listed, nor the
    guardian and the seed of an engine that is still open: for some milliseconds their starters are zombies.
    """
    marked: dict[int, str] = {}
    zombies: list[tuple[int, int, str]] = []
    for pid in _pids():
        stat = process_stat(pid)
        if stat is None or pid == os.getpid():
            continue
        name, state, parent, _ = stat
        if state in "ZX" and name not in ("arrea-guardian", "arrea-seed"):
            zombies.append((pid, parent, name))
        elif state not in "ZX" and _carries(pid, mark):
            marked[pid] = f"{pid} {command_line(pid)}"
    parents = {os.getpid(), *marked}
    gone = [f"{pid} {name} (zombie)" for pid, parent, name in zombies if parent in parents or mark in name]
    return [*marked.values(), *gone]


def run_arrea(
    *args: str,
    input: str | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = 30,
    cwd: str | os.PathLike[str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run the installed `arrea` in a session of its own; its exit code and output as text.

    `env` replaces the environment. Without `input` standard input is empty.
    """
    command = Path(sys.executable).parent / "arrea"
    return subprocess.run(
        [str(command), *args],
        input=input if input is not None else "",
        env=env,
        timeout=timeout,
        cwd=cwd,
        capture_output=True,
        text=True,
        start_new_session=True,
        check=False,
    )


def process_stat(pid: int) -> tuple[str, str, int, int] | None:
    """Name, state letter, parent and start time (clock ticks) of a process; None if it is gone."""
    raw = _read(f"/proc/{pid}/stat").decode(errors="replace")
    if not raw:
        return None
    # The name may itself hold spaces and parentheses: it ends at the last one (proc_pid_stat(5)).
    head, _, tail = raw.rpartition(")")
    fields = tail.split()
    return head.partition("(")[2], fields[0], int(fields[1]), int(fields[19])


def command_line(pid: int) -> str:
    """The command line of a process, or its name in brackets where it has none (a zombie)."""
    words = _read(f"/proc/{pid}/cmdline").replace(b"\0", b" ").decode(errors="replace").strip()
    if words:
        return words
    stat = process_stat(pid)
    return f"[{stat[0]}]" if stat else "[gone]"


def _pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def _carries(pid: int, mark: str) -> bool:
    wanted = os.fsencode(mark)
    return any(wanted in _read(f"/proc/{pid}/{part}") for part in ("cmdline", "environ"))


def _read(path: str) -> bytes:
    """A file in /proc; empty when the process is gone or belongs to somebody else."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return b""
