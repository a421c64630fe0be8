"""Fork bombs: functions that start themselves in a pipeline or in the background, alone or in a circle."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from arrea._prepare.validation.commands import Call, Function


def mark_bombs(calls: Sequence[Call], functions: Mapping[str, Function]) -> None:
    """Set `bomb` on each call that closes such a circle."""
    inside = [call for call in calls if call.function is not None and _may_be_function(call)]
    if not inside:
        return
    edges = _circles({(call.function or "", call.name or "") for call in inside})
    for call in inside:
        if call.forks and (call.function, call.name) in edges:
            call.bomb = functions.get(call.function or "")


def _may_be_function(call: Call) -> bool:
    """Its name alone: a path leads to a program."""
    return bool(call.words) and "/" not in call.words[0]


def _circles(edges: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """The calls that are left when functions that nobody calls, or that call nobody, are taken away again and again."""
    while edges:
        callers, called = {caller for caller, _ in edges}, {name for _, name in edges}
        kept = {(caller, name) for caller, name in edges if caller in called and name in callers}
        if len(kept) == len(edges):
            break
        edges = kept
    return edges
