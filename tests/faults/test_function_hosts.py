"""Whole programs that use functions: however they are started, whatever they do, and however they end."""

import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.terminal import Terminal
from tests.faults.conftest import GRACE_MS
from tests.faults.hosts import PRELUDE, Host, run_host
from tests.faults.test_functions import lives, no_core_files
from tests.support import marked_survivors, wait_until

__all__ = ["no_core_files"]

pytestmark = pytest.mark.timeout(40)

DEAD_WITHIN_S = 2.0
GRACE_S = GRACE_MS / 1000


def run_program(
    mark: str, *words: str, input: str = "", cwd: Path | None = None, within: float = 20.0
) -> list[str]:
    """What `python *words` says on stdout. It must end well, with nothing on stderr, and leave nobody."""
    done = subprocess.run(
        [sys.executable, *words],
        input=input,
        env={**os.environ, "ARREA_CHAOS": mark},
        capture_output=True,
        text=True,
        timeout=within,
        cwd=cwd,
        start_new_session=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), (done.returncode, done.stdout, done.stderr)
    assert wait_until(lambda: not marked_survivors(mark), DEAD_WITHIN_S), marked_survivors(mark)
    return done.stdout.splitlines()


def script_in(directory: Path, text: str, name: str = "script.py") -> str:
    path = directory / name
    path.write_text(text)
    return str(path)


# ── however a program is started ──────────────────────────────────────────────────────────────────

# Without a `__main__` guard, and with all that only its `__main__` knows.
PROGRAM = """
import dataclasses
import enum
import os

import arrea

FACTOR = 3

@dataclasses.dataclass
class Point:
    x: int
    y: int = 0

class Colour(enum.Enum):
    RED = 1

class Oops(Exception):
    def __init__(self, point, *, colour=Colour.RED):
        super().__init__(point)
        self.point = point
        self.colour = colour

def scale(point):
    return Point(FACTOR * point.x, FACTOR * point.y)

def fail(point):
    raise Oops(point)

async def later():
    return Point(7)

print("main")  # once: nobody runs it a second time
point, factor, red, failed, awaited, output, threaded = arrea.run(
    [
        arrea.Task(scale, Point(1, 2)),
        lambda: FACTOR,
        lambda: Colour.RED,
        arrea.Task(fail, Point(5)),
        later,
        "echo command",
        arrea.Task(scale, Point(2), isolation="thread"),
    ],
    policy="once",
    workers=2,
)
print(type(point.data) is Point, isinstance(point.data, Point), point.data == Point(3, 6), factor.data)
print(red.data is Colour.RED, awaited.data == Point(7), threaded.data == Point(6), output.data.stdout.strip())
error = failed.error
print(error.code, error.type_name.endswith("Oops"), type(error.exception) is Oops)
print(error.exception.point == Point(5), error.exception.colour is Colour.RED)
print(list(arrea.map(scale, [Point(1), Point(2)])) == [Point(3), Point(6)])
print(arrea.execute(os.getpid).data != os.getpid())
"""
SAID = [
    "main",
    "True True True 3",
    "True True True command",
    "exception True True",
    "True True",
    "True",
    "True",
]


def zipped(directory: Path) -> str:
    path = directory / "program.pyz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("__main__.py", PROGRAM)
    return str(path)


def a_directory(directory: Path) -> str:
    (directory / "program").mkdir()
    script_in(directory / "program", PROGRAM, "__main__.py")
    return str(directory / "program")


# The words after `python`, and what it reads.
STARTS: dict[str, Callable[[Path], tuple[list[str], str]]] = {
    "a script": lambda path: ([script_in(path, PROGRAM)], ""),
    "a script whose name is no module's": lambda path: ([script_in(path, PROGRAM, "my script-2.txt")], ""),
    "python -c": lambda path: (["-c", PROGRAM], ""),
    "python -": lambda path: (["-"], PROGRAM),
    "stdin alone": lambda path: ([], PROGRAM),
    "python -m": lambda path: (["-m", Path(script_in(path, PROGRAM)).stem], ""),
    "a zip file": lambda path: ([zipped(path)], ""),
    "a directory": lambda path: ([a_directory(path)], ""),
    "python -O": lambda path: (["-O", script_in(path, PROGRAM)], ""),
    "python -OO -c": lambda path: (["-OO", "-c", PROGRAM], ""),
    "python -I": lambda path: (["-I", script_in(path, PROGRAM)], ""),
    "python -P -s -B": lambda path: (["-P", "-s", "-B", script_in(path, PROGRAM)], ""),
    "python -u": lambda path: (["-u", script_in(path, PROGRAM)], ""),
    "python -W error": lambda path: (["-W", "error", script_in(path, PROGRAM)], ""),
    "python -X dev -W error": lambda path: (["-X", "dev", "-W", "error", script_in(path, PROGRAM)], ""),
    "python -X utf8=0 -bb": lambda path: (["-X", "utf8=0", "-bb", script_in(path, PROGRAM)], ""),
}


@pytest.mark.parametrize("how", STARTS)
def test_a_program_runs_however_it_is_started(how: str, mark: str, tmp_path: Path) -> None:
    words, text = STARTS[how](tmp_path)
    assert run_program(mark, *words, input=text, cwd=tmp_path) == SAID


def test_code_that_runs_in_a_namespace_of_its_own(mark: str, tmp_path: Path) -> None:
    script = f"exec(compile({PROGRAM!r}, '<cell>', 'exec'), {{'__name__': '__main__'}})"
    assert run_program(mark, "-c", script, cwd=tmp_path) == SAID
    script = f"import runpy; runpy.run_path({script_in(tmp_path, PROGRAM)!r}, run_name='__main__')"
    assert run_program(mark, "-c", script, cwd=tmp_path) == SAID


def prompt(mark: str, home: Path) -> Terminal:
    """Python waiting for a line, in a terminal. At its end it writes its history into its home."""
    env = {"ARREA_CHAOS": mark, "TERM": "dumb", "HOME": str(home), "PYTHON_BASIC_REPL": "1"}
    terminal = Terminal(program=[sys.executable, "-i", "-q"], env=env)
    assert terminal.read_until(">>> ")
    return terminal


def test_the_python_prompt(mark: str, tmp_path: Path) -> None:
    terminal = prompt(mark, tmp_path)
    for line, answer in [
        ("import arrea", ">>> "),
        ("def double(number): return 2 * number\r", ">>> "),
        ("f'value={arrea.execute(arrea.Task(double, 21)).data}'", "value=42"),
        ("def double(number): return 3 * number\r", ">>> "),
        ("f'again={list(arrea.map(double, [1, 2]))}'", "again=[3, 6]"),
        ("f'lambda={arrea.execute(lambda: double(5)).data}'", "lambda=15"),
        ("f'{arrea.execute(lambda: 1 / 0).error.type_name}!'", "ZeroDivisionError!"),
    ]:
        terminal.text = ""
        terminal.type(line + "\r")
        assert terminal.read_until(answer), terminal.text
    time.sleep(0.2)  # what is typed before the prompt is there is no end of file to it
    terminal.type("\x04")
    assert terminal.end() == 0
    assert wait_until(lambda: not marked_survivors(mark), DEAD_WITHIN_S), marked_survivors(mark)


def test_ctrl_c_at_the_python_prompt(mark: str, tmp_path: Path) -> None:
    """It goes to all that the terminal has in its foreground: the functions aren't among them."""
    terminal = prompt(mark, tmp_path)
    terminal.type("import arrea, time; arrea.configure(kill_grace=300); print('re' + 'ady')\r")
    assert terminal.read_until("ready")
    terminal.type("print('be' + 'gun'); arrea.run([lambda: time.sleep(60)] * 3, policy='once')\r")
    assert terminal.read_until("begun")
    time.sleep(0.5)
    terminal.text = ""
    terminal.type("\x03")
    assert terminal.read_until("KeyboardInterrupt", 5), terminal.text
    terminal.type("f'value={arrea.execute(lambda: 6 * 7).data}'\r")
    assert terminal.read_until("value=42", 5), terminal.text
    time.sleep(0.2)  # what is typed before the prompt is there is no end of file to it
    terminal.type("\x04")
    assert terminal.end() == 0
    assert wait_until(lambda: not marked_survivors(mark), DEAD_WITHIN_S), marked_survivors(mark)


def test_an_interactive_console(mark: str) -> None:
    """As notebooks do it: the code is compiled in pieces, and its names live in a module that nobody can import."""
    script = """
import code
for name in ("__console__", "__main__"):
    console = code.InteractiveConsole({"__name__": name})
    for line in [
        "import arrea, dataclasses",
        "@dataclasses.dataclass",
        "class Pair:",
        "    one: int",
        "    two: int",
        "",
        "def swap(pair):",
        "    return Pair(pair.two, pair.one)",
        "",
        "print(arrea.execute(arrea.Task(swap, Pair(1, 2))).data == Pair(2, 1))",
        "print(list(arrea.map(swap, [Pair(3, 4)])) == [Pair(4, 3)])",
        "def swap(pair):",
        "    return pair",
        "",
        "print(arrea.execute(arrea.Task(swap, Pair(1, 2))).data == Pair(1, 2))",
    ]:
        console.push(line)
"""
    assert run_host(mark, script).out == ["True"] * 6


def test_what_is_changed_between_two_calls_is_seen(mark: str, tmp_path: Path) -> None:
    """Globals, closures, attributes, the directory, the environment, and other functions at the same address."""
    ended = run_host(
        mark,
        f"""
def here(): return os.getcwd(), os.environ.get("CHANGED")
def scaled(number): return FACTOR * number
cells = []
def held(): return list(cells)
class Holder:
    def value(self): return self.kept
holder = Holder()
for number, place in enumerate(["/", {str(tmp_path)!r}, "/"]):
    os.chdir(place)
    os.environ["CHANGED"] = str(number)
    FACTOR = number
    cells.append(number)
    holder.kept = number
    told = arrea.run([here, lambda: scaled(10), held, holder.value, here], policy="once").unwrap()
    say(told[0] == told[4] == (place, str(number)), *told[1:4])
del os.environ["CHANGED"]
say(*arrea.execute(here).data)
say([arrea.execute(lambda number=number: number).data for number in range(50)] == list(range(50)))
say([eval(f"arrea.execute(lambda: {{number}}).data") for number in range(50)] == list(range(50)))
""",
    )
    assert ended.out == ["True 0 [0] 0", "True 10 [0, 1] 1", "True 20 [0, 1, 2] 2", "/ None", "True", "True"]


# ── modules ───────────────────────────────────────────────────────────────────────────────────────

BESIDE = """
class Parcel:
    def __init__(self, weight):
        self.weight = weight

class Lost(Exception):
    pass

def double(parcel):
    return Parcel(2 * parcel.weight)

def lose(parcel):
    raise Lost(parcel.weight)
"""
USES_WHAT_IS_BESIDE = """
import arrea
import beside
tasks = [arrea.Task(beside.double, beside.Parcel(4)), arrea.Task(beside.lose, beside.Parcel(5))]
results = arrea.run(tasks, policy="once")
print(type(results[0].data) is beside.Parcel, results[0].data.weight)
print(type(results[1].error.exception) is beside.Lost, results[1].error.type_name)
print(arrea.execute(lambda: beside.double(beside.Parcel(1)).weight).data)
"""


@pytest.mark.parametrize("options", [[], ["-O"], ["-X", "dev", "-W", "error"]], ids=repr)
def test_a_module_beside_the_script(options: list[str], mark: str, tmp_path: Path) -> None:
    """Only the script's own directory, first in its `sys.path`, has it; the program runs in another one."""
    (tmp_path / "program").mkdir()
    script_in(tmp_path / "program", BESIDE, "beside.py")
    script = script_in(tmp_path / "program", USES_WHAT_IS_BESIDE)
    assert run_program(mark, *options, script, cwd=tmp_path) == ["True 8", "True beside.Lost", "2"]


def test_a_module_in_the_directory_of_python_c(mark: str, tmp_path: Path) -> None:
    script_in(tmp_path, BESIDE, "beside.py")
    assert run_program(mark, "-c", USES_WHAT_IS_BESIDE, cwd=tmp_path) == ["True 8", "True beside.Lost", "2"]


def test_a_module_whose_place_was_added_while_the_pool_ran(mark: str, tmp_path: Path) -> None:
    script_in(tmp_path, BESIDE, "beside.py")
    script = f"""
import sys
import arrea
print(arrea.execute(lambda: "before").data)
sys.path.insert(0, {str(tmp_path)!r})
{USES_WHAT_IS_BESIDE}
"""
    assert run_program(mark, "-c", script) == ["before", "True 8", "True beside.Lost", "2"]


def test_modules_of_the_working_directory_are_not_imported_by_accident(mark: str, tmp_path: Path) -> None:
    """The script lies elsewhere: what merely has the name of a library here is none of its business."""
    (tmp_path / "program").mkdir()
    (tmp_path / "traps").mkdir()
    for name in ("pickle", "socket", "struct", "selectors", "signal", "cloudpickle", "arrea", "traceback"):
        script_in(tmp_path / "traps", "raise SystemExit('the wrong module')", f"{name}.py")
    script = script_in(tmp_path / "program", PROGRAM)
    assert run_program(mark, script, cwd=tmp_path / "traps") == SAID


def test_a_module_that_no_import_finds(mark: str, tmp_path: Path) -> None:
    """It was loaded from its file: what is of it is sent whole, and comes back as what it is here."""
    file = script_in(tmp_path, BESIDE, "elsewhere.py")
    script = f"""
import importlib.util, sys
spec = importlib.util.spec_from_file_location("beside", {str(file)!r})
sys.modules["beside"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules["beside"])
{USES_WHAT_IS_BESIDE}
from beside import Parcel, double
print(arrea.execute(lambda: double(Parcel(3)).weight).data)
"""
    assert run_program(mark, "-c", script) == ["True 8", "True beside.Lost", "2", "6"]


def test_a_module_that_hides_another_one(mark: str, tmp_path: Path) -> None:
    """An import in the worker process would find the other one."""
    script_in(tmp_path, "def double(parcel): return 'the wrong one'", "beside.py")
    (tmp_path / "hidden").mkdir()
    file = script_in(tmp_path / "hidden", BESIDE, "beside.py")
    script = f"""
import importlib.util, sys
spec = importlib.util.spec_from_file_location("beside", {str(file)!r})
sys.modules["beside"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules["beside"])
{USES_WHAT_IS_BESIDE}
"""
    assert run_program(mark, "-c", script, cwd=tmp_path) == ["True 8", "True beside.Lost", "2"]


def test_a_module_that_was_made_by_hand(mark: str) -> None:
    ended = run_host(
        mark,
        """
import types
ghost = types.ModuleType("ghost")
exec("def walk(): return 1", ghost.__dict__)
sys.modules["ghost"] = ghost
say(arrea.execute(ghost.walk).data, arrea.execute(lambda: ghost.walk() + 1).data)
""",
    )
    assert ended.out == ["1 2"]


def test_functions_of_a_test_module_that_pytest_loaded_by_its_path(mark: str, tmp_path: Path) -> None:
    script_in(
        tmp_path,
        """
import arrea
def double(number): return 2 * number
def test_it(): assert list(arrea.map(double, [1, 2])) == [2, 4]
""",
        "test_by_path.py",
    )
    options = ("-m", "pytest", "-q", "--import-mode=importlib", "-p", "no:cacheprovider")
    told = run_program(mark, *options, "test_by_path.py", cwd=tmp_path)
    assert told[-1].startswith("1 passed")


# ── however a program ends ────────────────────────────────────────────────────────────────────────

# Functions that never end, each noting its process; `PLACE` is a file.
SLEEPERS = """
import subprocess
def note():
    with open(PLACE, "a") as file:
        file.write(str(os.getpid()) + "\\n")
def noted():
    with open(PLACE, "a+") as file:
        file.seek(0)
        return file.read().split()
def sleeps():
    note()
    time.sleep(600)
def spins():
    note()
    while True:
        pass
def ignores():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    note()
    time.sleep(600)
def starts():
    nap = subprocess.Popen(NAP)
    note()
    time.sleep(600)
def starts_a_session():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    nap = subprocess.Popen(NAP, start_new_session=True)
    note()
    time.sleep(600)
def stops():
    note()
    os.kill(os.getpid(), signal.SIGSTOP)
def threads():
    for _ in range(3):
        threading.Thread(target=time.sleep, args=(600,)).start()
    note()
    time.sleep(600)
ALL = [sleeps, spins, ignores, starts, starts_a_session, stops, threads]
def running(count=len(ALL)):
    while len(noted()) < count:
        time.sleep(0.01)
    say("running")
"""
ENGINE = f"""
engine = arrea.Engine(kill_grace={GRACE_MS}, max_processes=len(ALL) + 1, default_policy="once")
options = dict(timeout=None, workers=len(ALL))
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "pids"


def prelude(place: Path) -> str:
    return f"PLACE = {str(place)!r}\n{SLEEPERS}{ENGINE}"


def pids_in(place: Path) -> list[int]:
    return [int(word) for word in place.read_text().split()]


def left(mark: str, place: Path, host: Host | None = None) -> list[str]:
    """What still lives of the functions and what they started; the host itself is a zombie until it is waited for."""
    marked = [line for line in marked_survivors(mark) if host is None or not line.startswith(f"{host.pid} ")]
    return marked + [str(pid) for pid in pids_in(place) if lives(pid)]


DEATHS = {
    "SIGKILL": "pause()",
    "SIGTERM": "pause()",
    "os._exit": "pause(); os._exit(3)",
    "SIGSEGV": "pause(); signal.signal(signal.SIGSEGV, signal.SIG_DFL); os.kill(os.getpid(), signal.SIGSEGV)",
}


@pytest.mark.parametrize("how", DEATHS)
def test_a_host_that_dies_in_the_middle_of_functions_leaves_nobody(how: str, mark: str, place: Path) -> None:
    script = "batch = engine.submit(ALL, **options)\nrunning()\n" + DEATHS[how]
    with Host(mark, prelude(place) + script) as host:
        assert host.line() == "running"
        time.sleep(0.3)  # the guardian starts beside the first task
        assert len([pid for pid in pids_in(place) if lives(pid)]) == 7
        if how.startswith("SIGSEGV") or how == "os._exit":
            host.go_on()
        else:
            host.signal(getattr(signal, how))
        assert wait_until(lambda: not left(mark, place, host), DEAD_WITHIN_S), left(mark, place, host)


def test_hosts_that_are_killed_at_any_moment_leave_nobody(mark: str, place: Path) -> None:
    """While they start their first processes, too, of which nobody has been told yet."""
    place.touch()
    hosts = [doomed(mark, place, number * 0.02) for number in range(16)]
    assert [host.wait(20) for host in hosts] == [-signal.SIGKILL] * len(hosts)
    for _ in range(2):  # one that is just in its exec isn't seen for a moment
        assert wait_until(lambda: not left(mark, place), DEAD_WITHIN_S), left(mark, place)
        time.sleep(0.3)


def doomed(mark: str, place: Path, delay: float) -> "subprocess.Popen[bytes]":
    """A host that kills itself after so many seconds of work."""
    die = f"threading.Timer({delay}, os.kill, (os.getpid(), signal.SIGKILL)).start()\n"
    return subprocess.Popen(
        [sys.executable, "-c", PRELUDE + prelude(place) + die + "engine.run(ALL[:3], **options)"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "ARREA_CHAOS": mark},
        start_new_session=True,
    )


EXITS = {
    "sys.exit": "batch = engine.submit(ALL, **options); running(); sys.exit(5)",
    "the end of the script": "batch = engine.submit(ALL, **options); running()",
    "a daemon thread in run": """
threading.Thread(target=engine.run, args=(ALL,), kwargs=options, daemon=True).start()
running()
""",
    "a stream half read": "stream = engine.stream([lambda: 1, *ALL], **options); next(stream); running()",
    "a map half read": """
values = engine.map(lambda function: function(), [lambda: 1, *ALL], **options)
next(values)
running()
""",
    "a source that never ends": "batch = engine.submit(iter(lambda: sleeps, 0), **options); running()",
    "the default engine": "batch = arrea.submit([sleeps] * 2, timeout=None); running(1)",
    "two engines": """
batch = engine.submit(ALL[:3], **options)
other = arrea.Engine(kill_grace=100).submit(ALL[3:4], timeout=None)
running(4)
""",
    "the child of a fork": """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)
engine.execute(lambda: 1)
pid = os.fork()
if pid:
    os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
engine = arrea.Engine(kill_grace=300, max_processes=len(ALL))
batch = engine.submit(ALL, **options)
running()
sys.exit(5)
""",
    "coroutines": """
import asyncio
async def sleeps_here():
    note()
    await asyncio.sleep(600)
async def main():
    task = asyncio.create_task(engine.run_async([*ALL[:4], sleeps_here, sleeps_here], **options))
    await asyncio.to_thread(running, 6)
    sys.exit(5)
asyncio.run(main())
""",
    "coroutines without a loop of the host's": """
async def sleeps_here():
    import asyncio
    note()
    await asyncio.sleep(600)
batch = engine.submit([sleeps_here] * 5, **options)
running(5)
""",
    "threads": """
def sleeps_here():
    note()
    time.sleep(600)
batch = engine.submit([arrea.Task(sleeps_here, isolation="thread")] * 5, **options)
running(5)
""",
    "an exit hook that uses Arrea": """
import atexit
batch = engine.submit(ALL, **options)
running()
@atexit.register
def last():
    try:
        say(engine.execute(lambda: "still there").data == "still there")
    except arrea.ArreaError as error:
        say(error.code == "engine_stopped")
""",
}


@pytest.mark.parametrize("how", EXITS)
def test_the_interpreter_ends_in_the_middle_of_functions(how: str, mark: str, place: Path) -> None:
    with Host(mark, prelude(place) + EXITS[how]) as host:
        assert host.line() == "running"
        ended = host.end(within=10)
        # Of the parent of the fork, which ended without a word, the guardian must know first.
        within = DEAD_WITHIN_S if "fork" in how else 0.3
        assert wait_until(lambda: not left(mark, place), within), left(mark, place)
    assert ended.err == "", ended
    assert ended.code == (5 if "sys.exit(5)" in EXITS[how] else 0)
    assert ended.out == (["True"] if "hook" in how else [])
    assert ended.took < GRACE_S + 2.0


# ── Ctrl-C ────────────────────────────────────────────────────────────────────────────────────────

WAITS = {
    "run": "engine.run(ALL, **options)",
    "execute": "engine.execute(ignores, timeout=None)",
    "stream": "for result in engine.stream(ALL, **options): pass",
    "map": "for value in engine.map(lambda function: function(), ALL, **options): pass",
    "wait": "engine.submit(ALL, **options).wait()",
    "run of an iterator": "engine.run(iter(ALL), **options)",
    "execute in a coroutine": """
    import asyncio
    asyncio.run(engine.execute_async(ignores, timeout=None))
""",
    "run in a coroutine": """
    import asyncio
    async def main():
        await engine.run_async(ALL, **options)
    asyncio.run(main())
""",
}
INTERRUPTED = """
threading.Thread(target=running, args=({count},), daemon=True).start()
try:
    {wait}
except KeyboardInterrupt:
    say("interrupted")
    pause()
    say(engine.execute(lambda: "usable").data)
engine.close()
"""


@pytest.mark.parametrize("how", WAITS)
def test_ctrl_c_ends_the_functions_and_is_raised_again(how: str, mark: str, place: Path) -> None:
    count = 1 if "execute" in how else 7
    script = INTERRUPTED.format(wait=WAITS[how].strip(), count=count)
    with Host(mark, prelude(place) + script) as host:
        assert host.line() == "running"
        began = time.monotonic()
        host.signal(signal.SIGINT)
        assert host.line() == "interrupted"
        took = time.monotonic() - began
        naps = [line for line in marked_survivors(mark) if "sleep " in line]
        assert (naps, [pid for pid in pids_in(place) if lives(pid)]) == ([], [])
        host.go_on()
        ended = host.end(within=5)
    assert took < GRACE_S + 1.0
    assert (ended.code, ended.err, ended.out) == (0, "", ["usable"])


@pytest.mark.parametrize("how", ["run", "map", "stream"])
def test_ctrl_c_that_nobody_catches(how: str, mark: str, place: Path) -> None:
    """The program dies of it, as Python does: a shell says 130."""
    script = f"threading.Thread(target=running, daemon=True).start()\n{WAITS[how]}\nsay('not here')"
    with Host(mark, prelude(place) + script) as host:
        assert host.line() == "running"
        host.signal(signal.SIGINT)
        ended = host.end(within=GRACE_S + 2.0)
        assert left(mark, place) == []
    assert (ended.code, ended.out) == (-signal.SIGINT, [])
    assert ended.err.count("Traceback") == 1 and ended.err.strip().endswith("KeyboardInterrupt")


def test_a_second_ctrl_c_kills_at_once(mark: str, place: Path) -> None:
    script = prelude(place).replace(f"kill_grace={GRACE_MS}", "kill_grace=20_000")
    with Host(mark, script + INTERRUPTED.format(wait=WAITS["run"], count=7)) as host:
        assert host.line() == "running"
        host.signal(signal.SIGINT)
        time.sleep(0.3)
        began = time.monotonic()
        host.signal(signal.SIGINT)
        assert host.line() == "interrupted"
        took = time.monotonic() - began
        assert [pid for pid in pids_in(place) if lives(pid)] == []
        host.go_on()
        ended = host.end(within=5)
    assert took < 1.0
    assert (ended.code, ended.err, ended.out) == (0, "", ["usable"])


def test_ctrl_c_at_any_moment_of_many_batches(mark: str) -> None:
    script = """
engine = arrea.Engine(kill_grace=100, default_policy="once")
count = 0
engine.run([lambda: 1, "true"])
list(engine.map(abs, [1]))
say("running")
for number in range(30):
    timer = threading.Timer(number / 300, os.kill, (os.getpid(), signal.SIGINT))
    try:
        timer.start()
        while True:
            engine.run([lambda: 1, lambda: time.sleep(60), "true"], timeout=20)
            engine.execute(lambda: 2)
            list(engine.map(abs, range(5)))
    except KeyboardInterrupt:
        count += 1
say(engine.execute(lambda: "usable").data)
engine.close()
say(count)
"""
    assert run_host(mark, script, within=30).out == ["running", "usable", "30"]


# ── hosts that do odd things ──────────────────────────────────────────────────────────────────────


def test_functions_from_many_threads(mark: str) -> None:
    ended = run_host(
        mark,
        """
from concurrent.futures import ThreadPoolExecutor
with arrea.Engine(max_processes=3, default_policy="once") as engine:
    def work(thread):
        one = [engine.execute(lambda: thread).data for _ in range(5)]
        many = engine.run([lambda: thread, f"echo {thread}", lambda: thread], workers=2).data
        mapped = list(engine.map(lambda number: thread * number, range(5)))
        return one == [thread] * 5 and many[0] == many[2] == thread and mapped == [thread * n for n in range(5)]
    with ThreadPoolExecutor(12) as threads:
        say(set(threads.map(work, range(24))))
""",
    )
    assert ended.out == ["{True}"]


def test_a_first_use_in_many_threads_at_once(mark: str) -> None:
    ended = run_host(
        mark,
        """
barrier = threading.Barrier(8)
told = []
def work(thread):
    barrier.wait()
    told.append(arrea.execute(lambda: thread).data)
threads = [threading.Thread(target=work, args=(thread,)) for thread in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
say(sorted(told))
""",
    )
    assert ended.out == [str(list(range(8)))]


def test_threads_that_hold_locks_do_no_harm(mark: str) -> None:
    ended = run_host(
        mark,
        """
import logging
over = threading.Event()
def hold():
    while not over.is_set():
        with logging._lock:
            data = [bytearray(100_000) for _ in range(50)]
            {index: str(index) for index in range(2000)}
threads = [threading.Thread(target=hold) for _ in range(3)]
for thread in threads:
    thread.start()
def logs(number):
    import logging
    logging.getLogger("function").debug("%d", number)
    return number
results = arrea.run([arrea.Task(logs, number) for number in range(200)], policy="once", timeout=20_000)
over.set()
say(results.unwrap() == list(range(200)))
""",
    )
    assert ended.out == ["True"]


def test_functions_inside_of_a_running_loop(mark: str) -> None:
    ended = run_host(
        mark,
        """
import asyncio
async def where():
    await asyncio.sleep(0.01)
    return id(asyncio.get_running_loop()) == OURS
async def main():
    global OURS
    OURS = id(asyncio.get_running_loop())
    asyncio.get_running_loop().slow_callback_duration = 10.0  # some of what follows blocks it on purpose
    ticks = 0
    async def tick():
        nonlocal ticks
        while True:
            await asyncio.sleep(0.005)
            ticks += 1
    ticking = asyncio.create_task(tick())
    say((await arrea.execute_async(lambda: (time.sleep(0.3), "process")[1])).data, ticks > 10)
    say((await asyncio.to_thread(arrea.execute, lambda: "in a thread")).data)
    say((await arrea.execute_async(where)).data, (await asyncio.to_thread(arrea.execute, where)).data)
    say([r.data async for r in arrea.stream_async([lambda: 1, where], workers=1, policy="once")])
    say([r.data for r in await arrea.run_async([lambda: 2, where, "true"], policy="once")][:2])
    ticking.cancel()
    # These block the loop, and work all the same: coroutines run on the engine's own.
    say(arrea.execute(lambda: "blocking").data, arrea.execute(where).data)
    say([r.data for r in arrea.run([lambda: 3, where], policy="once")], list(arrea.map(abs, [-4])))
asyncio.run(main())
""",
    )
    assert ended.out == [
        "process True",
        "in a thread",
        "True False",
        "[1, True]",
        "[2, True]",
        "blocking False",
        "[3, False] [4]",
    ]


FORKS = """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)
def refusal(call):
    try:
        return call()
    except arrea.EngineStopped as error:
        return error.code
"""


def test_after_a_fork_child_and_parent_go_on(mark: str) -> None:
    ended = run_host(
        mark,
        FORKS
        + """
say(arrea.execute(lambda: "before").data)
engine = arrea.Engine(kill_grace=300, default_policy="once")
batch = engine.submit([lambda: (time.sleep(1.0), "slept")[1]])
values = engine.map(abs, [-1, -2, -3])
say(next(values))
pid = os.fork()
if pid == 0:
    say(arrea.execute(lambda: "child").data, list(arrea.map(abs, [-7])))
    say(refusal(lambda: engine.execute(lambda: 1)), refusal(batch.wait))
    values.close()
    batch.cancel()
    engine.close()
    with arrea.Engine() as own:
        say(own.run([os.getpid] * 3, policy="once").success)
    sys.exit(7)
say(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
say(list(values), batch.wait().data, arrea.execute(lambda: "parent").data)
engine.close()
""",
    )
    refusals = "engine_stopped engine_stopped"
    assert ended.out == ["before", "1", "child [7]", refusals, "True", "7", "[2, 3] ['slept'] parent"]


def test_forks_while_other_threads_run_functions(mark: str) -> None:
    ended = run_host(
        mark,
        FORKS
        + """
arrea.run([lambda: 1, "true"])
over = threading.Event()
def work():
    while not over.is_set():
        arrea.run([lambda: 1] * 5, policy="once")
threads = [threading.Thread(target=work) for _ in range(3)]
for thread in threads:
    thread.start()
codes = []
for number in range(8):
    pid = os.fork()
    if pid == 0:
        os._exit(0 if arrea.execute(lambda: number, timeout=5000).data == number else 9)
    codes.append(os.waitpid(pid, 0)[1])
over.set()
for thread in threads:
    thread.join()
say(codes)
""",
    )
    assert ended.out == [str([0] * 8)]
    # The children ended without a word: what their engines had started is the guardians' to end.
    assert wait_until(lambda: not marked_survivors(mark), DEAD_WITHIN_S), marked_survivors(mark)


def test_two_engines_at_once(mark: str) -> None:
    ended = run_host(
        mark,
        """
with arrea.Engine(max_processes=2, kill_grace=300) as one, arrea.Engine(max_processes=2) as two:
    first = one.stream([lambda number=number: number for number in range(40)], policy="once")
    second = two.stream([lambda number=number: -number for number in range(40)], policy="once")
    pairs = [(next(first), next(second)) for _ in range(40)]
    say(all(a.data == a.index and b.data == -b.index for a, b in pairs))
    of_one, of_two = ({result.data for result in e.run([os.getpid] * 20, policy="once")} for e in (one, two))
    say(of_one & of_two, one.execute(os.getppid).data != os.getpid())
    stuck = one.submit([lambda: time.sleep(60)] * 2)
    time.sleep(0.2)
    one.close()
    say({result.error.code for result in stuck.wait()}, two.run([lambda: 5] * 5, policy="once").data)
""",
    )
    assert ended.out == ["True", "set() True", "{'cancelled'} [5, 5, 5, 5, 5]"]


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_host_without_its_standard_streams(closed: str, mark: str, tmp_path: Path) -> None:
    script = f"""
import os, sys, time
import arrea
HOST = os.getpid()
def prints():
    print("to nobody")
    print("to nobody", file=sys.stderr)
    return os.getpid() != HOST
tasks = [prints] * 5 + ["echo x", lambda: os._exit(3), lambda: time.sleep(60)]
results = arrea.run(tasks, policy="once", timeout=1000)
with open({str(tmp_path / "said")!r}, "w") as said:
    said.write(repr([result.data for result in results[:5]]) + results[5].data.stdout)
    said.write(" ".join(result.error.code for result in results[6:]))
"""
    path = script_in(tmp_path, script)
    done = subprocess.run(
        ["sh", "-c", f'exec "$0" "$1" {closed}', sys.executable, path],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "ARREA_CHAOS": mark},
        timeout=20,
        start_new_session=True,
        check=False,
    )
    assert done.returncode == 0
    assert (tmp_path / "said").read_text() == f"{[True] * 5}x\nworker_crashed timeout"


def test_what_functions_print_goes_to_the_streams_of_the_host(mark: str) -> None:
    """In their order, and before the result is there; it is nobody's `data`."""
    ended = run_host(
        mark,
        """
def prints(number):
    print("line", number)
    print("unfinished", end="")
def writes():
    os.write(1, b" raw\\n")
for number in range(3):
    say(arrea.execute(arrea.Task(prints, number)).data)
arrea.execute(arrea.Task(prints, 3))
arrea.execute(writes)
say("over")
""",
    )
    assert ended.out == [
        *(line for number in range(3) for line in (f"line {number}", "unfinishedNone")),
        "line 3",
        "unfinished raw",
        "over",
    ]
    with Host(mark, "arrea.execute(lambda: print('told', file=sys.stderr))", dev=False) as host:
        assert host.end(10).err == "told\n"


def test_what_a_function_printed_before_it_was_killed_is_not_lost(mark: str) -> None:
    ended = run_host(
        mark,
        """
def prints(end):
    print("first", flush=True)
    end()
say(arrea.execute(arrea.Task(prints, lambda: os._exit(3))).error.code)
say(arrea.execute(arrea.Task(prints, lambda: time.sleep(60), timeout=500)).error.code)
""",
    )
    assert ended.out == ["first", "worker_crashed", "first", "timeout"]


def test_a_function_reads_end_of_file_and_not_what_the_host_is_told(mark: str) -> None:
    with Host(mark, "say(repr(arrea.execute(lambda: sys.stdin.read()).data)); pause(); say('over')") as host:
        assert host.line() == "''"
        host.go_on()
        assert host.end(5).out == ["over"]


def test_a_host_that_ignores_sigchld(mark: str) -> None:
    ended = run_host(
        mark,
        """
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
began = time.monotonic()
with arrea.Engine(kill_grace=300, default_policy="once") as engine:
    results = engine.run([lambda: 5] * 20 + [lambda: os._exit(3), lambda: time.sleep(60)], timeout=1000)
    say({result.data for result in results[:20]})
    say(results[20].error.code in ("worker_crashed", "status_lost"), results[21].error.code)
    say(engine.run([lambda: 6] * 9).data == [6] * 9)
say(time.monotonic() - began < 5, signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN)
""",
    )
    assert ended.out == ["{5}", "True timeout", "True", "True True"]


def test_a_host_that_waits_for_every_child(mark: str) -> None:
    ended = run_host(
        mark,
        """
def reap():
    while True:
        try:
            os.wait()
        except ChildProcessError:
            time.sleep(0.001)
threading.Thread(target=reap, daemon=True).start()
began = time.monotonic()
with arrea.Engine(kill_grace=300, default_policy="once") as engine:
    results = engine.run([lambda: 5] * 20 + [lambda: os._exit(3), lambda: time.sleep(60)], timeout=1000)
    say({result.data for result in results[:20]})
    say(results[20].error.code in ("worker_crashed", "status_lost"), results[21].error.code)
    say(engine.run([lambda: 6] * 9).data == [6] * 9)
say(time.monotonic() - began < 5)
""",
    )
    assert ended.out == ["{5}", "True timeout", "True", "True"]


def test_a_host_with_odd_signals(mark: str) -> None:
    """What it blocks, ignores and handles isn't what a function finds: it can be interrupted and ended as usual."""
    ended = run_host(
        mark,
        """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGINT, lambda *_: None)
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGUSR1])
with arrea.Engine(kill_grace=5000) as engine:
    engine.execute(lambda: 1)
    began = time.monotonic()
    say(engine.execute(lambda: time.sleep(60), timeout=300).error.code, time.monotonic() - began < 2)
    say(engine.execute(lambda: os.kill(os.getpid(), signal.SIGUSR1)).error.signal_name)
""",
    )
    assert ended.out == ["timeout True", "SIGUSR1"]


def test_a_host_whose_directory_is_gone(mark: str, tmp_path: Path) -> None:
    ended = run_host(
        mark,
        f"""
arrea.execute(lambda: 1)
gone = {str(tmp_path / "gone")!r}
os.mkdir(gone)
os.chdir(gone)
os.rmdir(gone)
began = time.monotonic()
result = arrea.execute(lambda: "nowhere")
say(result.data == "nowhere" or result.error.code in ("cwd_not_found", "spawn_failed"))
os.chdir("/")
say(arrea.execute(os.getcwd).data, time.monotonic() - began < 5)
""",
    )
    assert ended.out == ["True", "/ True"]


def test_a_host_with_few_descriptors(mark: str) -> None:
    """What fits runs at once, and all of it runs."""
    ended = run_host(
        mark,
        """
import logging, resource
logging.disable()  # it says that it has too few
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
with arrea.Engine(max_processes=40, default_policy="once") as engine:
    results = engine.run([lambda: (time.sleep(0.02), 5)[1]] * 100, workers=40)
    say(len(results), {result.data if result else result.error.code for result in results})
""",
    )
    assert ended.out == ["100 {5}"]


def test_thirty_pools_one_after_the_other_leave_nothing(mark: str) -> None:
    ended = run_host(
        mark,
        """
def left():
    until = time.monotonic() + 2
    while len(os.listdir("/proc/self/task")) > 1 and time.monotonic() < until:
        time.sleep(0.001)
    return len(os.listdir("/proc/self/fd")), threading.active_count(), len(os.listdir("/proc/self/task"))
for number in range(30):
    if number == 5:
        before = left()
    with arrea.Engine(max_processes=1, kill_grace=300) as engine:
        say(engine.execute(lambda: number).data == number) if number % 10 == 0 else engine.execute(os.getpid)
after = left()
say(before == after, *after[1:])
with open("/proc/self/task/" + str(os.getpid()) + "/children") as children:
    say(children.read().split())
""",
        within=30,
    )
    assert ended.out == ["True", "True", "True", "True 1 1", "[]"]
