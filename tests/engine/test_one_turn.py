"""What happens in one turn happens in an order that can be told from outside."""

from tests.engine.bench import Bench, cancel, command, exits, feed, spawned, submit


def test_a_process_that_ended_by_itself_was_not_killed_for_another_that_failed_in_the_same_turn() -> None:
    bench = Bench()
    bench.step(0, submit(2, on_error="stop", on_stop="kill"))
    bench.step(1, spawned("0/1"), spawned("1/1"))
    assert bench.step(2, exits("0/1", 3), exits("1/1", 0)) == ["0 exit_status", "1 succeeds", "close 1: stop"]


def test_a_process_that_ended_by_itself_was_not_cancelled_in_the_same_turn() -> None:
    bench = Bench()
    bench.step(0, submit(1))
    bench.step(1, spawned("0/1"))
    assert bench.step(2, cancel(), exits("0/1", 0)) == ["0 succeeds", "close 1: all done"]


def test_a_stop_by_the_last_task_is_told_like_any_other() -> None:
    bench = Bench()
    bench.step(0, submit(1, on_error="stop"))
    bench.step(1, spawned("0/1"))
    assert bench.step(2, exits("0/1", 3)) == ["0 exit_status", "close 1: stop"]


def test_a_refused_command_stops_a_batch_that_stops_at_failures() -> None:
    bench = Bench()
    strict = submit(0, on_error="stop", open=True)
    bench.step(0, strict)
    refused = feed(2)
    refused.commands[0].refusal = command(refused=True).refusal
    refused.commands[0].settings.policy = strict.plan.policy
    assert bench.step(1, refused) == ["0 empty_command", "abandon 1", "close 1: stop"]
