"""What validation decided about a command: for people (`reason`, `hint`) and for programs (`code`, `rule`, `span`)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    Code = Literal[
        "empty_command",
        "command_too_long",
        "possible_injection",
        "dangerous_command",
        "unparseable",
        "too_deep",
        "rule_failed",
    ]


class Verdict:
    """Whether a command may run, and if not, why. Immutable; true when it is allowed.

    code: None when allowed. rule: the rule that found it (`dangerous_command`, `rule_failed`).
    span: start and end in characters of the command as given. fragment: what was found there; of text that is
    itself a command (`sh -c '...'`) the part that matters, while the span is that of the whole word.
    reason: what is wrong. hint: what to do instead, or how to allow it.

    >>> Verdict()
    Verdict(allowed=True)
    >>> bool(Verdict(code="empty_command", reason="the command is empty"))
    False
    """

    __slots__ = ("allowed", "code", "fragment", "hint", "reason", "rule", "span")

    allowed: bool
    code: Code | None
    rule: str | None
    reason: str | None
    span: tuple[int, int] | None
    fragment: str | None
    hint: str | None

    def __init__(
        self,
        *,
        code: Code | None = None,
        rule: str | None = None,
        reason: str | None = None,
        span: tuple[int, int] | None = None,
        fragment: str | None = None,
        hint: str | None = None,
    ) -> None:
        set_slot = object.__setattr__
        set_slot(self, "allowed", code is None)
        set_slot(self, "code", code)
        set_slot(self, "rule", rule)
        set_slot(self, "reason", reason)
        set_slot(self, "span", span)
        set_slot(self, "fragment", fragment)
        set_slot(self, "hint", hint)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("a Verdict is immutable")

    def __bool__(self) -> bool:
        return self.allowed

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Verdict):
            return NotImplemented
        return self._fields() == other._fields()

    def __hash__(self) -> int:
        return hash(self._fields())

    def __repr__(self) -> str:
        shown = {name: value for name, value in self.as_dict().items() if value is not None}
        return f"Verdict({', '.join(f'{name}={value!r}' for name, value in shown.items())})"

    def __reduce__(self) -> tuple[object, ...]:
        return (_restore, self._fields())

    def as_dict(self) -> dict[str, object]:
        """Its fields by name, ready for JSON but for the span, a pair."""
        return dict(zip(_NAMES, (self.allowed, *self._fields()), strict=True))

    def _fields(self) -> tuple[object, ...]:
        return (self.code, self.rule, self.reason, self.span, self.fragment, self.hint)


_NAMES = ("allowed", "code", "rule", "reason", "span", "fragment", "hint")


def _restore(*fields: object) -> Verdict:
    return Verdict(**dict(zip(_NAMES[1:], fields, strict=True)))  # type: ignore[arg-type]


ALLOWED = Verdict()
