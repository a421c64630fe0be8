"""Lines that run without a shell run as they would with it; all others get it."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import arrea
from arrea import Engine
from arrea._prepare.direct import OWN, PLAIN, Shell, plain_words

SHELLS = ("sh", "dash", "bash")
each_shell = pytest.mark.parametrize("shell", SHELLS)


@pytest.fixture
def engine() -> Iterator[Engine]:
    with Engine() as engine:
        yield engine


# ── which lines ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("make", ("make",)),
        ("  make   -j2  all ", ("make", "-j2", "all")),
        ("./build.sh a=b c:d e,f +x @y 50%", ("./build.sh", "a=b", "c:d", "e,f", "+x", "@y", "50%")),
        ("/usr/bin/true", ("/usr/bin/true",)),
        ("../x --y=z", ("../x", "--y=z")),
    ],
)
def test_plain(line: str, words: tuple[str, ...]) -> None:
    assert plain_words(line) == words


@pytest.mark.parametrize(
    "line",
    [
        "cd /tmp", "echo a", "A=1 make", "a; b", "a & b", "a | b", "a > b", "a < b", "a $b", "a `b`", "a 'b'", 'a "b"',
        "a \\b", "a *", "a ?", "a [b]", "a {b,c}", "a ~", "a #b", "a !b", "a\nb", "a\tb", "(a)", "! a", "{ a", "é",
        "a é", "if a", ". a", ": a", "-a b", "%1", "+a", "@a", "~/a", "a=b", "=a", "time make", "exit 3", "",
    ],
)  # fmt: skip
def test_not_plain(line: str) -> None:
    assert not line or plain_words(line) is None


@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_whatever_the_shell_does_itself_is_known(shell: str) -> None:
    """Each word that this shell says it wouldn't look for in PATH."""
    candidates = {*OWN, "[", "[[", "!", "{", "}", ".", ":", "mapfile", "suspend", "trap", "wait", "logout"}
    if shell == "bash":
        candidates.update(_output("bash", "compgen -b; compgen -k").split())
    for word in candidates:
        kind = _output(shell, f"command -V '{word}' 2>&1 || :")
        if "builtin" in kind or "keyword" in kind:
            assert plain_words(f"{word} x") is None, kind


@given(st.text(PLAIN, min_size=1, max_size=40))
def test_words_are_those_of_the_shell(text: str) -> None:
    words = plain_words(f"program {text}")
    assert words is not None
    expected = _output("sh", f"printf '%s\\n' {words[0]} {text}")
    assert expected.splitlines() == list(words)


def _output(shell: str, line: str) -> str:
    return subprocess.run([shell, "-c", line], stdout=subprocess.PIPE, text=True, check=True).stdout


# ── which shells and environments ─────────────────────────────────────────────────────────────────

HERE = {"PATH": "/usr/bin:/bin", "PWD": os.path.realpath("."), "SHLVL": "1"}


@each_shell
def test_shells_that_change_nothing(shell: str) -> None:
    assert Shell((str(shutil.which(shell)),), HERE, None).changes_nothing


@each_shell
@pytest.mark.parametrize(
    "changes",
    [
        {"ENV": "/x"}, {"BASH_ENV": "/x"}, {"BASH_FUNC_ls%%": "() { echo; }"}, {"SHELLOPTS": "xtrace"}, {"a-b": "1"},
        {"é": "1"}, {"IFS": ","}, {"PATH": "bin:/bin"}, {"PATH": "/bin:"}, {"PATH": "/bin%func:/bin"},
        {"PATH": "/bin/"}, {"LD_PRELOAD": "/x.so"},
        {"PATH": ""}, {"PATH": None}, {"PWD": None},
        {"PWD": "/"}, {"PWD": "."}, {"PWD": "/nowhere"}, {"PWD": f"{os.path.realpath('.')}/."}, {"PPID": "1"},
    ],
)  # fmt: skip
def test_environments_that_shells_heed(shell: str, changes: dict[str, str | None]) -> None:
    variables = {name: value for name, value in (HERE | changes).items() if value is not None}
    assert not Shell((str(shutil.which(shell)),), variables, None).changes_nothing


@pytest.mark.parametrize(
    "changes",
    [
        {"SHLVL": None},
        {"SHLVL": "x"},
        {"SHLVL": "0"},
        {"SHLVL": "01"},
        {"SHLVL": "999"},
        {"SHLVL": "\u0663"},
        {"OLDPWD": "/nowhere"},
        {"OLDPWD": "."},
    ],
)
def test_environments_that_bash_heeds(changes: dict[str, str | None]) -> None:
    variables = {name: value for name, value in (HERE | changes).items() if value is not None}
    assert not Shell((str(shutil.which("bash")),), variables, None).changes_nothing


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_read_their_lines(shell: str) -> None:
    assert not Shell((str(shutil.which(shell)),), HERE, None).changes_nothing


def test_a_restricted_shell_reads_its_lines(tmp_path: Path) -> None:
    (tmp_path / "rbash").symlink_to(str(shutil.which("bash")))
    assert not Shell((str(tmp_path / "rbash"),), HERE, None).changes_nothing


@pytest.mark.parametrize("name", ["bash", "dash", "sh"])
def test_a_script_with_a_shells_name_reads_its_lines(engine: Engine, name: str, tmp_path: Path) -> None:
    wrapper = tmp_path / name
    wrapper.write_text('#!/bin/sh\necho wrapped\nexec /bin/sh "$@"\n')
    wrapper.chmod(0o755)
    assert engine.execute("env", shell=str(wrapper), check=True).data.stdout.startswith("wrapped\n")


def test_a_host_that_goes_elsewhere_meanwhile(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PWD", os.path.realpath("."))
    batch = engine.submit(["sleep 0.3; true", "env"], workers=1)
    monkeypatch.chdir(tmp_path)
    assert f"PWD={os.path.realpath(tmp_path)}\n" in batch.wait("10s")[1].data.stdout


def test_what_setsid_starts_is_waited_for(engine: Engine) -> None:
    result = engine.execute("setsid sleep 0.3", check=True)
    assert result.duration_ms > 250


def test_another_directory(tmp_path: Path) -> None:
    words = (str(shutil.which("dash")),)
    assert not Shell(words, HERE, str(tmp_path)).changes_nothing
    assert Shell(words, HERE | {"PWD": str(tmp_path)}, str(tmp_path)).changes_nothing


# ── what comes of it ──────────────────────────────────────────────────────────────────────────────


@each_shell
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"OLDPWD": "/"},
        {"OLDPWD": "/nowhere"},
        {"_": "/x"},
        {"PS1": "> "},
        {"a-b": "1"},
        {"LC_ALL": "C"},
        {"LC_ALL": "no-such-locale"},
        {"PWD": "/"},
        {"COMP_WORDBREAKS": "x"},
        {"UID": "7"},
        {"HISTFILE": "x"},
        {"LANG": "no-such-locale"},
    ],
)
def test_programs_find_the_same_environment(engine: Engine, shell: str, more: dict[str, str]) -> None:
    options = {"shell": shell, "env": HERE | more, "inherit_env": False}
    without, with_it = (_environment(engine, line, options) for line in ("env", '"env"'))
    assert without == with_it


def _environment(engine: Engine, line: str, options: dict[str, object]) -> set[str]:
    output = engine.execute(line, **options, check=True).data.stdout  # type: ignore[arg-type]
    return {entry for entry in output.splitlines() if not entry.startswith("ARREA_")}


@each_shell
@pytest.mark.parametrize(
    "line", ["no-such-program x", "/nowhere/x", "./text", "./no-header a", "/tmp", "./empty"]
)
def test_what_cannot_be_executed_is_the_shells_to_tell(
    engine: Engine, shell: str, line: str, tmp_path: Path
) -> None:
    (tmp_path / "text").write_text("no program")
    for name, text in (("no-header", 'echo "$1"; exit 3\n'), ("empty", "")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    options = {"shell": shell, "cwd": tmp_path, "env": {"PWD": str(tmp_path)}, "policy": "once"}
    first, *rest = line.split(" ", 1)
    quoted = " ".join([f"'{first}'", *rest])
    direct, through = (engine.execute(each, **options) for each in (line, quoted))  # type: ignore[arg-type]
    for one, other in zip(_told(direct), _told(through), strict=True):
        assert one == other


def _told(result: arrea.Result) -> tuple[object, ...]:
    data = result.data if result.success else getattr(result.error, "data", None)
    return (
        getattr(result.error, "exit_code", 0),
        getattr(data, "stdout", None),
        getattr(data, "stderr", None),
    )


def test_a_program_that_comes_earlier_in_path_is_found_at_once(engine: Engine, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for place, text in ((second, "old"), (first, "new")):
        place.mkdir()
        program = place / "program"
        program.write_text(f"#!/bin/sh\necho {text}\n")
        program.chmod(0o755)
    (first / "program").rename(first / "later")
    variables = {"PATH": f"{first}:{second}:{os.environ['PATH']}"}
    commands = ["program x", f"mv {first}/later {first}/program", "program x"]
    outputs = [result.data.stdout for result in engine.run(commands, workers=1, env=variables, check=True)]
    assert outputs == ["old\n", "", "new\n"]
