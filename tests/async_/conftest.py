"""What the tests of the async doors share: they run on real event loops, and leave nothing in any log."""

import gc
from collections.abc import Iterator

import pytest

from tests.faults.conftest import engine, mark

__all__ = ["engine", "mark", "quiet"]


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Nothing was logged (asyncio tells there of what is never awaited or retrieved), nothing is on stderr."""
    yield
    gc.collect()
    assert [record.getMessage() for record in caplog.get_records("call")] == []
    assert capfd.readouterr().err == ""
