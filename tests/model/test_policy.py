"""Policies: their fields, what they decide, and when the next try comes."""

import copy
import math
import pickle
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arrea import Policy, policies
from arrea._model import errors
from arrea._model.ending import Raised
from arrea._model.errors import InvalidOption, TaskError
from arrea._model.policy import (
    ASK_ON_ERROR,
    ASK_RETRY_ON,
    CONTINUE,
    FIELDS,
    NAMED,
    RETRIED_CODES,
    STOP,
    Retry,
    decide,
    decide_answered,
    parse_policy,
)

EXIT_3 = errors.ExitStatus("task 0 (x)", 3)
CRASH = errors.KilledBySignal("task 0 (x)", 11)
TIMEOUT = errors.TimedOut("task 0 (x)", 50.0)
WARNED = errors.WarningFailed("task 0 (x)", "warned: careful")
RAISED = errors.FunctionFailed("task 0 (x)", Raised(KeyError("a"), "KeyError", "'a'", ""))
TEXTS_ONLY = errors.FunctionFailed("task 0 (x)", Raised(None, "KeyError", "'a'", ""))
DIED = errors.WorkerCrashed("task 0 (x)", 9, None)
LEFT = errors.WorkerCrashed("task 0 (x)", None, 3)


def ask(*_: object) -> str:
    raise AssertionError("a decision calls no function of the user")


async def asynchronous(*_: object) -> str:
    return "retry"


# ── the decision ──────────────────────────────────────────────────────────────────────────────────

# policy fields, error, retries so far, retries that the batch has left: what is decided
DECISIONS: list[tuple[dict[str, Any], TaskError, int, float, object]] = [
    ({}, EXIT_3, 0, math.inf, "retry"),
    ({}, EXIT_3, 2, math.inf, "retry"),
    ({}, EXIT_3, 3, math.inf, CONTINUE),
    ({}, CRASH, 0, math.inf, "retry"),
    ({}, TIMEOUT, 0, math.inf, "retry"),
    ({}, WARNED, 0, math.inf, "retry"),
    ({}, EXIT_3, 0, 1, "retry"),
    ({}, EXIT_3, 0, 0, CONTINUE),
    ({"max_retries": 0}, EXIT_3, 0, math.inf, CONTINUE),
    ({"max_retries": 10**9}, EXIT_3, 10**9 - 1, math.inf, "retry"),
    ({"on_error": "stop"}, EXIT_3, 0, math.inf, STOP),
    ({"on_error": "continue"}, EXIT_3, 0, math.inf, CONTINUE),
    ({"on_error": "stop"}, TIMEOUT, 0, math.inf, "retry"),
    ({"on_timeout": "stop"}, TIMEOUT, 0, math.inf, STOP),
    ({"on_timeout": "continue"}, TIMEOUT, 0, math.inf, CONTINUE),
    ({"on_timeout": "stop"}, EXIT_3, 0, math.inf, "retry"),
    ({"on_error": ask}, EXIT_3, 0, math.inf, ASK_ON_ERROR),
    ({"on_error": ask}, EXIT_3, 99, 0, ASK_ON_ERROR),
    ({"on_error": ask}, TIMEOUT, 0, math.inf, "retry"),
    ({"retry_on": ask}, EXIT_3, 0, math.inf, ASK_RETRY_ON),
    ({"retry_on": ask}, EXIT_3, 3, math.inf, CONTINUE),
    ({"retry_on": ask}, EXIT_3, 0, 0, CONTINUE),
    ({"retry_on": ask, "on_error": "stop"}, EXIT_3, 0, math.inf, STOP),
    ({"retry_on": 3}, EXIT_3, 0, math.inf, "retry"),
    ({"retry_on": [4, 5]}, EXIT_3, 0, math.inf, CONTINUE),
    ({"retry_on": {3, 4}}, CRASH, 0, math.inf, CONTINUE),
    ({"retry_on": "SIGSEGV"}, CRASH, 0, math.inf, "retry"),
    ({"retry_on": "SIGKILL"}, CRASH, 0, math.inf, CONTINUE),
    ({"retry_on": "timeout"}, TIMEOUT, 0, math.inf, "retry"),
    ({"retry_on": "timeout"}, EXIT_3, 0, math.inf, CONTINUE),
    ({"retry_on": ("exit_status", "timeout")}, EXIT_3, 0, math.inf, "retry"),
    ({"retry_on": errors.ExitStatus}, EXIT_3, 0, math.inf, "retry"),
    ({"retry_on": TaskError}, CRASH, 0, math.inf, "retry"),
    ({"retry_on": OSError}, EXIT_3, 0, math.inf, CONTINUE),
    ({"retry_on": []}, EXIT_3, 0, math.inf, CONTINUE),
    ({"retry_on": LookupError}, RAISED, 0, math.inf, "retry"),
    ({"retry_on": ValueError}, RAISED, 0, math.inf, CONTINUE),
    ({"retry_on": LookupError}, TEXTS_ONLY, 0, math.inf, CONTINUE),
    ({"retry_on": "exception"}, TEXTS_ONLY, 0, math.inf, "retry"),
    ({"retry_on": "exception"}, DIED, 0, math.inf, CONTINUE),
    ({"retry_on": "worker_crashed"}, DIED, 0, math.inf, "retry"),
    ({"retry_on": "SIGKILL"}, DIED, 0, math.inf, "retry"),
    ({"retry_on": 3}, DIED, 0, math.inf, CONTINUE),
    ({"retry_on": 3}, LEFT, 0, math.inf, "retry"),
]


@pytest.mark.parametrize(("fields", "error", "retries", "left", "decision"), DECISIONS)
def test_decide(fields: Any, error: TaskError, retries: int, left: float, decision: object) -> None:
    found = decide(Policy(**fields), error, retries, left, 0.5)
    if decision == "retry":
        assert isinstance(found, Retry) and found.delay_ms == 1000.0
    else:
        assert found is decision


@pytest.mark.parametrize(
    ("question", "answer", "left", "decision"),
    [
        ("on_error", "retry", math.inf, "retry"),
        ("on_error", "retry", 0, CONTINUE),
        ("on_error", "stop", 0, STOP),
        ("on_error", "continue", 0, CONTINUE),
        ("on_error", "banana", math.inf, None),
        ("on_error", "", math.inf, None),
        ("retry_on", True, math.inf, "retry"),
        ("retry_on", False, math.inf, CONTINUE),
        ("retry_on", True, 0, CONTINUE),
    ],
)
def test_decide_answered(question: str, answer: object, left: float, decision: object) -> None:
    found = decide_answered(Policy(max_retries=0), question, answer, 7, left, 0.5)
    assert isinstance(found, Retry) if decision == "retry" else found is decision


shares = st.floats(0, 1)
delays = st.floats(0, 10**9)


@given(delays, shares, shares, st.integers(0, 10**6))
def test_constant_delay_is_within_its_jitter(delay: float, jitter: float, chance: float, count: int) -> None:
    found = Policy(retry_delay=delay, jitter=jitter).delay_ms(count, chance)
    assert delay * (1 - jitter) * 0.999 <= found <= delay * (1 + jitter) * 1.001


@given(delays, shares, shares, st.integers(0, 10**6), delays)
def test_exponential_delay_is_within_its_limit(
    delay: float, jitter: float, chance: float, count: int, longest: float
) -> None:
    policy = Policy(retry_delay=delay, backoff="exponential", jitter=jitter, max_delay=longest)
    found = policy.delay_ms(count, chance)
    assert 0 <= found <= longest
    doubled = min(delay * 2.0 ** min(count, 64), longest)
    assert doubled * (1 - jitter) * 0.999 <= found


@given(delays, st.integers(0, 100))
def test_exponential_delay_never_shrinks(delay: float, count: int) -> None:
    policy = Policy(retry_delay=delay, backoff="exponential")
    assert policy.delay_ms(count, 0.5) <= policy.delay_ms(count + 1, 0.5)


def test_delays_in_plain_numbers() -> None:
    policy = Policy(retry_delay="2s", backoff="exponential", max_delay="10s")
    assert [policy.delay_ms(count, 0.5) for count in range(5)] == [2000, 4000, 8000, 10_000, 10_000]
    policy = Policy(retry_delay=100, jitter=0.5)
    assert [policy.delay_ms(0, chance) for chance in (0.0, 0.5, 1.0)] == [50, 100, 150]
    assert Policy(retry_delay="2m").delay_ms(5, 0.5) == 120_000, (
        "max_delay bounds the doubling, not what was asked for"
    )


@given(st.integers(1, 10**6), st.floats(0.001, 1))
def test_failures_allowed(total: int, part: float) -> None:
    assert Policy().failures_allowed(total) is None
    assert Policy(max_failures=7).failures_allowed(total) == 7
    assert 0 < (Policy(max_failures=part).failures_allowed(total) or 0) <= total


@given(st.integers(0, 20), st.lists(st.sampled_from([EXIT_3, CRASH, TIMEOUT]), min_size=30, max_size=30))
def test_a_task_is_tried_at_most_once_more_than_its_retries(retries: int, failures: list[TaskError]) -> None:
    policy, attempts = Policy(max_retries=retries), 0
    for error in failures:
        attempts += 1
        if not isinstance(decide(policy, error, attempts - 1, math.inf, 0.5), Retry):
            break
    assert attempts == 1 + retries


# ── fields ────────────────────────────────────────────────────────────────────────────────────────


def test_defaults() -> None:
    assert {name: getattr(Policy(), name) for name in FIELDS} == {
        "on_error": "retry",
        "on_warning": "log",
        "on_timeout": "retry",
        "max_retries": 3,
        "retry_delay": 1000.0,
        "timeout": 30_000.0,
        "backoff": "constant",
        "jitter": 0.0,
        "max_delay": 60_000.0,
        "retry_on": None,
        "total_retries": None,
        "on_stop": "finish",
        "max_failures": None,
    }


COUNTS: list[Any] = [-1, 1.0, "3", True, math.nan, math.inf, 10**400, 10**5000]
DURATIONS: list[Any] = [-1, math.nan, math.inf, True, "5 parsecs", "", "1e3", 10**400, 1e300, [5]]
WRONG_FIELDS: dict[str, list[Any]] = {
    "on_error": [asynchronous, "explode", "", "Retry", None, 5, True, b"retry", ["retry"]],
    "on_warning": ["retry", "", None, 5, ask],
    "on_timeout": ["explode", "", None, 5, ask],
    "max_retries": [*COUNTS, None],
    "retry_delay": [*DURATIONS, None, "none"],
    "timeout": [*DURATIONS, 0, "0s"],
    "backoff": ["linear", "", None, 2, True],
    "jitter": [-0.1, 1.1, math.nan, math.inf, "0.5", True, None, 10**5000],
    "max_delay": [*DURATIONS, None, "none"],
    "retry_on": [
        *(
            asynchronous,
            True,
            1.5,
            -1,
            256,
            10**5000,
            b"timeout",
            object(),
            {"timeout": 1},
            [None],
            [[3]],
            [ask],
            int,
        ),
        *(
            "timeuot",
            "",
            "SIGSEG",
            "sigsegv",
            "cancelled",
            "deadline",
            "not_started",
            "signal x",
            ["timeout", "x"],
        ),
    ],
    "total_retries": COUNTS,
    "on_stop": ["explode", "", None, 5, True],
    "max_failures": [
        *(0, -1, 0.0, 1.5, -0.5, True, math.nan, math.inf, 10**400, 10**5000, [1]),
        *("", "%", "0%", "101%", "-5%", "nan%", "inf%", "many", "1_0", "\uff15%", "9" * 5000),
    ],
}


@pytest.mark.parametrize("field", FIELDS)
def test_wrong_values_of_a_field(field: str) -> None:
    for number, value in enumerate(WRONG_FIELDS[field]):
        for make in (
            lambda: Policy(**{field: value}),  # noqa: B023
            lambda: Policy().replace(**{field: value}),  # noqa: B023
            lambda: parse_policy({field: value}),  # noqa: B023
        ):
            with pytest.raises(InvalidOption) as caught:
                make()
            assert caught.value.option == field, number
            assert str(caught.value).startswith(field) and len(str(caught.value)) < 300, number


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("on_error", "explode", "on_error must be 'retry', 'stop' or 'continue', not 'explode'"),
        ("on_stop", "kil", "on_stop must be 'finish' or 'kill', not 'kil'; did you mean 'kill'?"),
        ("max_retries", -1, "max_retries must be from 0 to 1000000000, not -1"),
        ("max_failures", 1.5, "max_failures as a share is above 0 and at most 1, not 1.5"),
        ("max_failures", "many", "max_failures is a number or a share such as \"10%\", not 'many'"),
        (
            "retry_on",
            300,
            "retry_on takes exit codes (0 to 255), signal names, error codes, exception types or a function, not 300",
        ),
        (
            "retry_on",
            "timeuot",
            "retry_on: 'timeuot' is no signal's name, and no error code that can be retried ('exit_status', "
            "'killed_by_signal', 'timeout', 'spawn_failed', 'status_lost', 'warning', 'exception', 'worker_crashed' or "
            "'not_picklable'); did you mean 'timeout'?",
        ),
    ],
)
def test_messages_of_wrong_fields(field: str, value: Any, message: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        Policy(**{field: value})
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("field", "value", "kept"),
    [
        ("max_failures", "10%", 0.1),
        ("max_failures", "5", 5),
        ("max_failures", 1.0, 1.0),
        ("max_failures", 0.5, 0.5),
        ("retry_on", "timeout", ("timeout",)),
        ("retry_on", ["SIGSEGV", 3, OSError, "signal 40"], ("SIGSEGV", 3, OSError, "signal 40")),
        ("timeout", None, None),
        ("timeout", "none", None),
        ("retry_delay", 0, 0.0),
        ("max_delay", "2m", 120_000.0),
        ("jitter", 1, 1.0),
    ],
)
def test_right_values(field: str, value: Any, kept: object) -> None:
    assert getattr(Policy(**{field: value}), field) == kept


def test_codes_that_can_be_retried_exist() -> None:
    codes = {
        error.code
        for error in vars(errors).values()
        if isinstance(error, type) and issubclass(error, TaskError)
    }
    assert set(RETRIED_CODES) <= codes


# ── as a value ────────────────────────────────────────────────────────────────────────────────────


def test_policy_is_immutable() -> None:
    with pytest.raises(AttributeError, match=r"use policy.replace\(timeout=...\)"):
        Policy().timeout = 5  # type: ignore[misc]
    with pytest.raises(AttributeError):
        del Policy().timeout


def test_policy_is_a_value() -> None:
    policy = Policy(on_error="stop", max_retries=5, retry_on=("timeout",), max_failures="10%")
    for other in (
        pickle.loads(pickle.dumps(policy)),
        copy.copy(policy),
        copy.deepcopy(policy),
        policy.replace(),
    ):
        assert other == policy and hash(other) == hash(policy)
    assert policy != Policy() and policy != "stop"
    assert repr(policy) == "Policy(on_error='stop', max_retries=5, retry_on=('timeout',), max_failures=0.1)"
    assert eval(repr(policy), {"Policy": Policy}) == policy
    assert repr(Policy()) == "Policy()"


def test_names() -> None:
    assert list(NAMED) == ["retry", "stop", "continue", "strict", "tolerant", "once"]
    assert parse_policy("retry") == Policy() == policies.default()
    assert parse_policy("strict") == policies.strict() == Policy("stop", on_timeout="stop", max_retries=0)
    assert parse_policy("tolerant") == policies.tolerant() == Policy(max_retries=10, retry_delay=2000)
    assert parse_policy("once").max_retries == 0
    assert policies.tolerant(max_retries=2, retry_delay="1s", jitter=0.5) == Policy(max_retries=2, jitter=0.5)
    assert policies.custom(ask, timeout=5) == Policy(on_error=ask, timeout=5)


@pytest.mark.parametrize("name", list(NAMED))
def test_name_says_what_happens_whatever_the_base(name: str) -> None:
    for around in ("continue", "stop"):
        base = Policy(on_error=around, on_timeout=around, max_retries=0)
        found, plain = parse_policy(name, base), parse_policy(name)
        assert (found.on_error, found.on_timeout) == (plain.on_error, plain.on_timeout)


@pytest.mark.parametrize("mapping", [{"max_retries": 7}, MappingProxyType({"max_retries": 7})])
def test_mapping(mapping: Any) -> None:
    assert parse_policy(mapping) == Policy(max_retries=7)
    assert parse_policy(mapping, Policy(retry_delay=5)) == Policy(max_retries=7, retry_delay=5)
    assert parse_policy({}) == Policy()


@pytest.mark.parametrize("value", [None, 5, b"retry", ["retry"], ask, dict, object(), ("a", 1)])
def test_not_a_policy(value: object) -> None:
    with pytest.raises(
        InvalidOption, match=r"^policy must be a Policy, a name or a mapping of its fields, not "
    ):
        parse_policy(value)


@pytest.mark.parametrize("mapping", [{"max_retires": 1}, {5: 1}, {None: 1}, {("a",): 1}])
def test_mapping_with_unknown_fields(mapping: Any) -> None:
    with pytest.raises(InvalidOption, match=r"^unknown policy field "):
        parse_policy(mapping)
