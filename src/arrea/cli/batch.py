"""One batch of `arrea run`: submitted, shown, waited for; the exit code says how it ended."""

from __future__ import annotations

import gc
from itertools import islice

from arrea._model.ending import Outcome
from arrea._model.errors import InvalidBatch, not_started
from arrea._model.result import Result
from arrea._model.text import describe
from arrea.cli.exit_codes import FAILED, exit_code
from arrea.cli.render.grouped import Grouped, Nothing, Tagged
from arrea.cli.render.plain import Plain
from arrea.cli.render.screen import Screen
from arrea.cli.signals import Signals, die_by
from arrea.cli.sources import WrongLines
from arrea.cli.streams import end_for_broken_pipe, tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from arrea._app.batch import Batch
    from arrea._app.engine import Engine
    from arrea.cli.options import Look
    from arrea.cli.render.plain import Shown
    from arrea.cli.sources import Source

COLLECT_EVERY = 20_000  # objects that are there more than before


def run_batch(source: Source, engine: Engine, options: dict[str, Any], look: Look) -> int:
    """The exit code."""
    _collect_rarely()
    with Signals() as signals, engine:
        engine.adopt_orphans()
        screen = Screen(signals, engine)
        shown = _lines(look, screen) if look.output == "lines" else _shown(look, look.is_direct(source.total))
        display = Plain(shown, source.total, look)
        batch = _submitted(source, engine, options, shown)
        rest = _never_begun(source, engine, options, batch, display)
        screen.show(batch, display, lambda: display.never_begun(rest, lambda: bool(signals.first)))
    return _ending(display, signals.first, screen.problem)


def _collect_rarely() -> None:
    """Commands leave no cycles of objects behind; to look for them every 700 objects costs two percent."""
    gc.freeze()
    gc.set_threshold(COLLECT_EVERY, 10, 10)


def _shown(look: Look, direct: bool) -> Shown:
    if look.json:
        from arrea.cli.render.json_lines import JsonLines

        return JsonLines(output=look.output != "none")
    if direct or look.output == "none":
        return Nothing()
    return Tagged() if look.tag else Grouped()


def _lines(look: Look, screen: Screen) -> Shown:
    from arrea.cli.render.lines import Lines

    return Lines(screen.fail, tags=look.tag)


def _submitted(source: Source, engine: Engine, options: dict[str, Any], shown: Shown) -> Batch:
    from arrea._app.feed import AtHand

    commands: Any = shown.fed(source.commands())
    if source.total is not None and not source.is_list:
        commands = AtHand(commands)
    try:
        return engine.submit(commands, **options, **shown.options)
    except InvalidBatch as error:
        raise WrongLines.of(error, source.place_of) from None


def _never_begun(
    source: Source, engine: Engine, options: dict[str, Any], batch: Batch, display: Plain
) -> Iterator[Result]:
    """Results of what a stopped batch left in its files, in the words of those that the engine itself gave up."""
    begun = display.done
    reason = batch.wait().stopped_by or "cancelled"
    commands = engine.prepare(islice(source.commands(), begun, None), **options)
    for index, command in enumerate(commands, begun):
        error = not_started(describe(index, command.name), reason)
        yield Result(batch.id, Outcome(index, command, error, None, 0, 0.0, None, 0.0), 0.0)


def _ending(display: Plain, signal: int, problem: BaseException | None) -> int:
    if signal:
        return die_by(signal)
    if isinstance(problem, BrokenPipeError):
        return end_for_broken_pipe()
    if isinstance(problem, OSError):
        tell(f"arrea run: can't write the output: {problem.strerror}; what still ran was ended")
        return FAILED
    if problem is not None:  # the source of the commands: what had started has finished
        display.summary()
        raise problem
    code = exit_code(display.done, display.failed, display.last_error)
    return FAILED if display.incomplete and not code else code
