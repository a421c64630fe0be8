"""The bus: from the reactor's turn to every subscriber's mailbox.

Given the effects of a turn, on the reactor's thread; the cost is one look where nobody has subscribed.
"""

from __future__ import annotations

import threading

from arrea._model.step import Emit, Log
from arrea._observe.dispatch import Dispatcher

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from arrea._model.step import Effect
    from arrea._observe.mailbox import Mailbox


class Bus:
    """The subscribers of one engine. `log`, which never raises, writes what a policy wants logged; it is called on the
    observer thread.
    """

    def __init__(self, log: Callable[[Log], None]) -> None:
        self._log = log
        self._boxes: tuple[Mailbox, ...] = ()
        self._changing = threading.RLock()
        self._closed = False
        self._dispatcher = Dispatcher()
        self.wants_output = False

    def __len__(self) -> int:
        """How many subscribe."""
        self._drop_closed()
        return len(self._boxes)

    def publish(self, effects: Sequence[Effect]) -> None:
        """On the reactor's thread, once a turn."""
        for effect in effects:
            if effect.__class__ is Log:
                self._dispatcher.call(self._log, effect)
        boxes = self._boxes
        if boxes:
            events = [effect for effect in effects if effect.__class__ is Emit]
            if events:
                self._deliver(boxes, events)

    def _deliver(self, boxes: tuple[Mailbox, ...], events: list[Any]) -> None:
        for box in boxes:
            box.put(events)
        gone = [box for box in boxes if box.closed]
        if gone:
            self._drop_closed()
            for box in gone:
                box.close()  # one that was abandoned told nobody

    def serve(
        self, box: Mailbox, tell: Callable[[Emit], object], report: Callable[[BaseException], None]
    ) -> None:
        """The same as `add`, and the observer thread empties it into a function, until that raises."""
        self._dispatcher.serve(box, tell, report)
        self.add(box)

    def add(self, box: Mailbox) -> None:
        """From now on it gets what happens."""
        with self._changing:
            if not self._closed:
                self._boxes = (*self._boxes, box)
                self._note_wishes()
                return
        box.close()

    def _drop_closed(self) -> None:
        with self._changing:
            self._boxes = tuple(box for box in self._boxes if not box.closed)
            self._note_wishes()

    @property
    def heard(self) -> bool:
        """Whether anybody subscribes."""
        return bool(self._boxes)

    def _note_wishes(self) -> None:
        self.wants_output = any(box.wants("output") for box in self._boxes)

    def remove(self, box: Mailbox) -> None:
        """Nothing more comes; what is there can still be taken."""
        box.close()
        self._drop_closed()

    def remove_callback(self, callback: Callable[..., object]) -> None:
        """It isn't called any more."""
        for box in self._boxes:
            if box.callback == callback:
                box.discard()
        self._drop_closed()

    def begin_close(self) -> None:
        """Nothing more comes. What callbacks haven't been told yet they are told, within a second."""
        with self._changing:
            self._closed = True
            boxes = self._boxes
        for box in boxes:
            box.close()
        self._drop_closed()
        self._dispatcher.begin_stop()

    def close(self) -> None:
        """The same, and waits for that."""
        self.begin_close()
        self._dispatcher.stop()
