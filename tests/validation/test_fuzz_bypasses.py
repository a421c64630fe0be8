r"""What once passed though a shell would have run the verb: found by thinking like an attacker, or by the fuzzer.

A bypass that is still open is a strict expected failure: `fixed` is False. In the texts "⏎" is the end of a line.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest

from tests.validation.fuzz.differential import new_judge
from tests.validation.fuzz.oracle import accepts, sights
from tests.validation.fuzz.seeds import VERBS


class Bypass(NamedTuple):
    """why: what bash, dash or the launcher does with it."""

    text: str
    why: str
    fixed: bool = False


# shfmt sees the verb, so the fuzzer could have found it.
SEEN = (
    Bypass("x+=1 zap", "adding to a variable is an assignment before a command", fixed=True),
    Bypass("2\\⏎>&1 zap", "the line goes on, and the number belongs to the redirect", fixed=True),
    Bypass("coproc N { zap; }", "the name of the coprocess is no command", fixed=True),
    Bypass('echo "$ $(zap)"', "the grammar loses a substitution behind a dollar and a blank", fixed=True),
    Bypass('x="a$⏎$(zap)"', "the grammar loses a substitution behind a dollar and a blank", fixed=True),
    Bypass("cat <<A⏎$  $(zap)⏎A", "the grammar loses a substitution behind a dollar and a blank", fixed=True),
    Bypass("2\\⏎\\⏎>&1 zap", "the line goes on twice", fixed=True),
    Bypass("ls⏎\\⏎zap", "the continued line is a new command", fixed=True),
    Bypass("ls -l⏎⏎\\⏎ A=1 zap", "the continued line is a new command", fixed=True),
    Bypass('B=""\\a zap', "an escaped character belongs to the value before it", fixed=True),
    Bypass("B='x'\\` zap", "an escaped character belongs to the value before it", fixed=True),
    Bypass("B=$x\\$ zap", "an escaped character belongs to the value before it", fixed=True),
    Bypass("B=$ zap", "a dollar alone is a value", fixed=True),
    Bypass("function f{a { zap; }", "a brace in a function's name", fixed=True),
    Bypass("function f{a,b} { zap; }", "a brace in a function's name", fixed=True),
    Bypass("cat <<$'A'⏎x⏎A⏎zap⏎$A", "the document ends at A: $'..' is a quote", fixed=True),
    Bypass('cat <<$"A"⏎x⏎A⏎zap⏎$A', 'the document ends at A: $".." is a quote', fixed=True),
    Bypass("cat <<A\\⏎B⏎x⏎AB⏎zap⏎A", "the delimiter goes on in the next line: AB", fixed=True),
    Bypass("cat <<'A'\\⏎B⏎x⏎AB⏎zap⏎A", "the delimiter goes on in the next line: AB", fixed=True),
    Bypass("cat <<'A\\B'⏎x⏎A\\B⏎zap⏎AB", "a backslash in quotes belongs to the delimiter", fixed=True),
    Bypass('cat <<"A\\B"⏎x⏎A\\B⏎zap⏎AB', "a backslash in quotes belongs to the delimiter", fixed=True),
    Bypass("cat <<\"A'B\"⏎x⏎A'B⏎zap⏎AB", "a quote in other quotes belongs to the delimiter", fixed=True),
    Bypass("cat <<'A\"B'⏎x⏎A\"B⏎zap⏎AB", "a quote in other quotes belongs to the delimiter", fixed=True),
    Bypass(
        "cat <<A $(cat <<B⏎B⏎zap⏎A⏎B⏎)⏎A",
        "the inner document comes first, the outer after the outer line",
        fixed=True,
    ),
    Bypass(
        "cat <<A; echo $(echo⏎zap⏎A⏎)⏎A",
        "the document begins after the line that is around the $(..)",
        fixed=True,
    ),
    Bypass(
        "cat <<A <(echo⏎zap⏎A⏎)⏎A", "the document begins after the line that is around the <(..)", fixed=True
    ),
    Bypass(
        "cat <<A; echo `echo⏎zap⏎A⏎`⏎A",
        "the document begins after the line that is around the backticks",
        fixed=True,
    ),
)

# shfmt takes these for something else than bash or dash do.
UNSEEN = (
    Bypass(
        "echo `echo '` ; zap ; echo `'`",
        "a backtick ends at the next one, whatever quotes are between",
        fixed=True,
    ),
    Bypass(
        'echo "`echo \'`" ; zap ; echo "`\'`"',
        "a backtick ends at the next one, whatever quotes are between",
        fixed=True,
    ),
    Bypass(
        "echo `a='` ; zap ; b=`'`", "a backtick ends at the next one, whatever quotes are between", fixed=True
    ),
    Bypass(
        'echo "${x:-\'}"; zap; echo "\'}"',
        "in double quotes a single one is none for dash and POSIX",
        fixed=True,
    ),
)

LAUNCHED = (
    Bypass("x+=1 env zap", "adding to a variable is an assignment before a command", fixed=True),
    Bypass("env -iu X zap", "the option with a value is the last of several letters", fixed=True),
    Bypass("env --uns X zap", "getopt takes abbreviated options", fixed=True),
    Bypass("env --chd / zap", "getopt takes abbreviated options", fixed=True),
    Bypass("env --split='zap x'", "getopt takes abbreviated options", fixed=True),
    Bypass("env -S 'zap\\tx'", "env -S has escapes of its own", fixed=True),
    Bypass("env -S 'zap\\_x'", "env -S has escapes of its own", fixed=True),
    Bypass("xargs -rn 1 zap", "the option with a value is the last of several letters", fixed=True),
    Bypass("xargs -0P 4 zap", "the option with a value is the last of several letters", fixed=True),
    Bypass("xargs -rI {} zap {}", "the option with a value is the last of several letters", fixed=True),
    Bypass("xargs -rd '\\n' zap", "the option with a value is the last of several letters", fixed=True),
    Bypass("xargs --max-lines zap", "its value is optional, and only behind a =", fixed=True),
    Bypass("xargs --process-slot-var x zap", "a long option's value may be the next word", fixed=True),
    Bypass("fd --exec=zap", "the value may stand behind a =", fixed=True),
    Bypass("parallel --max-procs 4 zap ::: a", "an option with a value", fixed=True),
    Bypass("parallel --header : zap ::: a", "an option with a value", fixed=True),
    Bypass("parallel --id x --semaphore zap", "an option with a value", fixed=True),
    Bypass("su u -- -c zap", "what is behind -- goes to the shell", fixed=True),
    Bypass("runuser - u -c zap", "as su", fixed=True),
    Bypass("ssh -o ProxyCommand='zap %h' h", "run by a shell on this side", fixed=True),
    Bypass(
        "docker run --rm -it --entrypoint bash -v a:b i -c zap", "an option's value is no image", fixed=True
    ),
    Bypass("docker run --rm --health-cmd zap i", "run by a shell in the container", fixed=True),
    Bypass("docker run --rm --ulimit n=1 --pids-limit 5 i zap", "an option with a value", fixed=True),
    Bypass("nsenter -m/proc/1/ns/mnt zap", "its value is optional, and in the same word", fixed=True),
    Bypass(
        "prlimit -n 1 zap", "no option of prlimit's but --pid keeps it from running a command", fixed=True
    ),
    Bypass(
        "prlimit --cpu 10 zap", "no option of prlimit's but --pid keeps it from running a command", fixed=True
    ),
    Bypass("ltrace -S -e x zap", "-S has no value in ltrace", fixed=True),
    Bypass("perf record -g --call-graph dwarf zap", "an option with a value", fixed=True),
    Bypass("bash -$x zap", "the options may have a c", fixed=True),
    Bypass("fish -C zap -c ls", "both are run", fixed=True),
    Bypass("alias a='zap x'", "an alias is a command, for users' rules as well", fixed=True),
    Bypass("alias a=zap⏎a -rf x", "dash, and bash as sh, expand aliases from the next line on", fixed=True),
)

FED = (
    Bypass("f() { sh; }; echo zap | f", "a function reads what it is given", fixed=True),
    Bypass("f() { sh; }; f <<< zap", "a function reads what it is given", fixed=True),
    Bypass("f() { sh; } <<< zap; f", "a function reads what it is given", fixed=True),
    Bypass("f() { cat | sh; }; echo zap | f", "a function reads what it is given", fixed=True),
    Bypass("f() { cat; }; echo zap | f | sh", "a function passes on what it is given", fixed=True),
    Bypass("exec <<< zap; sh", "the input of all that follows", fixed=True),
    Bypass("exec 0<<A; bash⏎zap⏎A", "the input of all that follows", fixed=True),
    Bypass("bash 3<<< zap /dev/fd/3", "any descriptor can be read", fixed=True),
    Bypass("echo zap | cat - /dev/null | sh", "- is the input", fixed=True),
    Bypass("cat <(echo zap) f | sh", "the text is known, though it stands in a file's place", fixed=True),
    Bypass("tail -n +1 <<< zap | sh", "+1 is no file", fixed=True),
    Bypass("echo zap | sort -o /dev/stdout | sh", "an option's value is no file", fixed=True),
)


def _cases(*groups: tuple[Bypass, ...]) -> list[object]:
    cases = [case for group in groups for case in group]
    return [
        pytest.param(
            case, id=case.text, marks=() if case.fixed else pytest.mark.xfail(strict=True, reason=case.why)
        )
        for case in cases
    ]


@pytest.mark.parametrize("case", _cases(SEEN, UNSEEN, LAUNCHED, FED))
def test_is_refused(case: Bypass) -> None:
    assert not new_judge()(case.text.replace("⏎", "\n")).allowed, case.why


@pytest.mark.parametrize("case", SEEN, ids=lambda case: case.text)
def test_is_seen(case: Bypass) -> None:
    (sight,) = sights([case.text.replace("⏎", "\n")])
    assert sight is not None
    assert sight.has(VERBS)


@pytest.mark.parametrize("case", UNSEEN, ids=lambda case: case.text)
def test_is_accepted(case: Bypass) -> None:
    assert accepts(case.text.replace("⏎", "\n"))
