"""Rules every test obeys: nothing is left behind, and nothing is skipped in silence."""

import ctypes
import gc
import os
import signal
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings

from arrea._app import default as _default
from tests.support import command_line, open_descriptors, process_stat, wait_until

# A machine that is busy is no fault of an example; tests have a time limit of their own.
settings.register_profile("arrea", deadline=None)
settings.load_profile("arrea")

# --- nothing left -----------------------------------------------------------------------------

# What one shared engine keeps open for the life of the process: how many of each, at most.
_PERMANENT = {"anon_inode:[eventpoll]": 1, "anon_inode:[eventfd]": 1, "unlinked file": 1, "roster": 2}
# A worker process shares a page with its engine, by a mapping that holds a descriptor.
_PAGE = "/memfd:arrea-page (deleted)"

_LIBC = ctypes.CDLL(None)
_PR_GET_CHILD_SUBREAPER = 37  # prctl(2)
_ALL_KINDS = 0x40000000  # __WALL of wait(2): children whatever signal they end with


@pytest.fixture(autouse=True)
def nothing_left(_kinds_at_start: Counter[str]) -> Iterator[None]:
    """After the test no child process and no descriptor remains that was not there before it."""
    children = _children()
    descriptors = Counter(open_descriptors().values())
    subreaper = _is_subreaper()
    yield
    assert _is_subreaper() == subreaper, "the test made this process a subreaper"

    def clean() -> bool:
        return not (_new_children(children) or _new_descriptors(descriptors, _kinds_at_start))

    if clean():
        return
    gc.collect()
    if not wait_until(clean, timeout=2.0):
        left = _new_children(children) + _new_descriptors(descriptors, _kinds_at_start)
        pytest.fail("the test left behind:\n  " + "\n  ".join(left), pytrace=False)


def _is_subreaper() -> bool:
    """Such a process gets everybody's orphans: all later tests would find children left."""
    flag = ctypes.c_int()
    _LIBC.prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(flag), 0, 0, 0)
    return bool(flag.value)


@pytest.fixture(scope="session")
def _kinds_at_start() -> Counter[str]:
    return Counter(map(_kind, open_descriptors().values()))


def _new_children(before: dict[tuple[int, int], str]) -> list[str]:
    return [
        f"child {pid} {command_line(pid)}" + (" (zombie)" if state == "Z" else "")
        for (pid, started), state in _children().items()
        if (pid, started) not in before or (state == "Z" and before[pid, started] != "Z")
    ]


def _children() -> dict[tuple[int, int], str]:
    """The state letter of each child of this process, by its pid and start time."""
    if not _has_children():
        return {}
    found = {}
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        stat = process_stat(pid)
        if stat and stat[2] == os.getpid():
            found[pid, stat[3]] = stat[1]
    return found


def _has_children() -> bool:
    """One system call that looks and reaps nothing: it fails where there is no child at all."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT | _ALL_KINDS)
    except ChildProcessError:
        return False
    return True


def _new_descriptors(before: Counter[str], kinds_at_start: Counter[str]) -> list[str]:
    now = open_descriptors()
    allowed = kinds_at_start + Counter(_PERMANENT)
    kinds = Counter(map(_kind, now.values()))
    unseen = before.copy()
    found = []
    for number in (*_of_the_shared_guardian(), *_of_the_shared_pool()):
        now.pop(number, None)
    for number, target in sorted(now.items()):
        kind = _kind(target)
        if unseen[target] > 0:
            unseen[target] -= 1
        elif kind == _PAGE and kinds[_PAGE] <= _shared_workers():
            continue
        elif kind not in _PERMANENT or kinds[kind] > allowed[kind]:
            found.append(f"descriptor {number} {target}")
    return found


def _of_the_shared_guardian() -> tuple[int, ...]:
    """By which the one shared engine knows of its guardian: a pipe, and for some milliseconds a pidfd."""
    shared = _default._engine
    if shared is None or shared._reactor is None:
        return ()
    guardian = shared._reactor._guardian
    return (guardian._pipe, guardian._starter)


def _shared_pool() -> Any:
    """Of the one shared engine, which keeps its worker processes for a while."""
    shared = _default._engine
    return None if shared is None or shared._reactor is None else shared._reactor._performers._pool


def _shared_workers() -> int:
    pool = _shared_pool()
    return 0 if pool is None else len(pool.processes)


def _of_the_shared_pool() -> list[int]:
    pool = _shared_pool()
    return [] if pool is None else pool.processes.descriptors()


def _kind(target: str) -> str:
    if target == "/memfd:arrea-roster (deleted)":
        return "roster"
    if target == _PAGE:
        return target
    return "unlinked file" if target.endswith(" (deleted)") else target


# --- no silent skips --------------------------------------------------------------------------


def pytest_configure(config: pytest.Config) -> None:
    # In the background of a script, or under nohup, they are ignored, and so would all programs be that tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    # Workers of pytest-xdist only report; the controller counts.
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(_SkipCounter(), "arrea-skip-counter")


class _SkipCounter:
    """Counts the skipped tests and modules; with ARREA_CI set, one of them fails the session."""

    def __init__(self) -> None:
        self._skips: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            self._skips[report.nodeid] = _reason(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            self._skips[report.nodeid] = _reason(report)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self._skips and os.environ.get("ARREA_CI") and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self._skips:
            return
        reasons = Counter(self._skips.values())
        told = "; ".join(f"{reason} ({count})" for reason, count in reasons.most_common())
        terminalreporter.write_line(f"skipped: {len(self._skips)}: {told}")
        if os.environ.get("ARREA_CI"):
            terminalreporter.write_line("ARREA_CI is set, so a skipped test is a failure:", red=True)
            for test, reason in sorted(self._skips.items()):
                terminalreporter.write_line(f"  {test}: {reason}", red=True)


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    told = report.longrepr
    text = told[2] if isinstance(told, tuple) else str(told)
    return text.removeprefix("Skipped: ").strip().replace("\n", " ")
