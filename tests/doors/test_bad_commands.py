"""Commands that can't run: refused in words, at every door, and nothing else is lost for them."""

from pathlib import Path
from typing import Any

import pytest

import arrea
from arrea import Task
from tests.doors.doors import ITERATOR_DOORS, LIST_DOORS


class Hostile:
    """An object whose own text can't be had."""

    def __repr__(self) -> str:
        raise RuntimeError("no text")

    __str__ = __repr__


class HostileHash:
    def __hash__(self) -> int:
        raise RuntimeError("no hash")


# What somebody may pass as a command: the code of its error, and what its message must say.
BAD_COMMANDS: dict[str, tuple[Any, str, str]] = {
    "empty": ("", "empty_command", "the command is empty"),
    "blank": ("   ", "empty_command", "the command is empty"),
    "only tabs and newlines": ("\t\n\r\n", "empty_command", "the command is empty"),
    "empty vector": ([], "empty_command", "the argument vector is empty"),
    "empty tuple": ((), "empty_command", "the argument vector is empty"),
    "empty program": ([""], "empty_command", "the program's name is empty"),
    "empty program with arguments": (["", "-x"], "empty_command", "the program's name is empty"),
    "blank program": ([" "], "empty_command", "the program's name is empty"),
    "NUL": ("echo a\0b", "possible_injection", "the command has a NUL byte"),
    "NUL in an argument": (["echo", "a\0b"], "possible_injection", "argument 1 has a NUL byte"),
    "NUL in the program": (["ec\0ho"], "possible_injection", "argument 0 has a NUL byte"),
    "lone surrogate": ("echo \ud800", "invalid_option", "lone surrogate"),
    "lone surrogate in an argument": (
        ["echo", "\ud800"],
        "invalid_option",
        "argument 1 has a lone surrogate",
    ),
    "None": (None, "invalid_option", "not None"),
    "number": (5, "invalid_option", "not 5"),
    "huge number": (10**5000, "invalid_option", "not a number of many digits"),
    "float": (1.5, "invalid_option", "not 1.5"),
    "bytes": (b"true", "invalid_option", "not b'true'"),
    "set": ({"true"}, "invalid_option", "not {'true'}"),
    "dict": ({"command": "true"}, "invalid_option", "not a dict"),
    "object without a text": (Hostile(), "invalid_option", "not a Hostile"),
    "number in a vector": (["echo", 5], "invalid_option", "argument 1 must be text, not 5"),
    "bytes in a vector": (["echo", b"a"], "invalid_option", "argument 1 must be text, not b'a'"),
    "None in a vector": (["echo", None], "invalid_option", "argument 1 must be text, not None"),
    "vector in a vector": ([["echo"]], "invalid_option", "argument 0 must be text"),
    "object without a text in a vector": (["echo", Hostile()], "invalid_option", "argument 1 must be text"),
    "empty Task": (Task(""), "empty_command", "the command is empty"),
    "Task of nothing": (Task(None), "invalid_option", "not None"),  # type: ignore[arg-type]
    "Task of a Task": (Task(Task("true")), "invalid_option", "not Task('true')"),  # type: ignore[arg-type]
    "unknown option": (Task("true", timeuot=1), "invalid_option", "did you mean 'timeout'?"),
    "option of the batch": (Task("true", workers=1), "invalid_option", "unknown option 'workers'"),
    "wrong timeout": (Task("true", timeout=0), "invalid_option", "timeout must be more than 0"),
    "wrong retries": (
        Task("true", policy={"max_retries": -1}),
        "invalid_option",
        "max_retries must be from 0",
    ),
    "unknown policy": (Task("true", policy="retyr"), "invalid_option", "did you mean 'retry'?"),
    "wrong env": (Task("true", env={"A": 1}), "invalid_option", "env value of 'A' must be text, not int"),
    "wrong stdin": (Task("true", stdin=1), "invalid_option", "stdin must be bytes, text"),
    "wrong label": (Task("true", label=[]), "invalid_option", "label must be hashable, not []"),
    "label without a hash": (Task("true", label=HostileHash()), "invalid_option", "label must be hashable"),
    "missing shell": (Task("true", shell="/no/bash"), "shell_not_found", "was not found"),
    "shell that isn't allowed": (Task("true", shell="perl"), "shell_not_found", "is not allowed"),
    "missing directory": (Task("true", cwd="/no/such"), "cwd_not_found", "cwd '/no/such' does not exist"),
    "directory that is a file": (Task("true", cwd=__file__), "cwd_not_found", "is not a directory"),
}

bad_commands = pytest.mark.parametrize(("bad", "code", "told"), BAD_COMMANDS.values(), ids=list(BAD_COMMANDS))


def check_refusal(result: arrea.Result, index: int, code: str, told: str) -> None:
    error = result.error
    assert isinstance(error, arrea.TaskError)
    assert (result.success, result.index, result.attempts, result.data) == (False, index, 0, None)
    assert (error.code, told in str(error)) == (code, True), str(error)
    assert str(error).startswith(f"task {index} (")


@bad_commands
def test_execute_hands_back_a_failure(bad: Any, code: str, told: str) -> None:
    check_refusal(arrea.execute(bad), 0, code, told)


@bad_commands
def test_execute_with_check_raises_it(bad: Any, code: str, told: str) -> None:
    with pytest.raises(arrea.TaskError) as caught:
        arrea.execute(bad, check=True)
    assert caught.value.code == code and told in str(caught.value)


@bad_commands
@pytest.mark.parametrize("door", LIST_DOORS.values(), ids=list(LIST_DOORS))
def test_list_is_refused_whole(door: Any, bad: Any, code: str, told: str, forbidden: str) -> None:
    with pytest.raises(arrea.InvalidBatch) as caught:
        door([forbidden, bad, forbidden])
    [(index, error)] = caught.value.errors
    assert (index, error.code, told in str(error)) == (1, code, True), str(error)
    assert str(caught.value).startswith("1 element is wrong, nothing was started: element 1: ")


@bad_commands
@pytest.mark.parametrize("door", ITERATOR_DOORS.values(), ids=list(ITERATOR_DOORS))
def test_element_of_an_iterator_is_a_failed_result(door: Any, bad: Any, code: str, told: str) -> None:
    first, second, third = sorted(door(["true", bad, "true"]), key=lambda result: result.index)
    check_refusal(second, 1, code, told)
    assert first.success and third.success


def test_all_bad_elements_are_named(forbidden: str) -> None:
    with pytest.raises(arrea.InvalidBatch) as caught:
        arrea.run([forbidden, "", forbidden, 5, b"x", forbidden, ["a", None]])  # type: ignore[list-item]
    assert [index for index, _ in caught.value.errors] == [1, 3, 4, 6]
    assert str(caught.value) == (
        "4 elements are wrong, nothing was started: element 1: the command is empty; "
        "element 3: a command is text (a shell line), a list of texts or a function, not 5; "
        "element 4: a command is text (a shell line), a list of texts or a function, not b'x'; "
        "element 6: argument 1 must be text, not None"
    )


def test_many_bad_elements_make_no_endless_message() -> None:
    with pytest.raises(arrea.InvalidBatch) as caught:
        arrea.run([""] * 500)
    assert len(caught.value.errors) == 500
    assert str(caught.value).endswith("; and 480 more")
    assert len(str(caught.value)) < 2000


def test_refused_task_keeps_its_label_and_its_text() -> None:
    [result] = arrea.run(iter([Task("", label=("build", 1))]))
    assert result.label == ("build", 1)
    assert str(result.error) == "task 0 (('build', 1)): the command is empty"
    assert arrea.execute("a\0b", label="mine").label == "mine"
    assert arrea.execute("a\0b").command == "a\0b"


def test_message_moves_no_terminal() -> None:
    error = arrea.execute("echo \x1b[2J\0\r\n").error
    assert str(error).isprintable()


def test_refusal_is_not_retried(tmp_path: Path) -> None:
    [result] = arrea.run(
        iter([Task("true", cwd=tmp_path / "none")]), policy={"max_retries": 5, "retry_delay": 1}
    )
    assert result.attempts == 0


@pytest.mark.parametrize("label", ["text", 5, ("a", 1), None, frozenset({1}), Path("x")], ids=repr)
def test_any_hashable_is_a_label(label: Any) -> None:
    assert arrea.execute("true", label=label).label == label


def test_label_without_a_text_disturbs_nothing() -> None:
    label = Hostile()
    result = arrea.execute("exit 3", label=label)
    assert result.label is label
    assert str(result.error) == "task 0 (<Hostile>): exit code 3"


def test_what_an_elements_own_code_raises_is_its_failure() -> None:
    class Odd(dict[str, str]):
        def items(self) -> Any:
            raise RuntimeError("odd")

    first, second = arrea.run(iter([Task("true", env=Odd(A="b")), "true"]))
    assert second.success
    assert str(first.error) == "task 0 (true): an option can't be read: its own code raised RuntimeError"
