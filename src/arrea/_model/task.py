"""A task as its caller wrote it (`Task`), and as it will run (`Command`; a function is a `Call`)."""

from __future__ import annotations

from arrea._model.text import label_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import IO, Any, Unpack

    from arrea._model.errors import InvalidCommand
    from arrea._model.options import TaskOptions
    from arrea._model.policy import Policy


class Task:
    """A command or a function with options of its own, for use in a batch. Immutable.

    command: a shell line (text), an argument vector (a list of texts, no shell) or a function (plain or `async`).
    args: what the function is called with.
    options: `timeout`, `policy`, `shell`, `cwd`, `env`, `inherit_env`, `stdin`, `max_output_bytes`, `isolation`,
        `label` (any hashable), `validate`, `allow_substitution`, with the meaning that they have in `arrea.execute`.

    >>> Task("make -j2", timeout="10m", label="build")
    Task('make -j2', timeout='10m', label='build')
    >>> Task(divmod, 7, 2)
    Task(<built-in function divmod>, 7, 2)
    """

    __slots__ = ("args", "command", "options")

    command: str | Sequence[str] | Callable[..., object]
    args: tuple[Any, ...]
    options: Mapping[str, Any]

    def __init__(
        self,
        command: str | Sequence[str] | Callable[..., object],
        *args: object,
        **options: Unpack[TaskOptions],
    ) -> None:
        object.__setattr__(self, "command", command)
        object.__setattr__(self, "args", args)
        object.__setattr__(self, "options", options)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("a Task is immutable")

    def __repr__(self) -> str:
        # Values of `env` and `stdin` may be secrets: named, not shown.
        options = (f", {k}={'...' if k in ('env', 'stdin') else repr(v)}" for k, v in self.options.items())
        args = (f", {argument!r}" for argument in self.args)
        return f"Task({self.command!r}{''.join(args)}{''.join(options)})"

    def __reduce__(self) -> tuple[object, ...]:
        return (_restore_task, (self.command, self.args, dict(self.options)))


def _restore_task(
    command: str | Sequence[str] | Callable[..., object], args: tuple[object, ...], options: dict[str, Any]
) -> Task:
    return Task(command, *args, **options)


# Of what will run: where it runs.
COMMAND, PROCESS, THREAD, COROUTINE = "command", "process", "thread", "coroutine"
ISOLATIONS = (PROCESS, THREAD)


class Variables:
    """An environment, shared by the commands of a batch; `prepared` is the runtime's to fill."""

    __slots__ = ("prepared", "values")

    def __init__(self, values: Mapping[str, str]) -> None:
        self.values = values
        self.prepared: object = None


class Settings:
    """How a command runs. One object serves all commands of a batch that were given the same options.

    timeout_ms: of each attempt, None for none. max_output_bytes: kept of each stream, None for all.
    stdin: None (end of file at once), bytes, the path of a file, or an open file.
    inherit_output: the child writes to our own stdout and stderr, nothing is captured.
    """

    __slots__ = ("cwd", "inherit_output", "max_output_bytes", "policy", "stdin", "timeout_ms", "variables")

    def __init__(
        self,
        *,
        policy: Policy,
        timeout_ms: float | None,
        cwd: str | None,
        variables: Variables,
        stdin: bytes | str | IO[Any] | None,
        max_output_bytes: int | None,
        inherit_output: bool,
    ) -> None:
        self.policy = policy
        self.timeout_ms = timeout_ms
        self.cwd = cwd
        self.variables = variables
        self.stdin = stdin
        self.max_output_bytes = max_output_bytes
        self.inherit_output = inherit_output


class Direct:
    """A line that needs no shell: its words. tells_path: its program finds its own path in the variable `_`."""

    __slots__ = ("tells_path", "words")

    def __init__(self, words: tuple[str, ...], tells_path: bool) -> None:
        self.words = words
        self.tells_path = tells_path


class Command:
    """What will run: the final argument vector and its settings. What was checked is what runs.

    direct: how it is tried first, without the shell of `argv`; None for what has no shell or needs it.
    text: as the caller wrote it. name: the label's text, or the command; it is taken here, where the caller's
    own `__str__` may run, for messages are made where it may not.
    refusal: why it can't run; such a command fails without starting.
    """

    __slots__ = ("argv", "direct", "label", "name", "refusal", "settings", "text")
    kind = COMMAND
    large = False

    def let_go(self) -> None:
        """It is over."""

    def without_arguments(self) -> Command:
        """For who only wants to tell of it."""
        return self

    def __init__(
        self,
        text: str,
        argv: tuple[str, ...],
        settings: Settings,
        label: object = None,
        refusal: InvalidCommand | None = None,
        direct: Direct | None = None,
    ) -> None:
        self.direct = direct
        self.text = text
        self.argv = argv
        self.settings = settings
        self.label = label
        self.name = text if label is None else label_text(label)
        self.refusal = refusal

    def __repr__(self) -> str:
        return f"Command({self.text!r})"
