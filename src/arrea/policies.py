"""Ready-made policies: what to do when a task fails, takes too long or warns.

>>> tolerant(max_retries=2).retry_delay
2000.0
"""

from __future__ import annotations

from arrea._model.policy import Policy, PolicyContext, parse_policy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Unpack

    from arrea._model.duration import Duration
    from arrea._model.errors import TaskError
    from arrea._model.options import FurtherFields, PolicyFields

__all__ = ["Policy", "PolicyContext", "custom", "default", "strict", "tolerant"]


def default() -> Policy:
    """Retry three times, one second apart."""
    return Policy()


def strict() -> Policy:
    """Stop the batch at the first failure."""
    return parse_policy("strict")


def tolerant(max_retries: int = 10, retry_delay: Duration = 2000, **fields: Unpack[FurtherFields]) -> Policy:
    """Retry many times, two seconds apart."""
    return Policy(max_retries=max_retries, retry_delay=retry_delay, **fields)


def custom(handler: Callable[[TaskError, int, PolicyContext], str], **fields: Unpack[PolicyFields]) -> Policy:
    """Ask a function about errors: `handler(error, retry_count, context)` answers "retry", "stop" or "continue".

    Timeouts are `on_timeout`'s, one of the fields that may be given besides.

    retry_count is 0 at the first failure. It is called on a thread of its own. If it raises, answers something
    else, or doesn't answer within 5 s, the task fails with code `exception`, and the batch goes on.

    >>> policy = custom(lambda error, retry_count, context: "retry" if retry_count < 5 else "stop")
    """
    return Policy(on_error=handler, **fields)
