"""Which shell runs a line, with which flags, and that it reads no start file."""

import os
import pwd
import shutil
import stat
from pathlib import Path

import pytest

import arrea
from arrea._model.errors import InvalidOption
from arrea._prepare.shell import SH, find_shell, line_words, silenced

ALLOWED = ("sh", "bash", "zsh", "fish", "dash")
BASH = shutil.which("bash") or ""

needs_bash = pytest.mark.skipif(not BASH, reason="bash is not installed")


def make_shell(path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text('#!/bin/sh\necho "$0: $*"\n')
    path.chmod(0o755)
    return path


# ── the choice ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("wanted", [None, "sh"])
def test_sh_is_looked_for_nowhere(wanted: object) -> None:
    assert find_shell(wanted, ALLOWED, {}) == SH == ("/bin/sh", "-c")


@pytest.mark.parametrize(
    ("name", "flags"), [("bash", ()), ("dash", ()), ("zsh", ("-f",)), ("fish", ("--no-config",))]
)
def test_flags_of_each_shell(name: str, flags: tuple[str, ...], tmp_path: Path) -> None:
    shell = str(make_shell(tmp_path / name))
    expected = (shell, *flags, "-c")
    assert find_shell(name, ALLOWED, {"PATH": str(tmp_path)}) == expected
    assert find_shell(shell, ALLOWED, {"PATH": "/nowhere"}) == expected
    assert find_shell("auto", ALLOWED, {"SHELL": shell}) == expected


def test_first_one_on_the_path_of_the_child(tmp_path: Path) -> None:
    (tmp_path / "a" / "bash").mkdir(parents=True)  # a directory is no shell
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "bash").write_text("not executable")
    shell = make_shell(tmp_path / "c" / "bash")
    path = ":".join(str(tmp_path / name) for name in "abc")
    assert find_shell("bash", ALLOWED, {"PATH": path})[0] == str(shell)
    with pytest.raises(InvalidOption, match="shell 'bash' was not found, or is not executable"):
        find_shell("bash", ALLOWED, {"PATH": str(tmp_path / "b")})


def test_auto_is_the_users_own() -> None:
    own = pwd.getpwuid(os.getuid()).pw_shell
    if os.path.basename(own) in ALLOWED:
        assert find_shell("auto", ALLOWED, {})[0] in (own, "/bin/sh")
    else:
        with pytest.raises(InvalidOption, match="is not allowed"):
            find_shell("auto", ALLOWED, {})
    with pytest.raises(InvalidOption, match="shell '/sbin/nologin' is not allowed"):
        find_shell("auto", ALLOWED, {"SHELL": "/sbin/nologin"})


@pytest.mark.parametrize(
    "wanted", ["perl", "/usr/bin/perl", "/bin/bash/", "bsah", "BASH", "-c", " bash", "rbash"]
)
def test_not_allowed(wanted: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        find_shell(wanted, ALLOWED, {"PATH": "/bin:/usr/bin"})
    assert (caught.value.option, caught.value.code) == ("shell", "shell_not_found")
    assert str(caught.value).startswith(
        f"shell {wanted!r} is not allowed: 'sh', 'bash', 'zsh', 'fish' or 'dash'"
    )
    assert str(caught.value).endswith("; allowed_shells adds others")


def test_not_allowed_with_a_suggestion() -> None:
    with pytest.raises(InvalidOption, match="did you mean 'bash'"):
        find_shell("bsah", ALLOWED, {})


def test_sh_can_be_forbidden_when_it_is_asked_for() -> None:
    with pytest.raises(InvalidOption, match="shell 'sh' is not allowed: 'bash'"):
        find_shell("sh", ("bash",), {})


@pytest.mark.parametrize("wanted", ["", "ba\0sh", 5, True, b"bash", ["bash"], Path("/bin/bash")])
def test_not_a_name(wanted: object) -> None:
    with pytest.raises(InvalidOption, match=r"^shell must be text, a name or a path, not ") as caught:
        find_shell(wanted, ALLOWED, {})
    assert caught.value.code == "invalid_option"


def test_configuration_allows_more(tmp_path: Path) -> None:
    shell = make_shell(tmp_path / "mysh")
    with arrea.Engine(allowed_shells=["mysh", str(tmp_path / "other")], shell=str(shell)) as engine:
        assert engine.execute("a line").unwrap().stdout == f"{shell}: -c a line\n"
        result = engine.execute("a line", shell="bash")
        assert result.error is not None and result.error.code == "shell_not_found"


@needs_bash
def test_option_before_configuration_before_sh() -> None:
    line = 'echo "${BASH_VERSION:+bash} $0"'
    assert arrea.execute(line, shell="sh").unwrap().stdout.endswith("/bin/sh\n")
    assert arrea.execute(line, shell="bash").unwrap().stdout == f"bash {BASH}\n"
    assert arrea.run([arrea.Task(line, shell="bash")], shell="sh").unwrap()[0].stdout == f"bash {BASH}\n"
    with arrea.Engine(shell="bash") as engine:
        assert engine.execute(line).unwrap().stdout == f"bash {BASH}\n"
        assert engine.execute(line, shell="sh").unwrap().stdout.endswith("/bin/sh\n")


@needs_bash
def test_auto_reads_the_environment_of_the_child() -> None:
    output = arrea.execute("echo $0", shell="auto", env={"SHELL": BASH}).unwrap()
    assert output.stdout == f"{BASH}\n"


# ── start files ───────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def start_file(tmp_path: Path) -> Path:
    file = tmp_path / "start"
    file.write_text("echo from the start file; echo noise >&2\n")
    return file


@needs_bash
def test_bash_reads_no_start_file_of_the_host(start_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BASH_ENV", str(start_file))
    monkeypatch.setenv("ENV", str(start_file))
    for shell in ("bash", BASH):
        output = arrea.execute('echo "[$BASH_ENV]"', shell=shell).unwrap()
        assert (output.stdout, output.stderr) == ("[]\n", "")
    assert os.environ["BASH_ENV"] == str(start_file)


@needs_bash
def test_start_file_that_the_caller_asks_for_is_read(start_file: Path) -> None:
    output = arrea.execute("echo line", shell="bash", env={"BASH_ENV": str(start_file)}).unwrap()
    assert output.stdout == "from the start file\nline\n"


def test_sh_reads_no_start_file(start_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENV", str(start_file))
    monkeypatch.setenv("BASH_ENV", str(start_file))
    assert arrea.execute("echo line").unwrap().stdout == "line\n"


@needs_bash
def test_bash_env_reaches_what_is_no_bash(start_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BASH_ENV", str(start_file))
    output = arrea.execute(["/usr/bin/env"]).unwrap()
    assert f"BASH_ENV={start_file}\n" in output.stdout
    assert silenced(("/bin/bash", "-c")) == ("BASH_ENV",) and silenced(SH) == ()


@pytest.mark.parametrize(
    ("shell", "file", "variable"),
    [("zsh", ".zshenv", "ZDOTDIR"), ("fish", "fish/config.fish", "XDG_CONFIG_HOME")],
)
def test_zsh_and_fish_read_no_start_file(shell: str, file: str, variable: str, tmp_path: Path) -> None:
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text("echo from the start file\n")
    output = arrea.execute("echo line", shell=shell, env={variable: str(tmp_path)}).unwrap()
    assert output.stdout == "line\n"


# ── the line ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("line", ["-x", "+x", "-c", "--", "--help", "-"])
def test_line_that_begins_like_an_option(line: str) -> None:
    assert line_words(SH, line) == ("/bin/sh", "-c", "--", line)
    assert line_words(("/usr/bin/fish", "--no-config", "-c"), line)[-2:] == ("-c", line)
    assert line_words(SH, f" {line}") == ("/bin/sh", "-c", f" {line}")


@pytest.mark.parametrize("shell", ["sh", "dash", "bash", "zsh", "fish"])
def test_line_with_a_dash_is_a_command(shell: str, tmp_path: Path) -> None:
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    program = tmp_path / "-program"
    program.write_text("#!/bin/sh\necho ran $1\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    assert arrea.execute("-program argument", shell=shell, env=env).unwrap().stdout == "ran argument\n"
    missing = arrea.execute("-no-such-program", shell=shell)
    assert missing.data is not None and missing.data.exit_code == 127
