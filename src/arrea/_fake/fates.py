"""Which fate a start has: asked once for each, and counted."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from arrea._model.call import Work
    from arrea._model.step import AttemptId
    from arrea.testing import Fate

    Script = Mapping[str, Fate | Sequence[Fate]] | Callable[["Launch", int], Fate]


class Launch:
    """A start: of a command's process, or of a call."""

    __slots__ = ("attempt", "batch_id", "command")

    def __init__(self, attempt: AttemptId, batch_id: str, command: Work) -> None:
        self.attempt = attempt
        self.batch_id = batch_id
        self.command = command


class Fates:
    """By a script; `otherwise` for what it doesn't name."""

    __slots__ = ("_asked", "_starts", "_tell")

    def __init__(self, script: Script, otherwise: Fate) -> None:
        self._tell = script if callable(script) else _by_text(script, otherwise)
        self._starts: dict[tuple[int, int], int] = {}
        self._asked: dict[AttemptId, Fate] = {}

    def of(self, launch: Launch) -> Fate:
        """The same until it is `used`: a call that is taken back before it begins finds its fate unchanged."""
        fate = self._asked.get(launch.attempt)
        if fate is None:
            task = launch.attempt[:2]
            number = self._starts[task] = self._starts.get(task, 0) + 1
            fate = self._asked[launch.attempt] = self._tell(launch, number)
        return fate

    def use(self, launch: Launch) -> Fate:
        fate = self.of(launch)
        del self._asked[launch.attempt]
        return fate


def _by_text(script: Mapping[str, Fate | Sequence[Fate]], otherwise: Fate) -> Callable[[Launch, int], Fate]:
    def fate(launch: Launch, number: int) -> Fate:
        fates = script.get(launch.command.text, otherwise)
        return fates[min(number, len(fates)) - 1] if isinstance(fates, (list, tuple)) else fates  # type: ignore[return-value]

    return fate
