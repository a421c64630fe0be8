"""What every fault test starts with: a mark that finds survivors, and an engine that doesn't wait long."""

import os
import signal
import uuid
from collections.abc import Iterator

import pytest

import arrea
from tests.support import marked_survivors, wait_until

GRACE_MS = 300


@pytest.fixture
def mark() -> Iterator[str]:
    """A number of seconds that nobody else sleeps for: `sleep MARK` has it in its command line.

    At the end of the test nothing that carries it may live; what does is ended, and the test has failed.
    """
    mark = f"31337.{uuid.uuid4().int % 10**15}"
    yield mark
    left = marked_survivors(mark)
    _end_all(mark)
    assert not left, "survivors:\n" + "\n".join(left)


def _end_all(mark: str) -> None:
    def gone() -> bool:
        survivors = [line for line in marked_survivors(mark) if not line.endswith("(zombie)")]
        for line in survivors:
            end_process(int(line.split()[0]))
        return not survivors

    wait_until(gone)


def end_process(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


@pytest.fixture
def engine() -> Iterator[arrea.Engine]:
    with arrea.Engine(kill_grace=GRACE_MS) as engine:
        yield engine
