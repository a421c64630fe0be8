"""What becomes of a line on stderr that warns, by the policy's `on_warning`, with real commands."""

import pytest

import arrea
from tests.support import wait_until

WARNS = "echo 'tool: Warning: disk nearly full' >&2; echo quiet >&2"
LINE = "tool: Warning: disk nearly full"


def run(action: str, command: str = WARNS) -> arrea.Result:
    return arrea.execute(command, policy={"on_warning": action, "on_error": "continue"})


@pytest.mark.parametrize("action", ["log", "notify"])
def test_it_is_written_to_the_log_with_the_task(action: str, caplog: pytest.LogCaptureFixture) -> None:
    result = run(action)
    assert (result.success, result.warnings) == (True, (LINE,))
    assert wait_until(lambda: LINE in caplog.text)
    assert "task 0 (" in caplog.text


def test_continue_only_records_it(caplog: pytest.LogCaptureFixture) -> None:
    assert run("continue").warnings == (LINE,)
    assert caplog.text == ""


def test_notify_also_sends_an_event() -> None:
    with arrea.subscribe(types=["warning", "finished"]) as events:
        run("notify")
        assert [event.type for _, event in zip(range(2), events, strict=False)] == ["warning", "finished"]


def test_a_higher_log_level_keeps_it_out_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with arrea.Engine(log_level="error") as engine:
        engine.execute(WARNS, policy={"on_warning": "log"})
    assert caplog.text == ""


def test_promoted_it_is_the_tasks_error() -> None:
    result = run("promote_to_error")
    assert result.error is not None
    assert (result.success, result.error.code, result.data and result.data.exit_code) == (False, "warning", 0)
    assert LINE in str(result.error)


def test_a_command_that_fails_has_no_warnings() -> None:
    assert run("log", WARNS + "; exit 3").warnings == ()


@pytest.mark.parametrize(
    ("line", "warns"),
    [
        ("warning: x", True),
        ("WARNING x", True),
        ("  Warning", True),
        ("cc: warning: unused", True),
        ("no warning here", False),
        ("two words: warning", False),
        ("forewarning", False),
    ],
)
def test_what_a_warning_is(line: str, warns: bool) -> None:
    assert bool(run("continue", f"echo '{line}' >&2").warnings) == warns
