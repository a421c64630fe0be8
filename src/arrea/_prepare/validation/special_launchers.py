"""Programs that start others in ways of their own, a function each: shells, `env`, `sudo`, `xargs`, `parallel`, ..."""

from __future__ import annotations

import re

from arrea._prepare.validation.names import names
from arrea._prepare.validation.started import Appended, Input, Line, Opaque, Words
from arrea._prepare.validation.usage import usage_of
from arrea._prepare.validation.words import GLOB, QUOTED, UNKNOWN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from arrea._prepare.validation.commands import Call
    from arrea._prepare.validation.started import Started

SHELLS = names(
    """
    sh bash dash ash zsh ksh ksh93 mksh lksh pdksh posh yash rbash rksh fish csh tcsh hush oksh rzsh
    """
)
ELEVATORS = ("sudo", "doas", "pkexec", "run0", "sudoedit")
MAX_JOBS = 256  # of `parallel command ::: a b c` that are looked at


def line_in(call: Call, text: str, at: int, *, guess: bool = False) -> Iterator[Started]:
    """A word that a shell reads: its text; the output of the substitution that it is; or nothing that is known."""
    if text and not text.strip(UNKNOWN):
        yield Input(first=at) if at in call.stages else Opaque("its text exists only at run time", at)
    else:
        yield Line(text.replace(GLOB, ""), at, guess=guess)


def is_assignment(word: str) -> bool:
    name, equals, _ = word.partition("=")
    return bool(equals) and name.removesuffix("+").isidentifier()


_SHELL_VALUES = names("-o +o -O +O --rcfile --init-file --emulate")
_COMPOUND_WORDS = names("{ ( if while until for case select [[ ((")
_STDIN = re.compile(r"-|/dev/stdin|/(?:dev|proc/self)/fd/\d+")


def shell(call: Call) -> Iterator[Started]:
    """`sh -c TEXT`, `sh FILE`, or a shell that reads its input."""
    words = call.words
    text_follows = reads_input = unknown = False
    at = 1
    while at < len(words) and words[at][:1] in ("-", "+") and len(words[at]) > 1:
        word = words[at]
        at += 1
        name, equals, value = word.partition("=")
        if word == "--":
            break
        if name in ("--command", "--init-command", "-C"):
            text = value if equals else words[at] if at < len(words) else ""
            yield from line_in(call, text, min(at, len(words) - 1))
            at += not equals
        elif word[:2] == "--" or word in _SHELL_VALUES:
            at += name in _SHELL_VALUES and not equals
        else:
            unknown = unknown or any(mark in word for mark in UNKNOWN)
            text_follows = text_follows or (word[0] == "-" and "c" in word)
            reads_input = reads_input or (word[0] == "-" and "s" in word)
            at += word[-1] in "oO"
    if (text_follows or unknown) and at < len(words):
        yield from line_in(call, words[at], at)
    elif not text_follows:
        yield from _script(call, at, reads_input)


def _script(call: Call, at: int, reads_input: bool) -> Iterator[Started]:
    """What a shell reads that was given no text: a file, its input, or the output of a substitution."""
    if at >= len(call.words) or reads_input or _STDIN.fullmatch(call.words[at]):
        yield Input()
    elif at in call.stages:
        yield Input(first=at)


def _source(call: Call) -> Iterator[Started]:
    """`. FILE`: only what is no file is read."""
    if len(call.words) > 1:
        yield from _script(call, 1, False)


def _eval(call: Call) -> Iterator[Started]:
    words = call.words[1:]
    first = 2 if words[:1] == ["--"] else 1
    if len(call.words) == first + 1:
        yield from line_in(call, call.words[first], first)
    elif len(call.words) > first:
        yield Line(" ".join(call.words[first:]).replace(GLOB, ""), first, len(call.words) - 1)


def _trap(call: Call) -> Iterator[Started]:
    at = 2 if call.words[1:2] == ["--"] else 1
    if len(call.words) > at + 1 and call.words[at] != "-":
        yield from line_in(call, call.words[at], at)


def _alias(call: Call) -> Iterator[Started]:
    for at, word in enumerate(call.words[1:], 1):
        name, equals, value = word.partition("=")
        if equals and name[:1] != "-" and value:
            yield Line(value.replace(GLOB, ""), at)


def _env(call: Call) -> Iterator[Started]:
    """`env [options] [NAME=value] command`, and `env -S TEXT`, whose text takes the place of the words."""
    usage, words = usage_of("env"), call.words
    at = 1
    while at < len(words):
        word = words[at]
        found = usage.find(word)
        if found is not None:
            mode, value = found
            at += value is None
            if mode == "$":
                text = value if value is not None else "".join(words[at : at + 1])
                yield Line(
                    " ".join(["env", _ENV_ESCAPE.sub(" ", text), *words[at + 1 :]]), min(at, len(words) - 1)
                )
                return
        elif word[:1] != "-" and "=" not in word[1:]:
            break
        at += 1
    if at < len(words):
        yield Words(at, words[at:])


_ENV_ESCAPE = re.compile(r"\\[_tnrfv]")


_SUDO_VALUES = names(
    """
    -u --user -g --group -p --prompt -C --close-from -D --chdir -h --host -R --chroot -T --command-timeout -r --role -t
    --type -U --other-user -a
    """
)


def _elevator(call: Call) -> Iterator[Started]:
    """`sudo [options] [NAME=value] command`; `sudo -s` and `sudo -i` without one read their input."""
    words = call.words
    at, shell = 1, False
    while at < len(words):
        word = words[at]
        if word == "--":
            at += 1
            break
        if word in _SUDO_VALUES:
            at += 1
        elif word[:1] == "-" and len(word) > 1:
            if word in ("-e", "--edit", "-l", "-v", "-K", "-k", "-V"):
                return
            shell = shell or word in ("-s", "-i", "--shell", "--login")
        elif not is_assignment(word):
            break
        at += 1
    if at < len(words):
        yield Words(at, words[at:])
        if shell:
            yield Line(" ".join(words[at:]), at, len(words) - 1, guess=True)
    elif shell:
        yield Input()


_XARGS_WHOLE = re.compile(r"-[a-zA-Z]*[0d]|--null|--delim")


def _xargs(call: Call) -> Iterator[Started]:
    """The command gets more words from the input: at its end, or in place of what `-I` names."""
    usage, words = usage_of("xargs"), call.words
    at, place, whole = 1, "", False
    while at < len(words) and words[at][:1] == "-" and words[at] != "--":
        word = words[at]
        at += 1
        whole = whole or _XARGS_WHOLE.match(word) is not None
        if word.startswith(("-i", "--replace")):
            place = (word.partition("=")[2] if word[1] == "-" else word[2:]) or "{}"
        elif found := usage.find(word):
            mode, value = found
            value = value if value is not None else "".join(words[at : at + 1])
            at += found[1] is None
            place = value if mode == "}" else place
    at += words[at : at + 1] == ["--"]
    if at < len(words):
        yield (
            Words(at, [word.replace(place, QUOTED) for word in words[at:]])
            if place
            else Appended(at, whole=whole)
        )


_PARALLEL_VALUES = names(
    """
    -j --jobs -n -N --max-args -L -l -P --max-procs --header --id --profile -J --termseq --timeout --delay --retries
    --joblog -S --sshlogin --results -a --arg-file -I --colsep -C --tmpdir --halt --load --memfree --nice --tagstring -s
    --workdir --wd --env --basefile --bf -E -d --delimiter --block --recstart --recend --transferfile --return --rpl
    --tempdir
    """
)


def _parallel(call: Call) -> Iterator[Started]:
    """`parallel [options] command ::: arguments`; without a command the arguments, or the input, are commands."""
    words = call.words
    at = 1
    while at < len(words) and words[at][:1] == "-" and words[at] != "--":
        at += 2 if words[at] in _PARALLEL_VALUES else 1
    at += words[at : at + 1] == ["--"]
    end = next((index for index in range(at, len(words)) if words[index].startswith(":::")), len(words))
    given = [index for index in range(end, len(words)) if not words[index].startswith(":::")]
    from_files = "::::" in words[end:]
    if at < end:
        known = [words[index] for index in given[:MAX_JOBS]] if not from_files else []
        text = " ".join(words[at:end])
        for argument in known or [QUOTED]:
            yield Line(_job(text, argument), at, end - 1)
    elif given and not from_files:
        for index in given:
            yield from line_in(call, words[index], index)
    else:
        yield Input()


_PLACE = re.compile(r"\{(?:\.|/|//|/\.|#|%|-?\d+|=.*?=)?\}")


def _job(text: str, argument: str) -> str:
    line = _PLACE.sub(argument.replace("\\", r"\\"), text)
    return line if line != text else f"{text} {argument}"


def _start_stop_daemon(call: Call) -> Iterator[Started]:
    """`start-stop-daemon ... --exec PROGRAM -- its arguments`."""
    words = list(call.words)
    end = words.index("--") if "--" in words else len(words)
    for at in range(1, end):
        name, equals, value = words[at].partition("=")
        if name in ("-x", "--exec", "-a", "--startas") and (equals or at + 1 < end):
            yield Words(at, [value if equals else words[at + 1], *words[end + 1 :]])


def _coproc(call: Call) -> Iterator[Started]:
    """`coproc command`; and with a name of its own, when it is a compound command: `coproc NAME { a; }`."""
    words = call.words
    if len(words) > 1:
        yield Words(1, words[1:])
    if len(words) > 2 and words[2] in _COMPOUND_WORDS:
        yield Words(2, words[2:])


SPECIAL: dict[str, Callable[[Call], Iterator[Started]]] = {
    ".": _source,
    "source": _source,
    "eval": _eval,
    "trap": _trap,
    "alias": _alias,
    "env": _env,
    "genv": _env,
    **dict.fromkeys(ELEVATORS, _elevator),
    "xargs": _xargs,
    "gxargs": _xargs,
    "coproc": _coproc,
    "parallel": _parallel,
    "start-stop-daemon": _start_stop_daemon,
}
