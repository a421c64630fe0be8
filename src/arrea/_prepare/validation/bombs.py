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
    return _called_from(_called_from(edges, backwards=True), backwards=False)


def _called_from(edges: set[tuple[str, str]], *, backwards: bool) -> set[tuple[str, str]]:
    """Without the calls by functions that nobody calls; or, backwards, of those that call nobody. Linear."""
    follows: dict[str, list[tuple[str, str]]] = {}
    count: dict[str, int] = {}
    for edge in edges:
        source, target = reversed(edge) if backwards else edge
        follows.setdefault(source, []).append(edge)
        count[target] = count.get(target, 0) + 1
    left, free = set(edges), [name for name in follows if name not in count]
    while free:
        for edge in follows.get(free.pop(), ()):
            left.discard(edge)
            target = edge[0] if backwards else edge[1]
            count[target] -= 1
            if not count[target]:
                free.append(target)
    return left
