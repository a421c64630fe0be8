"""What to do about an error, a timeout or a warning, and the one pure function that decides it.

`decide` is given a policy, the failure and how often the task was retried, and hands back a decision
value. It runs no user code: where the policy holds a function the decision is to ask it.
"""

from __future__ import annotations

from collections.abc import Mapping

from arrea._model.checks import alternatives, check_callback, count, known, meant, one_of, share, shown
from arrea._model.duration import parse_duration
from arrea._model.errors import SIGNAL_NAMES, InvalidOption, TaskError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal

    Action = Literal["retry", "stop", "continue"]
    Handler = Callable[[TaskError, int, "PolicyContext"], str]
    PolicyLike = "Policy | str | Mapping[str, Any]"

ACTIONS = ("retry", "stop", "continue")
WARNING_ACTIONS = ("log", "notify", "continue", "promote_to_error")
BACKOFFS = ("constant", "exponential")
ON_STOP = ("finish", "kill")
# Refused and cancelled tasks are never retried, so their codes would be a mistake in `retry_on`.
RETRIED_CODES = (
    "exit_status", "killed_by_signal", "timeout", "spawn_failed", "status_lost", "warning", "exception",
    "worker_crashed", "not_picklable",
)  # fmt: skip


class Policy:
    """What happens when a task fails, takes too long or warns. Immutable.

    on_error, on_timeout: "retry", "stop" or "continue"; on_error may be a function
        (error, retry_count, context) -> one of the three; what it answers is done, whatever max_retries.
    on_warning: "log", "notify", "continue" or "promote_to_error".
    max_retries: tries after the first. retry_delay: before each of them (milliseconds or text).
    timeout: of each attempt; None is none.
    backoff: "constant", or "exponential" (the delay doubles; never more than max_delay).
    jitter: share of the delay that is left to chance, 0.0 to 1.0, to either side.
    retry_on: exit codes, signal names ("SIGSEGV"), exception types and error codes ("timeout") that are
        worth a retry, or a function (error) -> bool; None: all. What doesn't match counts as "continue".
    total_retries: of all tasks of a batch together. on_stop: whether running tasks "finish" or are
        killed ("kill") when the batch stops. max_failures: the batch stops when so many tasks have
        failed (a number), or such a share of them (0.1, "10%").

    >>> Policy(on_error="stop").max_retries
    3
    >>> Policy(retry_delay="2s", backoff="exponential").delay_ms(2, chance=0.5)
    8000.0
    """

    __slots__ = (
        "backoff", "jitter", "max_delay", "max_failures", "max_retries", "on_error", "on_stop",
        "on_timeout", "on_warning", "retry_delay", "retry_on", "timeout", "total_retries",
    )  # fmt: skip

    on_error: Action | Handler
    on_warning: str
    on_timeout: Action
    max_retries: int
    retry_delay: float
    timeout: float | None
    backoff: str
    jitter: float
    max_delay: float
    retry_on: tuple[object, ...] | Callable[[TaskError], object] | None
    total_retries: int | None
    on_stop: str
    max_failures: int | float | None

    def __init__(
        self,
        on_error: str | Handler = "retry",
        on_warning: str = "log",
        on_timeout: str = "retry",
        max_retries: int = 3,
        retry_delay: object = 1000,
        timeout: object = 30_000,
        backoff: str = "constant",
        jitter: float = 0.0,
        max_delay: object = 60_000,
        retry_on: object = None,
        total_retries: int | None = None,
        on_stop: str = "finish",
        max_failures: int | float | str | None = None,
    ) -> None:
        put = object.__setattr__
        put(self, "on_error", _on_error(on_error))
        put(self, "on_warning", one_of(on_warning, "on_warning", WARNING_ACTIONS))
        put(self, "on_timeout", one_of(on_timeout, "on_timeout", ACTIONS))
        put(self, "max_retries", count(max_retries, "max_retries"))
        put(self, "retry_delay", parse_duration(retry_delay, "retry_delay", zero=True, none=False))
        put(self, "timeout", parse_duration(timeout, "timeout"))
        put(self, "backoff", one_of(backoff, "backoff", BACKOFFS))
        put(self, "jitter", share(jitter, "jitter"))
        put(self, "max_delay", parse_duration(max_delay, "max_delay", zero=True, none=False))
        put(self, "retry_on", _retry_on(retry_on))
        put(self, "total_retries", None if total_retries is None else count(total_retries, "total_retries"))
        put(self, "on_stop", one_of(on_stop, "on_stop", ON_STOP))
        put(self, "max_failures", _max_failures(max_failures))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a Policy is immutable; use policy.replace({name}=...)")

    def __delattr__(self, name: str) -> None:
        raise AttributeError("a Policy is immutable")

    def __repr__(self) -> str:
        plain = DEFAULT
        changed = (f"{n}={getattr(self, n)!r}" for n in FIELDS if getattr(self, n) != getattr(plain, n))
        return f"Policy({', '.join(changed)})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Policy):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in FIELDS)

    def __hash__(self) -> int:
        return hash((self.on_error, self.on_timeout, self.max_retries, self.retry_delay))

    def __reduce__(self) -> tuple[object, ...]:
        return (Policy, tuple(getattr(self, name) for name in FIELDS))

    def replace(self, **changes: object) -> Policy:
        """A copy with some fields changed.

        >>> Policy().replace(max_retries=1).max_retries
        1
        """
        known(changes, FIELDS, "policy field")
        return Policy(*(changes.get(name, getattr(self, name)) for name in FIELDS))  # type: ignore[arg-type]

    def delay_ms(self, retry_count: int, chance: float) -> float:
        """The wait before the next try, in milliseconds; `chance` is from 0.0 to 1.0."""
        spread = 1.0 + self.jitter * (2.0 * chance - 1.0)
        if self.backoff == "constant":
            return self.retry_delay * spread
        doubled = self.retry_delay * 2.0 ** min(retry_count, 64)
        return min(min(doubled, self.max_delay) * spread, self.max_delay)

    def failures_allowed(self, total: int) -> float | None:
        """How many failures stop a batch of `total` tasks; None if no number of them does."""
        limit = self.max_failures
        return limit if limit is None or isinstance(limit, int) else max(limit * total, 1e-9)


FIELDS = (
    "on_error", "on_warning", "on_timeout", "max_retries", "retry_delay", "timeout", "backoff",
    "jitter", "max_delay", "retry_on", "total_retries", "on_stop", "max_failures",
)  # fmt: skip


def _on_error(value: object) -> object:
    return check_callback(value, "on_error") if callable(value) else one_of(value, "on_error", ACTIONS)


def _retry_on(value: object) -> object:
    if value is None:
        return None
    if callable(value) and not isinstance(value, type):
        return check_callback(value, "retry_on")
    items = value if isinstance(value, (tuple, list, set, frozenset)) else (value,)
    return tuple(_retry_item(item) for item in items)


def _retry_item(item: object) -> object:
    if isinstance(item, type) and issubclass(item, BaseException):
        return item
    if isinstance(item, int) and not isinstance(item, bool) and 0 <= item <= 255:
        return item
    if isinstance(item, str):
        return _retry_name(item)
    raise InvalidOption(
        "retry_on",
        "retry_on takes exit codes (0 to 255), signal names, error codes, exception types or a function, "
        f"not {shown(item)}",
    )


def _retry_name(name: str) -> str:
    """A misspelled one would mean that nothing is ever retried, and nobody would see why."""
    names = (*RETRIED_CODES, *SIGNAL_NAMES.values())
    if name in names or (name.startswith("signal ") and name[7:].isdecimal()):
        return name
    raise InvalidOption(
        "retry_on",
        f"retry_on: {shown(name)} is no signal's name, and no error code that can be retried "
        f"({alternatives(RETRIED_CODES)}){meant(name, names)}",
    )


def _max_failures(value: object) -> int | float | None:
    if isinstance(value, str):
        value = _percentage(value)
    if value is None or (isinstance(value, float) and 0 < value <= 1):
        return value
    if isinstance(value, float):
        raise InvalidOption(
            "max_failures", f"max_failures as a share is above 0 and at most 1, not {value!r}"
        )
    return count(value, "max_failures", least=1)


def _percentage(text: str) -> int | float:
    try:
        if "_" in text or not text.isascii():  # Python's own numbers, not people's
            raise ValueError(text)
        return float(text[:-1]) / 100 if text.endswith("%") else int(text)
    except ValueError:
        raise InvalidOption(
            "max_failures", f'max_failures is a number or a share such as "10%", not {shown(text)}'
        ) from None


class PolicyContext:
    """What a policy's own function is told about the task, besides the error and the retry count."""

    __slots__ = (
        "attempts",
        "batch_id",
        "command",
        "elapsed_ms",
        "index",
        "label",
        "max_retries",
        "worker_id",
    )

    def __init__(
        self,
        batch_id: str,
        index: int,
        label: object,
        command: str,
        attempts: int,
        elapsed_ms: float,
        max_retries: int,
    ) -> None:
        self.batch_id = batch_id
        self.worker_id = f"{batch_id}:{index}"
        self.index = index
        self.label = label
        self.command = command
        self.attempts = attempts
        self.elapsed_ms = elapsed_ms
        self.max_retries = max_retries

    def __repr__(self) -> str:
        return f"PolicyContext({self.worker_id}, attempts={self.attempts}, command={self.command!r})"


# ── the decision ──────────────────────────────────────────────────────────────────────────────────


class Retry:
    """Run it again after `delay_ms`."""

    __slots__ = ("delay_ms",)
    __match_args__ = ("delay_ms",)

    def __init__(self, delay_ms: float) -> None:
        self.delay_ms = delay_ms


class Stop:
    """The task failed, and nothing more of its batch starts."""

    __slots__ = ()


class Continue:
    """The task failed, and the batch goes on."""

    __slots__ = ()


class AskUser:
    """A function of the user decides: `on_error`, or `retry_on`."""

    __slots__ = ("question",)
    __match_args__ = ("question",)

    def __init__(self, question: str) -> None:
        self.question = question


Decision = Retry | Stop | Continue
STOP, CONTINUE = Stop(), Continue()
ASK_ON_ERROR, ASK_RETRY_ON = AskUser("on_error"), AskUser("retry_on")


def decide(
    policy: Policy, error: TaskError, retry_count: int, retries_left: float, chance: float
) -> Decision | AskUser:
    """What the policy says about a failure; `retries_left` is what the batch still allows.

    >>> decide(Policy(max_retries=1), TaskError("task 0", "broke"), 1, 10, 0.5) is CONTINUE
    True
    """
    action = policy.on_timeout if error.code == "timeout" else policy.on_error
    if callable(action):
        return ASK_ON_ERROR
    if action != "retry":
        return STOP if action == "stop" else CONTINUE
    if retry_count >= policy.max_retries or retries_left < 1:
        return CONTINUE
    if callable(policy.retry_on):
        return ASK_RETRY_ON
    if policy.retry_on is not None and not any(_matches(item, error) for item in policy.retry_on):
        return CONTINUE
    return Retry(policy.delay_ms(retry_count, chance))


def decide_answered(
    policy: Policy, question: str, answer: object, retry_count: int, retries_left: float, chance: float
) -> Decision | None:
    """The decision that a user's function made; None where its answer is nonsense."""
    if question == "retry_on":
        answer = "retry" if answer else "continue"
    if answer == "retry":
        return Retry(policy.delay_ms(retry_count, chance)) if retries_left >= 1 else CONTINUE
    if answer == "stop":
        return STOP
    return CONTINUE if answer == "continue" else None


def _matches(item: object, error: TaskError) -> bool:
    if issubclass(type(item), type):
        return _is_a(error, item) or _is_a(getattr(error, "exception", None), item)
    if isinstance(item, str):
        return item in (error.code, getattr(error, "signal_name", None))
    return getattr(error, "exit_code", None) == item


_bases = type.__dict__["__mro__"].__get__


def _is_a(value: object, kind: object) -> bool:
    """As `isinstance`, which would ask the classes: what they answer is somebody's code."""
    return any(base is kind for base in _bases(type(value)))


# ── what callers may write for a policy ───────────────────────────────────────────────────────────

DEFAULT = Policy()
NAMED: dict[str, dict[str, object]] = {
    "retry": {"on_error": "retry", "on_timeout": "retry"},
    "stop": {"on_error": "stop", "on_timeout": "stop"},
    "continue": {"on_error": "continue", "on_timeout": "continue"},
    "strict": {"on_error": "stop", "on_timeout": "stop", "max_retries": 0},
    "tolerant": {"on_error": "retry", "on_timeout": "retry", "max_retries": 10, "retry_delay": 2000},
    "once": {"on_error": "continue", "on_timeout": "continue", "max_retries": 0},
}


def parse_policy(value: object, base: Policy = DEFAULT, option: str = "policy") -> Policy:
    """A policy from a `Policy`, a name or a mapping of fields; `base` gives what they leave open.

    >>> parse_policy("once").max_retries, parse_policy({"max_retries": 7}).max_retries
    (0, 7)
    """
    if isinstance(value, Policy):
        return value
    if isinstance(value, str):
        return base.replace(**NAMED[one_of(value, option, NAMED)])
    if isinstance(value, Mapping):
        known(value, FIELDS, "policy field")
        return base.replace(**value)
    hint = "; a function goes into arrea.policies.custom(...)" if callable(value) else ""
    raise InvalidOption(
        option, f"{option} must be a Policy, a name or a mapping of its fields, not {shown(value)}{hint}"
    )
