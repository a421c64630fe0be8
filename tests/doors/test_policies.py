"""Policies at every door; the functions of users in them may do what they like and harm only their task."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import arrea
from arrea import Policy, Task, policies
from tests.doors.doors import ALL_DOORS, BATCH_DOORS

at_all_doors = pytest.mark.parametrize("door", ALL_DOORS.values(), ids=list(ALL_DOORS))
at_batch_doors = pytest.mark.parametrize("door", BATCH_DOORS.values(), ids=list(BATCH_DOORS))


class NoText(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class HostileText(str):
    def __eq__(self, other: object) -> bool:
        raise RuntimeError("not comparable")

    __hash__ = str.__hash__


class Liar:
    """Says that it is text."""

    @property
    def __class__(self) -> Any:
        return str


class Unreadable:
    """Not even its class can be asked for."""

    @property
    def __class__(self) -> Any:
        raise RuntimeError("no class")


class NoTruth:
    def __bool__(self) -> bool:
        raise RuntimeError("neither true nor false")


def raising(error: BaseException) -> Callable[..., Any]:
    def raise_it(*_: Any) -> Any:
        raise error

    return raise_it


def answering(answer: Any) -> Callable[..., Any]:
    return lambda *_: answer


# What a policy's own function may do wrong, and what the error says about it.
WRONG_HANDLERS: dict[str, tuple[Callable[..., Any], str]] = {
    "raises": (raising(ValueError("boom")), "raised ValueError: boom"),
    "raises SystemExit": (raising(SystemExit(3)), "raised SystemExit: 3"),
    "raises KeyboardInterrupt": (raising(KeyboardInterrupt()), "raised KeyboardInterrupt"),
    "raises GeneratorExit": (raising(GeneratorExit()), "raised GeneratorExit"),
    "raises without a text": (raising(NoText()), "raised NoText"),
    "takes no arguments": (lambda: "retry", "raised TypeError"),
    "answers a number": (answering(5), "answered a int"),
    "answers None": (answering(None), "answered a NoneType"),
    "answers True": (answering(True), "answered a bool"),
    "answers bytes": (answering(b"retry"), "answered a bytes"),
    "answers another word": (answering("banana"), "answered 'banana', not 'retry', 'stop' or 'continue'"),
    "answers a long text": (answering("x" * 10**6), "answered 'xxxxxxxx"),
    "answers a word in capitals": (answering("RETRY"), "answered 'RETRY'"),
    "answers hostile text": (answering(HostileText("banana")), "answered 'banana'"),
    "answers a liar": (answering(Liar()), ""),
    "answers what has no class": (answering(Unreadable()), ""),
}

WRONG_PREDICATES: dict[str, tuple[Callable[..., Any], str]] = {
    "raises": (raising(ValueError("boom")), "raised ValueError: boom"),
    "raises SystemExit": (raising(SystemExit()), "raised SystemExit"),
    "raises without a text": (raising(NoText()), "raised NoText"),
    "answers neither true nor false": (answering(NoTruth()), "raised RuntimeError: neither true nor false"),
}


def check_policy_failed(result: arrea.Result, question: str, told: str) -> None:
    error: Any = result.error
    assert error.code == "exception"
    assert f"the policy's {question} " in str(error) and told in str(error), str(error)
    assert str(error).endswith(f"(asked about: task {result.index} (exit 3): exit code 3)")
    assert (error.task_error.code, error.task_error.exit_code, result.attempts) == ("exit_status", 3, 1)
    assert result.data is not None and result.data.exit_code == 3
    assert len(str(error)) < 400


@at_all_doors
def test_handler_that_goes_wrong(door: Any) -> None:
    for handler, told in WRONG_HANDLERS.values():
        for policy in (policies.custom(handler), {"on_error": handler}, Policy(on_error=handler)):
            [result] = door(["exit 3"], policy=policy)
            check_policy_failed(result, "on_error", told)


@at_all_doors
def test_predicate_that_goes_wrong(door: Any) -> None:
    for predicate, told in WRONG_PREDICATES.values():
        [result] = door(["exit 3"], policy={"retry_on": predicate, "retry_delay": 0})
        check_policy_failed(result, "retry_on", told)


@at_batch_doors
def test_others_go_on_when_a_handler_goes_wrong(door: Any) -> None:
    wrong = [Task("exit 3", policy=policies.custom(handler)) for handler, _ in WRONG_HANDLERS.values()]
    results = sorted(door([*wrong, "true"]), key=lambda result: result.index)
    assert [result.error.code for result in results if result.error] == ["exception"] * len(wrong)
    assert results[-1].success


def test_exception_of_a_handler_is_kept() -> None:
    boom = ValueError("boom")
    error: Any = arrea.execute("exit 3", policy=policies.custom(raising(boom))).error
    assert error.exception is boom and error.__cause__ is boom


def test_hostile_text_is_read_as_plain_text() -> None:
    assert arrea.execute("exit 3", policy=policies.custom(answering(HostileText("continue")))).error.code == (  # type: ignore[union-attr]
        "exit_status"
    )


def test_function_that_never_answers() -> None:
    """One batch, so that the 5 s are waited for once."""
    release = threading.Event()

    def never(*_: Any) -> str:
        release.wait(60)
        return "retry"

    started = time.monotonic()
    try:
        with arrea.Engine() as engine:
            tasks = [
                Task("exit 3", policy=policies.custom(never)),
                Task("exit 3", policy={"retry_on": never}),
                Task("exit 3", policy=policies.custom(answering("continue"))),
                "true",
            ]
            first, second, third, fourth = engine.run(tasks)
            took = time.monotonic() - started
            check_policy_failed(first, "on_error", "gave no answer within 5 s")
            check_policy_failed(second, "retry_on", "gave no answer within 5 s")
            assert third.error is not None and third.error.code == "exit_status" and fourth.success
            assert 4.9 < took < 6.5
    finally:
        release.set()


def test_answer_that_is_waited_for_can_be_cancelled() -> None:
    release = threading.Event()
    try:
        with arrea.Engine() as engine:
            asked = threading.Event()

            def never(*_: Any) -> str:
                asked.set()
                release.wait(60)
                return "retry"

            batch = engine.submit(["exit 3"], policy=policies.custom(never))
            assert asked.wait(5)
            batch.cancel()
            [result] = batch.wait(timeout="2s")
            assert result.error is not None and result.error.code == "cancelled"
    finally:
        release.set()


# ── what is right ─────────────────────────────────────────────────────────────────────────────────


@at_all_doors
def test_names_and_mappings_mean_the_same_everywhere(door: Any) -> None:
    for policy, attempts in [
        ("once", 1),
        ("stop", 1),
        ("continue", 1),
        ("strict", 1),
        ({"max_retries": 2, "retry_delay": 0}, 3),
        ({"max_retries": 0}, 1),
        ({"on_error": "continue"}, 1),
        (Policy(max_retries=1, retry_delay=0), 2),
        (policies.tolerant(max_retries=2, retry_delay=0), 3),
        ({"max_retries": 2, "retry_delay": 0, "retry_on": 3}, 3),
        ({"max_retries": 2, "retry_delay": 0, "retry_on": 4}, 1),
        ({"max_retries": 2, "retry_delay": 0, "retry_on": lambda error: error.exit_code == 3}, 3),
        ({"max_retries": 2, "retry_delay": 0, "retry_on": lambda error: False}, 1),
    ]:
        [result] = door(["exit 3"], policy=policy)
        assert (result.attempts, result.error.code) == (attempts, "exit_status"), policy


def test_name_means_the_same_whatever_the_batch_has() -> None:
    """What a Task's policy leaves open comes from the configuration, not from the policy of its batch."""
    with arrea.Engine(max_retries=2, retry_delay=0) as engine:
        for around in ("once", "stop", "continue", "strict", Policy(on_error="continue")):
            tasks = [Task("exit 3", policy="retry"), Task("exit 3", policy={"max_retries": 1})]
            assert [result.attempts for result in engine.run(tasks, policy=around)] == [3, 2]
        assert engine.execute("exit 3", policy="retry").attempts == 3
        assert engine.execute("exit 3").attempts == 1
        assert engine.run(["exit 3"])[0].attempts == 3


@at_all_doors
def test_handler_is_told_about_the_task(door: Any) -> None:
    told: list[Any] = []

    def handler(error: Any, retry_count: int, context: Any) -> str:
        told.append(
            (error.exit_code, retry_count, context.attempts, context.index, context.label, context.command)
        )
        assert context.worker_id == f"{context.batch_id}:{context.index}"
        assert context.elapsed_ms > 0
        return "retry" if retry_count < 2 else "continue"

    [result] = door(["exit 3"], policy=policies.custom(handler, retry_delay=0), label="x")
    assert result.attempts == 3
    assert told == [(3, count, count + 1, 0, "x", "exit 3") for count in range(3)]


def test_handler_may_stop_the_batch() -> None:
    """The slot is kept while it is asked: nothing starts in it meanwhile."""
    results = arrea.run(["exit 3", "true"], policy=policies.custom(answering("stop")), workers=1)
    assert [result.error.code for result in results if result.error] == ["exit_status", "not_started"]
    assert results.stopped_by == "stop"
