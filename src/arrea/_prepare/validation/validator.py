"""Whether a command may run: the only door to validation. Plain lines are answered here; others import the rest.

>>> validator = Validator()
>>> validator.line("make -j4").allowed, validator.line("rm -rf /").fragment
(True, 'rm -rf')
"""

from __future__ import annotations

from arrea._model.text import BIDIRECTIONAL
from arrea._model.verdict import ALLOWED, Verdict
from arrea._prepare.validation.plain import HEADS, KEYWORDS, NEEDLES, PLAIN, STRICT_HEADS, VERBS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from arrea._model.simple_command import SimpleCommand

    UserRule = Callable[[SimpleCommand], str | None]

DEFAULT_RULES = ("no_rm_rf", "no_sudo", "no_dd", "no_mkfs", "no_fork_bomb")
MAX_BYTES = 65_536
MAX_QUICK_WORDS = 9  # more might be more programs that start each other than are followed


class Options:
    """What a validator was given, checked. `rules` are those of the table, in its order."""

    __slots__ = ("allow_substitution", "rules", "sudo_allowlist", "user_rules")

    def __init__(
        self,
        rules: tuple[str, ...],
        allow_substitution: bool,
        sudo_allowlist: tuple[tuple[str, ...], ...],
        user_rules: tuple[tuple[str, UserRule], ...],
    ) -> None:
        self.rules = rules
        self.allow_substitution = allow_substitution
        self.sudo_allowlist = sudo_allowlist
        self.user_rules = user_rules


class Validator:
    """Judges commands by the same rules, as many as come. May be used by several threads.

    rules: names of rules; "strict" stands for all of them. allow_substitution: `$(...)` and its like may be live;
    what is in them is judged. sudo_allowlist: the beginnings of commands, as "systemctl start", that `sudo` may run.
    user_rules: further rules by name; each gets every `SimpleCommand` and answers with a reason to refuse it, or None.

    Raises `InvalidOption` for an unknown rule, or options of another kind.
    """

    __slots__ = ("_heads", "_max_bytes", "_options", "_quick", "_strict")

    def __init__(
        self,
        rules: Sequence[str] = DEFAULT_RULES,
        *,
        allow_substitution: bool = False,
        sudo_allowlist: Sequence[str] = (),
        user_rules: Mapping[str, UserRule] | None = None,
        _max_bytes: int = MAX_BYTES,
    ) -> None:
        self._options = _checked(rules, allow_substitution, sudo_allowlist, user_rules)
        self._strict = any(rule not in DEFAULT_RULES for rule in self._options.rules)
        self._heads = STRICT_HEADS + HEADS if self._strict else HEADS
        self._quick = not self._options.user_rules
        self._max_bytes = _max_bytes

    def line(self, text: str, stdin: str | None = None) -> Verdict:
        """The verdict on a shell line. Never raises for a text; `InvalidOption` for anything else.

        stdin: the text that it reads, where that is known: a shell would run it.
        """
        try:
            plain = not text.strip(PLAIN)
        except (AttributeError, TypeError):
            raise _wrong_type("command", "text", text) from None
        quick = plain and self._quick and stdin is None and len(text) <= self._max_bytes
        if quick and self._is_harmless(text):
            return ALLOWED
        refused = self._refused_at_once(text)
        if refused is not None:
            return refused
        try:
            from arrea._prepare.validation.judge import judge_line
        except ImportError as error:  # no right to read it, no descriptor left
            return _no_grammar(error)
        return judge_line(_decoded(text), self._options, plain=plain, stdin=stdin)

    def _is_harmless(self, text: str) -> bool:
        """Whether plain words are neither watched verbs nor behind a program that starts others."""
        words = text.split()
        if not words:
            return False
        if self._is_head(words[0]):
            return not self._strict and self._has_no_verb(text, words)
        return VERBS.isdisjoint(words) and "/rm" not in text and "/dd" not in text

    def _is_head(self, program: str) -> bool:
        """Whether it is looked at, under whatever path and version (as python3.11) it goes."""
        name = program.rpartition("/")[2] if "/" in program else program
        if f" {name} " in self._heads or "=" in name or name[:5] == "mkfs.":
            return True
        unversioned = name.rstrip("0123456789.-")
        return unversioned != name and f" {unversioned} " in self._heads

    def _has_no_verb(self, text: str, words: list[str]) -> bool:
        """Whatever plain words start, it is made of them: without a verb in them there is nothing to find."""
        return (
            len(words) <= MAX_QUICK_WORDS
            and KEYWORDS.isdisjoint(words)
            and not any(needle in text for needle in NEEDLES)
        )

    def words(self, argv: Sequence[str], stdin: str | None = None) -> Verdict:
        """The verdict on an argument vector. Spans are places in its words joined by blanks. stdin: as in `line`."""
        if not isinstance(argv, list | tuple) or not all(isinstance(word, str) for word in argv):
            raise _wrong_type("command", "a list of texts", argv)
        words = tuple(argv)
        if not words or not words[0]:
            return _empty()
        refused = self._bad_words(words)
        if refused is not None:
            return refused
        if self._quick and not self._is_head(words[0]) and not any(map(_may_be_verb, words)):
            return ALLOWED
        try:
            from arrea._prepare.validation.judge import judge_words
        except ImportError as error:
            return _no_grammar(error)
        return judge_words(words, self._options, stdin)

    def _refused_at_once(self, text: str) -> Verdict | None:
        if not text or text.isspace():
            return _empty()
        length = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
        return _too_long(length, self._max_bytes, len(text)) if length > self._max_bytes else None

    def _bad_words(self, words: tuple[str, ...]) -> Verdict | None:
        at = 0
        for word in words:
            if (bad := _bad_character(word)) is not None:
                index, what = bad
                return Verdict(
                    code="possible_injection",
                    reason=f"{what} in an argument",
                    span=(at + index, at + index + 1),
                    fragment=ascii(word[index])[1:-1],
                    hint="leave it out, or put it into a file",
                )
            at += len(word) + 1
        return None

    def seen(self, command: str | Sequence[str]) -> tuple[SimpleCommand, ...]:
        """The simple commands that a line or a vector would run, as far as can be told: for people who ask why."""
        verdict = self.line(command) if isinstance(command, str) else self.words(command)
        if verdict.code in ("empty_command", "command_too_long"):
            return ()
        from arrea._prepare.validation.judge import inspect_line, inspect_words, public

        if isinstance(command, str):
            inspection = inspect_line(_decoded(command), self._options, plain=not command.strip(PLAIN))
        else:
            inspection = inspect_words(tuple(command), self._options)
        commands = [public(call) for call in inspection.calls if call.words and not call.other]
        return tuple(sorted(commands, key=lambda each: (each.span[0], len(each.through))))


def _checked(
    rules: Sequence[str],
    allow_substitution: bool,
    sudo_allowlist: Sequence[str],
    user_rules: Mapping[str, UserRule] | None,
) -> Options:
    """The options that most validators have need no check, and no import."""
    if (
        rules == DEFAULT_RULES
        and sudo_allowlist == ()
        and user_rules is None
        and allow_substitution in (False, True)
    ):
        return Options(DEFAULT_RULES, allow_substitution, (), ())
    from arrea._prepare.validation.options import checked

    return Options(*checked(rules, allow_substitution, sudo_allowlist, user_rules or {}))


def _may_be_verb(word: str) -> bool:
    return word in VERBS or "/rm" in word or "/dd" in word


def _decoded(text: str) -> str:
    """In a locale that isn't UTF-8 each byte of a text that is came as a lone surrogate."""
    if text.isascii():
        return text
    try:
        return text.encode("utf-8", "surrogateescape").decode()
    except UnicodeError:
        return text


def _no_grammar(error: ImportError) -> Verdict:
    return Verdict(
        code="unparseable",
        reason=f"what reads commands can't be loaded ({error})",
        span=(0, 0),
        fragment="",
        hint="validate a command before rights, directories or descriptors are given up",
    )


def _bad_character(word: str) -> tuple[int, str] | None:
    if "\0" in word:
        return word.index("\0"), "a NUL character"
    if not word.isascii() and (found := next((c for c in word if c in BIDIRECTIONAL), None)):
        return word.index(found), "a character that changes the direction of what follows"
    try:
        word.encode("utf-8", "surrogateescape")  # as a file's name may hold them
    except UnicodeEncodeError as error:
        return error.start, "half of a character (a lone surrogate)"
    return None


def _empty() -> Verdict:
    return Verdict(
        code="empty_command", reason="the command is empty", span=(0, 0), fragment="", hint="give a command"
    )


def _too_long(length: int, limit: int, characters: int) -> Verdict:
    return Verdict(
        code="command_too_long",
        reason=f"the command has {length} bytes, the limit is {limit}",
        span=(0, characters),
        hint="put it into a script and run that, or give long input as a file",
    )


def _wrong_type(option: str, expected: str, value: object) -> Exception:
    from arrea._model.errors import InvalidOption

    return InvalidOption(option, f"{option} must be {expected}, not {type(value).__name__}")
