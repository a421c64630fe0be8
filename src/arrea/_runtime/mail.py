"""What other threads hand to the reactor, and how they wake it.

The reactor says that it sleeps, then looks for mail, then sleeps; who has some puts it in, then looks whether the
reactor sleeps. So either it sees the mail, or they see that it has to be woken.
"""

from __future__ import annotations

import os
import threading
from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeAlias

    from arrea._model.step import Input
    from arrea._runtime.child import Child
    from arrea._runtime.letters import Opened, Pulled, Suspension
    from arrea._runtime.outflow import Outflow

    Post: TypeAlias = Input | Child | Outflow | Suspension | Pulled | Opened


class Mail(deque["Post"]):
    """In the order in which it came. Raises `OSError` if no descriptor is left for it.

    sleeping: set and taken back by the reactor alone, so that an interrupt (Ctrl-C) in another thread loses no wake-up.
    fd: readable when somebody woke it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.sleeping = False
        self._waking = threading.RLock()  # finalizers wake too, wherever the collector runs them

    # ── from any thread ───────────────────────────────────────────────────────────────────────────

    def post(self, item: Post) -> None:
        self.append(item)
        self.wake()

    def post_all(self, items: Sequence[Post]) -> None:
        self.extend(items)
        self.wake()

    def wake(self) -> None:
        if self.sleeping:
            with self._waking:  # so that the number isn't another file's already
                if self.fd >= 0:
                    os.eventfd_write(self.fd, 1)

    # ── the reactor's ─────────────────────────────────────────────────────────────────────────────

    def heard(self) -> None:
        """It was woken."""
        os.eventfd_read(self.fd)

    def close(self) -> None:
        """Nobody reads what comes from now on."""
        self.sleeping = False
        with self._waking:
            os.close(self.fd)
            self.fd = -1
