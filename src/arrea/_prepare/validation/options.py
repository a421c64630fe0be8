"""A validator's options: given what a caller wrote, hands back what `Options` is made of, or raises `InvalidOption`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import cast

from arrea._model.checks import alternatives, check_callback, meant, shown
from arrea._model.errors import InvalidOption
from arrea._prepare.validation.rules import RULES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from arrea._prepare.validation.validator import UserRule

STRICT = "strict"


def checked(
    rules: object, allow_substitution: object, sudo_allowlist: object, user_rules: object
) -> tuple[tuple[str, ...], bool, tuple[tuple[str, ...], ...], tuple[tuple[str, UserRule], ...]]:
    own = _user_rules(user_rules)
    if not isinstance(allow_substitution, bool):
        raise InvalidOption(
            "allow_substitution", f"allow_substitution must be True or False, not {shown(allow_substitution)}"
        )
    return (
        _rules(_texts("validation_rules", rules), tuple(name for name, _ in own)),
        allow_substitution,
        tuple(map(_allowed_words, _texts("sudo_allowlist", sudo_allowlist))),
        own,
    )


def _texts(option: str, value: object) -> tuple[str, ...]:
    if isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping):
        texts = tuple(value)
        if all(isinstance(text, str) for text in texts):
            return texts
    raise InvalidOption(option, f"{option} must be a list of texts, not {shown(value)}")


def _rules(wanted: tuple[str, ...], own: tuple[str, ...]) -> tuple[str, ...]:
    """Of the table, in its order."""
    known = (*RULES, STRICT, *own)
    for name in wanted:
        if name not in known:
            raise InvalidOption(
                "validation_rules",
                f"there is no rule {shown(name)}: it must be {alternatives(known)}{meant(name, known)}",
            )
    return tuple(RULES) if STRICT in wanted else tuple(name for name in RULES if name in wanted)


def _allowed_words(command: str) -> tuple[str, ...]:
    words = tuple(command.split())
    if not words:
        raise InvalidOption(
            "sudo_allowlist", "sudo_allowlist has an empty command, which would allow all of them"
        )
    return words


def _user_rules(rules: object) -> tuple[tuple[str, UserRule], ...]:
    if not isinstance(rules, Mapping):
        raise InvalidOption("user_rules", f"user_rules must be functions by name, not {shown(rules)}")
    return tuple(_user_rule(name, rule) for name, rule in rules.items())


def _user_rule(name: object, rule: object) -> tuple[str, UserRule]:
    if not isinstance(name, str) or not name:
        raise InvalidOption("user_rules", f"a rule's name must be a text, not {shown(name)}")
    if name in RULES or name == STRICT:
        raise InvalidOption("user_rules", f"there is a rule {name!r} already: choose another name")
    check_callback(rule, f"the rule {shown(name)}")
    return name, cast("UserRule", rule)
