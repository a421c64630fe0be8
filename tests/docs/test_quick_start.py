"""The Quick Start of the Elixir library, line for line: beside each line of Python is the one that it comes from."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

import arrea
from arrea import Engine
from arrea._app import default
from tests.support import wait_until

pytestmark = pytest.mark.timeout(30)

ASLEEP_S = 0.1
# Two at a time, three functions take two times that. One after the other would be three.
LEAST_S, MOST_S = 2 * ASLEEP_S, 3 * ASLEEP_S
TRIES = 5  # of which one at least isn't held up by whatever else the machine does


@pytest.fixture(autouse=True)
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """The engine behind the functions of `arrea`, as in a program that just began, on a machine with two processors."""
    with Engine(max_processes=max(2, len(os.sched_getaffinity(0)))) as engine:
        monkeypatch.setattr(default, "_engine", engine)
        yield engine


# fmt: off


def test_add_arrea_to_your_dependencies() -> None:
    """It starts by itself when it is first used; no manual set-up is required, and none at the end."""
    program = (
        "import arrea;"                                     # {:arrea, "~> 0.1.0"}
        "print(arrea.execute(lambda: 'work').data)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "work\n", "")


def test_execute_a_single_command() -> None:
    # Shell command                                            # # Shell command
    result = arrea.execute("echo hello")                       # {:ok, result} = Arrea.execute("echo hello")
    assert result.success
    assert result.data.stdout == "hello\n"

    # Or a function                                            # # Or a function
    result = arrea.execute(lambda: "work")                     # {:ok, result} = Arrea.execute(fn -> :work end)
    assert result.success
    assert result.data == "work"


def test_run_commands_in_parallel() -> None:
    took = []
    for _ in range(TRIES):
        began = time.monotonic()
        result = arrea.run(                                    # {:ok, result} = Arrea.run(
            [                                                  #   [
                lambda: (time.sleep(0.1), 1)[1],               #     fn -> Process.sleep(100); 1 end,
                lambda: (time.sleep(0.1), 2)[1],               #     fn -> Process.sleep(100); 2 end,
                lambda: (time.sleep(0.1), 3)[1],               #     fn -> Process.sleep(100); 3 end
            ],                                                 #   ],
            workers=2,                                         #   workers: 2
        )                                                      # )
        took.append(time.monotonic() - began)
        assert result.success
        assert result.data == [1, 2, 3]
        if took[-1] < MOST_S:
            break
    assert LEAST_S <= min(took) < MOST_S, took


def test_subscribe_to_events(capsys: pytest.CaptureFixture[str]) -> None:
    events = arrea.subscribe()                                 # :ok = Arrea.subscribe()
    batch = arrea.submit(["echo hello", lambda: "work"])
    done = 0
    while done < 2:
        match events.get("5s"):                                # receive do
            case arrea.Event(type="finished", worker_id=id):   #   {:leader_event, %{type: :finished, worker_id: id}} ->
                print(f"Worker {id} finished")                 #     IO.puts("Worker #{id} finished")
                done += 1
            case event:                                        #   {:leader_event, event} ->
                print(f"Event: {event}")                       #     IO.inspect(event, label: "Event")
    arrea.unsubscribe(events)                                  # :ok = Arrea.unsubscribe()

    assert batch.wait("5s").success
    said = capsys.readouterr().out.splitlines()
    finished = [line for line in said if not line.startswith("Event: <Event ")]
    assert sorted(finished) == [f"Worker {batch.id}:{index} finished" for index in range(2)]
    assert said[0].startswith("Event: <Event batch_started ") and not events.active


def test_get_stats() -> None:
    arrea.run([lambda: "work"] * 42).unwrap()
    arrea.run([lambda: 1 / 0, "exit 3"], policy="once")
    batch = arrea.submit([lambda: time.sleep(60), "sleep 60", "sleep 60"])
    assert wait_until(lambda: arrea.stats().active_workers == 3)

    stats = arrea.stats()                                      # {:ok, stats} = Arrea.stats()
                                                               # # => %{
    assert stats.total_workers == 42 + 2 + 3                   # #   total_workers: 10,
    assert stats.active_workers == 3                           # #   active_workers: 3,
    assert stats.completed_tasks == 42                         # #   completed_tasks: 42,
    assert stats.failed_tasks == 2                             # #   failed_tasks: 2
                                                               # # }
    batch.kill()
    batch.wait("5s")
