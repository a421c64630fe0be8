"""The rules that users registered by name, and the validators that calls with the same settings share."""

from __future__ import annotations

from arrea._model.checks import meant, shown
from arrea._model.errors import InvalidOption
from arrea._prepare.validation.validator import DEFAULT_RULES, Validator

TYPE_CHECKING = False
if TYPE_CHECKING:
    from arrea._prepare.validation.validator import UserRule

DEFAULT = "default"  # stands for the rules that are in force where nobody says otherwise
MOST_KEPT = 64

_user_rules: dict[str, UserRule] = {}
_validators: dict[tuple[object, ...], Validator] = {}


def validator_of(
    rules: tuple[str, ...], allow_substitution: bool, sudo_allowlist: tuple[str, ...]
) -> Validator:
    """The one for these settings. Raises `InvalidOption` for a rule that doesn't exist."""
    own = {name: rule for name in rules if (rule := _user_rules.get(name)) is not None}
    key = (rules, allow_substitution, sudo_allowlist, *map(id, own.values()))
    validator = _validators.get(key)
    if validator is None:
        if len(_validators) >= MOST_KEPT:
            _validators.clear()
        # It holds the rules, so that no other can get the same `id`.
        validator = _validators[key] = Validator(
            _spelled_out(rules),
            allow_substitution=allow_substitution,
            sudo_allowlist=sudo_allowlist,
            user_rules=own or None,
        )
    return validator


def _spelled_out(rules: tuple[str, ...]) -> tuple[str, ...]:
    if DEFAULT not in rules:
        return rules
    return (*DEFAULT_RULES, *(name for name in rules if name != DEFAULT))


def check_names(rules: tuple[str, ...], option: str) -> tuple[str, ...]:
    """The same, if each of them exists. Raises `InvalidOption`."""
    from arrea._prepare.validation.options import STRICT
    from arrea._prepare.validation.rules import RULES

    known = (*RULES, DEFAULT, STRICT, *_user_rules)
    for name in rules:
        if name not in known:
            raise InvalidOption(
                option,
                f"{option} must be names of rules, and there is no rule {shown(name)}{meant(name, known)}",
            )
    return rules


def add_rule(name: str, rule: UserRule) -> None:
    """From now on `validation_rules` may name it. One of that name takes the place of the one before."""
    Validator((), user_rules={name: rule})  # raises for a name that is taken, or what is no function
    if name == DEFAULT:
        raise InvalidOption(
            "name", f"{DEFAULT!r} stands for the rules that are in force: choose another name"
        )
    _user_rules[name] = rule


def remove_rule(name: str) -> None:
    """Forgets it; a call whose `validation_rules` still names it is refused."""
    _user_rules.pop(name, None)
