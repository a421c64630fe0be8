"""The spool: regions never overlap, freed space is used again, and the file dies with its users."""

import errno
import os
import resource
import stat
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from arrea._runtime import spool as module
from arrea._runtime.spool import Extent, Spool
from tests.support import open_descriptors


def files_in(directory: Path) -> list[int]:
    """The open descriptors of files in this directory, with a name or without."""
    return [n for n, target in open_descriptors().items() if target.startswith(f"{directory}/")]


# --- regions ----------------------------------------------------------------------------------


class Regions(RuleBasedStateMachine):
    """Extents come and go; each always reads back what was written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.spool = Spool()
        self.alive: list[tuple[Extent, bytes]] = []
        self.stamp = 0

    @rule(n=st.integers(1, 40))
    def allocate(self, n: int) -> None:
        self.stamp = self.stamp % 255 + 1
        extent = self.spool.extent(n)
        extent.write(0, bytes([self.stamp]) * n)
        self.alive.append((extent, bytes([self.stamp]) * n))

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        del self.alive[data.draw(st.integers(0, len(self.alive) - 1))]

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def shrink(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(0, len(self.alive) - 1))
        extent, content = self.alive[index]
        n = data.draw(st.integers(0, len(content)))
        extent.shrink(n)
        self.alive[index] = (extent, content[:n])

    @invariant()
    def what_was_written_is_there(self) -> None:
        for extent, content in self.alive:
            assert extent.read(0, extent.size_bytes) == content

    @invariant()
    def every_byte_is_used_or_free(self) -> None:
        used = sum(len(content) for _, content in self.alive)
        assert self.spool.size_bytes - self.spool.free_bytes == used

    def teardown(self) -> None:
        self.alive.clear()
        assert self.spool.size_bytes == 0


TestRegions = Regions.TestCase


@given(st.permutations(range(8)))
def test_freed_neighbours_merge(order: list[int]) -> None:
    spool = Spool()
    offsets = [spool.allocate(100) for _ in range(8)]
    fence = spool.allocate(1)
    for index in order:
        spool.free(offsets[index], 100)
    assert spool.allocate(800) == 0, "one region again"
    assert spool.size_bytes == fence + 1


def test_file_does_not_grow_under_ebb_and_flow() -> None:
    spool = Spool()
    alive = [spool.extent(1000) for _ in range(50)]
    for turn in range(2000):
        alive[turn * 7 % 50] = spool.extent(500 + turn * 37 % 500)
    assert spool.size_bytes < 120_000


def test_search_in_a_torn_file_is_bounded_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PROBES", 4)
    spool = Spool()
    offsets = [spool.allocate(10) for _ in range(100)]
    big = spool.allocate(50)
    spool.allocate(1)
    for offset in offsets[::2]:
        spool.free(offset, 10)
    spool.free(big, 50)
    found = [spool.allocate(40) for _ in range(20)]
    assert big - 10 <= min(found) <= big, "the search moves on until it finds the large hole"


def test_a_freed_end_goes_back_to_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SLACK_BYTES", 1000)
    spool = Spool(str(tmp_path))
    first, second = spool.extent(10), spool.extent(5000)
    first.write(0, b"0123456789")
    second.write(4999, b"x")
    del second
    spool.reclaim()
    assert file_size(tmp_path) == 10
    assert first.read(0, 10) == b"0123456789"
    del first
    spool.reclaim()
    assert file_size(tmp_path) == 0


def file_size(directory: Path) -> int:
    (number,) = files_in(directory)
    return os.fstat(number).st_size


def test_free_from_other_threads() -> None:
    spool = Spool()
    offsets = [spool.allocate(10) for _ in range(4000)]
    parts = [offsets[start::4] for start in range(4)]
    threads = [threading.Thread(target=free_all, args=(spool, part)) for part in parts]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        spool.free(spool.allocate(10), 10)
    for thread in threads:
        thread.join()
    assert spool.size_bytes == 0


def free_all(spool: Spool, offsets: list[int]) -> None:
    for offset in offsets:
        spool.free(offset, 10)


# --- the file ---------------------------------------------------------------------------------


def test_opened_when_first_needed_and_private(tmp_path: Path) -> None:
    spool = Spool(str(tmp_path))
    assert not files_in(tmp_path)
    spool.write(0, b"hello")
    (number,) = files_in(tmp_path)
    status = os.fstat(number)
    assert stat.S_IMODE(status.st_mode) == 0o600
    assert status.st_nlink == 0
    assert not os.get_inheritable(number)
    assert spool.read(1, 3) == b"ell"


def test_directory_is_tmpdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    spool = Spool()
    spool.write(0, b"x")
    assert len(files_in(tmp_path)) == 1
    assert not list(tmp_path.iterdir())


def test_tmpdir_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "gone"))
    spool = Spool()
    spool.write(0, b"x")
    assert spool.read(0, 1) == b"x"


def test_without_o_tmpfile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "O_TMPFILE")
    spool = Spool(str(tmp_path))
    spool.write(0, b"x")
    assert spool.read(0, 1) == b"x"
    assert not list(tmp_path.iterdir())


def test_no_descriptor_left_is_said_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(open_descriptors()), hard))
    held = []
    try:
        while True:
            held.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        with pytest.raises(OSError) as caught:
            Spool().write(0, b"x")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for number in held:
            os.close(number)
    assert caught.value.errno == errno.EMFILE


def test_bad_directory_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Spool(str(tmp_path / "gone")).extent(1)


def test_reading_past_the_file_raises() -> None:
    spool = Spool()
    spool.write(0, b"abc")
    with pytest.raises(OSError, match="shorter"):
        spool.read(0, 4)


def test_file_closes_with_the_last_extent(tmp_path: Path) -> None:
    spool = Spool(str(tmp_path))
    extent = spool.extent(5)
    extent.write(0, b"hello")
    spool.close()
    spool.close()
    assert extent.read(0, 5) == b"hello"
    with pytest.raises(OSError, match="stopped"):
        extent.write(0, b"again")
    with pytest.raises(OSError, match="stopped"):
        spool.extent(1)
    assert files_in(tmp_path)
    del extent
    assert not files_in(tmp_path)


def test_close_before_first_use() -> None:
    spool = Spool()
    spool.close()
    with pytest.raises(OSError, match="stopped"):
        spool.write(0, b"x")
