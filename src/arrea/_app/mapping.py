"""`arrea.map`: one function over many items, values in the order of the items, lazily."""

from __future__ import annotations

from arrea._app.batch import Stream
from arrea._model.ending import Return

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from arrea._app.batch import Batch
    from arrea._model.ending import Outcome

MISSING = object()


class Map(Stream):
    """Values in the order of the items; the first failure, in that order, is raised, and ends the rest.

    results: `Result`s instead, failed ones too. Either way the end is the end of the items: if the batch ended before
    (its deadline, `Engine.close`), that is raised.
    """

    def __init__(self, batch: Batch, results: bool) -> None:
        super().__init__(batch)
        self._results = results
        self._early: dict[int, Outcome] = {}
        self._values: dict[int, Any] = {}
        self._turn = 0
        self._over = False

    def __iter__(self) -> Map:
        return self

    def __next__(self) -> Any:
        turn = self._turn
        value = self._values.pop(turn, MISSING)
        if value is MISSING:
            value = self._wait_for_turn()
        self._turn = turn + 1
        return value

    def _wait_for_turn(self) -> Any:
        """What comes next; what it takes to have it."""
        self._batch._check_ours()
        try:
            while self._turn not in self._values and self._turn not in self._early:
                self._take_more()
        except StopIteration:
            self._over = True
            raise
        except BaseException:
            self.close()
            raise
        if self._turn in self._values:
            return self._values.pop(self._turn)
        return self._other(self._early.pop(self._turn))

    def _take_more(self) -> None:
        if self._over:
            raise StopIteration
        self._batch.taken = self._turn  # nobody else looks at that: it is here that the source is pulled
        outcomes = self._batch._take_all()
        if not outcomes:
            self._over = True
            raise self._batch.broken_off or StopIteration
        values = self._values
        for outcome in outcomes:
            ending = outcome.ending
            if outcome.error is None and ending.__class__ is Return and not self._results:
                values[outcome.index] = ending.value
            else:
                self._early[outcome.index] = outcome

    def _other(self, outcome: Outcome) -> Any:
        if self._results:
            return self._batch.result_of(outcome)
        assert outcome.error is not None
        self.close()
        raise outcome.error

    def close(self) -> None:
        """Cancels what is left and waits until nothing of it runs. There are no more values then."""
        self._over = True
        self._early.clear()
        self._values.clear()
        super().close()
