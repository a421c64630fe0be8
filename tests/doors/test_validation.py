"""Validation at every door: one command, refused in one way, wherever it comes in. Nothing of it starts.

What is refused here would do no harm if it did run: it removes a directory that isn't there.
"""

import asyncio
import copy
import inspect
import json
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import arrea
from arrea import Task
from arrea.cli.main import COMMANDS
from tests.cli.door import arrea as command_line
from tests.doors.doors import ITERATOR_DOORS, LIST_DOORS, through_iterator

Door = Callable[..., "arrea.Verdict"]


# ── the doors ─────────────────────────────────────────────────────────────────────────────────────


def of_result(result: arrea.Result) -> arrea.Verdict:
    error = result.error
    assert isinstance(error, arrea.TaskError) and (result.attempts, result.data) == (0, None)
    verdict = getattr(error, "verdict", None)
    assert isinstance(verdict, arrea.Verdict), error
    assert error.code == verdict.code
    return verdict


def of_list(door: Callable[..., Any]) -> Door:
    """A list is refused whole."""

    def judge(command: Any, **options: Any) -> arrea.Verdict:
        with pytest.raises(arrea.InvalidBatch) as caught:
            door(["true", command], **options)
        [(index, error)] = caught.value.errors
        assert index == 1
        verdict: arrea.Verdict = error.verdict  # type: ignore[attr-defined]
        return verdict

    return judge


def of_iterator(door: Callable[..., Any]) -> Door:
    return lambda command, **options: of_result(door(iter([command]), policy="once", **options)[0])


def gathered(results: Any) -> list[arrea.Result]:
    async def gather() -> list[arrea.Result]:
        return [result async for result in results]

    return asyncio.run(gather())


def prepared(engine: Any, command: Any, **options: Any) -> arrea.Verdict:
    [found] = engine.prepare([command], **options)
    assert found.refusal is not None and found.argv == ()
    verdict: arrea.Verdict = found.refusal.verdict
    return verdict


def doors_of(where: Any) -> dict[str, Door]:
    """The same of the module and of an engine."""
    return {
        "execute": lambda command, **options: of_result(where.execute(command, **options)),
        "execute_async": lambda command, **options: of_result(
            asyncio.run(where.execute_async(command, **options))
        ),
        "run": of_list(where.run),
        "run_async": of_list(lambda *args, **options: asyncio.run(where.run_async(*args, **options))),
        "stream": of_list(where.stream),
        "stream_async": of_list(where.stream_async),
        "submit": of_list(where.submit),
    }


LIBRARY: dict[str, Door] = {
    **doors_of(arrea),
    "validate": lambda command, **options: arrea.validate(command, **options),
}
ENGINE: dict[str, Callable[..., arrea.Verdict]] = {
    **{
        name: lambda engine, command, _n=name, **options: doors_of(engine)[_n](command, **options)
        for name in doors_of(arrea)
    },
    "prepare": prepared,
}


def takes_commands(value: object) -> bool:
    return callable(value) and bool({"command", "commands"} & set(inspect.signature(value).parameters))


def test_the_doors_are_all_there_are() -> None:
    functions = {name for name in arrea.__all__ if inspect.isfunction(getattr(arrea, name))}
    assert {name for name in functions if takes_commands(getattr(arrea, name))} == set(LIBRARY)
    methods = {name for name in vars(arrea.Engine) if not name.startswith("_")}
    assert {name for name in methods if takes_commands(getattr(arrea.Engine, name))} == set(ENGINE)
    assert set(COMMANDS) == {"run", "validate"}, "another command: is it a door?"


def test_map_is_no_door() -> None:
    """It calls a function, and its items are what that is given: none of them is a command."""
    dangerous = "rm -rf /nothing"
    assert list(arrea.map(str.upper, [dangerous], isolation="thread")) == [dangerous.upper()]
    with pytest.raises(arrea.InvalidOption, match="function must be callable, not 'rm -rf /nothing'"):
        arrea.map(dangerous, [1])  # type: ignore[arg-type]


# ── one command ───────────────────────────────────────────────────────────────────────────────────

DANGER = "dangerous_command"
REFUSED: dict[str, tuple[Callable[[Path], Any], str, str | None]] = {
    "danger": (lambda there: f"touch {there}/ran; rm -r --force {there}/nothing", DANGER, "no_rm_rf"),
    "in a launcher": (lambda there: f"touch {there}/ran; timeout 9 rm -fr {there}/nothing", DANGER, "no_rm_rf"),
    "vector": (lambda there: ["rm", "-rf", f"{there}/nothing"], DANGER, "no_rm_rf"),
    "vector of a shell": (lambda there: ["sh", "-c", f"touch {there}/ran; rm -rf {there}/nothing"], DANGER, "no_rm_rf"),
    "substitution": (lambda there: f"touch {there}/ran; echo $(date)", "possible_injection", None),
    "name of the run": (lambda there: f"touch {there}/ran; $there", "unparseable", None),
    "syntax": (lambda there: f"touch {there}/ran; (", "unparseable", None),
    "too long": (lambda there: f"touch {there}/ran; echo {'x' * 65_536}", "command_too_long", None),
    "task": (lambda there: Task(f"rm -rf {there}/nothing", label="tidy"), DANGER, "no_rm_rf"),
}  # fmt: skip
refused = pytest.mark.parametrize(("make", "code", "rule"), REFUSED.values(), ids=list(REFUSED))


@refused
def test_every_door_says_the_same(
    make: Callable[[Path], Any], code: str, rule: str | None, tmp_path: Path
) -> None:
    command = make(tmp_path)
    plain = command.command if isinstance(command, Task) else command
    expected = arrea.validate(plain)
    assert (expected.allowed, expected.code, expected.rule) == (False, code, rule)
    assert expected.reason and expected.hint
    for name, door in LIBRARY.items():
        given = plain if name == "validate" else command
        assert door(given) == expected, name
    with arrea.Engine() as engine:
        for name, engine_door in ENGINE.items():
            assert engine_door(engine, command) == expected, name
    for name, door in ITERATOR_DOORS.items():
        assert of_iterator(door)(command) == expected, name
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", LIST_DOORS)
def test_a_list_with_one_refused_command_starts_nothing(name: str, tmp_path: Path) -> None:
    with pytest.raises(arrea.InvalidBatch, match="no_rm_rf"):
        LIST_DOORS[name]([f"touch {tmp_path}/first", f"rm -rf {tmp_path}/nothing"])
    assert not list(tmp_path.iterdir())


def test_of_an_iterator_the_others_run(tmp_path: Path) -> None:
    commands = ["echo a", f"rm -rf {tmp_path}/nothing", "echo b"]
    results = arrea.run(through_iterator(commands))
    assert [result.success for result in results] == [True, False, True]
    assert results[1].error is not None and results[1].error.code == "dangerous_command"


def test_the_refused_is_not_retried(tmp_path: Path) -> None:
    result = arrea.execute(f"rm -rf {tmp_path}/nothing", policy={"max_retries": 5, "retry_delay": "1ms"})
    assert (result.success, result.attempts) == (False, 0)


# ── the command line ──────────────────────────────────────────────────────────────────────────────


def test_the_command_line_starts_nothing_and_lists_all(tmp_path: Path) -> None:
    lines = tmp_path / "lines"
    lines.write_text(f"touch {tmp_path}/ran\nrm -rf {tmp_path}/nothing\n\nsudo -n true\n")
    words = [
        "-c",
        f"rm -fr {tmp_path}/nothing",
        "--file",
        str(lines),
        "--",
        "rm",
        "-rf",
        f"{tmp_path}/nothing",
    ]
    ran = command_line("run", *words)
    assert (ran.code, ran.out) == (126, b"")
    told = ran.err.splitlines()
    assert len(told) == 4 and all(line.startswith("arrea run: ") for line in told)
    assert f"{lines}, line 2: refused" in told[1] and f"{lines}, line 4: refused" in told[2]
    assert "no_rm_rf" in told[0] and "no_sudo" in told[2] and "no_rm_rf" in told[3]
    assert not (tmp_path / "ran").exists()


def test_standard_input_is_judged_line_by_line(tmp_path: Path) -> None:
    ran = command_line("run", "-q", "-f", "-", stdin=f"echo a\nrm -rf {tmp_path}/nothing\necho b\n".encode())
    assert (ran.code, sorted(ran.out.split())) == (1, [b"a", b"b"])  # they run side by side


def test_one_refused_command_of_standard_input_is_126(tmp_path: Path) -> None:
    ran = command_line("run", "-f", "-", stdin=f"rm -rf {tmp_path}/nothing\n".encode())
    assert ran.code == 126 and "no_rm_rf" in ran.err


def test_a_dry_run_refuses_too(tmp_path: Path) -> None:
    ran = command_line("run", "--dry-run", "-c", f"rm -rf {tmp_path}/nothing", "-c", "echo a")
    assert ran.code == 126 and "no_rm_rf" in ran.err


def test_the_results_of_json_name_the_code(tmp_path: Path) -> None:
    ran = command_line("run", "--json", "-q", "-f", "-", stdin=f"rm -rf {tmp_path}/nothing\n".encode())
    assert json.loads(ran.out)["error"]["code"] == "dangerous_command"


# ── the ways to allow ─────────────────────────────────────────────────────────────────────────────


def test_without_validation_it_runs(tmp_path: Path) -> None:
    line = f"rm -rf {tmp_path}/nothing; echo $(echo a)"
    assert arrea.execute(line, validate=False).data.stdout == "a\n"  # type: ignore[union-attr]
    assert command_line("run", "-q", "--no-validate", "-c", line).out == b"a\n"


def test_of_one_task_only(tmp_path: Path) -> None:
    line = f"rm -rf {tmp_path}/nothing"
    with pytest.raises(arrea.InvalidBatch) as caught:
        arrea.run([Task(line, validate=False), line])
    assert [index for index, _ in caught.value.errors] == [1]


def test_substitution_can_be_allowed_and_is_still_judged(tmp_path: Path) -> None:
    assert arrea.execute("echo $(echo a)", allow_substitution=True).data.stdout == "a\n"  # type: ignore[union-attr]
    inner = arrea.execute(f"echo $(rm -rf {tmp_path}/nothing)", allow_substitution=True)
    assert inner.error is not None and inner.error.code == "dangerous_command"
    assert command_line("run", "-q", "--allow-substitution", "-c", "echo $(echo a)").out == b"a\n"


def test_rules_are_configured(tmp_path: Path) -> None:
    with arrea.Engine(validation_rules=["no_sudo"]) as engine:
        assert engine.execute(f"rm -rf {tmp_path}/nothing").success
    with arrea.Engine(validation_rules=[]) as engine:
        assert engine.execute(f"rm -rf {tmp_path}/nothing").success
    environment = {"ARREA_VALIDATION_RULES": "no_sudo,no_dd"}
    assert command_line("run", "-q", "-c", f"rm -rf {tmp_path}/nothing", env=environment).code == 0


def test_the_strict_profile(tmp_path: Path) -> None:
    with arrea.Engine(validation_rules=["strict"]) as engine:
        error = engine.execute(f"find {tmp_path}/nothing -delete").error
    assert error is not None and error.code == "dangerous_command" and "no_find_delete" in str(error)


@pytest.mark.parametrize("names", [["no_rm"], ["no_rm_rf", "nosudo"]])
def test_unknown_rules_are_refused(names: list[str]) -> None:
    with pytest.raises(arrea.InvalidConfig, match="did you mean"):
        arrea.Engine(validation_rules=names)
    with pytest.raises(arrea.InvalidOption):
        arrea.validate("true", rules=names)


def test_sudo_by_whole_words() -> None:
    with arrea.Engine(sudo_allowlist=["systemctl start"]) as engine:
        assert engine.config.get("sudo_allowlist") == ["systemctl start"]
        refused = [
            engine.prepare([line]) for line in ("sudo systemctl startx", "sudo systemctl start a; sudo id")
        ]
        assert all(next(commands).refusal is not None for commands in refused)
        assert next(engine.prepare(["sudo systemctl start nginx"])).refusal is None


@pytest.mark.parametrize("command", ["sh", "bash -s", ["sh"], "cat | sh", "timeout 9 sh"])
def test_what_a_shell_reads_is_judged(command: Any, tmp_path: Path) -> None:
    script = f"touch {tmp_path}/ran; rm -rf {tmp_path}/nothing"
    error = arrea.execute(command, stdin=script).error
    assert error is not None and error.code == "dangerous_command" and "no_rm_rf" in str(error)
    assert not (tmp_path / "ran").exists()
    assert arrea.execute(command, stdin="echo a").data.stdout == "a\n"  # type: ignore[union-attr]


def test_what_other_programs_read_is_text(tmp_path: Path) -> None:
    script = f"rm -rf {tmp_path}/nothing; $(date)"
    assert arrea.execute("cat", stdin=script).data.stdout == script  # type: ignore[union-attr]
    assert arrea.execute(["cat"], stdin=b"\xff\0").data.stdout_bytes == b"\xff\0"  # type: ignore[union-attr]


# ── what an opponent found ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "line",
    [
        "true &>/dev/null rm -rf x", "true &>> log rm -rf x", "true&>/dev/null rm -rf x", "true &> a 2>&1 rm -rf x",
        "if true &> a rm -rf x; then b; fi", "sh -c 'true &> a rm -rf x'", "make all &> /dev/null sudo -n id",
    ],
)  # fmt: skip
def test_what_dash_runs_behind_a_redirect_of_both(line: str) -> None:
    assert arrea.validate(line).code == "dangerous_command"


@pytest.mark.parametrize("line", ["make &> log", "make &> log; ls -l", "make &>> log && ls", "a &> b | c"])
def test_redirects_of_both_are_fine(line: str) -> None:
    assert arrea.validate(line).allowed


@pytest.mark.parametrize("rules", [iter(["default"]), map(str, ["strict"]), 3, {"no_dd"}, "default", [5]])
def test_rules_that_are_no_list(rules: Any) -> None:
    with pytest.raises(arrea.InvalidOption):
        arrea.validate("sudo x", rules=rules)


def test_a_dry_run_of_standard_input_refuses_too(tmp_path: Path) -> None:
    ran = command_line("run", "--dry-run", "-f", "-", stdin=f"rm -rf {tmp_path}/nothing\n".encode())
    assert ran.code == 126


def test_a_rule_that_is_replaced_is_in_force_at_once() -> None:
    for reason in ("first", "second"):
        arrea.add_rule("own", lambda _, told=reason: told)  # type: ignore[misc]
        assert arrea.validate("true", rules=["own"]).reason == reason
    arrea.remove_rule("own")
    with pytest.raises(arrea.InvalidOption):
        arrea.validate("true", rules=["own"])


@pytest.mark.parametrize(
    "line",
    [
        "sudo -ns systemctl start x", "sudo -Es systemctl start x", "sudo --shel systemctl start x",
        "sudo -R /evil systemctl start a", "sudo --user=$x systemctl start a", "sudoedit systemctl start x",
        "PATH=/evil sudo systemctl start x", "SUDO_ASKPASS=/evil sudo -A systemctl start x",
    ],
)  # fmt: skip
def test_no_way_around_the_allowlist(line: str) -> None:
    with arrea.Engine(sudo_allowlist=["systemctl start"]) as engine:
        assert next(engine.prepare([line])).refusal is not None
        assert next(engine.prepare(["sudo -n -E systemctl start x"])).refusal is None


def test_texts_that_lie() -> None:
    class Loud(str):
        def strip(self, *_: object) -> str:  # type: ignore[override]
            return ""

        def isprintable(self) -> bool:
            raise RuntimeError("no")

    assert arrea.validate(Loud("rm -rf x")).code == "dangerous_command"
    arrea.add_rule("own", lambda _: Loud("no"))
    assert arrea.validate("true", rules=["own"]).reason == "no"
    arrea.remove_rule("own")


def test_the_fragment_is_what_people_see() -> None:
    verdict = arrea.validate('ssh host "cd /srv && $CMD"')
    assert (
        verdict.code == "unparseable" and verdict.fragment == "..." and (verdict.reason or "").isprintable()
    )


def test_values_travel() -> None:
    seen: list[arrea.SimpleCommand] = []
    arrea.add_rule("own", lambda command: seen.append(command))  # type: ignore[func-returns-value, arg-type, return-value]
    assert arrea.validate("A=1 ls -l > log", rules=["own"]).allowed
    arrea.remove_rule("own")
    assert pickle.loads(pickle.dumps(seen[0])) == seen[0] and copy.deepcopy(seen[0]) == seen[0]
    error = arrea.execute("sudo x").error
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.verdict) == (str(error), arrea.validate("sudo x"))


def test_many_texts_are_no_long_work() -> None:
    began = time.thread_time()
    assert arrea.validate("sh -c 'true';" * 4_500).code == "too_deep"
    assert time.thread_time() - began < 0.8
    assert arrea.validate("sh -c 'true';" * 900).allowed


def test_many_functions_are_no_long_work() -> None:
    line = ";".join(f"f{n}() {{ f{n + 1}; }}" for n in range(2_500))
    began = time.thread_time()
    assert arrea.validate(line).code in (None, "too_deep")
    assert time.thread_time() - began < 1.0
