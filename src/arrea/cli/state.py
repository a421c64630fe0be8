"""How things stand: what SIGUSR1 asks for, on stderr, in one piece."""

from __future__ import annotations

from arrea._model.text import describe
from arrea.cli.streams import tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from arrea._app.engine import Engine
    from arrea._model.stats import Running, Stats

RUNNING_SHOWN = 20


def tell_state(engine: Engine, total: int | None) -> None:
    """`total`: how many commands there are, None if nobody knows; then only those that were read are counted."""
    running = sorted(engine.running(), key=lambda task: task.index)
    lines = [_counts(engine.stats(), len(running), total)]
    lines += [_line(task) for task in running[:RUNNING_SHOWN]]
    if len(running) > RUNNING_SHOWN:
        lines.append(f"  ... and {len(running) - RUNNING_SHOWN} more")
    tell("\n".join(lines))


def _counts(stats: Stats, running: int, total: int | None) -> str:
    ended = stats.completed_tasks + stats.failed_tasks + stats.not_started_tasks
    waiting = stats.queued_tasks if total is None else max(0, total - ended - running)
    return f"arrea: {stats.completed_tasks} done, {stats.failed_tasks} failed, {running} running, {waiting} waiting"


def _line(task: Running) -> str:
    return (
        f"  {describe(task.index, task.name)}: attempt {task.attempt}, for {task.elapsed_ms / 1000.0:.1f} s"
    )
