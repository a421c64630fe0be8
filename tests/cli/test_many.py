"""Many command lines at once, on one machine, by one user."""

import signal
from contextlib import ExitStack

from tests.cli.door import assert_clean, started
from tests.cli.test_signals import wait_for_our_code


def test_twenty_at_once() -> None:
    """Each has its own commands, guardian and orphans, and an interrupt ends only these."""
    with ExitStack() as stack:
        running = [
            stack.enter_context(started("run", "-q", "-p4", "--output", "ordered", *commands_of(number)))
            for number in range(20)
        ]
        for one in running[::4]:
            wait_for_our_code(one.process.pid)
            one.signal(signal.SIGINT)
        outputs = [
            one.process.communicate(timeout=40)[0] for one in running
        ]  # all of them, so none is a zombie
    for number, (one, output) in enumerate(zip(running, outputs, strict=True)):
        assert_clean(one.mark, "")
        if number % 4:
            assert output.split() == [f"{number}-{job}".encode() for job in range(30)]
        assert one.process.returncode == (0 if number % 4 else -signal.SIGINT)


def commands_of(number: int) -> list[str]:
    nap = "sleep 71" if number % 4 == 0 else "sleep 0.3"
    return [word for job in range(30) for word in ("-c", f"{nap} & wait; echo {number}-{job}")]
