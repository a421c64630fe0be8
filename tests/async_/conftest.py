"""What the tests of the async doors share: they run on real event loops, and leave nothing in any log."""

import gc
import uuid
from collections.abc import Iterator

import pytest

from tests.faults.conftest import end_process, engine
from tests.support import marked_survivors, wait_until

__all__ = ["engine", "mark", "quiet"]


@pytest.fixture
def mark() -> Iterator[str]:
    """As in the fault tests: `sleep MARK` is found again, and at the end nothing that carries it may live.

    A moment is allowed for what needn't be waited for, as the start of an engine that was hardly used.
    """
    mark = f"31337.{uuid.uuid4().int % 10**15}"
    yield mark
    if not wait_until(lambda: not marked_survivors(mark), timeout=1.0):
        left = marked_survivors(mark)
        for line in left:
            end_process(int(line.split()[0]))
        pytest.fail("survivors:\n" + "\n".join(left), pytrace=False)


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Nothing was logged (asyncio tells there of what is never awaited or retrieved), nothing is on stderr."""
    yield
    gc.collect()
    assert [record.getMessage() for record in caplog.get_records("call")] == []
    assert capfd.readouterr().err == ""
