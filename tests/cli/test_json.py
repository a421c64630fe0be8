"""--json: a line of ASCII for each result, whatever the commands print and however they end."""

import json
import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.cli.door import SLACK, Ran, arrea, shell, started

KEYS = [
    "index", "worker_id", "batch_id", "command", "success", "exit_code", "signal", "error", "attempts",
    "duration_ms", "queued_ms", "started_at", "stdout", "stderr", "stdout_total_bytes", "stderr_total_bytes",
    "truncated", "warnings", "usage",
]  # fmt: skip


def objects(ran: Ran) -> list[dict[str, Any]]:
    """In the order in which they were written."""
    assert ran.out.isascii() and (not ran.out or ran.out.endswith(b"\n"))
    return [json.loads(line) for line in ran.out.split(b"\n")[:-1]]


def by_index(ran: Ran) -> list[dict[str, Any]]:
    return sorted(objects(ran), key=lambda found: int(found["index"]))


def test_what_is_in_an_object() -> None:
    ran = arrea("run", "-q", "--json", "-c", "echo out; echo 'warning: x' >&2", "-c", "exit 3")
    first, second = by_index(ran)
    assert ran.code == 1 and ran.err == ""
    assert list(first) == KEYS and list(second) == KEYS
    assert first["worker_id"] == f"{first['batch_id']}:0" and second["batch_id"] == first["batch_id"]
    assert (first["success"], first["exit_code"], first["signal"], first["error"]) == (True, 0, None, None)
    assert (first["stdout"], first["stderr"]) == ("out\n", "warning: x\n")
    assert (first["stdout_total_bytes"], first["stderr_total_bytes"], first["truncated"]) == (4, 11, False)
    assert first["warnings"] == ["warning: x"] and first["attempts"] == 1
    assert second["command"] == "exit 3" and not second["success"] and second["exit_code"] == 3
    assert second["error"] == {"code": "exit_status", "message": "task 1 (exit 3): exit code 3"}


def test_times_and_usage() -> None:
    (found,) = objects(arrea("run", "-q", "--json", "-c", "sleep 0.3"))
    began = datetime.fromisoformat(found["started_at"])
    assert began.utcoffset() == timedelta() and abs(datetime.now(UTC) - began) < timedelta(minutes=1)
    assert 300 <= found["duration_ms"] < 300 + SLACK * 1000 and found["queued_ms"] >= 0
    assert found["usage"].keys() == {"user_ms", "system_ms", "max_rss_kib"}


@pytest.mark.parametrize(
    ("words", "code", "expected"),
    [
        (["-c", "kill -9 $$"], 137, {"exit_code": None, "signal": "SIGKILL"}),
        (["--timeout=200", "-c", "echo a; exec sleep 9"], 124, {"stdout": "a\n", "signal": "SIGTERM"}),
        (["--", "no-such-program"], 127, {"exit_code": None, "usage": None, "stdout": ""}),
        (["--retries=2", "--retry-delay=0", "-c", "exit 9"], 9, {"attempts": 3, "exit_code": 9}),
    ],
)
def test_however_it_ends(words: list[str], code: int, expected: dict[str, object]) -> None:
    ran = arrea("run", "-q", "--json", *words)
    (found,) = objects(ran)
    assert ran.code == code and not found["success"]
    assert {key: found[key] for key in expected} == expected


def test_whatever_it_prints(tmp_path: Path) -> None:
    odd = bytes(range(256)) + "é\u2028\U0001f600".encode() + b'"\\\n' + b"\xed\xa0\x80"
    (tmp_path / "odd").write_bytes(odd)
    (found,) = objects(arrea("run", "-q", "--json", "-c", f"cat {tmp_path}/odd; cat {tmp_path}/odd >&2"))
    assert found["stdout"] == found["stderr"] == odd.decode("utf-8", "replace")
    assert found["stdout_total_bytes"] == len(odd)


def test_whatever_the_command_is() -> None:
    odd = b"printf a # \xff\x1b\n\xf0\x9f\x98\x80".decode("utf-8", "surrogateescape")
    ran = arrea("run", "-q", "--json", "--no-validate", "-c", odd + "\nexit 3")
    (found,) = objects(ran)
    assert found["command"] == "printf a # \ufffd\x1b\n\U0001f600\nexit 3" and found["stdout"] == "a"
    assert not re.search(r"(?<!\\)\\udc[89a-f]", ran.out.decode())  # many parsers would refuse it


def test_output_is_bounded_and_says_so() -> None:
    words = ["-c", "head -c 9000000 /dev/zero | tr '\\0' x", "-c", "head -c 8000000 /dev/zero | tr '\\0' x"]
    large, whole = by_index(arrea("run", "-q", "--json", *words))
    assert large["truncated"] and large["stdout_total_bytes"] == 9_000_000
    assert len(large["stdout"]) < 2**23 + 200
    assert not whole["truncated"] and whole["stdout"] == "x" * 8_000_000
    (small,) = objects(arrea("run", "-q", "--json", "-c", "seq 1000", env={"ARREA_MAX_OUTPUT_BYTES": "100"}))
    assert small["truncated"] and len(small["stdout"]) < 300 and small["stdout"].endswith("1000\n")


def test_none_leaves_the_output_out() -> None:
    (found,) = objects(arrea("run", "-q", "--json", "--output=none", "-c", "seq 100000; echo e >&2"))
    assert list(found) == [key for key in KEYS if key not in ("stdout", "stderr")]
    assert found["stdout_total_bytes"] == 588_895 and not found["truncated"]


def test_in_the_order_of_finishing_or_of_input() -> None:
    words = [word for n in range(4) for word in ("-c", f"sleep 0.{4 - n}")]
    ran = arrea("run", "-q", "--json", "-p4", *words)
    assert [found["index"] for found in objects(ran)] == [3, 2, 1, 0]
    ran = arrea("run", "-q", "--json", "-p4", "--output=ordered", *words)
    assert [found["index"] for found in objects(ran)] == [0, 1, 2, 3]


def test_each_comes_when_its_command_is_over() -> None:
    with started("run", "-q", "--json", "-p2", "-c", "echo quick", "-c", "exec sleep 71") as running:
        assert running.process.stdout
        assert json.loads(running.process.stdout.readline())["stdout"] == "quick\n"
        running.signal(2)
        ran = running.end()
    assert ran.code == -2 and json.loads(ran.out)["error"]["code"] == "cancelled"


@pytest.mark.parametrize("source", ["-f {}", "-f - <{}"])
@pytest.mark.parametrize("how", ["grouped", "ordered"])
def test_never_started_ones_are_objects_too(tmp_path: Path, source: str, how: str) -> None:
    (tmp_path / "f").write_text("exit 3\n" + "true\n" * 1200)
    ran = shell(f"$ARREA run -q -p1 --json --output={how} --halt=now {source.format(tmp_path / 'f')}")
    found = objects(ran)
    indexes = [one["index"] for one in found]
    assert ran.code == 1 and sorted(indexes) == list(range(len(found)))
    assert len(found) == 1201 if "<" not in source else 1 <= len(found) <= 1201
    assert {one["batch_id"] for one in found} == {found[0]["batch_id"]}
    last = found[-1]
    assert last["command"] == "true" and last["started_at"] is None and last["attempts"] == 0
    assert last["error"] == {
        "code": "not_started",
        "message": f"task {last['index']} (true): not started: its batch had too many failures",
    }


def test_ctrl_c_leaves_out_nobody_of_a_few_thousand(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("exec sleep 71\n" * 5_000)
    with started("run", "-q", "--json", "-p2", "-f", str(tmp_path / "f")) as running:
        time.sleep(1)
        running.signal(2)
        ran = running.end()
    assert ran.code == -2
    assert sorted(found["index"] for found in objects(ran)) == list(range(5_000))


def test_refused_lines_are_objects_too() -> None:
    ran = arrea("run", "-q", "--json", "--output=ordered", "-f", "-", stdin=b"echo 1\necho a\0b\necho \xff\n")
    first, second, third = objects(ran)
    assert ran.code == 1 and first["success"]
    assert second["error"]["code"] == "possible_injection" and second["command"] == "echo a\0b"
    assert "standard input, line 3: not UTF-8" in third["error"]["message"]


def test_progress_stays_on_stderr() -> None:
    ran = arrea("run", "--json", "-c", "echo a", "-c", "exit 3")
    assert len(objects(ran)) == 2 and "2 commands, 1 succeeded, 1 failed" in ran.err


def test_a_thousand_results(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("".join(f"echo {n}\n" for n in range(1000)))
    found = objects(arrea("run", "-q", "--json", "--output=ordered", "-f", str(tmp_path / "f")))
    assert [one["stdout"] for one in found] == [f"{n}\n" for n in range(1000)]


# ── nobody takes it ───────────────────────────────────────────────────────────────────────────────


def test_a_reader_that_leaves() -> None:
    ran = shell(
        "seq 300 | sed 's/.*/echo &; sleep 0.1/' | $ARREA run -q --json -p8 -f - | head -1 | wc -l;"
        "exit ${PIPESTATUS[2]}"
    )
    assert (ran.code, ran.out) == (128 + 13, b"1\n") and ran.seconds < SLACK + 1


def test_a_full_device() -> None:
    ran = shell("$ARREA run --json -c 'echo a' -c 'sleep 30' >/dev/full")
    assert ran.code == 1 and ran.err.count("\n") == 1 and "No space left" in ran.err


def test_a_closed_stdout() -> None:
    ran = shell("$ARREA run -q --json -c 'echo a' -c true >&-")
    assert ran.code == 1 and "Bad file descriptor" in ran.err
