"""Faults that a review found, each with what mended it."""

import os
import signal
import subprocess
import sys
import time

import pytest

import arrea
from arrea._runtime.reactor import Reactor
from tests.faults.hosts import run_host


def test_an_exit_while_the_host_is_held_up_wins_over_its_timeout(mark: str) -> None:
    script = """
import ctypes
batch = arrea.submit(["sleep 0.5", "sleep 0.6; echo done"], timeout=1000, policy="once")
time.sleep(0.2)
ctypes.PyDLL(None).usleep(1_400_000)  # holds the interpreter's lock past exit and timeout
print([(bool(result), result.data.stdout) for result in batch.wait()])
"""
    assert run_host(mark, script, within=10).out == ["[(True, ''), (True, 'done\\n')]"]


def test_output_that_the_disk_could_not_take_is_told_and_is_a_failure() -> None:
    line = f"ulimit -f 1000; {os.path.dirname(sys.executable)}/arrea run -q -c 'head -c 100000000 /dev/zero' -c true"
    ended = subprocess.run(
        ["bash", "-c", line + " | wc -c; echo ${PIPESTATUS[0]}"], capture_output=True, text=True
    )
    assert ended.stdout.split()[-1] == "1"
    assert "not all of its output could be kept" in ended.stderr


def test_a_timeout_error_of_the_hosts_own_alarm_cancels_the_batch() -> None:
    def alarm(*_: object) -> None:
        raise TimeoutError("the host's own")

    before = signal.signal(signal.SIGALRM, alarm)
    batch = arrea.submit(["sleep 33"], timeout=None)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        with pytest.raises(TimeoutError, match="the host's own"):
            batch.wait()
        assert batch.done
    finally:
        signal.signal(signal.SIGALRM, before)


def test_a_program_that_moved_within_path_is_found_again(tmp_path: object) -> None:
    places = [os.path.join(str(tmp_path), name) for name in "ab"]
    for place in places:
        os.mkdir(place)
        with open(os.path.join(place, "prog"), "w") as file:
            file.write(f"#!/bin/sh\necho {place}\n")
        os.chmod(os.path.join(place, "prog"), 0o755)
    environment = {"PATH": ":".join(places)}
    assert arrea.execute(["prog"], env=environment).unwrap().stdout.strip() == places[0]
    os.unlink(os.path.join(places[0], "prog"))
    assert arrea.execute(["prog"], env=environment).unwrap().stdout.strip() == places[1]


def test_an_idle_engine_that_is_just_going_to_sleep_hears_that_it_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sleep = Reactor._sleep_until_ready

    def slowly(self: Reactor) -> list[tuple[int, int]]:
        if not self._ports and not self._mail:
            time.sleep(0.05)  # a thread switch between the loop's look at `_stopping` and the flag
        return sleep(self)

    monkeypatch.setattr(Reactor, "_sleep_until_ready", slowly)
    engine = arrea.Engine()
    engine.run(["true"])
    time.sleep(0.02)
    began = time.monotonic()
    engine.close()
    assert time.monotonic() - began < 1.0


def test_a_message_never_shows_what_stdin_was_given() -> None:
    with pytest.raises(arrea.InvalidOption) as caught:
        arrea.execute("cat", stdin=["s3cret"])  # type: ignore[arg-type]
    assert "s3cret" not in str(caught.value)
