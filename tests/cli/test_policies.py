"""What the flags about failures and time do, and the exit codes that follow."""

import os
from pathlib import Path

import pytest

from tests.cli.door import GRACE_AND_A_SECOND, SLACK, arrea, shell


def counting(path: Path, succeed_at: int) -> str:
    """A command that counts its tries in a file and fails but for one."""
    return f"echo x >> {path}; sed -n {succeed_at}p {path} | grep -q x || exit 3"


def tries(path: Path) -> int:
    return path.read_text().count("x")


# ── exit codes ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["-c", "true"], 0),
        (["-c", "exit 1"], 1),
        (["-c", "exit 77"], 77),
        (["-c", "exit 255"], 255),
        (["-c", "exit 126"], 126),
        (["-c", "no-such-command-at-all"], 127),
        (["-c", "/etc/passwd"], 126),
        (["-c", "kill -KILL $$"], 128 + 9),
        (["-c", "kill -SEGV $$"], 128 + 11),
        (["-c", "sleep 30", "--timeout", "200"], 124),
        (["-c", "sleep 30", "--deadline", "200ms"], 124),
        (["--", "no-such-program-at-all"], 127),
        (["--", "/etc/passwd/below"], 127),
        (["--", "/etc/passwd"], 126),
        (["--", "/"], 126),
        (["--", "sh", "-c", "exit 9"], 9),
        (["-c", "exit 3", "-c", "exit 3"], 1),
        (["-c", "true", "-c", "no-such-command-at-all"], 1),
        (["-c", "true", "-c", "sleep 30", "--timeout=0.2s"], 1),
        (["-c", "true", "-c", "true"], 0),
    ],
)
def test_exit_codes(words: list[str], code: int) -> None:
    assert arrea("run", "-q", *words).code == code


def test_longer_than_the_kernel_passes_on(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("true " + "x" * 140_000)
    ran = arrea("run", "--no-validate", "-f", str(tmp_path / "f"))
    assert ran.code == 126 and "Argument list too long" in ran.err and len(ran.err) < 400


def test_the_summary_names_what_failed_also_when_there_was_one() -> None:
    assert "task 0 (exit 3): exit code 3" in arrea("run", "-c", "exit 3").err
    assert "could not be started: No such file" in arrea("run", "--", "nowhere").err
    assert "timed out after 100 ms" in arrea("run", "--timeout=100", "-c", "sleep 9").err


# ── retries ───────────────────────────────────────────────────────────────────────────────────────


def test_each_command_runs_once(tmp_path: Path) -> None:
    assert arrea("run", "-c", counting(tmp_path / "n", 2)).code == 3
    assert tries(tmp_path / "n") == 1


@pytest.mark.parametrize(
    ("retries", "needed", "code", "expected"), [(0, 2, 3, 1), (2, 3, 0, 3), (1, 3, 3, 2)]
)
def test_retries(tmp_path: Path, retries: int, needed: int, code: int, expected: int) -> None:
    words = [f"--retries={retries}", "--retry-delay", "1ms"]
    assert arrea("run", *words, "-c", counting(tmp_path / "n", needed)).code == code
    assert tries(tmp_path / "n") == expected


def test_retry_delay_waits(tmp_path: Path) -> None:
    ran = arrea("run", "--retries=2", "--retry-delay=0.3s", "-c", counting(tmp_path / "n", 3))
    assert ran.code == 0 and 0.6 <= ran.seconds < 0.6 + SLACK


def test_the_timeout_is_of_each_attempt(tmp_path: Path) -> None:
    line = f"echo x >> {tmp_path}/n; sed -n 3p {tmp_path}/n | grep -q x || sleep 30"
    assert arrea("run", "--timeout=500", "--retries=2", "--retry-delay=0", "-c", line).code == 0
    assert tries(tmp_path / "n") == 3


def test_only_the_last_attempt_is_shown(tmp_path: Path) -> None:
    line = counting(tmp_path / "n", 2) + "; echo done"
    ran = arrea("run", "-q", "--retries=1", "--retry-delay=0", "-c", f"{line}; true", "-c", "true")
    assert ran.out == b"done\n"


@pytest.mark.parametrize(
    ("policy", "expected"),
    [("once", 1), ("continue", 1), ("strict", 1), ("stop", 1), ("retry", 4), ("tolerant", 11)],
)
def test_policies_by_name(tmp_path: Path, policy: str, expected: int) -> None:
    words = ["--policy", policy, "--retry-delay=0"]
    assert arrea("run", *words, "-c", counting(tmp_path / "n", 99)).code == 3
    assert tries(tmp_path / "n") == expected


def test_retries_go_above_the_policy(tmp_path: Path) -> None:
    words = ["--retries=1", "--policy=tolerant", "--retry-delay=0"]
    assert arrea("run", *words, "-c", counting(tmp_path / "n", 99)).code == 3
    assert tries(tmp_path / "n") == 2


@pytest.mark.parametrize(
    ("flags", "line", "expected"),
    [
        (["--retry-on=3"], "exit 3", 4),
        (["--retry-on=3"], "exit 4", 1),
        (["--retry-on", "1,2, 3"], "exit 3", 4),
        (["--retry-on=1", "--retry-on=3,4"], "exit 3", 4),
        (["--retry-on=SIGKILL"], "kill -9 $$", 4),
        (["--retry-on=SIGTERM"], "kill -9 $$", 1),
        (["--retry-on=timeout", "--timeout=200"], "sleep 9", 4),
        (["--retry-on=timeout"], "exit 3", 1),
        (["--retry-on=exit_status"], "exit 7", 4),
        (["--retry-on=3", "--retries=1"], "exit 3", 2),
        (["--retry-on=3", "--retries=0"], "exit 3", 1),
        (["--retry-on=3", "--policy=tolerant"], "exit 3", 11),
        (["--retry-on=3", "--policy=once"], "exit 3", 4),
    ],
)
def test_retry_on(tmp_path: Path, flags: list[str], line: str, expected: int) -> None:
    arrea("run", "-q", "--retry-delay=0", *flags, "-c", f"echo x >> {tmp_path}/n; {line}")
    assert tries(tmp_path / "n") == expected


def test_backoff_doubles_the_delay(tmp_path: Path) -> None:
    words = ["--retries=3", "--retry-delay=100", "-c", counting(tmp_path / "n", 9)]
    ran = arrea("run", "--backoff", "exponential", *words)
    assert tries(tmp_path / "n") == 4 and 0.7 <= ran.seconds < 0.7 + SLACK
    assert arrea("run", "--backoff=constant", *words).seconds >= 0.3


# ── the configuration counts where it says something ──────────────────────────────────────────────


@pytest.mark.parametrize(
    ("variables", "flags", "expected"),
    [
        ({"ARREA_DEFAULT_POLICY": "retry"}, [], 4),
        ({"ARREA_DEFAULT_POLICY": "tolerant"}, [], 11),
        ({"ARREA_DEFAULT_POLICY": "once", "ARREA_MAX_RETRIES": "5"}, [], 1),
        ({"ARREA_MAX_RETRIES": "2"}, [], 3),
        ({"ARREA_MAX_RETRIES": "0"}, [], 1),
        ({"ARREA_MAX_RETRIES": "2"}, ["--policy=retry"], 3),
        ({"ARREA_MAX_RETRIES": "2"}, ["--policy=once"], 1),
        ({"ARREA_MAX_RETRIES": "2"}, ["--retries=4"], 5),
        ({"ARREA_MAX_RETRIES": "2"}, ["--retry-on=3"], 3),
        ({"ARREA_DEFAULT_POLICY": "retry"}, ["--retries=1"], 2),
        ({"ARREA_DEFAULT_POLICY": ""}, [], 1),
    ],
)
def test_the_configured_policy(
    tmp_path: Path, variables: dict[str, str], flags: list[str], expected: int
) -> None:
    words = ["--retry-delay=0", *flags, "-c", counting(tmp_path / "n", 99)]
    assert arrea("run", *words, env=variables).code == 3
    assert tries(tmp_path / "n") == expected


def test_the_configured_delay(tmp_path: Path) -> None:
    ran = arrea("run", "--retries=1", "-c", counting(tmp_path / "n", 9), env={"ARREA_RETRY_DELAY": "20ms"})
    assert tries(tmp_path / "n") == 2 and ran.seconds < 0.9


def test_no_time_limit_comes_from_a_configured_policy() -> None:
    ran = arrea("run", "--dry-run", "--json", "-c", "true", env={"ARREA_DEFAULT_POLICY": "strict"})
    assert b'"timeout_ms": null' in ran.out


def test_the_configured_number_at_once(tmp_path: Path) -> None:
    line = f"mkdir {tmp_path}/busy && sleep 0.05 && rmdir {tmp_path}/busy"
    assert arrea("run", *["-c", line] * 6, env={"ARREA_MAX_WORKERS": "1"}).code == 0
    wait = f"seq 400 | while read i; do test -e {tmp_path}/$O && exit 9; sleep 0.02; done; test $? = 9"
    meet = f"touch {tmp_path}/$N; {wait}"
    both = ["-c", f"N=a O=b; {meet}", "-c", f"N=b O=a; {meet}"]
    assert arrea("run", "-p2", *both, env={"ARREA_MAX_WORKERS": "1"}).code == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ARREA_MAX_WORKERS", "many"),
        ("ARREA_MAX_RETRIES", "-1"),
        ("ARREA_RETRY_DELAY", "soon"),
        ("ARREA_DEFAULT_POLICY", "tolernat"),
        ("ARREA_MAX_OUTPUT_BYTES", "1e3"),
        ("ARREA_SHELL", " "),
    ],
)
def test_a_wrong_variable(name: str, value: str) -> None:
    for flags in ([], ["--dry-run"], ["-p2", "--retries=1"]):
        ran = arrea("run", *flags, "-c", "echo started", env={name: value})
        assert (ran.code, ran.out) == (2, b"")
        assert ran.err.startswith(f"arrea run: {name}=") and ran.err.count("\n") == 1


# ── the end of a batch before its end ─────────────────────────────────────────────────────────────


def test_halt_now_kills_what_runs() -> None:
    ran = arrea(
        "run", "-p2", "--halt", "now", "-c", "sleep 0.1; exit 3", "-c", "sleep 30", "-c", "echo never"
    )
    assert (ran.code, ran.out) == (1, b"") and ran.seconds < SLACK
    assert "killed: its batch had too many failures" in ran.err
    assert "2 failed, 1 not started" in ran.err


def test_halt_now_kills_who_wont_hear() -> None:
    stubborn = "trap '' TERM INT; sleep 30 & while :; do wait; done"
    ran = arrea("run", "-p2", "--halt=now", "-c", "sleep 0.1; exit 3", "-c", stubborn)
    assert ran.code == 1 and ran.seconds < GRACE_AND_A_SECOND + SLACK


def test_halt_soon_lets_what_runs_finish() -> None:
    ran = arrea(
        "run", "-p2", "--halt=soon", "-c", "exit 3", "-c", "sleep 0.5; echo whole", "-c", "sleep 1; echo no"
    )
    assert ran.code == 1 and b"whole\n" in ran.out
    assert "failed" in ran.err


def test_policy_stop_starts_nothing_more() -> None:
    ran = arrea("run", "-p1", "--policy", "stop", "-c", "echo 1", "-c", "exit 3", "-c", "echo never")
    assert (ran.code, ran.out) == (1, b"1\n")
    assert "1 succeeded, 1 failed, 1 not started" in ran.err


@pytest.mark.parametrize(
    ("flags", "total", "failed"),
    [
        (["--max-failures=3"], 20, 3),
        (["--max-failures=20%"], 20, 4),
        (["--max-failures", "25%", "--halt=soon"], 20, 5),
        (["--max-failures=0.1%"], 20, 1),
        (["--max-failures=100%"], 20, 20),
        (["--max-failures=2", "--halt=now"], 20, 2),
        (["--max-failures=10%"], 700, 70),
    ],
)
def test_max_failures(tmp_path: Path, flags: list[str], total: int, failed: int) -> None:
    (tmp_path / "f").write_text("exit 3\n" * total)
    ran = arrea("run", "-p1", *flags, "-f", str(tmp_path / "f"))
    assert ran.code == 1
    never = f", {total - failed} not started" if total > failed else ""
    assert f"{total} commands, 0 succeeded, {failed} failed{never}, in" in ran.err


def test_max_failures_kills_what_runs_if_it_is_to() -> None:
    words = ["-p3", "--max-failures=2", "-c", "exit 3", "-c", "exit 4", "-c", "sleep 2; echo whole"]
    assert arrea("run", *words).out == b"whole\n"
    ran = arrea("run", "--halt=now", *words)
    assert ran.out == b"" and "killed: its batch had too many failures" in ran.err


def test_deadline_ends_the_batch() -> None:
    ran = arrea(
        "run", "-p1", "--deadline", "500ms", "-c", "echo 1", "-c", "echo 2; sleep 30", "-c", "echo never"
    )
    assert (ran.code, ran.out) == (1, b"1\n2\n") and ran.seconds < 0.5 + SLACK
    assert "the batch's deadline passed" in ran.err and "1 not started" in ran.err


def test_a_timeout_kills_what_the_command_had_started() -> None:
    line = "sleep 61 & setsid sleep 62 & (setsid sleep 63 &) & sleep 64"
    ran = arrea("run", "--timeout=400", "-c", line, "-c", "true")
    assert ran.code == 1 and ran.seconds < GRACE_AND_A_SECOND + SLACK


def test_what_is_left_on_purpose_is_not_waited_for(tmp_path: Path) -> None:
    line = f"sleep 31 & echo $! > {tmp_path}/pid; echo started"
    ran = shell(f'$ARREA run -c "$LINE" -c true; kill $(cat {tmp_path}/pid)', env={"LINE": line})
    assert (ran.code, ran.out) == (0, b"started\n") and ran.seconds < SLACK


def test_many_failures_are_listed_and_counted(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("".join(f"exit {n % 200 + 1}\n" for n in range(100)) + "exit 0\n")
    ran = arrea("run", "-f", str(tmp_path / "f"), "-p", str(os.cpu_count()))
    assert ran.code == 1
    assert "101 commands, 1 succeeded, 100 failed" in ran.err and "... and 80 more" in ran.err


def test_failures_after_the_never_started_are_listed(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("exit 3\nsleep 0.3; exit 4\n" + "true\n" * 100)
    ran = arrea("run", "-p2", "--halt=soon", "-f", str(tmp_path / "f"))
    assert ran.err.count("exit code 4") == 2 and "more" not in ran.err
    assert "not started" in ran.err.splitlines()[-1]
