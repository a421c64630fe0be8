"""Results as JSON, an object and a line each, on stdout; the commands' own output is in them.

All of it is ASCII: whatever the commands printed, a line is a line, and every JSON parser can read it.
"""

from __future__ import annotations

import json

from arrea.cli.render.grouped import Nothing
from arrea.cli.streams import Together

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from arrea._model.errors import TaskError
    from arrea._model.result import Output, Result, Usage


class JsonLines(Nothing):
    """Writes an object for each result. `output`: whether with stdout and stderr of the command."""

    wants_all = True

    def __init__(self, *, output: bool) -> None:
        self._output = output
        self._stdout = Together()

    def show(self, result: Result) -> bool:
        self._stdout.put(line_of(_object(result, self._output)))
        return True  # what couldn't be kept is told by `truncated`

    def flush(self) -> None:
        self._stdout.flush()


def line_of(value: dict[str, Any]) -> bytes:
    r"""A line of JSON.

    >>> line_of({"command": "echo \udcff\n"})
    b'{"command": "echo \\ufffd\\n"}\n'
    """
    return json.dumps(_sound(value)).encode("ascii") + b"\n"


def _sound(value: Any) -> Any:
    """Without lone surrogates (bytes that are no text): JSON can write them, but many parsers don't read them."""
    if isinstance(value, str):
        return value if _is_text(value) else "".join("\ufffd" if _is_surrogate(c) else c for c in value)
    if isinstance(value, dict):
        return {key: _sound(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_sound(item) for item in value]
    return value


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_surrogate(character: str) -> bool:
    return "\ud800" <= character <= "\udfff"


def _object(result: Result, with_output: bool) -> dict[str, Any]:
    output = result.data
    return {
        "index": result.index,
        "worker_id": result.worker_id,
        "batch_id": result.batch_id,
        "command": result.command,
        "success": result.success,
        "exit_code": None if output is None else output.exit_code,
        "signal": None if output is None else output.signal_name,
        "error": _error(result.error),
        "attempts": result.attempts,
        "duration_ms": round(result.duration_ms, 3),
        "queued_ms": round(result.queued_ms, 3),
        "started_at": _time(result),
        **(_printed(output) if with_output else {}),
        "stdout_total_bytes": 0 if output is None else output.stdout_total_bytes,
        "stderr_total_bytes": 0 if output is None else output.stderr_total_bytes,
        "truncated": with_output and output is not None and output.truncated,
        "warnings": result.warnings,
        "usage": _usage(result.usage),
    }


def _printed(output: Output | None) -> dict[str, str]:
    return {
        "stdout": "" if output is None else output.stdout,
        "stderr": "" if output is None else output.stderr,
    }


def _error(error: TaskError | None) -> dict[str, str] | None:
    return None if error is None else {"code": error.code, "message": str(error)}


def _time(result: Result) -> str | None:
    started = result.started_at
    return None if started is None else started.isoformat(timespec="milliseconds")


def _usage(usage: Usage | None) -> dict[str, float | None] | None:
    if usage is None:
        return None
    return {
        "user_ms": round(usage.user_ms, 3),
        "system_ms": round(usage.system_ms, 3),
        "max_rss_kib": usage.max_rss_kib,
    }
