"""Proof that nothing was started: a command that would have left a trace."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

_numbers = itertools.count()


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where forbidden commands would leave their traces; looked at again at the end, for one that came late."""
    directory = tmp_path_factory.mktemp("traces")
    yield directory
    assert not list(directory.iterdir()), "a command was started after all"


@pytest.fixture
def forbidden(traces: Path) -> Iterator[str]:
    """A command that is fine, but must not be started."""
    trace = traces / str(next(_numbers))
    yield f"touch {trace}"
    assert not trace.exists(), "a command was started"


@pytest.fixture
def leaving(tmp_path: Path) -> Callable[[str], tuple[str, Path]]:
    """A command that leaves a trace when it has run, and the trace."""

    def make(name: str) -> tuple[str, Path]:
        return f"touch {tmp_path / name}", tmp_path / name

    return make
