"""The states of a worker; each carries exactly what is true in it.

     Queued
       │
       ▼
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


class Queued:
    """A call that was sent to a lane: it runs when that has begun and those before it have ended, or is taken back."""

    __slots__ = ()
    due = None


class Running:
    """It runs; at `times_out` it has taken too long. `due` comes before that where others wait behind it."""

    __slots__ = ("due", "times_out")

    def __init__(self, times_out: float | None) -> None:
        self.due = self.times_out = times_out


class Exiting:
    """It ended in time; what it wrote or returned is being read to the end: nothing can time out any more."""

    __slots__ = ()
    due = None


class Stopping:
    """It was asked to end for `reason` at `since` (SIGTERM, or a cancellation); at `due` comes SIGKILL."""

    __slots__ = ("due", "reason", "since")

    def __init__(self, reason: str, since: float, due: float) -> None:
        self.reason = reason
        self.since = since
        self.due = due


class Killing:
    """SIGKILL was sent for `reason`; at `due` it is given up (a process in the kernel's state D can't be killed)."""

    __slots__ = ("due", "reason", "since")

    def __init__(self, reason: str, since: float, due: float | None) -> None:
        self.reason = reason
        self.since = since
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
    """Holds no slot; at `due` it wants one again."""

    __slots__ = ("due",)

    def __init__(self, due: float) -> None:
        self.due = due


class Ready:
    """Wants a slot for its next try."""

    __slots__ = ()
    due = None


State = Queued | Spawning | Running | Exiting | Stopping | Killing | Deciding | Waiting | Ready
# Nothing is different in two of these.
QUEUED, READY = Queued(), Ready()
LIVE = (Running, Exiting, Stopping, Killing)  # a process was told to be there
