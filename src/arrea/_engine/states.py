"""The states of a worker; each carries exactly what is true in it.

    Spawning ──► Running ──► Stopping ──► Killing      (Running ──► Exiting ──► ended, while pipes are read)
       │            │            │           │
       └────────────┴─── ended ──┴───────────┘
                           │
          Deciding ◄───────┼──────► settled
             │             ▼
             └─────────► Waiting ──► Ready ──► Spawning

`due` is when the state's timer fires, None for never.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from arrea._model.errors import TaskError


class Spawning:
    """The runtime was asked for a process. `stop` is the reason for which it must die as soon as it exists."""

    __slots__ = ("hard", "stop")
    due = None

    def __init__(self) -> None:
        self.stop: str | None = None
        self.hard = False


class Running:
    """The process runs; at `due` it has timed out."""

    __slots__ = ("due",)

    def __init__(self, due: float | None) -> None:
        self.due = due


class Exiting:
    """The process exited in time, its output is being read to the end: nothing can time out any more."""

    __slots__ = ()
    due = None


class Stopping:
    """SIGTERM was sent for `reason`; at `due` comes SIGKILL."""

    __slots__ = ("due", "reason")

    def __init__(self, reason: str, due: float) -> None:
        self.reason = reason
        self.due = due


class Killing:
    """SIGKILL was sent for `reason`; at `due` it is given up (a process in the kernel's state D can't be killed)."""

    __slots__ = ("due", "reason")

    def __init__(self, reason: str, due: float | None) -> None:
        self.reason = reason
        self.due = due


class Deciding:
    """A user's function was asked about `error`; at `due` it has answered too late.

    It keeps its slot: the answer may be "stop", and nothing must have started in its place by then.
    """

    __slots__ = ("due", "error", "question")

    def __init__(self, error: TaskError, question: str, due: float) -> None:
        self.error = error
        self.question = question
        self.due = due


class Waiting:
    """Holds no slot; at `due` it wants one again. `retry`: for a new attempt, not for a start that failed."""

    __slots__ = ("due", "retry")

    def __init__(self, due: float, retry: bool) -> None:
        self.due = due
        self.retry = retry


class Ready:
    """Wants a slot for its next try."""

    __slots__ = ("retry",)
    due = None

    def __init__(self, retry: bool) -> None:
        self.retry = retry


State = Spawning | Running | Exiting | Stopping | Killing | Deciding | Waiting | Ready
