"""What the engine tells, and what a warning does."""

import pytest

from arrea._engine.monitor import Monitor
from tests.engine.bench import Bench, cancel, command, exits, spawned, submit

DONE = ["progress", "result", "finished"]
WARNS = exits("0/1", warnings=("warning: old",))


def test_the_events_of_a_batch() -> None:
    bench = Bench(max_workers=1)
    bench.step(0, submit(2, timeout=50, kill_grace_ms=5, on_error="retry", retry_delay=10))
    bench.step(1, spawned("0/1"), exits("0/1", code=1))
    bench.step(11, spawned("1/1"))
    bench.step(61)
    bench.step(66)
    bench.step(67, exits("1/1", signal=9))
    bench.step(68, spawned("0/2"), exits("0/2"))
    told = [(event.type, event.index, event.at) for event in bench.log.of_batch(1)]
    assert told == [
        ("batch_started", None, 0),
        ("worker_started", 0, 1),
        ("retry", 0, 1),
        ("worker_started", 1, 11),
        ("timeout", 1, 61),
        ("killed", 1, 66),
        ("error", 1, 67),
        ("batch_progress", None, 67),
        ("progress", 0, 68),
        ("result", 0, 68),
        ("finished", 0, 68),
        ("batch_progress", None, 68),
        ("batch_finished", None, 68),
    ]
    assert [event.sequence for event in bench.log.events] == list(range(1, 14))


def test_what_was_never_started_has_no_events() -> None:
    bench = Bench(max_workers=1)
    bench.step(0, submit([command(), command(), command(refused=True)]))
    bench.step(1, spawned("0/1"), cancel(hard=True))
    bench.step(2, exits("0/1", signal=9))
    killed = ["killed", "batch_progress", "error", "batch_progress"]
    told = ["batch_started", "worker_started", *killed, "batch_finished"]
    assert bench.log.types(1) == told
    assert bench.log.events[-1].fields["not_started"] == [1, 2]


@pytest.mark.parametrize(
    ("on_warning", "effects", "events"),
    [
        ("log", "0 succeeds", ["worker_started", *DONE]),
        ("notify", "0 succeeds", ["worker_started", "warning", *DONE]),
        ("continue", "0 succeeds", ["worker_started", *DONE]),
        ("promote_to_error", "0 warning", ["worker_started", "error"]),
    ],
)
def test_warnings(on_warning: str, effects: str, events: list[str]) -> None:
    bench = Bench()
    bench.step(0, submit(on_warning=on_warning))
    told = bench.step(1, spawned("0/1"), WARNS)
    assert effects in told and ("log warning: old" in told) == (on_warning in ("log", "notify"))
    assert bench.log.types(1, 0) == events
    assert bench.outcomes[0].warnings == ("warning: old",)


def test_a_promoted_warning_is_retried_like_any_failure() -> None:
    bench = Bench()
    bench.step(0, submit(on_warning="promote_to_error", on_error="retry", retry_delay=0))
    assert bench.step(1, spawned("0/1"), WARNS) == ["spawn 0/2"]


def test_the_monitor_counts_tasks() -> None:
    bench = Bench(max_workers=1)
    monitor = Monitor(bench.leader.registry)
    step = bench.leader.step
    monitor.observe(step(0, [submit(3, on_error="retry", retry_delay=0, max_retries=1)]))
    monitor.observe(step(1, [spawned("0/1"), exits("0/1", code=1)]))
    monitor.observe(step(2, [spawned("0/2"), exits("0/2", code=1)]))
    monitor.observe(step(3, [spawned("1/1"), exits("1/1")]))
    monitor.observe(step(4, [spawned("2/1")]))
    assert (monitor.total_workers, monitor.active_workers) == (3, 1)
    assert (monitor.completed_tasks, monitor.failed_tasks, monitor.retried_tasks) == (1, 1, 1)
