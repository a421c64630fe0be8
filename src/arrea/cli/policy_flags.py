"""The policy of `arrea run`: each command once, unless a flag or the configuration says otherwise.

Given the flags and the configuration, hands back a `Policy`. A setting counts if it was set by somebody: the
defaults that are built in are for the library, and a deployment isn't repeated because of one of them.
"""

from __future__ import annotations

from arrea._model.checks import shown
from arrea._model.errors import UsageError
from arrea._model.policy import DEFAULT, Policy, parse_policy
from arrea.cli.flags import number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from arrea.cli.flags import Arguments

    class Settings(Protocol):
        """The configuration; `source` says which layer a value is from, "default" for a built-in one."""

        def get(self, key: str) -> object: ...
        def source(self, key: str) -> str: ...


def policy_of(given: Arguments, settings: Settings) -> Policy:
    """Raises `UsageError`, or the library's own `InvalidOption`."""
    policy = _with_retries(_named(given, settings), given, settings)
    if given.has("--retry-delay"):
        policy = policy.replace(retry_delay=given.get("--retry-delay"))
    if given.has("--backoff"):
        policy = policy.replace(backoff=given.get("--backoff"))
    if policy.on_warning == "log":  # it is a line of the command's own stderr: to log it would show it twice
        policy = policy.replace(on_warning="continue")
    if given.has("--retry-on"):
        policy = policy.replace(retry_on=_retry_on(given.all("--retry-on")))
    return _with_an_end(policy, given)


def _named(given: Arguments, settings: Settings) -> Policy:
    """By the flag, the configured name, or as often as configured; otherwise once."""
    open_fields = DEFAULT.replace(
        max_retries=settings.get("max_retries"), retry_delay=settings.get("retry_delay")
    )
    if given.has("--policy"):
        return parse_policy(given.get("--policy"), open_fields)
    if _is_set("default_policy", settings):
        return parse_policy(settings.get("default_policy"), open_fields)
    return parse_policy("retry" if _is_set("max_retries", settings) else "once", open_fields)


def _is_set(key: str, settings: Settings) -> bool:
    return settings.source(key) != "default"


def _with_retries(policy: Policy, given: Arguments, settings: Settings) -> Policy:
    retries: object = number(given, "--retries", least=0)
    if retries is None and given.has("--retry-on") and not _retries(policy):
        retries = settings.get("max_retries")
    if retries is None:
        return policy
    return policy.replace(on_error="retry", on_timeout="retry", max_retries=retries)


def _retries(policy: Policy) -> bool:
    return policy.on_error == "retry" and policy.max_retries > 0


def _retry_on(values: list[str]) -> list[int | str]:
    """What the values of the flag say together.

    >>> _retry_on(["1,75", "SIGSEGV, timeout"])
    [1, 75, 'SIGSEGV', 'timeout']
    """
    words = [word.strip() for value in values for word in value.split(",")]
    if not all(words):
        raise UsageError("--retry-on takes exit codes, signal names and error codes, with commas between")
    return [int(word) if word.isascii() and word.isdigit() and len(word) < 10 else word for word in words]


def _with_an_end(policy: Policy, given: Arguments) -> Policy:
    """After how many failures the batch stops, and what then becomes of what runs."""
    halt = given.get("--halt")
    if halt is not None and halt not in ("now", "soon"):
        raise UsageError(f"--halt must be now or soon, not {shown(halt)}")
    if given.has("--max-failures"):
        policy = policy.replace(max_failures=given.get("--max-failures"))
    elif halt is not None:
        policy = policy.replace(max_failures=1)
    return policy if halt is None else policy.replace(on_stop="kill" if halt == "now" else "finish")


def counted_out(policy: Policy, total: int | None) -> Policy:
    """A share of the commands as a number of them, where it is known how many there are.

    >>> counted_out(Policy(max_failures="10%"), 25).max_failures
    3
    """
    share = policy.max_failures
    if not isinstance(share, float) or not total:
        return policy
    return policy.replace(max_failures=max(1, -int(-round(share * total, 9) // 1)))
