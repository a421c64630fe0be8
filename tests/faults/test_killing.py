"""The kill ladder against programs that don't want to die: whatever was started is dead when the result is there."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import arrea
from arrea import Engine, Result
from tests.faults.conftest import GRACE_MS, end_process
from tests.support import marked_survivors, process_stat, wait_until

T_MS = 200
AT_MOST_S = (T_MS + GRACE_MS) / 1000 + 1.0


def time_out(
    engine: Engine, mark: str, script: str, *, shell: str = "sh", timeout: int = T_MS, **more: Any
) -> Result:
    """Runs the script until its timeout. At once after the result nothing of it may be alive."""
    began = time.monotonic()
    result = engine.execute(script, timeout=timeout, env={"ARREA_CHAOS": mark}, shell=shell, **more)
    took = time.monotonic() - began
    assert marked_survivors(mark) == []
    assert result.error is not None and result.error.code == "timeout", result
    assert timeout / 1000 <= took < (timeout + GRACE_MS) / 1000 + 1.0
    return result


TREES = {
    "a child that ignores SIGTERM": "trap '' TERM; sleep {0} & sleep {0}",
    "a grandchild that ignores SIGTERM": "trap '' TERM; (trap '' TERM; sleep {0}) & wait",
    "a grandchild alone that ignores SIGTERM": "(trap '' TERM; sleep {0} & sleep {0}) & wait",
    "a grandchild in its own session": "setsid sleep {0} & wait",
    "a grandchild in its own session that ignores SIGTERM": "(trap '' TERM; exec setsid sleep {0}) & wait",
    "a daemon that holds stdout": "(setsid sh -c 'sleep {0} & exec sleep {0}' &) ; sleep {0}",
    "a daemon that ignores SIGTERM": "(trap '' TERM; setsid sleep {0} &) ; sleep {0}",
    "a daemon without a parent or streams": "(setsid sleep {0} <&- >&- 2>&- &) ; sleep {0}",
    "a cleared environment": "setsid env -i sleep {0} & wait",
    "a cleared environment that ignores SIGTERM": "trap '' TERM; setsid env -i sleep {0} & wait",
    "a cleared environment two sessions away": "setsid setsid sh -c 'env -i sleep {0} & wait' & sleep {0}",
    "a stopped child": "kill -STOP $$; sleep {0}",
    "a stopped child that ignores SIGTERM": "trap '' TERM; sleep {0} & kill -STOP $!; kill -STOP $$",
    "a stopped group": "sleep {0} & (sleep 0.05; kill -STOP 0) & wait; sleep {0}",
    "a stopped child in its own session": "setsid sh -c 'kill -STOP $$; sleep {0}' & wait",
}


@pytest.mark.parametrize("tree", TREES)
def test_timeout_kills(tree: str, engine: Engine, mark: str) -> None:
    time_out(engine, mark, TREES[tree].format(mark))


def test_timeout_kills_a_deep_chain_whose_middle_has_gone(engine: Engine, mark: str) -> None:
    script = f'sh -c "setsid sh -c \'setsid sh -c \\"sleep {mark} & exit\\" & exit\' & exit" ; sleep {mark}'
    time_out(engine, mark, script)


def test_timeout_kills_a_child_that_forks_on_and_on(engine: Engine, mark: str) -> None:
    time_out(engine, mark, f"trap '' TERM; while :; do sleep {mark} & sleep 0.002; done")


def test_timeout_kills_a_chain_that_hops_from_process_to_process(engine: Engine, mark: str) -> None:
    script = f"trap '' TERM; hop() {{ sleep 0.01; hop & exit; }}; hop & sleep {mark}"
    time_out(engine, mark, script, validate=False)  # it is half a fork bomb


def test_timeout_kills_daemons_that_are_started_during_the_grace(engine: Engine, mark: str) -> None:
    script = f"trap 'setsid sleep {mark} & setsid sleep {mark} & exit' TERM; sleep {mark} & wait"
    time_out(engine, mark, script)


def test_timeouts_of_many_trees_at_once(engine: Engine, mark: str) -> None:
    began = time.monotonic()
    scripts = [tree.format(mark) for tree in TREES.values()] * 4
    results = engine.run(scripts, timeout=1000, policy="continue", env={"ARREA_CHAOS": mark})
    took = time.monotonic() - began
    assert marked_survivors(mark) == []
    assert [result.error.code for result in results if result.error] == ["timeout"] * len(scripts)
    assert took < 1.0 + GRACE_MS / 1000 + 2.0


# ── the order of things ───────────────────────────────────────────────────────────────────────────


def test_sigterm_comes_first_and_sigkill_after_the_grace(engine: Engine, mark: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    script = (
        f"exec >>{log}; trap 'echo term $EPOCHREALTIME' TERM; echo start $EPOCHREALTIME\n"
        "while :; do echo beat $EPOCHREALTIME; sleep 0.01; done"
    )
    result = time_out(engine, mark, script, shell="bash")
    assert result.data is not None and result.data.signal_name == "SIGKILL"
    lines = [line.split() for line in log.read_text().splitlines() if line.count(" ") == 1]
    start, *terms = (float(at) for word, at in lines if word != "beat")
    assert len(terms) == 1
    assert 0.15 < terms[0] - start < 0.15 + 0.3
    assert GRACE_MS / 1000 - 0.1 < float(lines[-1][1]) - terms[0] < GRACE_MS / 1000 + 0.2


def test_a_child_that_obeys_sigterm_is_not_waited_for(engine: Engine, mark: str) -> None:
    with Engine(kill_grace=20_000) as patient:
        result = time_out(patient, mark, f"sleep {mark}")
    assert result.data is not None and result.data.signal_name == "SIGTERM"


def test_last_words_at_sigterm_are_kept(engine: Engine, mark: str) -> None:
    script = f"trap 'echo bye; echo sorry >&2; exit 0' TERM; echo hi; sleep {mark} & wait"
    data = time_out(engine, mark, script).data
    assert data is not None
    assert (data.stdout, data.stderr, data.exit_code) == ("hi\nbye\n", "sorry\n", 0)
    assert not data.pipe_left_open


def test_last_words_of_a_grandchild_that_outlives_its_parent_are_kept(engine: Engine, mark: str) -> None:
    script = f"(trap 'sleep 0.05; echo last; exit' TERM; echo ready; sleep {mark} & wait) & wait"
    with Engine(kill_grace=5_000) as patient:
        results = patient.run([script] * 40, timeout=500, policy="continue", env={"ARREA_CHAOS": mark})
    assert {data.stdout for data in results.data if data} == {"ready\nlast\n"}
    assert not any(data.pipe_left_open for data in results.data if data)


def test_partial_output_is_kept_at_a_timeout(engine: Engine, mark: str) -> None:
    result = time_out(engine, mark, f"trap '' TERM; echo out; echo err >&2; printf half; sleep {mark}")
    assert result.data is not None
    assert (result.data.stdout, result.data.stderr) == ("out\nhalf", "err\n")
    assert (result.data.exit_code, result.data.signal_name) == (None, "SIGKILL")


# ── what isn't killed ─────────────────────────────────────────────────────────────────────────────


def test_a_daemon_that_a_successful_command_leaves_goes_on(engine: Engine, mark: str) -> None:
    began = time.monotonic()
    result = engine.execute(f"(setsid sleep {mark} &) ; echo started", env={"ARREA_CHAOS": mark})
    took = time.monotonic() - began
    [daemon] = marked_survivors(mark)
    end_process(int(daemon.split()[0]))
    assert result.success and result.data is not None
    assert (result.data.stdout, result.data.pipe_left_open) == ("started\n", True)
    assert took < 1.0
    assert wait_until(lambda: not marked_survivors(mark))


def test_a_daemon_that_holds_no_pipe_is_not_waited_for(engine: Engine, mark: str) -> None:
    result = engine.execute(f"(setsid sleep {mark} >&- 2>&- &) ; echo started", env={"ARREA_CHAOS": mark})
    [daemon] = marked_survivors(mark)
    end_process(int(daemon.split()[0]))
    assert result.data is not None and not result.data.pipe_left_open
    assert result.duration_ms < 200
    assert wait_until(lambda: not marked_survivors(mark))


def test_a_command_that_exited_in_time_does_not_time_out_for_its_daemon(engine: Engine, mark: str) -> None:
    result = engine.execute(f"(setsid sleep {mark} &) ; echo ok", timeout=150, env={"ARREA_CHAOS": mark})
    survivors = marked_survivors(mark)
    for line in survivors:
        end_process(int(line.split()[0]))
    assert result.success and len(survivors) == 1
    assert wait_until(lambda: not marked_survivors(mark))


# ── every door leads to the same ladder ───────────────────────────────────────────────────────────


def by_deadline(engine: Engine, commands: list[str], mark: str) -> arrea.BatchResult:
    return engine.run(commands, deadline=T_MS, env={"ARREA_CHAOS": mark})


def by_cancelling(engine: Engine, commands: list[str], mark: str) -> arrea.BatchResult:
    batch = engine.submit(commands, env={"ARREA_CHAOS": mark})
    time.sleep(T_MS / 1000)
    batch.cancel()
    return batch.wait(1000 * AT_MOST_S)


def by_stopping(engine: Engine, commands: list[str], mark: str) -> arrea.BatchResult:
    policy = arrea.Policy(on_error="stop", on_stop="kill")
    failing = [f"sleep {T_MS / 1000}; exit 1"]
    return engine.run(commands + failing, policy=policy, env={"ARREA_CHAOS": mark})


def by_closing(engine: Engine, commands: list[str], mark: str) -> arrea.BatchResult:
    batch = engine.submit(commands, env={"ARREA_CHAOS": mark})
    time.sleep(T_MS / 1000)
    engine.close()
    return batch.wait(100)


@pytest.mark.parametrize("door", [by_deadline, by_cancelling, by_stopping, by_closing])
def test_every_door_kills_every_tree(
    door: Callable[[Engine, list[str], str], arrea.BatchResult], engine: Engine, mark: str
) -> None:
    began = time.monotonic()
    commands = [tree.format(mark) for tree in TREES.values()]
    results = door(engine, commands, mark)
    took = time.monotonic() - began
    assert marked_survivors(mark) == []
    codes = {result.error.code for result in results[: len(commands)] if result.error}
    assert codes == {"deadline" if door is by_deadline else "cancelled"}
    assert took < AT_MOST_S


def test_deadline_while_tasks_wait_for_their_retry(engine: Engine, mark: str) -> None:
    began = time.monotonic()
    policy = arrea.Policy(max_retries=100, retry_delay=60_000)
    commands = ["exit 3"] * 20 + [f"sleep {mark}"] * 5
    results = engine.run(commands, policy=policy, deadline=1000, env={"ARREA_CHAOS": mark})
    assert time.monotonic() - began < AT_MOST_S + 1.0
    assert {result.error.code for result in results if result.error} == {"deadline"}
    assert [result.attempts for result in results] == [1] * 25


def test_cancelling_at_once_leaves_nothing(engine: Engine, mark: str) -> None:
    for number in range(200):
        batch = engine.submit([["sleep", mark]] * 3, env={"ARREA_CHAOS": mark})
        time.sleep(number % 20 / 5000)
        batch.cancel()
        results = batch.wait(1000 * AT_MOST_S)
        assert {result.error.code for result in results if result.error} <= {"cancelled", "not_started"}
        assert len(results) == 3 and not results.success
    assert marked_survivors(mark) == []


def test_one_result_each_when_commands_end_in_the_moment_of_their_timeout(engine: Engine, mark: str) -> None:
    tasks = [arrea.Task(["sleep", "0.05"], timeout=45 + number % 40 / 4) for number in range(500)]
    results = engine.run(tasks, policy="continue", workers=50, env={"ARREA_CHAOS": mark})
    assert [result.index for result in results] == list(range(500))
    codes = [result.error.code if result.error else "success" for result in results]
    assert set(codes) <= {"success", "timeout"}
    assert [result.attempts for result in results] == [1] * 500
    assert marked_survivors(mark) == []


# ── whose process is it? ──────────────────────────────────────────────────────────────────────────


def test_pids_in_results_are_gone(engine: Engine, mark: str) -> None:
    results = engine.run([["sleep", mark]] * 10, timeout=T_MS, policy="continue", env={"ARREA_CHAOS": mark})
    pids = [data.pid for data in results.data if data]
    assert len(set(pids)) == 10
    assert [process_stat(pid) for pid in pids] == [None] * 10
    assert {data.signal for data in results.data if data} == {signal.SIGTERM}
    assert os.getpid() not in pids
