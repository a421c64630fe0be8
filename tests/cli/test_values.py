"""Wrong values: one line that names the flag, exit code 2, and nothing was started."""

from collections.abc import Callable

import pytest

from arrea.cli.run import run
from tests.cli.door import arrea, shell

HUGE = "9" * 5000


Refused = Callable[..., str]


@pytest.fixture
def refused(capfd: pytest.CaptureFixture[str]) -> Refused:
    """What is said about flags that must be refused. Not a process each: there are many."""

    def refuse(*words: str) -> str:
        assert run([*words, "-c", "echo started"]) == 2
        out, err = capfd.readouterr()
        assert out == ""
        assert err.startswith("arrea run: ") and err.count("\n") == 1
        assert len(err) < 400
        return err

    return refuse


def test_a_refusal_is_exit_code_2() -> None:
    ran = arrea("run", "--timeout=0", "-c", "echo started")
    assert ran[:3] == (2, b"", "arrea run: --timeout must be more than 0; use none for no limit\n")


NUMBERS = ["-1", "nan", "inf", "two", "", "1.5", "1e3", "٣", "0x10", " 1", "1_000", HUGE]
TIMES = ["-1", "nan", "inf", "-5s", "soon", "", "5 parsecs", "1e400s", "٣s", "s", ".", HUGE, "1e3"]


@pytest.mark.parametrize("value", ["0", *NUMBERS, "100001"])
def test_parallel(refused: Refused, value: str) -> None:
    assert "--parallel" in refused(f"--parallel={value}")


@pytest.mark.parametrize("value", NUMBERS)
def test_retries(refused: Refused, value: str) -> None:
    assert "--retries" in refused(f"--retries={value}")


@pytest.mark.parametrize("flag", ["--timeout", "--deadline"])
@pytest.mark.parametrize("value", ["0", "0s", *TIMES])
def test_limits(refused: Refused, flag: str, value: str) -> None:
    assert refused(f"{flag}={value}").startswith(f"arrea run: {flag} ")


@pytest.mark.parametrize("value", [*TIMES, "none"])
def test_retry_delay(refused: Refused, value: str) -> None:
    assert refused(f"--retry-delay={value}").startswith("arrea run: --retry-delay ")


@pytest.mark.parametrize(
    "value", ["0", "-1", "0%", "101%", "-5%", "nan%", "inf%", "x", "", "1.5", "%", "1_0", HUGE]
)
def test_max_failures(refused: Refused, value: str) -> None:
    assert refused(f"--max-failures={value}").startswith("arrea run: --max-failures ")


@pytest.mark.parametrize(
    "value", ["", ",", "1,", "256", "-1", "SIGFOO", "segv", "timeuot", "1 2", "cancelled", HUGE, "a\x1b[2J"]
)
def test_retry_on(refused: Refused, value: str) -> None:
    told = refused(f"--retry-on={value}")
    assert told.startswith("arrea run: --retry-on") and "\x1b" not in told


def test_retry_on_suggests(refused: Refused) -> None:
    assert "did you mean 'timeout'" in refused("--retry-on=timeuot")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--json", "--output=lines"], "leave out one of them"),
        (["--json", "--tag"], "leave out --tag"),
        (["--tag", "--output=none"], "leave out one of them"),
        (["--stdin=inherit", "-c", "true"], "exactly one command"),
    ],
)
def test_what_does_not_go_together(refused: Refused, words: list[str], told: str) -> None:
    assert told in refused(*words)


@pytest.mark.parametrize("flag", ["--halt", "--output", "--policy", "--backoff"])
@pytest.mark.parametrize("value", ["", "nwo", "NOW", HUGE, "a\x1b[2J"])
def test_names(refused: Refused, flag: str, value: str) -> None:
    told = refused(f"{flag}={value}")
    assert flag in told and "\x1b" not in told


def test_policy_suggests(refused: Refused) -> None:
    assert "did you mean 'tolerant'" in refused("--policy", "tolernat")


@pytest.mark.parametrize("value", ["", "/nowhere", "/etc/passwd", "a\nb"])
def test_cwd(refused: Refused, value: str) -> None:
    assert "--cwd" in refused(f"--cwd={value}")


@pytest.mark.parametrize("value", ["", "perl", "/bin/cat", "/nowhere/bash", "bahs"])
def test_shell(refused: Refused, value: str) -> None:
    assert "--shell" in refused(f"--shell={value}")


def test_shell_that_is_allowed_but_missing(refused: Refused) -> None:
    assert "not found" in refused("--shell=/nowhere/dash")


def test_shell_auto_is_the_users_own() -> None:
    ran = arrea("run", "-q", "--shell=auto", "-c", "echo $0", env={"SHELL": "/bin/bash"})
    assert (ran.code, ran.out) == (0, b"/bin/bash\n")
    ran = arrea("run", "--shell=auto", "-c", "echo $0", env={"SHELL": "/bin/false"})
    assert (ran.code, ran.out) == (2, b"")


@pytest.mark.parametrize("value", ["", "SECRET", "=SECRET"])
def test_env_never_shows_what_it_was_given(refused: Refused, value: str) -> None:
    told = refused("--env", value)
    assert "--env takes NAME=VALUE" in told and "SECRET" not in told


def test_no_limit_can_be_said() -> None:
    ran = arrea("run", "-q", "--timeout", "none", "--deadline=none", "-c", "echo a", "-c", "echo b")
    assert ran.code == 0


@pytest.mark.parametrize("value", ["1", "500", "500ms", "5s", "2m", "1.5h"])
def test_good_times(value: str) -> None:
    assert arrea("run", "-q", "--deadline", value, "--retry-delay=0", "-c", "sleep 0.0001").code in (
        0,
        1,
        124,
    )


def test_more_commands_than_a_list_may_have() -> None:
    ran = arrea("run", *["-c", "true"] * 501)
    assert ran.code == 2 and "501 commands" in ran.err and "--file" in ran.err


def test_a_program_without_a_name() -> None:
    ran = arrea("run", "--", "")
    assert ran.code == 2 and "name is empty" in ran.err


def test_too_few_descriptors_is_told_without_a_traceback() -> None:
    ran = shell("ulimit -n 6 && exec $ARREA run -c 'echo a' -c 'echo b'")
    assert ran.code == 1 and ran.out == b""
    assert "Too many open files" in ran.err
