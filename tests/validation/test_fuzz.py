"""Mutants of ordinary commands against bash and shfmt; `python -m tests.validation.fuzz` tries many more."""

from itertools import islice

import pytest

from tests.validation.fuzz.carriers import carried
from tests.validation.fuzz.differential import Report, compare, explained, new_judge, smaller
from tests.validation.fuzz.mutate import mutants
from tests.validation.fuzz.oracle import AT_ONCE, BASH, DASH, Shell, Sight, sights
from tests.validation.fuzz.seeds import SEEDS

SEED = 1
MUTANTS = 1_000
MOST_BLOCKED = 0.12


@pytest.mark.parametrize("shell", [BASH, DASH], ids=["bash", "dash"])
def test_no_verb_hides_and_few_clean_lines_are_refused(shell: Shell) -> None:
    judge, report = new_judge(), Report()
    compare(list(islice(mutants(SEED), MUTANTS)), judge, report, shell)
    print(report)
    assert not report.faults, explained(report, judge, shell)
    # What is dangerous only for bash is refused for dash, too: nobody knows what `/bin/sh` will be.
    assert shell is DASH or report.share_blocked <= MOST_BLOCKED, report
    assert report.with_verb > MUTANTS / 10
    assert report.clean > MUTANTS / 10


# --- the tools ----------------------------------------------------------------------------------


def test_a_seed_is_always_the_same_mutants_in_the_same_places() -> None:
    once, again = (list(islice(mutants(7), 300)) for _ in "12")
    assert once == again
    assert [carried(text) for text in once] == [carried(text) for text in again]


@pytest.mark.parametrize(
    ("text", "names", "unknown"),
    [
        ("a=1 zap x; (b | c) && e `d`", {"zap", "b", "c", "d", "e"}, 0),
        ("time zap; ! coproc { b; }", {"zap", "b"}, 0),
        (r"""\z"a"$'\x70' -rf""", {"zap"}, 0),
        ("z{ap,} {,b}; {,c} d; {e,f}", {"zap", "c", "e"}, 0),
        ("za\\\np; echo zap # zap", {"zap", "echo"}, 0),
        ('echo "${x:-$(zap)}"', {"echo", "zap"}, 0),
        ("cat <<A\n$(zap)\nA", {"cat", "zap"}, 0),
        ("$x y; z?p; $(zap) -rf", {"zap"}, 3),
        ("x=(zap) y=zap", set(), 0),
    ],
)
def test_what_is_seen(text: str, names: set[str], unknown: int) -> None:
    (sight,) = sights([text])
    assert sight == Sight(frozenset(names), unknown, "$(" in text or "`" in text)


def test_many_texts_are_seen_as_each_alone() -> None:
    texts = [
        *SEEDS,
        "zap \\",
        "zap 'x",
        "cat <<A\n",
        "if",
        "",
        "# x",
        "arrea-mark 3",
        "zap;\narrea-mark 3\n",
        "f()",
    ]
    assert len(texts) < AT_ONCE
    assert sights(texts) == [sight for text in texts for sight in sights([text])]


def test_smaller() -> None:
    assert smaller("aaa zap bbb; zap", lambda text: "zap" in text) == "zap"
