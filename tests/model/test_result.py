"""What callers get back: read-only views, from real commands."""

import datetime
import os
from collections.abc import Sequence
from typing import Any

import pytest

import arrea
from arrea import policies
from arrea._model.ending import Ending

FAILING = ["echo a", "echo oops >&2; exit 3", "kill -SEGV $$", "echo d"]


@pytest.fixture(scope="module")
def batch() -> arrea.BatchResult:
    return arrea.run(FAILING, policy="continue", workers=2)


@pytest.fixture(scope="module")
def result(batch: arrea.BatchResult) -> arrea.Result:
    return batch[1]


def test_success() -> None:
    result = arrea.execute("echo out; echo err >&2", label="mine")
    assert result and result.success and result.error is None and result.failures == []
    assert (result.label, result.index, result.attempts, result.command) == (
        "mine",
        0,
        1,
        "echo out; echo err >&2",
    )
    assert result.worker_id == f"{result.batch_id}:0"
    output = result.unwrap()
    assert (output.stdout, output.stderr, output.exit_code, output.signal) == ("out\n", "err\n", 0, None)
    assert (output.stdout_bytes, output.stderr_bytes) == (b"out\n", b"err\n")
    assert (output.stdout_total_bytes, output.stderr_total_bytes, output.truncated) == (4, 4, False)
    assert (list(output.stdout_chunks()), list(output.stderr_chunks())) == ([b"out\n"], [b"err\n"])
    assert output.pid > 1 and not output.pipe_left_open and output.signal_name is None
    assert 0 < output.duration_ms <= result.duration_ms + 1


def test_failure(result: arrea.Result) -> None:
    error: Any = result.error
    assert not result and not result.success and result.failures == [error]
    assert (error.code, error.exit_code, error.task) == ("exit_status", 3, "task 1 (echo oops >&2; exit 3)")
    assert result.data is not None and result.data.stderr == "oops\n"
    with pytest.raises(arrea.TaskError) as caught:
        result.unwrap()
    assert caught.value is error


def test_death_by_a_signal(batch: arrea.BatchResult) -> None:
    output, error = batch[2].data, batch[2].error
    assert output is not None and isinstance(error, arrea.TaskError)
    assert (output.exit_code, output.signal, output.signal_name, error.code) == (
        None,
        11,
        "SIGSEGV",
        "killed_by_signal",
    )


def test_times() -> None:
    before = datetime.datetime.now(datetime.UTC)
    first, second = arrea.run(["sleep 0.1", "true"], workers=1)
    assert first.started_at is not None and first.started_at.tzinfo is datetime.UTC
    tolerance = datetime.timedelta(milliseconds=50)
    assert before - tolerance <= first.started_at <= datetime.datetime.now(datetime.UTC)
    assert first.duration_ms >= 100 and second.queued_ms >= 100 > first.queued_ms


def test_never_started() -> None:
    never = arrea.run(["false", "true"], policy="strict", workers=1)[1]
    assert (never.data, never.usage, never.started_at, never.attempts, never.duration_ms) == (
        None,
        None,
        None,
        0,
        0.0,
    )
    assert never.error is not None and never.error.code == "not_started"


def test_usage() -> None:
    usage = arrea.execute("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done").usage
    assert usage is not None and usage.user_ms + usage.system_ms > 0
    assert usage.max_rss_kib is None or usage.max_rss_kib > 100
    assert usage.rusage.ru_utime * 1000 == usage.user_ms
    assert repr(usage).startswith("Usage(user_ms=")


def test_warnings() -> None:
    result = arrea.execute("echo 'warning: careful' >&2; echo fine >&2; echo 'ld: Warning: odd' >&2")
    assert result.success and result.warnings == ("warning: careful", "ld: Warning: odd")


def test_bytes_that_are_no_text() -> None:
    output = arrea.execute(r"printf 'a\377\303\244'").unwrap()
    assert (output.stdout_bytes, output.stdout) == (b"a\xff\xc3\xa4", "a\ufffdä")


def test_truncated_output_is_head_and_tail() -> None:
    output = arrea.execute("printf 0123456789", max_output_bytes=4).unwrap()
    assert output.truncated and output.stdout_total_bytes == 10
    assert output.stdout_bytes.startswith(b"01") and output.stdout_bytes.endswith(b"89")


# ── read-only ─────────────────────────────────────────────────────────────────────────────────────


def test_views_are_read_only(batch: arrea.BatchResult, result: arrea.Result) -> None:
    for view, names in [
        (result, ["success", "data", "error", "label", "batch_id", "anything"]),
        (result.data, ["stdout", "exit_code", "anything"]),
        (result.usage, ["user_ms", "anything"]),
        (batch, ["results", "stats", "batch_id", "anything"]),
        (batch.stats, ["failed", "anything"]),
    ]:
        for name in names:
            with pytest.raises(AttributeError):
                setattr(view, name, 5)
            with pytest.raises(AttributeError):
                delattr(view, name)


def test_lists_of_a_result_are_copies(batch: arrea.BatchResult, result: arrea.Result) -> None:
    result.failures.clear()
    batch.failures.clear()
    batch.data.clear()
    assert len(result.failures) == 1 and len(batch.failures) == 2 and len(batch.data) == 4


def test_two_views_of_the_same_are_equal(batch: arrea.BatchResult, result: arrea.Result) -> None:
    assert result.data == result.data and hash(result.data) == hash(result.data)
    assert result.usage == result.usage
    assert result.data != batch[0].data and result.data != result.usage and result.data != 5


def test_reprs(batch: arrea.BatchResult, result: arrea.Result) -> None:
    assert repr(batch[0]) == f"<Result {batch.batch_id}:0 success>"
    assert repr(result) == (f"<Result {batch.batch_id}:1 error=task 1 (echo oops >&2; exit 3): exit code 3>")
    assert (
        repr(result.data) == "Output(exit_code=3, signal=None, stdout='', stderr='oops\\n', truncated=False)"
    )
    assert repr(batch).startswith(
        f"<BatchResult {batch.batch_id} BatchStats(total=4, succeeded=2, failed=2, "
    )


# ── batches ───────────────────────────────────────────────────────────────────────────────────────


def test_batch_is_a_sequence_of_its_results(batch: arrea.BatchResult) -> None:
    assert isinstance(batch, Sequence)
    assert len(batch) == 4 and list(batch) == batch.results and batch[-1] is batch.results[3]
    assert [result.index for result in reversed(batch)] == [3, 2, 1, 0]
    assert batch[1:3] == batch.results[1:3]
    assert batch[2] in batch and batch.index(batch[2]) == 2 and batch.count(batch[2]) == 1
    with pytest.raises(IndexError):
        batch[4]
    first, *_, last = batch
    assert (first.index, last.index) == (0, 3)


def test_batch_knows_what_failed(batch: arrea.BatchResult) -> None:
    assert not batch and not batch.success
    assert [result.index for result in batch.failures] == [1, 2] and batch.not_started == []
    assert [output.stdout if output else None for output in batch.data] == ["a\n", "", "", "d\n"]
    stats = batch.stats
    assert (stats.total, stats.succeeded, stats.failed, stats.not_started, stats.retried) == (4, 2, 2, 0, 0)
    assert stats.duration_ms > 0 and batch.stopped_by is None


def test_check_raises_all_errors_together(batch: arrea.BatchResult) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        arrea.run(FAILING, policy="continue", check=True)
    assert caught.value.message == "2 of 4 tasks failed"
    assert [error.code for error in caught.value.exceptions] == ["exit_status", "killed_by_signal"]  # type: ignore[attr-defined]
    with pytest.raises(ExceptionGroup, match="2 of 4 tasks failed"):
        batch.unwrap()
    try:
        batch.raise_failures()
    except* arrea.TaskError as group:
        assert len(group.exceptions) == 2


def test_check_of_a_success() -> None:
    assert [output.stdout for output in arrea.run(["echo a"], check=True).unwrap()] == ["a\n"]
    assert arrea.execute("true", check=True).success


def test_stopped_batch() -> None:
    results = arrea.run(["false", "true", "true"], policy="strict", workers=1)
    assert results.stopped_by == "stop"
    assert [result.index for result in results.not_started] == [1, 2]
    assert [result.index for result in results.failures] == [0, 1, 2]
    assert (results.stats.failed, results.stats.not_started) == (1, 2)


def test_retried_attempts_are_counted() -> None:
    results = arrea.run(["false", "true"], policy=policies.tolerant(max_retries=2, retry_delay=0))
    assert (results.stats.retried, results[0].attempts, results[1].attempts) == (2, 3, 1)


# ── how a process ended ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("status", "exit_code", "signal"),
    [
        (0, 0, None),
        (3 << 8, 3, None),
        (255 << 8, 255, None),
        (9, None, 9),
        (11 | 0x80, None, 11),
        (None, None, None),
    ],
)
def test_wait_status(status: int | None, exit_code: int | None, signal: int | None) -> None:
    ending = Ending(1, status, 1.0)
    assert (ending.exit_code, ending.signal) == (exit_code, signal)
    if status is not None:
        assert os.waitstatus_to_exitcode(status) == (exit_code if signal is None else -signal)
