"""What is kept of one stream of a command.

Decides what is kept (everything, or the first and the last half of a limit) and where: in memory
while the `Budget` of all live captures lasts, then in the engine's `Spool`. It is given the
stream in chunks, and hands back the kept bytes and how many were left out.

Three shapes, each for the same two halves:

    in memory    a list of chunks          a `Tail`: chunks, trimmed from the left
    in the file  a `Log` of extents        a `Ring`: one region, written round and round
    stopped      the disk refused: what was kept stays, `disk_error` says why

The reactor's thread feeds and finishes. After that any thread reads, and any thread may drop the
last reference.
"""

from __future__ import annotations

from sys import maxsize

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Iterable, Iterator
    from typing import NoReturn

    from arrea._runtime.spool import Extent, Spool

STAGE_BYTES = 2**16  # gathered in memory before a write: a million tiny chunks are few writes
PIECE_BYTES = 2**20  # the largest piece that is read or handed out at once
FIRST_EXTENT_BYTES = 2**18  # extents double with what is written ...
LAST_EXTENT_BYTES = 2**22  # ... up to this

# A chunk of one byte costs forty: after so many chunks they are joined, up to this size.
TIDY_CHUNKS = 256
TIDY_BYTES = 2**14


class Budget:
    """The bytes that all live captures of one engine may hold in memory.

    Not counted: the interpreter's own bytes per chunk, and what a capture in the file gathers
    before it is written, up to 64 KiB for each half.
    """

    __slots__ = ("_returned", "_used", "limit_bytes")

    def __init__(self, limit_bytes: int = 64 * 2**20) -> None:
        self.limit_bytes = limit_bytes
        self._used = 0
        self._returned: list[int] = []

    def take(self, n: int) -> bool:
        """Whether `n` more bytes may be held; they count from now on. Reactor's thread only."""
        if self._returned:
            self._collect()
        used = self._used + n
        if used > self.limit_bytes:
            return False
        self._used = used
        return True

    def give_back(self, n: int) -> None:
        """From any thread and from finalizers: one atomic append, no lock that could be held."""
        self._returned.append(n)

    @property
    def used(self) -> int:
        """Bytes held at the moment. Reactor's thread only."""
        self._collect()
        return self._used

    def _collect(self) -> None:
        while self._returned:
            self._used -= self._returned.pop()


class Capture:
    """One stream's output, of which `limit_bytes` are kept, half at each end; None keeps all.

    Of an odd limit the first half has the byte more. `total_bytes` counts all that came in.
    `disk_error` is what the system said when the file couldn't be written: nothing that came
    after is kept.
    """

    __slots__ = (
        "_budget",
        "_chunks",
        "_disk",
        "_held_bytes",
        "_room",
        "_spool",
        "_tail",
        "_tail_limit",
        "_tidy_at",
        "disk_error",
        "total_bytes",
    )

    def __init__(self, limit_bytes: int | None, budget: Budget, spool: Spool) -> None:
        self._budget = budget
        self._spool = spool
        self._tail_limit = half = 0 if limit_bytes is None else limit_bytes // 2
        self._room = maxsize if limit_bytes is None else limit_bytes - half  # left in the head
        self._chunks: list[bytes] = []  # the head
        self._tidy_at = TIDY_CHUNKS
        self._tail: Tail | Ring | None = None
        self._disk: OnDisk | None = None
        self._held_bytes = 0  # taken from the budget
        self.total_bytes = 0
        self.disk_error: str | None = None

    def feed(self, data: bytes) -> None:
        """The next bytes of the stream. Never raises for the disk's sake."""
        n = len(data)
        self.total_bytes += n
        if n <= self._room and self._budget.take(n):
            self._room -= n
            self._held_bytes += n
            self._chunks.append(data)
            if len(self._chunks) == self._tidy_at:
                self._tidy()
        elif self.disk_error is None:
            self._feed_slowly(data)

    def finish(self) -> None:
        """Nothing more comes: what waits to be written is, and unused space goes back."""
        if len(self._chunks) > 1:
            self._tidy()
        if self._disk is not None and self.disk_error is None:
            try:
                self._disk.finish()
            except OSError as error:
                self._stop(error)

    def read(self) -> bytes:
        """All that is kept, in one piece. Raises OSError where the file can't be read."""
        return b"".join(self._pieces())

    def chunks(self) -> Iterator[bytes]:
        """What `read` gives, in pieces of at most 1 MiB, to copy it without holding it."""
        # A generator of this method, not the one inside: its frame keeps this object, and so
        # the extents, alive until the last piece.
        for piece in merged(self._pieces(), PIECE_BYTES):
            for start in range(0, len(piece), PIECE_BYTES):
                yield piece[start : start + PIECE_BYTES]

    @property
    def kept_bytes(self) -> int:
        """How many bytes `read` gives."""
        return self._held_bytes if self._disk is None else self._disk.kept_bytes

    @property
    def omitted_bytes(self) -> int:
        return self.total_bytes - self.kept_bytes

    @property
    def truncated(self) -> bool:
        """Whether something is missing, between head and tail or after a full disk."""
        return self.kept_bytes < self.total_bytes

    @property
    def head_bytes(self) -> int:
        """How many of the kept bytes come before the first gap: all of them when there is none."""
        tail = self._tail
        return self.kept_bytes - (tail.kept_bytes if tail and tail.seen > tail.kept_bytes else 0)

    def __del__(self) -> None:
        if self._held_bytes:
            self._budget.give_back(self._held_bytes)

    def __reduce__(self) -> NoReturn:
        # A copy would give the same memory back a second time.
        raise TypeError("captured output can't be copied or pickled: take what read() gives")

    def _feed_slowly(self, data: bytes) -> None:
        try:
            if self._disk is None and not self._hold(data):
                self._spill()
            if self._disk is not None:
                self._disk.feed(data)
        except OSError as error:
            self._stop(error)

    def _hold(self, data: bytes) -> bool:
        """Keep a chunk in memory that goes, in part at least, into the tail."""
        tail = self._memory_tail()
        if self._room == 0 and tail.seen >= tail.limit:  # as much goes as comes
            tail.append(data)
            return True
        head, rest = data[: self._room], data[self._room :]
        growth = len(head) + min(len(rest), tail.limit - tail.kept_bytes)
        if not self._budget.take(growth):
            return False
        self._held_bytes += growth
        self._room -= len(head)
        if head:
            self._chunks.append(head)
        tail.append(rest)
        return True

    def _memory_tail(self) -> Tail:
        if not isinstance(self._tail, Tail):
            self._tail = Tail(self._tail_limit)
        return self._tail

    def _spill(self) -> None:
        """Move what is held into the spool; if that fails, it stays where it is.

        A tail that has dropped something needs no more memory, so none such ever comes here.
        """
        head_limit = self._room + sum(map(len, self._chunks))
        disk = OnDisk(self._spool, head_limit, self._tail_limit)
        for piece in merged(self._pieces(), PIECE_BYTES):
            disk.feed(piece)
        disk.flush()  # before the memory is given up: nothing that was held is lost to a full disk
        self._disk, self._tail = disk, disk.ring
        self._chunks, self._room = [], -1
        self._give_back()

    def _give_back(self) -> None:
        self._budget.give_back(self._held_bytes)
        self._held_bytes = 0

    def _stop(self, error: OSError) -> None:
        self.disk_error = error.strerror or str(error)
        self._room = -1
        if self._disk is not None:
            self._keep_staged(self._disk)

    def _keep_staged(self, disk: OnDisk) -> None:
        """What could not be written stays in memory if the budget now has room for it."""
        staged = disk.staged_bytes
        if self._budget.take(staged):
            self._held_bytes += staged
        else:
            disk.drop_staged()

    def _tidy(self) -> None:
        start = self._tidy_at - TIDY_CHUNKS
        self._chunks[start:] = merged(self._chunks[start:], TIDY_BYTES)
        self._tidy_at = len(self._chunks) + TIDY_CHUNKS

    def _pieces(self) -> Iterable[bytes]:
        if self._disk is not None:
            return self._disk.pieces()
        if isinstance(self._tail, Tail):
            return [*self._chunks, *self._tail.pieces()]
        return self._chunks


class Tail:
    """The last `limit` bytes of what is appended, in memory.

    Whole chunks are dropped as they become superfluous, and the rest is cut when it is read: at
    most one chunk more than the limit is held, and nothing is copied to trim it.
    """

    __slots__ = ("_chunks", "_loose", "limit", "seen", "stored_bytes")

    def __init__(self, limit: int) -> None:
        from collections import deque

        self.limit = limit
        self.seen = 0
        self.stored_bytes = 0
        self._chunks: deque[bytes] = deque()
        self._loose = 0  # chunks appended since the last `_tidy`

    @property
    def kept_bytes(self) -> int:
        return min(self.seen, self.limit)

    def append(self, data: bytes) -> None:
        self.seen += len(data)
        data = data[max(0, len(data) - self.limit) :]
        self._chunks.append(data)
        self.stored_bytes += len(data)
        self._trim()
        self._loose += 1
        if self._loose == TIDY_CHUNKS:
            self._tidy()

    def pieces(self) -> Iterator[bytes]:
        superfluous = self.stored_bytes - self.kept_bytes  # less than the first chunk
        for chunk in self._chunks:
            yield chunk[superfluous:]
            superfluous = 0

    def clear(self) -> None:
        self._chunks.clear()
        self.seen = self.stored_bytes = self._loose = 0

    def _trim(self) -> None:
        chunks = self._chunks
        while chunks and self.stored_bytes - len(chunks[0]) >= self.limit:
            self.stored_bytes -= len(chunks.popleft())

    def _tidy(self) -> None:
        loose = [self._chunks.pop() for _ in range(min(self._loose, len(self._chunks)))]
        self._chunks.extend(merged(reversed(loose), TIDY_BYTES))
        self._loose = 0


class OnDisk:
    """Head and tail in the spool: `head_limit` bytes of log, then a ring of `tail_limit`."""

    __slots__ = ("_head_limit", "_log", "ring")

    def __init__(self, spool: Spool, head_limit: int, tail_limit: int) -> None:
        self._head_limit = head_limit
        self._log = Log(spool, head_limit)
        self.ring = Ring(spool, tail_limit)

    @property
    def kept_bytes(self) -> int:
        return self._log.kept_bytes + self.ring.kept_bytes

    @property
    def staged_bytes(self) -> int:
        return self._log.staged_bytes + self.ring.staged_bytes

    def feed(self, data: bytes) -> None:
        room = self._head_limit - self._log.kept_bytes
        if room:
            self._log.append(data[:room])
        if room < len(data):
            # The head first: if the disk is full, what was kept has its gap at the end.
            self._log.flush()
            self.ring.append(data[room:])

    def flush(self) -> None:
        self._log.flush()
        self.ring.flush()

    def finish(self) -> None:
        self.flush()
        self._log.shrink()

    def drop_staged(self) -> None:
        self._log.drop_staged()
        self.ring.drop_staged()

    def pieces(self) -> Iterator[bytes]:
        yield from self._log.pieces()
        yield from self.ring.pieces()


class Log:
    """Bytes in the order they came, in extents that grow, at most `limit` of them."""

    __slots__ = ("_extents", "_limit", "_reserved", "_spool", "_staged", "_written", "staged_bytes")

    def __init__(self, spool: Spool, limit: int) -> None:
        self._spool = spool
        self._limit = limit
        self._extents: list[Extent] = []
        self._reserved = 0  # bytes of all extents
        self._written = 0
        self._staged: list[bytes] = []
        self.staged_bytes = 0

    @property
    def kept_bytes(self) -> int:
        return self._written + self.staged_bytes

    def append(self, data: bytes) -> None:
        self._staged.append(data)
        self.staged_bytes += len(data)
        if self.staged_bytes >= STAGE_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what is staged. After an error it is all still there, written or staged."""
        while self.staged_bytes:
            data = b"".join(self._staged)
            room = self._reserved - self._written or self._grow()
            last = self._extents[-1]
            last.write(last.size_bytes - room, data[:room])
            self._written += min(room, len(data))
            self._stage_only(data[room:])

    def shrink(self) -> None:
        if self._extents:
            last = self._extents[-1]
            last.shrink(last.size_bytes - (self._reserved - self._written))
            self._reserved = self._written

    def drop_staged(self) -> None:
        self._stage_only(b"")

    def pieces(self) -> Iterator[bytes]:
        left = self._written
        for extent in self._extents:
            yield from _read(extent, 0, min(left, extent.size_bytes))
            left -= extent.size_bytes
        yield from self._staged

    def _grow(self) -> int:
        size = min(max(self._written, FIRST_EXTENT_BYTES), LAST_EXTENT_BYTES)
        size = min(size, self._limit - self._written)
        self._extents.append(self._spool.extent(size))
        self._reserved += size
        return size

    def _stage_only(self, data: bytes) -> None:
        self._staged = [data] if data else []
        self.staged_bytes = len(data)


class Ring:
    """The last `limit` bytes of what is appended, in one region of the spool.

    They are staged in a `Tail` of the same limit, so a limit below `STAGE_BYTES` is written once,
    at the end.
    """

    __slots__ = ("_at", "_extent", "_limit", "_spool", "_staged", "_written", "seen")

    def __init__(self, spool: Spool, limit: int) -> None:
        self._spool = spool
        self._limit = limit
        self._extent: Extent | None = None
        self._at = 0  # where the next byte goes
        self._written = 0  # how many bytes before that are good
        self._staged = Tail(limit)
        self.seen = 0

    @property
    def kept_bytes(self) -> int:
        return min(self._limit, self._written + self.staged_bytes)

    @property
    def staged_bytes(self) -> int:
        return self._staged.kept_bytes

    def append(self, data: bytes) -> None:
        self.seen += len(data)
        self._staged.append(data)
        if self._staged.stored_bytes >= STAGE_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what is staged. After an error it is still there."""
        data = b"".join(self._staged.pieces())
        if data:
            # The oldest are given up before, not after: a write that fails may have done a part.
            self._written = min(self._written, self._limit - len(data))
            self._write(data)
            self._at = (self._at + len(data)) % self._limit
            self._written += len(data)
            self._staged.clear()

    def drop_staged(self) -> None:
        self.seen -= self._staged.seen
        self._staged.clear()

    def pieces(self) -> Iterator[bytes]:
        count = self.kept_bytes - self.staged_bytes
        if self._extent is not None:
            start = (self._at - count) % self._limit
            straight = min(count, self._limit - start)
            yield from _read(self._extent, start, straight)
            yield from _read(self._extent, 0, count - straight)
        yield from self._staged.pieces()

    def _write(self, data: bytes) -> None:
        if self._extent is None:
            self._extent = self._spool.extent(self._limit)
        straight = self._limit - self._at
        self._extent.write(self._at, data[:straight])
        if straight < len(data):
            self._extent.write(0, data[straight:])


def merged(chunks: Iterable[bytes], most: int) -> Iterator[bytes]:
    """The same bytes with small chunks joined up to `most`; larger ones pass as they are."""
    small: list[bytes] = []
    size = 0
    for chunk in chunks:
        if small and size + len(chunk) > most:
            yield b"".join(small)
            small, size = [], 0
        small.append(chunk)
        size += len(chunk)
    if small:
        yield b"".join(small)


def _read(extent: Extent, start: int, count: int) -> Iterator[bytes]:
    for at in range(start, start + count, PIECE_BYTES):
        yield extent.read(at, min(PIECE_BYTES, start + count - at))
