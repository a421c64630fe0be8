"""One line of the launcher table, read: which options have values, and what they are."""

from __future__ import annotations

from arrea._prepare.validation.launcher_table import USAGES


class Usage:
    """One line of the table, read. options: what their values are; flags: the other words."""

    __slots__ = ("flags", "kind", "options", "skip")

    def __init__(self, text: str) -> None:
        words = text.split()
        self.skip = int(words.pop(0)) if words[0].isdigit() else 0
        self.kind = words.pop(0)
        self.flags = frozenset(word for word in words if word[0] not in "-+")
        self.options: dict[str, str] = {}
        for word in words:
            mode = word[-1] if word[-1] in "!.^+?%$}" else ""
            self.options[word[: len(word) - len(mode)]] = mode

    def find(self, word: str) -> tuple[str, str | None] | None:
        """What the value of an option is, and the value when it stands in the same word; None for any other word."""
        if len(word) < 2 or word[0] not in "-+":
            return None
        if word[0] == "+":
            return (self.options["+"], word[1:]) if "+" in self.options else None
        name, equals, value = word.partition("=")
        if name in self.options:
            return self.options[name], value if equals else None
        if word.startswith("--"):
            return self.abbreviated(name, value if equals else None)
        return self.clustered(word)

    def clustered(self, word: str) -> tuple[str, str | None] | None:
        """`-xk5` and `-xk 5`, where `-x` is an option without a value."""
        for at, letter in enumerate(word[1:], 2):
            if (mode := self.options.get("-" + letter)) is not None:
                return mode, word[at:] or None
            if not letter.isalnum():
                break
        return None

    def abbreviated(self, name: str, value: str | None) -> tuple[str, str | None] | None:
        """As getopt finds a long option, if all that it could be are alike."""
        modes = {mode for option, mode in self.options.items() if option.startswith(name) and len(name) > 3}
        return (modes.pop(), value) if len(modes) == 1 else None


_usages: dict[str, Usage] = {}


def usage_of(name: str) -> Usage:
    found = _usages.get(name)
    if found is None:
        found = _usages[name] = Usage(USAGES[name])
    return found
