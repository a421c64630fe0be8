"""A simple command as validation found it: what a user's own rule is given, and what `--explain` lists."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class SimpleCommand:
    """One program with its words, wherever in a line it stands. Immutable.

    name: the last part of the program's path, quotes undone; None when it exists only at run time, "" where a line
        only assigns or redirects.
    words: all words, the program first, quotes, escapes and braces undone as bash does; None in place of a word
        that exists only at run time. Patterns (`*.c`) are left as they are.
    assignments: the `NAME=value` before it, as pairs.
    redirects: pairs of operator and target, as (">", "log").
    span: start and end in characters of the command as given.
    through: the programs that would start it, outermost first, as ("sudo", "sh").

    >>> SimpleCommand("rm", ("rm", "-r", None))
    SimpleCommand('rm', ('rm', '-r', None))
    """

    __slots__ = ("assignments", "name", "redirects", "span", "through", "words")

    name: str | None
    words: tuple[str | None, ...]
    assignments: tuple[tuple[str, str | None], ...]
    redirects: tuple[tuple[str, str | None], ...]
    span: tuple[int, int]
    through: tuple[str, ...]

    def __init__(
        self,
        name: str | None,
        words: tuple[str | None, ...],
        *,
        assignments: tuple[tuple[str, str | None], ...] = (),
        redirects: tuple[tuple[str, str | None], ...] = (),
        span: tuple[int, int] = (0, 0),
        through: tuple[str, ...] = (),
    ) -> None:
        set_slot = object.__setattr__
        set_slot(self, "name", name)
        set_slot(self, "words", words)
        set_slot(self, "assignments", assignments)
        set_slot(self, "redirects", redirects)
        set_slot(self, "span", span)
        set_slot(self, "through", through)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("a SimpleCommand is immutable")

    def __eq__(self, other: object) -> bool:
        return self.as_dict() == other.as_dict() if isinstance(other, SimpleCommand) else NotImplemented

    def __hash__(self) -> int:
        return hash((self.words, self.span, self.through))

    def __reduce__(self) -> tuple[object, ...]:
        return (_restore, (self.as_dict(),))

    def as_dict(self) -> dict[str, object]:
        """Its fields by name, ready for JSON but for pairs."""
        return {
            name: getattr(self, name)
            for name in ("name", "words", "assignments", "redirects", "span", "through")
        }

    def __repr__(self) -> str:
        through = f", through={self.through!r}" if self.through else ""
        return f"SimpleCommand({self.name!r}, {self.words!r}{through})"


def _restore(fields: dict[str, Any]) -> SimpleCommand:
    return SimpleCommand(fields.pop("name"), fields.pop("words"), **fields)
