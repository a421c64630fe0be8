"""What a batch is to do, checked and final: what `_prepare` hands to the engine."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from arrea._model.call import Work
    from arrea._model.policy import Policy


class Plan:
    """A batch: its commands, and the limits of the whole.

    commands: in input order. open: more will come (the batch is fed from an iterator).
    workers: most at once. window: most that wait in memory when fed. deadline_ms: for the whole batch.
    policy: whose `total_retries`, `max_failures` and `on_stop` hold for the batch.
    in_order: who waits takes results in order, and none behind a failure: what comes behind one needn't start.
    """

    __slots__ = (
        "batch_id",
        "commands",
        "deadline_ms",
        "in_order",
        "kill_grace_ms",
        "open",
        "policy",
        "window",
        "workers",
    )

    def __init__(
        self,
        batch_id: str,
        commands: Sequence[Work],
        *,
        workers: int,
        policy: Policy,
        deadline_ms: float | None = None,
        kill_grace_ms: float = 2000.0,
        open: bool = False,
        in_order: bool = False,
        window: int = 500,
    ) -> None:
        self.batch_id = batch_id
        self.commands = commands
        self.workers = workers
        self.policy = policy
        self.deadline_ms = deadline_ms
        self.kill_grace_ms = kill_grace_ms
        self.open = open
        self.in_order = in_order
        self.window = window
