"""Whatever the text, there is a verdict, it is the same twice, and it doesn't depend on what was judged before."""

from __future__ import annotations

from shlex import quote
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arrea._prepare.validation.validator import Validator
from tests.validation.fuzz.mutate import tokens_of
from tests.validation.fuzz.seeds import PIECES, SEEDS
from tests.validation.sound import fields, must_be_sound

if TYPE_CHECKING:
    from collections.abc import Sequence

LONGEST = 8_192

# Words that the rules know, as text: nothing here is ever run.
_WATCHED = """
rm -rf -r -f --recursive sudo dd if=/x of=/y mkfs.ext4 chmod 777 env sh bash -c eval xargs find -exec {} + timeout 5 ssh
python perl -e :(){ :|:& };: awk system("x") busybox docker run su watch base64 -d tee /dev/sda kill -9 -1
"""

any_text = st.text(st.characters(exclude_categories=()), max_size=LONGEST)
shell_text = st.lists(
    st.sampled_from((*PIECES, *_WATCHED.split(), *(token for seed in SEEDS for token in tokens_of(seed)))),
    max_size=600,
).map(lambda pieces: "".join(pieces)[:LONGEST])
spaced_text = st.lists(st.sampled_from((*_WATCHED.split(), *PIECES)), max_size=200).map(" ".join)
odd_text = st.text(
    st.sampled_from("'\"\\`$(){}<>|&;#\n\r\t \0\x1b\x7f\u202e\u2066\u200f\ud800\udcff\U0001f600é=~*?[]!-az1")
)
repeated_text = st.builds(
    lambda part, times, end: (part * times + end)[:LONGEST],
    st.sampled_from(PIECES),
    st.integers(1, 3_000),
    odd_text,
)
texts = st.one_of(any_text, shell_text, spaced_text, odd_text, repeated_text)

STRICT = Validator(("strict",))
LENIENT = Validator(allow_substitution=True)


@given(texts)
@settings(max_examples=400)
def test_any_text_gets_one_verdict(text: str) -> None:
    for judge, rules, lenient in ((STRICT, ("strict",), False), (LENIENT, None, True)):
        verdict = judge.line(text)
        must_be_sound(verdict, len(text))
        fresh = Validator(rules) if rules else Validator(allow_substitution=lenient)
        assert fields(verdict) == fields(judge.line(text)) == fields(fresh.line(text))


@given(texts)
@settings(max_examples=200)
def test_strict_without_substitutions_allows_nothing_that_the_default_refuses(text: str) -> None:
    if STRICT.line(text).allowed:
        assert LENIENT.line(text).allowed


@given(st.lists(st.one_of(odd_text, spaced_text, st.sampled_from(_WATCHED.split())), max_size=40))
@settings(max_examples=200)
def test_any_words_get_one_verdict(words: list[str]) -> None:
    verdict = STRICT.words(words)
    must_be_sound(verdict)
    assert (
        fields(verdict) == fields(STRICT.words(words)) == fields(Validator(("strict",)).words(tuple(words)))
    )


harmless_text = shell_text.filter(lambda text: "\r" not in text)


@given(harmless_text)
@settings(max_examples=200)
def test_quoted_text_is_only_text(text: str) -> None:
    for line in (
        f"echo {quote(text)}",
        f"git commit -m {quote(text)}",
        f"x={quote(text)}",
        f"grep -e {quote(text)} f > g",
    ):
        assert STRICT.line(line).allowed, STRICT.line(line)
    assert STRICT.words(("echo", text)).allowed
    assert STRICT.words(("git", "commit", "-m", text)).allowed


@given(harmless_text)
@settings(max_examples=200)
def test_a_quoted_document_is_only_text(text: str) -> None:
    line = f"cat > f <<'ARREA_END' && ls\n{text}\nARREA_END\n"
    assert STRICT.line(line).allowed, STRICT.line(line)


@pytest.mark.parametrize(
    "words", [(), ("",), ("", "x"), ("\0",), ("ls", "\0"), ("ls", "\udcff"), ("-",), ("--",)]
)
def test_odd_words(words: Sequence[str]) -> None:
    must_be_sound(Validator().words(words))
