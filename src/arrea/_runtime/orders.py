"""The effects of a turn, each carried out by whom it is for."""

from __future__ import annotations

from arrea._model.step import Ask, Dispatch, Emit, Forget, Kill, Log, Recall, Release, Spawn, Tally, Terminate
from arrea._runtime.ports import FOR_CALLERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from arrea._model.step import Effect
    from arrea._runtime.callbacks import Callbacks
    from arrea._runtime.children import Children
    from arrea._runtime.performers import Performers
    from arrea._runtime.spawner import Spawners


class Orders:
    """Of one reactor, on its thread."""

    __slots__ = ("_callbacks", "_children", "_performers", "_spawners")

    def __init__(
        self, spawners: Spawners, children: Children, performers: Performers, callbacks: Callbacks
    ) -> None:
        self._spawners = spawners
        self._children = children
        self._performers = performers
        self._callbacks = callbacks

    def carry_out(self, effects: list[Effect], now: float) -> list[Effect]:
        """All but what observers are told, and what is for callers, which is handed back."""
        told: list[Effect] = []
        for effect in effects:
            kind = effect.__class__
            if kind is Emit or kind is Log or kind is Tally:
                continue
            if kind is Dispatch:
                self._performers.dispatch(effect, now)  # type: ignore[arg-type]
            elif kind in FOR_CALLERS:
                told.append(effect)
            else:
                self._carry_out(effect, now)
        return told

    def _carry_out(self, effect: Effect, now: float) -> None:
        match effect:
            case Spawn():
                self._spawners.start(effect, self._children.expect(effect))
            case Recall():
                self._performers.recall(effect.lane, now)
            case Release():
                self._performers.release(effect.lane, now)
            case Terminate():
                self._children.terminate(effect.attempt)
                self._performers.terminate(effect.attempt)
            case Kill():
                self._children.kill(effect.attempt, now)
                self._performers.kill(effect.attempt, now)
            case Forget():
                self._children.forget(effect.attempt, now)
                self._performers.forget(effect.attempt, now)
            case Ask():
                self._callbacks.ask(effect)
