"""Warnings of the task that runs: `arrea.warn` puts them where its result finds them."""

from __future__ import annotations

from contextvars import ContextVar

MOST_WARNINGS, MOST_TEXT = 1000, 64 * 1024  # of a call; and characters in all


class FirstWarnings(list[str]):
    """Of a call; and how many more there were. What it warns a million times fills no memory."""

    _room, _more = MOST_TEXT, 0  # of each that hasn't warned yet

    def append(self, text: str) -> None:
        """It may be of a class of the user's: what is kept is a plain one."""
        if self._room > 0 and len(self) < MOST_WARNINGS:
            kept = str.__str__(text)[: self._room]
            self._room -= len(kept)
            super().append(kept)
        else:
            self._more += 1

    def take(self) -> tuple[str, ...]:
        """All of them; it is empty then."""
        told = (*self, f"and {self._more:,} more warnings") if self._more else tuple(self)
        self.clear()
        self._room, self._more = MOST_TEXT, 0
        return told


class Collected:
    """Of one call. depth: how many calls it is within, itself included, in this process; 0 in one of the pool."""

    __slots__ = ("depth", "warnings")

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.warnings = FirstWarnings()


# Of the call that runs in this context; None outside of all.
collected: ContextVar[Collected | None] = ContextVar("arrea_warnings", default=None)


def depth() -> int:
    """How many of Arrea's calls in threads and coroutines the caller is in."""
    around = collected.get()
    return 0 if around is None else around.depth


def collect() -> Collected:
    """From now on this context's warnings go there."""
    inner = Collected(depth() + 1)
    collected.set(inner)
    return inner


def warn(message: object) -> None:
    """Warns: in a function that Arrea runs, the text is in `Result.warnings`, and its policy says what follows.

    Anywhere else it is a `UserWarning`, as of `warnings.warn`.

    >>> import arrea
    >>> arrea.execute(lambda: arrea.warn("disk nearly full"), policy={"on_warning": "continue"}).warnings
    ('disk nearly full',)
    """
    around = collected.get()
    if around is None:
        from warnings import warn as warn_user

        warn_user(str(message), stacklevel=2)
    else:
        around.warnings.append(str(message))
