"""Durations: what people write becomes milliseconds, or an error that says what was expected."""

import datetime
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arrea._model.checks import shown
from arrea._model.duration import LONGEST_MS, UNITS_MS, parse_duration
from arrea._model.errors import InvalidOption

Timedelta = datetime.timedelta


@pytest.mark.parametrize(
    ("written", "milliseconds"),
    [
        (1, 1.0),
        (0.5, 0.5),
        (30_000, 30_000.0),
        ("250", 250.0),
        ("500ms", 500.0),
        ("5s", 5000.0),
        (" 5 s ", 5000.0),
        ("+5s", 5000.0),
        ("2m", 120_000.0),
        ("1.5h", 5_400_000.0),
        (".5s", 500.0),
        ("5.s", 5000.0),
        ("007s", 7000.0),
        (Timedelta(seconds=2), 2000.0),
        (Timedelta(microseconds=1), 0.001),
        (LONGEST_MS, LONGEST_MS),
        (None, None),
        ("none", None),
    ],
)
def test_what_people_write(written: object, milliseconds: float | None) -> None:
    assert parse_duration(written, "timeout") == milliseconds


@pytest.mark.parametrize("zero", [0, 0.0, "0", "0ms", "0.0h", Timedelta(0)])
def test_zero_is_a_delay_but_no_limit(zero: object) -> None:
    assert parse_duration(zero, "retry_delay", zero=True) == 0.0
    with pytest.raises(InvalidOption, match=r"^timeout must be more than 0; use None for no limit$"):
        parse_duration(zero, "timeout")


@pytest.mark.parametrize("none", [None, "none"])
def test_none_where_there_must_be_a_limit(none: object) -> None:
    with pytest.raises(InvalidOption, match=r"^kill_grace can't be none; expected milliseconds"):
        parse_duration(none, "kill_grace", none=False)


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, -1, -0.001, 1e300, 10**5000, LONGEST_MS * 1.001, "-5s"], ids=shown
)
def test_out_of_range(value: object) -> None:
    with pytest.raises(InvalidOption, match=r"^timeout is out of range: .*; expected milliseconds") as caught:
        parse_duration(value, "timeout")
    assert caught.value.option == "timeout"


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "5 parsecs",
        "1_000",
        "\uff15s",
        "5\u0663s",
        "1e3",
        "1e3s",
        "0x10",
        "1.2.3s",
        "5 5",
        "s",
        ".",
        "-",
        "5S",
        *("nan", "inf", "None", "5s5s", True, False, b"5s", [5], {}, 5j, Timedelta, len),
    ],
    ids=ascii,
)
def test_not_a_duration(value: object) -> None:
    with pytest.raises(InvalidOption, match=r"^timeout is not a duration: .*; expected milliseconds"):
        parse_duration(value, "timeout")


def test_message_is_the_same_for_all() -> None:
    with pytest.raises(InvalidOption) as caught:
        parse_duration("5 parsecs", "deadline")
    assert str(caught.value) == (
        "deadline is not a duration: '5 parsecs'; "
        'expected milliseconds, or text with a unit such as "500ms", "5s", "2m", "1.5h"'
    )


@given(st.decimals(min_value="0.001", max_value="1000", places=3), st.sampled_from(sorted(UNITS_MS)))
def test_text_is_the_number_times_its_unit(number: object, unit: str) -> None:
    expected = float(str(number)) * UNITS_MS[unit]
    assert parse_duration(f"{number}{unit}", "timeout") == expected
    assert parse_duration(f"  {number} {unit}\n", "timeout") == expected


@given(st.floats() | st.integers() | st.text() | st.timedeltas() | st.booleans() | st.binary())
def test_anything_is_a_duration_or_an_invalid_option(value: object) -> None:
    try:
        milliseconds = parse_duration(value, "timeout")
    except InvalidOption as error:
        assert error.option == "timeout" and len(str(error)) < 200
        return
    assert milliseconds is None or 0 < milliseconds <= LONGEST_MS
