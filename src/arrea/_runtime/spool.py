"""The unlinked file that captured output goes to when the memory for it is full.

Decides where in the file a piece goes: freed regions are merged with their neighbours and used
again, and a free end is cut off, so the file follows what is alive. It is given sizes and bytes,
and hands back offsets, or an `Extent` that frees itself.

One thread (the reactor) allocates and writes. Any thread may read, and any thread may free, even
in a finalizer, which the interpreter can run in the middle of any line of ours, also while a
lock is held. So `free` only appends to a list, which is one atomic step, and `allocate` empties it.
"""

from __future__ import annotations

import errno
import os

SLACK_BYTES = 64 * 2**20  # how much of a free end stays, so that ebb and flow cost no system call
PROBES = 256  # free regions looked at for one allocation: a torn file must not stall the reactor


class Spool:
    """One engine's file in `directory` (`$TMPDIR`, else /tmp), opened when first needed.

    Whatever the disk refuses is an `OSError` of the method that asked.
    """

    __slots__ = ("_closed", "_directory", "_end", "_file", "_free", "_freed", "_high", "_next")

    def __init__(self, directory: str | None = None) -> None:
        self._directory = directory
        self._file: UnlinkedFile | None = None
        self._closed = False
        self._end = 0  # where the last allocated region ends
        self._high = 0  # the largest `_end` since the file was last cut
        self._free: list[tuple[int, int]] = []  # (start, end), ascending, never adjacent
        self._next = 0  # index in `_free` where the next search begins
        self._freed: list[tuple[int, int]] = []  # (offset, n), not yet in `_free`

    def extent(self, n: int) -> Extent:
        """A region of `n` bytes that is free again when nobody holds the `Extent` any more."""
        file = self._opened()
        return Extent(self, file, self.allocate(n), n)

    def allocate(self, n: int) -> int:
        """The offset of `n` bytes that are the caller's until `free`. Takes no disk space yet."""
        self.reclaim()
        start = self._reuse(n)
        if start is None:
            start = self._end
            self._end += n
            self._high = max(self._high, self._end)
        return start

    def write(self, offset: int, data: bytes) -> None:
        self._opened().write(offset, data)

    def read(self, offset: int, n: int) -> bytes:
        """Exactly `n` bytes, from any thread."""
        return self._opened().read(offset, n)

    def free(self, offset: int, n: int) -> None:
        """Let the region be used again. From any thread and from finalizers."""
        self._freed.append((offset, n))

    def reclaim(self) -> None:
        """Take up what was freed, and give a large free end back to the disk."""
        while self._freed:
            offset, n = self._freed.pop()
            self._merge(offset, offset + n)
        if self._free and self._free[-1][1] == self._end:
            self._end = self._free.pop()[0]
        if self._high - self._end > SLACK_BYTES or (self._high and not self._end):
            self._cut()

    @property
    def size_bytes(self) -> int:
        """Up to where the file is in use. For the reactor's thread, like `free_bytes`."""
        self.reclaim()
        return self._end

    @property
    def free_bytes(self) -> int:
        """How much before `size_bytes` is free."""
        self.reclaim()
        return sum(end - start for start, end in self._free)

    def close(self) -> None:
        """No more is written. The file itself is closed with the last `Extent` that lies in it."""
        self._closed = True
        self._file = None

    def _opened(self) -> UnlinkedFile:
        if self._file is None:
            if self._closed:
                raise OSError(errno.EBADF, "the engine of this output has stopped")
            self._file = UnlinkedFile(_open_unlinked(self._directory))
        return self._file

    def _reuse(self, n: int) -> int | None:
        """Next fit: where the last search ended, on to the first region that is large enough."""
        count = len(self._free)
        for index in range(self._next, self._next + min(count, PROBES)):
            self._next = index % count
            start, end = self._free[self._next]
            if end - start >= n:
                self._take_from(self._next, start + n, end)
                return start
        return None

    def _take_from(self, index: int, start: int, end: int) -> None:
        if start == end:
            del self._free[index]
        else:
            self._free[index] = (start, end)

    def _merge(self, start: int, end: int) -> None:
        from bisect import bisect_left

        free = self._free
        index = bisect_left(free, (start, end))
        if index < len(free) and free[index][0] == end:
            end = free.pop(index)[1]
        if index > 0 and free[index - 1][1] == start:
            index -= 1
            start = free.pop(index)[0]
        free.insert(index, (start, end))

    def _cut(self) -> None:
        # Truncating drops dirty pages of the page cache too: what was freed in time never
        # reaches the disk at all.
        self._high = self._end
        if self._file is not None:
            self._file.truncate(self._end)


class Extent:
    """A region of the spool, addressed from 0. It goes back to the spool with its last holder."""

    __slots__ = ("_file", "_offset", "_spool", "size_bytes")

    def __init__(self, spool: Spool, file: UnlinkedFile, offset: int, size_bytes: int) -> None:
        self._spool = spool
        self._file = file  # held here so that it outlives `Spool.close`
        self._offset = offset
        self.size_bytes = size_bytes

    def write(self, at: int, data: bytes) -> None:
        self._spool.write(self._offset + at, data)

    def read(self, at: int, n: int) -> bytes:
        return self._file.read(self._offset + at, n)

    def shrink(self, n: int) -> None:
        """Keep the first `n` bytes only."""
        if n < self.size_bytes:
            self._spool.free(self._offset + n, self.size_bytes - n)
            self.size_bytes = n

    def __del__(self) -> None:
        if self.size_bytes:
            self._spool.free(self._offset, self.size_bytes)


class UnlinkedFile:
    """A descriptor that is closed with its last holder, and with it the file is gone."""

    __slots__ = ("_fd",)
    _close = staticmethod(os.close)  # still there when the interpreter has emptied the modules

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def write(self, offset: int, data: bytes) -> None:
        # A disk that is nearly full, or RLIMIT_FSIZE, makes the kernel write a part and say so;
        # the next call fails with the reason. (SIGXFSZ is ignored by the interpreter.)
        view = memoryview(data)
        while view:
            done = os.pwrite(self._fd, view, offset)
            view = view[done:]
            offset += done

    def read(self, offset: int, n: int) -> bytes:
        data = os.pread(self._fd, n, offset)
        while len(data) < n:
            more = os.pread(self._fd, n - len(data), offset + len(data))
            if not more:
                raise OSError(errno.EIO, "the file of captured output is shorter than it was")
            data += more
        return data

    def truncate(self, size: int) -> None:
        os.ftruncate(self._fd, size)

    def __del__(self) -> None:
        self._close(self._fd)


def _open_unlinked(directory: str | None) -> int:
    """A new file without a name; nobody else can open it, and it can't be left behind."""
    place = directory or os.environ.get("TMPDIR") or "/tmp"
    try:
        return _open_nameless(place)
    except OSError as error:
        # A file system without O_TMPFILE (NFS, FUSE, older overlayfs) or a place that isn't
        # there. More of the same would only hide a lack of descriptors.
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise
        return _open_and_unlink(directory)


def _open_nameless(place: str) -> int:
    if not hasattr(os, "O_TMPFILE"):  # Linux only
        raise OSError(errno.EOPNOTSUPP, "no O_TMPFILE on this system")
    # O_EXCL: nor can it be given a name later through /proc/self/fd (open(2), O_TMPFILE).
    return os.open(place, os.O_TMPFILE | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)


def _open_and_unlink(directory: str | None) -> int:
    from tempfile import mkstemp

    fd, path = mkstemp(prefix="arrea-", dir=directory)
    os.unlink(path)
    return fd
