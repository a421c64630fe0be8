"""`arrea.map`: one function over many items, values in the order of the items, lazily."""

from __future__ import annotations

from arrea._app.batch import Stream
from arrea._model.ending import Return

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from arrea._app.batch import Batch
    from arrea._model.ending import Outcome


class Map(Stream):
    """Values in the order of the items; the first failure, in that order, is raised, and ends the rest.

    results: `Result`s instead, failed ones too.
    """

    def __init__(self, batch: Batch, results: bool) -> None:
        super().__init__(batch)
        self._results = results
        self._early: dict[int, Outcome] = {}
        self._turn = 0
        self._over = False

    def __iter__(self) -> Map:
        return self

    def __next__(self) -> Any:
        outcome = self._early.pop(self._turn, None)
        if outcome is None:
            outcome = self._wait_for_turn()
        self._turn += 1
        if self._results:
            return self._batch.result_of(outcome)
        if outcome.error is not None:
            self.close()
            raise outcome.error
        ending = outcome.ending
        return ending.value if isinstance(ending, Return) else None

    def _wait_for_turn(self) -> Outcome:
        if self._over:
            raise StopIteration
        self._batch._check_ours()
        try:
            while self._turn not in self._early:
                self._batch.taken = (
                    self._turn
                )  # nobody else looks at that: it is here that the source is pulled
                outcomes = self._batch._take_all(self._seen)
                if not outcomes:
                    raise StopIteration
                self._seen += len(outcomes)
                self._early.update([(outcome.index, outcome) for outcome in outcomes])
        except StopIteration:
            self._over = True
            raise
        except BaseException:
            self.close()
            raise
        return self._early.pop(self._turn)

    def close(self) -> None:
        """Cancels what is left and waits until nothing of it runs. There are no more values then."""
        self._over = True
        self._early.clear()
        super().close()
