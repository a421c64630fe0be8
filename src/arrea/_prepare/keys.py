"""The configuration keys: what each is by default, which values it takes, and how a text becomes one.

Given a key and what a program or a person wrote, hands back the checked value. Every layer goes through here;
a wrong value raises `InvalidConfig` naming key, value, layer and what was expected.

A new key is one entry of `KEYS`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from arrea._model.checks import alternatives, known, meant, shown
from arrea._model.duration import EXPECTED, parse_duration
from arrea._model.errors import InvalidConfig, InvalidOption
from arrea._model.policy import FIELDS, NAMED, Policy, parse_policy
from arrea._model.task import ISOLATIONS
from arrea._model.text import encodable
from arrea._prepare.validation.validator import DEFAULT_RULES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    # Both are given what was written and the key; a check raises `InvalidOption` saying what was expected.
    Check = Callable[[object, str], object]
    Read = Callable[[str], object]

MOST_WORKERS = 100_000
MOST_PROCESSES = 10_000
MOST_BYTES = 2**62
MOST_RETRIES = 1_000_000_000
LOG_LEVELS = ("debug", "info", "warning", "error", "critical")
SWITCHES = {
    "true": True, "yes": True, "on": True, "1": True,
    "false": False, "no": False, "off": False, "0": False,
}  # fmt: skip


# ── texts to values ───────────────────────────────────────────────────────────────────────────────
# A text that says nothing is handed back as it is: the check refuses it in its own words.


def read_word(text: str) -> str:
    return text.strip()


def read_number(text: str) -> object:
    """A whole number in plain digits, or none.

    >>> read_number("50"), read_number("none"), read_number("many"), read_number("1_000")
    (50, None, 'many', '1_000')
    """
    word = text.strip()
    if word == "none":
        return None
    digits = word.removeprefix("-")
    if not digits.isascii() or not digits.isdigit() or len(digits) > 100:  # int() reads others' digits too
        return text
    return int(word)


def read_names(text: str) -> list[str]:
    """Names between commas.

    >>> read_names("sh, bash")
    ['sh', 'bash']
    """
    return [name.strip() for name in text.split(",")]


def read_names_or_none(text: str) -> list[str]:
    """The same; "none" is an empty list.

    >>> read_names_or_none("none"), read_names_or_none("no_dd")
    ([], ['no_dd'])
    """
    return [] if text.strip() == "none" else read_names(text)


def read_switch(text: str) -> object:
    """Yes or no.

    >>> read_switch("on"), read_switch("FALSE"), read_switch("maybe")
    (True, False, 'maybe')
    """
    return SWITCHES.get(text.strip().lower(), text)


def read_or_none(text: str) -> str | None:
    return None if text.strip() == "none" else text


# ── checks ────────────────────────────────────────────────────────────────────────────────────────
# What they are given is plain already: subclasses of `str`, `int` and `float` have become those.


def whole(least: int, most: int) -> Check:
    def check(value: object, key: str) -> int:
        if type(value) is not int or not least <= value <= most:
            raise InvalidOption(key, f"{key} must be a whole number from {least} to {most}")
        return value

    return check


def or_none(check: Check) -> Check:
    def check_or_none(value: object, key: str) -> object:
        try:
            return None if value is None else check(value, key)
        except InvalidOption as error:
            raise InvalidOption(key, f"{error}, or none") from None

    return check_or_none


def duration(value: object, key: str) -> float | None:
    try:
        return parse_duration(value, key, zero=True, none=False)
    except InvalidOption:
        raise InvalidOption(key, f"{key} must be a duration from 0 to 100 years; {EXPECTED}") from None


def switch(value: object, key: str) -> bool:
    if not isinstance(value, bool):
        raise InvalidOption(key, f"{key} must be true or false")
    return value


def shell_name(value: object, key: str) -> str:
    if not _is_name(value):
        raise InvalidOption(key, f"{key} must be a shell's name, its path, 'auto'")
    return str(value)


def names(value: object, key: str) -> tuple[str, ...]:
    listed = tuple(map(plain, value)) if isinstance(value, (list, tuple)) else ()
    if not listed or not all(map(_is_name, listed)):
        raise InvalidOption(key, f"{key} must be a list of names, at least one")
    return tuple(map(str, listed))


def rules(value: object, key: str) -> tuple[str, ...]:
    """Names of validation rules, or of a profile; no name at all leaves only what can't be understood refused."""
    if value == DEFAULT_RULES:
        return DEFAULT_RULES
    from arrea._prepare.validation.registered import check_names  # few say which

    listed = tuple(map(plain, value)) if isinstance(value, (list, tuple)) else (None,)
    if not all(map(_is_name, listed)):
        raise InvalidOption(key, f"{key} must be names of rules")
    return check_names(tuple(map(str, listed)), key)


def allowed_words(value: object, key: str) -> tuple[str, ...]:
    """Beginnings of commands, such as "systemctl start"."""
    listed = tuple(map(plain, value)) if isinstance(value, (list, tuple)) else (None,)
    if not all(map(_is_name, listed)):
        raise InvalidOption(key, f"{key} must be commands, each as its first words")
    return tuple(map(str, listed))


def _is_name(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip()) and "\0" not in value and encodable(value)


def log_level(value: object, key: str) -> str:
    level = value.lower() if isinstance(value, str) else value
    return _one_of("warning" if level == "warn" else level, key, LOG_LEVELS)


def _one_of(value: object, key: str, allowed: tuple[str, ...], others: str = "") -> str:
    if not isinstance(value, str) or value not in allowed:
        raise InvalidOption(key, f"{key} must be {alternatives(allowed)}{others}{meant(value, allowed)}")
    return value


def isolation(value: object, key: str) -> str:
    return _one_of(value, key, ISOLATIONS)


def policy(value: object, key: str) -> object:
    """A policy's name, a `Policy`, or a mapping of fields, which is kept as what its fields mean."""
    if isinstance(value, Policy):
        return value
    if isinstance(value, Mapping):
        return _policy_fields(value, key)
    if callable(value):
        raise InvalidOption(key, f"{key} must be a policy; a function goes into arrea.policies.custom(...)")
    return _one_of(value, key, tuple(NAMED), ", a Policy or a mapping of its fields")


def _policy_fields(given: Mapping[object, object], key: str) -> dict[str, object]:
    fields = {plain(name): plain(value) for name, value in given.items()}
    try:
        known(fields, FIELDS, "policy field")
        meaning = parse_policy(fields)
    except InvalidOption as error:
        raise InvalidOption(key, f"{key}: {error}") from None
    return {str(name): getattr(meaning, str(name)) for name in fields}


# ── the table ─────────────────────────────────────────────────────────────────────────────────────


class Key:
    """One key: its default (a value that was checked), its check, and how it is read from text."""

    __slots__ = ("check", "default", "read")

    def __init__(self, default: object, check: Check, read: Read) -> None:
        self.default = default
        self.check = check
        self.read = read


KEYS: Mapping[str, Key] = {
    "max_workers": Key(100, whole(1, MOST_WORKERS), read_number),
    "max_commands_per_batch": Key(500, or_none(whole(1, MOST_BYTES)), read_number),
    "default_policy": Key("retry", policy, read_word),
    "max_retries": Key(3, whole(0, MOST_RETRIES), read_number),
    "retry_delay": Key(1000.0, duration, read_word),
    "max_processes": Key(len(os.sched_getaffinity(0)), whole(1, MOST_PROCESSES), read_number),
    "isolation": Key("process", isolation, read_word),
    "kill_grace": Key(2000.0, duration, read_word),
    "shell": Key(None, or_none(shell_name), read_or_none),
    "allowed_shells": Key(("sh", "bash", "zsh", "fish", "dash"), names, read_names),
    "max_output_bytes": Key(8 * 2**20, or_none(whole(0, MOST_BYTES)), read_number),
    "log_level": Key("info", log_level, read_word),
    "validation_rules": Key(DEFAULT_RULES, rules, read_names_or_none),
    "sudo_allowlist": Key((), allowed_words, read_names_or_none),
}


# ── what the layers call ──────────────────────────────────────────────────────────────────────────


def find_key(name: object, layer: str) -> str:
    """The key of that name. Raises `InvalidConfig` with the one that was probably meant.

    >>> find_key("max_workers", "process")
    'max_workers'
    """
    key = plain(name)
    if not isinstance(key, str):
        raise InvalidConfig(shown(name), layer, f"a configuration key is text, not {shown(name)}")
    if key not in KEYS:
        try:
            known([key], KEYS, "configuration key")
        except InvalidOption as error:
            raise InvalidConfig(key, layer, str(error)) from None
    return key


def checked(given: Mapping[str, object], layer: str) -> dict[str, object]:
    """All values of one layer, checked.

    >>> checked({"kill_grace": "5s", "allowed_shells": ["sh"]}, "process")
    {'kill_grace': 5000.0, 'allowed_shells': ('sh',)}
    >>> checked({"max_workers": 0}, "process")
    Traceback (most recent call last):
    ...
    arrea._model.errors.InvalidConfig: max_workers=0 (process): max_workers must be a whole number from 1 to 100000
    """
    pairs = [(find_key(name, layer), value) for name, value in given.items()]
    return {key: _checked(key, value, layer, key, value) for key, value in pairs}


def from_text(key: str, text: str, layer: str, written: str) -> object:
    """A checked value from text. `written`: how messages name the place, a variable or a flag.

    >>> from_text("max_workers", "50", "environment", "ARREA_MAX_WORKERS")
    50
    >>> from_text("max_workers", "many", "environment", "ARREA_MAX_WORKERS")
    Traceback (most recent call last):
    ...
    arrea._model.errors.InvalidConfig: ARREA_MAX_WORKERS='many' (environment): \
max_workers must be a whole number from 1 to 100000
    """
    return _checked(key, KEYS[key].read(text), layer, written, text)


def _checked(key: str, value: object, layer: str, written: str, original: object) -> object:
    try:
        return KEYS[key].check(plain(value), key)
    except InvalidOption as error:
        told = str(error)
    except Exception as error:  # noqa: BLE001 - of the value's own methods
        told = f"{key} can't be read: its own code raised {type(error).__name__}"
    raise InvalidConfig(key, layer, f"{written}={shown(plain(original))} ({layer}): {told}")


def plain(value: object) -> object:
    """The same text or number without the methods of a subclass, which may answer what they like.

    >>> class Loud(str): __str__ = str.upper
    >>> plain(Loud("quiet"))
    'quiet'
    """
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return int.__int__(value)
    return float.__float__(value) if isinstance(value, float) else value


def written_as(value: object) -> object:
    """A checked value as a user would write it; a copy where it could be changed.

    >>> written_as(("sh", "bash"))
    ['sh', 'bash']
    """
    if isinstance(value, tuple):
        return list(value)
    return dict(value) if isinstance(value, dict) else value
