"""--output lines: each line as soon as it is whole, never mixed; and --tag, which says whose it is."""

import hashlib
import random
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from arrea.cli.render import lines as lines_module
from arrea.cli.render.lines import Lines
from tests.cli.door import SLACK, arrea, shell, started

LINES = ("run", "-q", "--output=lines")


def test_a_line_comes_while_its_command_runs() -> None:
    with started(*LINES, "-c", "echo one; echo two >&2; exec sleep 71", "-c", "exec sleep 72") as running:
        assert running.process.stdout and running.process.stderr
        assert running.process.stdout.readline() == b"one\n"
        assert running.process.stderr.readline() == b"two\n"
        running.signal(15)
        assert running.end().code == -15


def test_one_command_comes_by_lines_too() -> None:
    ran = arrea(*LINES, "-c", "test -t 1; printf a; printf 'b\\nc'")
    assert ran[:3] == (0, b"ab\nc\n", "")


def test_lines_written_byte_by_byte_are_whole() -> None:
    """Sixteen commands, a byte at a time, all at once."""
    code = "import os\nfor _ in range(20):\n for b in b'{0}' * 30 + b'\\n': os.write(1, bytes([b]))"
    words = [word for n in range(16) for word in ("-c", f'{sys.executable} -c "{code.format(chr(65 + n))}"')]
    ran = arrea(*LINES, "-p16", *words)
    assert ran.code == 0
    assert sorted(ran.out.split()) == sorted(bytes([65 + n]) * 30 for n in range(16) for _ in range(20))


def test_stdout_and_stderr_are_not_joined() -> None:
    ran = arrea(*LINES, "-c", "printf a; printf b >&2; printf 'c\\n'; printf 'd\\n' >&2", "-c", "true")
    assert (ran.out, ran.err) == (b"ac\n", "bd\n")


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    odd = b"\x00\xff\xfe\x1b[31m\r\n\xe2\x82\n\n\nend\n"
    (tmp_path / "odd").write_bytes(odd)
    assert arrea(*LINES, "-p1", "-c", f"cat {tmp_path}/odd", "-c", "true")[:3] == (0, odd, "")


@pytest.mark.parametrize("commands", [1, 3])
def test_a_last_line_without_an_end_gets_one(commands: int) -> None:
    ran = arrea(*LINES, *["-c", "printf x; printf y >&2; sleep 0.1"] * commands)
    assert ran[:3] == (0, b"x\n" * commands, "y\n" * commands)


def test_the_next_attempt_begins_on_a_line_of_its_own(tmp_path: Path) -> None:
    line = f"printf half; test -e {tmp_path}/x || {{ touch {tmp_path}/x; exit 3; }}"
    ran = arrea(*LINES, "--retries=1", "--retry-delay=0", "-c", line, "-c", "true")
    assert ran[:3] == (0, b"half\nhalf\n", "")


def test_lines_of_10_mib() -> None:
    size = 10 * 2**20
    line = f"head -c {size} /dev/zero | tr '\\0' %s; echo"
    ran = shell('$ARREA run -q --output=lines -p2 "$@" | sort | md5sum', ["-c", line % "a", "-c", line % "b"])
    expected = hashlib.md5(b"a" * size + b"\n" + b"b" * size + b"\n").hexdigest()
    assert ran.code == 0 and ran.out.split()[0].decode() == expected


def test_an_endless_line_in_bounded_memory() -> None:
    """200 MiB without a newline; other lines are not joined to it."""
    with started(
        *LINES, "-p2", "-c", "head -c 209715200 /dev/zero", "-c", "seq 20 | while read i; do echo x$i; sleep 0.05; done"
    ) as running:  # fmt: skip
        assert running.process.stdout
        out, peak_kib = [], 0
        while data := running.process.stdout.read1(1 << 20):  # type: ignore[attr-defined]
            out.append(data)
            status = Path(f"/proc/{running.process.pid}/status").read_text()
            peak_kib = max(
                peak_kib, *(int(line.split()[1]) for line in status.splitlines() if "VmHWM" in line), 0
            )
        assert running.end().code == 0
    whole = b"".join(out)
    assert whole.count(b"\0") == 209_715_200
    words = [line for line in whole.split(b"\n") if line.strip(b"\0")]
    assert words == [b"x%d" % n for n in range(1, 21)]
    assert peak_kib < 200_000


def test_every_byte_of_many_arrives() -> None:
    ran = shell(
        '$ARREA run -q -p8 --output=lines "$@" | sort -n | uniq -c | md5sum',
        [word for _ in range(8) for word in ("-c", "seq 100000")],
    )
    assert ran.out == shell("seq 100000 | sed 's/^/      8 /' | md5sum").out and ran.code == 0


def test_output_of_what_is_killed_is_shown() -> None:
    ran = arrea(*LINES, "--timeout=500", "-c", "echo one; printf tw; exec sleep 30", "-c", "true")
    assert (ran.code, ran.out) == (1, b"one\ntw\n")


def test_warnings_are_found() -> None:
    ran = arrea(*LINES, "-c", "echo 'warning: x' >&2", "-c", "true")
    assert ran.err.startswith("warning: x\n")


# ── nobody takes it ───────────────────────────────────────────────────────────────────────────────


def test_a_reader_that_leaves() -> None:
    ran = shell(
        "$ARREA run -q --output=lines -c 'yes a' -c 'yes b' -c 'sleep 30' | head -1; exit ${PIPESTATUS[0]}"
    )
    assert ran.code == 128 + 13 and ran.out in (b"a\n", b"b\n") and ran.seconds < SLACK + 1


def test_a_full_device() -> None:
    ran = shell("$ARREA run --output=lines -p3 -c 'echo a' -c 'sleep 30' -c 'sleep 30' >/dev/full")
    assert ran.code == 1 and ran.seconds < SLACK + 1
    assert ran.err == "arrea run: can't write the output: No space left on device; what still ran was ended\n"


def test_a_closed_stderr() -> None:
    ran = shell("$ARREA run --output=lines -c 'echo a' -c 'sleep 0.1; echo b' 2>&-")
    assert ran[:3] == (0, b"a\nb\n", "")


def test_a_slow_reader_loses_nothing_and_ctrl_c_is_heard() -> None:
    with started(*LINES, "-c", "yes | head -c 30000000", "-c", "exec sleep 71") as running:
        assert running.process.stdout
        assert len(running.process.stdout.read(100_000)) == 100_000
        running.signal(2)
        assert running.process.wait(timeout=5 + SLACK) == -2
        running.end()


def test_a_reader_that_takes_its_time() -> None:
    with started(*LINES, "-c", "seq 300000", "-c", "seq 300000", stdout=subprocess.PIPE) as running:
        out, _ = running.process.communicate(timeout=30)
    assert sorted(out.split()) == sorted(str(n).encode() for n in range(1, 300_001) for _ in range(2))


# ── tags ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("how", ["grouped", "ordered", "lines"])
def test_each_line_is_tagged(how: str) -> None:
    words = ["-c", "printf 'a\\n\\nb'; echo e >&2", "--", "printf", "c d\n"]
    ran = arrea("run", "-q", "--tag", f"--output={how}", *words)
    first, second = b"printf 'a\\n\\nb'; echo e >&2\t", b"printf 'c d\\x0a'\t"
    expected = [first + b"a", first, first + b"b", second + b"c d"]
    assert ran.code == 0 and ran.err.encode() == first + b"e\n"
    assert ran.out.endswith(b"\n") and sorted(ran.out.splitlines()) == sorted(expected)


@pytest.mark.parametrize("how", ["grouped", "lines"])
def test_one_command_is_tagged_too(how: str) -> None:
    assert arrea("run", "-q", "--tag", f"--output={how}", "-c", "echo a")[:3] == (0, b"echo a\ta\n", "")


@pytest.mark.parametrize("how", ["grouped", "lines"])
def test_tags_are_short_and_have_no_control_characters(how: str) -> None:
    ran = arrea("run", "-q", "--tag", f"--output={how}", "-c", "echo a # \x1b[2J\n" + "x" * 500)
    tag = ran.out.decode().split("\t")[0]
    assert tag == "echo a # \\x1b[2J\\x0a" + "x" * 17 + "..." and len(tag) == 40


@pytest.mark.parametrize("how", ["grouped", "lines"])
def test_tags_of_much_output(how: str) -> None:
    ran = shell(
        f'$ARREA run -q --tag --output={how} "$@" | sed "s/^seq [0-9]*\\t//" | sort -n | md5sum',
        ["-c", "seq 200000", "-c", "seq 300000"],
    )
    assert ran.out == shell("(seq 200000; seq 300000) | sort -n | md5sum").out


@pytest.mark.parametrize("source", ["-f {}", "-f - <{}", "-f <(cat {})"])
def test_tags_of_commands_from_files(tmp_path: Path, source: str) -> None:
    (tmp_path / "f").write_text("".join(f"echo {n}\n" for n in range(700)))
    ran = shell(f"$ARREA run -q --tag --output=lines {source.format(tmp_path / 'f')}")
    assert sorted(ran.out.splitlines()) == sorted(b"echo %d\t%d" % (n, n) for n in range(700))


# ── the bound, without processes ──────────────────────────────────────────────────────────────────


class Printed(NamedTuple):
    index: int
    attempt: int
    stream: str
    chunk: bytes


class Ended(NamedTuple):
    index: int


def shown(lines: Lines, capfdbinary: pytest.CaptureFixture[bytes], *printed: Printed | Ended) -> bytes:
    for one in printed:
        lines.printed(one) if isinstance(one, Printed) else lines.show(one)  # type: ignore[arg-type, func-returns-value]
    return capfdbinary.readouterr().out


def fail(error: OSError) -> None:
    raise AssertionError(error)


def out(index: int, chunk: bytes) -> Printed:
    return Printed(index, 1, "stdout", chunk)


def test_a_line_that_is_too_long_is_written_in_pieces(
    capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines_module, "MOST_HELD_BYTES", 10)
    lines = Lines(fail, tags=False)
    assert shown(lines, capfdbinary, out(0, b"a" * 10)) == b""
    assert shown(lines, capfdbinary, out(0, b"a")) == b"a" * 11
    assert shown(lines, capfdbinary, out(0, b"aa\n")) == b"aa\n"  # nothing came between: the line is whole
    assert shown(lines, capfdbinary, out(0, b"b" * 11), out(1, b"c\n")) == b"b" * 11 + b"\nc\n"
    assert shown(lines, capfdbinary, out(0, b"b\n")) == b"b\n"
    assert shown(lines, capfdbinary, out(0, b"d" * 11), Ended(0)) == b"d" * 11 + b"\n"
    assert shown(lines, capfdbinary, Ended(1)) == b""


def test_the_longest_goes_first(
    capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines_module, "MOST_HELD_BYTES", 10)
    lines = Lines(fail, tags=False)
    assert shown(lines, capfdbinary, out(0, b"aaaaaa"), out(1, b"bbb"), out(2, b"cc")) == b"aaaaaa"
    assert shown(lines, capfdbinary, out(1, b"\n"), out(2, b"\n")) == b"\nbbb\ncc\n"


def test_nothing_is_mixed_whatever_the_pieces(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    lines = Lines(fail, tags=False)
    rest = {n: b"".join(b"%d" % n * chance.randrange(9) + b"\n" for _ in range(50)) for n in range(5)}
    expected = sorted(b"".join(rest.values()).splitlines())
    while rest:
        index = chance.choice(list(rest))
        size = chance.randrange(1, 20)
        lines.printed(out(index, rest[index][:size]))
        rest[index] = rest[index][size:]
        if not rest[index]:
            del rest[index]
    assert sorted(capfdbinary.readouterr().out.splitlines()) == expected, f"seed {seed}"
