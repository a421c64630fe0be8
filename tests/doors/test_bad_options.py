"""Options that don't exist or have a wrong value: said in words at every door, and nothing is started."""

import datetime
import io
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import arrea
from arrea import Task
from arrea._model.checks import shown
from tests.doors.doors import ALL_DOORS, BATCH_DOORS, ITERATOR_DOORS, LIST_DOORS

SECRET = "s3cret"

NOT_NUMBERS: list[Any] = [math.nan, math.inf, -math.inf, True, False, 10**400, 10**5000, -(10**400), 1e300]
NOT_DURATIONS: list[Any] = [
    *NOT_NUMBERS,
    *(0, 0.0, -0.0, -1, -0.5),
    *(
        "",
        " ",
        "soon",
        "5 parsecs",
        "1_000",
        "\uff15s",
        "\u0665s",
        "1e3",
        "0x10",
        "0",
        "0s",
        "-5s",
        "--5",
        "5 5s",
        "1.2.3s",
    ),
    *("nan", "inf", "infinity", "NONE", "5S", "s", ".", "9" * 5000, "5s\0"),
    *(b"5s", 5j, [5], {"s": 5}, object(), datetime.timedelta, datetime.date(2020, 1, 1)),
    *(datetime.timedelta(0), datetime.timedelta(-1), datetime.timedelta.max),
]
NOT_COUNTS: list[Any] = [*NOT_NUMBERS, -1, 1.0, "3", "", "many", None, b"3", [3], 3j]

BAD_ENVIRONMENTS: list[tuple[Any, str]] = [
    (5, "not int"),
    ("A=b", "not str"),
    ([f"A={SECRET}"], "not list"),
    ([("A", SECRET)], "not list"),
    (dict, "not type"),
    ({"A": 5}, "env value of 'A' must be text, not int"),
    ({"A": None}, "env value of 'A' must be text, not NoneType"),
    ({"A": SECRET.encode()}, "env value of 'A' must be text, not bytes"),
    ({"A": Path(SECRET)}, "env value of 'A' must be text"),
    ({"A": f"{SECRET}\0"}, "env value of 'A' can't be passed"),
    ({"A": f"{SECRET}\ud800"}, "env value of 'A' can't be passed"),
    ({f"A={SECRET}": "b"}, "env has a name that is empty or has '='"),
    ({"": SECRET}, "env has a name that is empty"),
    ({"A\0B": SECRET}, "env has a name"),
    ({"A\ud800": SECRET}, "env has a name"),
    ({5: SECRET}, "env has a name that is no text: int"),
    ({b"A": SECRET}, "env has a name that is no text: bytes"),
]


class Bad(NamedTuple):
    """An option with a wrong value, and what the message says; `named`: the field that is wrong in a policy."""

    option: str
    value: Any
    told: str
    named: str | None = None

    @property
    def options(self) -> dict[str, Any]:
        return {self.option: self.value}

    def __repr__(self) -> str:
        return f"{self.option}={shown(self.value)} ({self.told!r})"


def bad_options(tmp: Path) -> list[Bad]:
    """Wrong options of single tasks."""
    fifo = tmp / "fifo"
    os.mkfifo(fifo)
    with open(os.devnull, "rb") as closed:
        pass
    rows: list[tuple[Any, ...]] = [
        *(("timeout", value, "timeout ") for value in NOT_DURATIONS),
        *(("policy", {"max_retries": value}, "max_retries must be ", "max_retries") for value in NOT_COUNTS),
        *(("max_output_bytes", v, "max_output_bytes must be ") for v in NOT_COUNTS if v is not None),
        *(("env", value, told) for value, told in BAD_ENVIRONMENTS),
        ("inherit_env", "no", "inherit_env must be True or False, not 'no'"),
        ("shell", "", "shell must be text, a name or a path, not ''"),
        ("shell", "ba\0sh", "shell must be text"),
        ("shell", 5, "shell must be text, a name or a path, not 5"),
        ("shell", ["bash"], "shell must be text"),
        ("cwd", 5, "cwd must be a path, not 5"),
        ("cwd", "", "cwd must be a path, not ''"),
        ("cwd", "a\0b", "cwd must be a path"),
        ("cwd", "a\ud800", "cwd must be a path"),
        ("cwd", [str(tmp)], "cwd must be a path"),
        ("stdin", 5, "stdin must be bytes, text, a path (pathlib.Path), an open file or None, not int"),
        ("stdin", True, "stdin must be bytes"),
        ("stdin", [b"x"], "stdin must be bytes"),
        ("stdin", io.BytesIO(b"x"), "stdin must be bytes"),
        ("stdin", closed, "stdin must be bytes"),
        ("stdin", "\ud800", "stdin has a lone surrogate at character 0"),
        ("stdin", tmp / "missing", "No such file or directory"),
        ("stdin", tmp, "is not a file that can be read"),
        ("stdin", fifo, "is not a file that can be read"),
        ("stdin", Path("a\0b"), "stdin must be a path"),
        ("stdin", Path("a\ud800"), "stdin must be a path"),
        ("label", [], "label must be hashable, not []"),
        ("label", {"a": 1}, "label must be hashable, not a dict"),
        ("policy", "retyr", "did you mean 'retry'?"),
        ("policy", "", "policy must be 'retry', 'stop', 'continue', 'strict', 'tolerant' or 'once', not ''"),
        ("policy", None, "policy must be a Policy, a name or a mapping of its fields, not None"),
        ("policy", 5, "policy must be a Policy"),
        ("policy", b"retry", "policy must be a Policy"),
        ("policy", lambda *_: "retry", "a function goes into arrea.policies.custom(...)"),
        ("policy", dict, "policy must be a Policy"),
        (
            "policy",
            {"max_retires": 3},
            "unknown policy field 'max_retires'; did you mean 'max_retries'?",
            "max_retires",
        ),
        ("policy", {5: 3}, "unknown policy field 5", "5"),
        ("policy", {"retry_delay": "5 parsecs"}, "retry_delay is not a duration: '5 parsecs'", "retry_delay"),
        (
            "policy",
            {"on_error": "explode"},
            "on_error must be 'retry', 'stop' or 'continue', not 'explode'",
            "on_error",
        ),
        ("timeuot", 5, "unknown option 'timeuot'; did you mean 'timeout'?"),
        ("zzz", 5, "unknown option 'zzz'"),
    ]
    return [Bad(*row) for row in rows]


def no_directory(tmp: Path) -> list[tuple[str, Any, str, str]]:
    """(option, value, code, what the message says): of these `execute` hands back a failure."""
    plain = tmp / "plain"
    plain.write_text("")
    return [
        ("cwd", tmp / "missing", "cwd_not_found", "missing' does not exist"),
        ("cwd", os.fsencode(tmp / "missing"), "cwd_not_found", "does not exist"),
        ("cwd", plain, "cwd_not_found", "is not a directory"),
        ("cwd", "x" * 5000, "cwd_not_found", "does not exist"),
        ("shell", "/no/such/bash", "shell_not_found", "shell '/no/such/bash' was not found"),
        ("shell", str(tmp / "plain"), "shell_not_found", "is not allowed"),
        ("shell", "bsah", "shell_not_found", "shell 'bsah' is not allowed"),
        ("shell", "perl", "shell_not_found", "allowed_shells adds others"),
    ]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("place")


@pytest.fixture(scope="module")
def options(place: Path) -> list[Bad]:
    return bad_options(place)


@pytest.fixture(scope="module")
def unusable(place: Path) -> list[tuple[str, Any, str, str]]:
    return no_directory(place)


@pytest.mark.parametrize("door", ALL_DOORS.values(), ids=list(ALL_DOORS))
def test_wrong_option_is_raised_at_the_call(door: Any, options: list[Bad], forbidden: str) -> None:
    for bad in options:
        with pytest.raises(arrea.InvalidOption) as caught:
            door([forbidden], **bad.options)
        check_error(caught.value, bad)


def check_error(error: arrea.ArreaError, bad: Bad) -> None:
    assert isinstance(error, arrea.InvalidOption)
    assert (error.code, error.option) == ("invalid_option", bad.named or bad.option), bad
    assert bad.told in str(error), bad
    check_message(str(error), bad)


def check_message(message: str, about: object) -> None:
    assert SECRET not in message, about
    assert message.isprintable(), about
    assert len(message) < 300, about


@pytest.mark.parametrize("door", BATCH_DOORS.values(), ids=list(BATCH_DOORS))
def test_wrong_workers(door: Any, forbidden: str) -> None:
    for value in [*NOT_COUNTS, 0, 101]:
        with pytest.raises(arrea.InvalidOption, match=r"^workers must be ") as caught:
            door([forbidden], workers=value)
        check_message(str(caught.value), shown(value))


@pytest.mark.parametrize("door", BATCH_DOORS.values(), ids=list(BATCH_DOORS))
def test_wrong_deadline(door: Any, forbidden: str) -> None:
    for value in NOT_DURATIONS:
        with pytest.raises(arrea.InvalidOption, match=r"^deadline ") as caught:
            door([forbidden], deadline=value)
        check_message(str(caught.value), shown(value))


@pytest.mark.parametrize("door", BATCH_DOORS.values(), ids=list(BATCH_DOORS))
def test_unusable_shell_or_directory_is_raised_at_a_batch(door: Any, unusable: Any, forbidden: str) -> None:
    for option, value, code, told in unusable:
        with pytest.raises(arrea.InvalidOption) as caught:
            door([forbidden], **{option: value})
        assert (caught.value.option, caught.value.code, told in str(caught.value)) == (option, code, True)


def test_unusable_shell_or_directory_is_a_failure_of_execute(unusable: Any, forbidden: str) -> None:
    for option, value, code, told in unusable:
        result = arrea.execute(forbidden, **{option: value})
        assert result.error is not None
        assert (result.error.code, told in str(result.error), result.attempts) == (code, True, 0)


@pytest.mark.parametrize("door", LIST_DOORS.values(), ids=list(LIST_DOORS))
def test_wrong_option_of_a_task_in_a_list(door: Any, options: list[Bad], forbidden: str) -> None:
    with pytest.raises(arrea.InvalidBatch) as caught:
        door([forbidden, *(Task(forbidden, **bad.options) for bad in options)])
    assert [index for index, _ in caught.value.errors] == list(range(1, len(options) + 1))
    for (_, error), bad in zip(caught.value.errors, options, strict=True):
        check_error(error, bad)


@pytest.mark.parametrize("door", ITERATOR_DOORS.values(), ids=list(ITERATOR_DOORS))
def test_wrong_option_of_a_task_from_an_iterator(door: Any, options: list[Bad], forbidden: str) -> None:
    results = door([Task(forbidden, **bad.options) for bad in options])
    assert len(results) == len(options)
    for result, bad in zip(sorted(results, key=lambda result: result.index), options, strict=True):
        assert (result.error.code, bad.told in str(result.error)) == ("invalid_option", True), bad
        check_message(str(result.error).partition("): ")[2], bad)


def test_iterator_is_not_touched_when_an_option_is_wrong() -> None:
    pulled = []

    def commands() -> Any:
        pulled.append(1)
        yield "true"

    with pytest.raises(arrea.InvalidOption):
        arrea.run(commands(), timeout=0)
    assert not pulled


def test_task_shows_no_secrets() -> None:
    task = Task("true", env={"TOKEN": SECRET}, stdin=SECRET.encode(), label="x")
    assert repr(task) == "Task('true', env=..., stdin=..., label='x')"


def test_wrong_keys_of_an_engine() -> None:
    for option, value, told in [
        ("max_worker", 5, "unknown configuration key 'max_worker'; did you mean 'max_workers'?"),
        ("max_workers", 0, "max_workers=0 (engine): max_workers must be a whole number from 1 to 100000"),
        ("max_workers", "5", "max_workers='5' (engine): max_workers must be a whole number from 1 to 100000"),
        ("default_policy", "retyr", "did you mean 'retry'?"),
        ("kill_grace", None, "kill_grace must be a duration from 0 to 100 years"),
    ]:
        with pytest.raises(arrea.InvalidOption) as caught:
            arrea.Engine(**{option: value})
        assert told in str(caught.value)


def test_longest_limits_disturb_nothing() -> None:
    """In a process of its own: the engine would take others with it."""
    code = """if True:
        import arrea
        for longest in ("1000h", "876000h", 2**31, 2**31 - 1, 2**32 + 1):
            assert arrea.execute("sleep 0.05", timeout=longest).success
            assert arrea.run(["sleep 0.05"], deadline=longest).success
        print("fine")"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.stdout, done.stderr) == ("fine\n", "")


# ── what is right ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("door", ALL_DOORS.values(), ids=list(ALL_DOORS))
def test_right_options_pass(door: Any, tmp_path: Path) -> None:
    (tmp_path / "input").write_text("from a file")
    with open(tmp_path / "input", "rb") as file:
        for stdin, expected in [
            (None, ""),
            (b"bytes", "bytes"),
            (bytearray(b"array"), "array"),
            ("tëxt", "tëxt"),
            (tmp_path / "input", "from a file"),
            (file, "from a file"),
        ]:
            [result] = door(["cat"], stdin=stdin, cwd=tmp_path, timeout="5s", label="x", shell="sh")
            assert result.data.stdout == expected
    [result] = door(["echo $A; pwd"], env={"A": "ä"}, cwd=os.fsencode(tmp_path), timeout=None)
    assert result.data.stdout == f"ä\n{tmp_path}\n"
    [result] = door([["/usr/bin/env"]], env={"A": "b"}, inherit_env=False)
    names = {line.partition("=")[0] for line in result.data.stdout.splitlines()}
    assert {name for name in names if not name.startswith("ARREA_")} == {"A"}
