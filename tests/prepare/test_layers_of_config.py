"""The layers of the configuration: which one wins, what a text in the environment means, and that nothing that is
wrong changes anything."""

import datetime
import enum
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from arrea import Policy
from arrea._model.checks import shown
from arrea._model.errors import InvalidConfig, InvalidOption
from arrea._prepare import config
from arrea._prepare.config import DEFAULTS, LAYERS, Config, Configuration, read_environment
from arrea._prepare.keys import KEYS, checked, from_text, read_switch, switch

VARIABLES = {key: f"ARREA_{key.upper()}" for key in KEYS}


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in VARIABLES.values():
        monkeypatch.delenv(variable, raising=False)


def state(configuration: Configuration) -> tuple[object, ...]:
    """All that can be seen of it."""
    sources = {key: configuration.source(key) for key in KEYS}
    return configuration.all(), sources, configuration.version, configuration.effective()


# ── the table ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("key", KEYS)
def test_defaults_are_checked_values(key: str) -> None:
    default = KEYS[key].default
    kept = checked({key: default}, "process")[key]
    assert (kept, type(kept)) == (default, type(default))


def test_all_values_in_table_order_as_a_user_would_write_them() -> None:
    values = Configuration().all()
    assert list(values) == list(KEYS) == list(DEFAULTS)
    assert values == {
        "max_workers": 100,
        "max_commands_per_batch": 500,
        "default_policy": "retry",
        "max_retries": 3,
        "retry_delay": 1000.0,
        "max_processes": len(os.sched_getaffinity(0)),
        "isolation": "process",
        "kill_grace": 2000.0,
        "shell": None,
        "allowed_shells": ["sh", "bash", "zsh", "fish", "dash"],
        "max_output_bytes": 8 * 2**20,
        "log_level": "info",
        "validation_rules": ["no_rm_rf", "no_sudo", "no_dd", "no_mkfs", "no_fork_bomb"],
        "sudo_allowlist": [],
    }


class Loud(str):
    """A text whose own methods lie."""

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = str.__hash__

    def __str__(self) -> str:
        return "LOUD"

    def strip(self, *_: object) -> str:  # type: ignore[override]
        return "5s"

    lower = strip  # type: ignore[assignment]


class Lax(int):
    """A number that is in every range."""

    def __le__(self, other: object) -> bool:
        return True

    __ge__ = __lt__ = __gt__ = __le__

    def __abs__(self) -> int:
        raise RuntimeError("no")


class Rude:
    """An object that can't even be shown."""

    def __repr__(self) -> str:
        raise RuntimeError("no")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no")

    __hash__ = object.__hash__


class RudeList(list[str]):
    def __iter__(self) -> Iterator[str]:
        raise RuntimeError("no")


class RudeMapping(Mapping[str, object]):
    def __getitem__(self, key: str) -> object:
        raise RuntimeError("no")

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError("no")

    def __len__(self) -> int:
        return 1


class Level(enum.StrEnum):
    LOUD = "debug"


class Size(enum.IntEnum):
    SMALL = 3


HOSTILE = [
    *(
        True,
        float("nan"),
        float("inf"),
        10**400,
        -(10**400),
        10**5000,
        5j,
        object,
        object(),
        Rude(),
        [Rude()],
    ),
    *("\0", "\ud800", "a" * 10**6, "9" * 5000, "\x1b[2J", Loud("banana"), Loud("none"), Lax(0), Lax(-5)),
    *(RudeList(["sh"]), RudeMapping(), {Rude(): 1}, {Loud("jitter"): Rude()}, {5: 5}, datetime.timedelta.max),
]


# What of it is a right value all the same: a shell may have any name, and the numbers count for what they are.
RIGHT: dict[str, list[object]] = {
    "shell": ["a" * 10**6, "9" * 5000, "\x1b[2J", "banana", "none"],
    "max_retries": [0],
    "max_output_bytes": [0],
    "retry_delay": [0.0],
    "kill_grace": [0.0],
}


@pytest.mark.parametrize("key", KEYS)
def test_hostile_values_are_refused_or_plain(key: str) -> None:
    kept = []
    for value in HOSTILE:
        configuration = Configuration()
        before = state(configuration)
        try:
            configuration.set(key, value)
        except InvalidConfig as error:
            assert (error.key, error.layer) == (key, "process")
            assert str(error).isprintable() and len(str(error)) < 250
            assert state(configuration) == before
        else:
            kept.append(configuration.get(key))
    assert kept == RIGHT.get(key, [])
    assert {type(value) for value in kept} <= {str, int, float}


@pytest.mark.parametrize(
    ("key", "value", "kept"),
    [
        ("log_level", Level.LOUD, "debug"),
        ("max_workers", Size.SMALL, 3),
        ("shell", Loud("bash"), "bash"),
        ("allowed_shells", (Loud("bash"), Level.LOUD), ["bash", "debug"]),
        ("kill_grace", Loud("7s"), 7000.0),
        ("kill_grace", datetime.timedelta(seconds=2), 2000.0),
        ("kill_grace", Size.SMALL, 3.0),
        ("default_policy", Loud("once"), "once"),
        ("default_policy", {Loud("jitter"): 0.5}, {"jitter": 0.5}),
    ],
)
def test_values_become_plain(key: str, value: object, kept: object) -> None:
    configuration = Configuration()
    configuration.set(key, value)
    got = configuration.get(key)
    assert (got, type(got)) == (kept, type(kept))
    inner = got if isinstance(got, (list, dict)) else []
    assert {type(item) for item in inner} <= {str}


# ── policies ──────────────────────────────────────────────────────────────────────────────────────


def answer(*_: object) -> str:
    return "retry"


@pytest.mark.parametrize(
    ("value", "got"),
    [
        ("stop", "stop"),
        (Policy(jitter=0.5), Policy(jitter=0.5)),
        ({}, {}),
        ({"retry_delay": "2s", "max_failures": "10%"}, {"retry_delay": 2000.0, "max_failures": 0.1}),
        ({"on_error": answer, "retry_on": [1, "timeout"]}, {"on_error": answer, "retry_on": (1, "timeout")}),
        ({"timeout": None}, {"timeout": None}),
    ],
)
def test_default_policy_is_given_back_as_it_was_set(value: Any, got: object) -> None:
    configuration = Configuration()
    configuration.configure(default_policy=value, max_retries=9)
    assert configuration.get("default_policy") == got
    expected = Config(default_policy=value, max_retries=9)
    assert configuration.effective().default_policy == expected.default_policy


def test_mapping_is_copied() -> None:
    configuration = Configuration()
    fields: dict[str, Any] = {"retry_on": [1]}
    configuration.set("default_policy", fields)
    fields["retry_on"].append("nonsense")
    fields["max_retries"] = -1
    got: Any = configuration.get("default_policy")
    got["max_retries"] = -1
    configuration.set("max_retries", 5)
    assert configuration.get("default_policy") == {"retry_on": (1,)}
    assert configuration.effective().default_policy == Policy(retry_on=[1], max_retries=5)
    names: Any = configuration.get("allowed_shells")
    names.append("perl")
    assert "perl" not in configuration.effective().allowed_shells


def test_retries_of_a_lower_layer_hold_for_the_policy_of_a_higher_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ARREA_MAX_RETRIES", "7")
    engine = Configuration().derived(default_policy={"jitter": 0.5})
    assert engine.effective().default_policy == Policy(max_retries=7, jitter=0.5)


# ── layers ────────────────────────────────────────────────────────────────────────────────────────

# For each key a value for the environment, one for the process, one for the engine, as `get` gives them.
BY_LAYER: dict[str, tuple[str, Any, Any, Any]] = {
    "max_workers": ("5", 5, 6, 7),
    "max_commands_per_batch": ("none", None, 6, None),
    "default_policy": ("once", "once", "stop", {"jitter": 0.5}),
    "max_retries": ("0", 0, 1, 2),
    "retry_delay": ("1.5s", 1500.0, 0.0, 2.0),
    "max_processes": ("5", 5, 6, 7),
    "isolation": ("thread", "thread", "process", "thread"),
    "kill_grace": ("1", 1.0, 0.0, 2.0),
    "shell": ("bash", "bash", None, "zsh"),
    "allowed_shells": ("bash, /bin/zsh", ["bash", "/bin/zsh"], ["sh"], ["dash"]),
    "max_output_bytes": ("0", 0, None, 5),
    "log_level": ("warn", "warning", "debug", "error"),
    "validation_rules": ("no_dd, strict", ["no_dd", "strict"], [], ["default"]),
    "sudo_allowlist": ("systemctl start, id", ["systemctl start", "id"], [], ["id"]),
}


@pytest.mark.parametrize("key", KEYS)
def test_higher_layer_wins_and_shows_the_lower_when_it_goes(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, of_environment, of_process, of_engine = BY_LAYER[key]
    default = Configuration().get(key)
    monkeypatch.setenv(VARIABLES[key], text)
    process = Configuration()
    process.set(key, of_process)
    engine = process.derived(**{key: of_engine})

    def seen(configuration: Configuration) -> tuple[object, str]:
        return configuration.get(key), configuration.source(key)

    assert (seen(engine), seen(process)) == ((of_engine, "engine"), (of_process, "process"))
    engine.unset(key)
    assert seen(engine) == (of_process, "process")
    process.unset(key)
    assert (seen(engine), seen(process)) == ((of_process, "process"), (of_environment, "environment"))
    monkeypatch.delenv(VARIABLES[key])
    assert seen(process) == (of_environment, "environment")
    process.reload()
    assert seen(process) == (default, "default")


values_of_layers = st.fixed_dictionaries(
    {},
    optional={
        "max_workers": st.integers(1, 9),
        "max_retries": st.integers(0, 9),
        "kill_grace": st.integers(0, 9),
        "log_level": st.sampled_from(["debug", "error"]),
        "allowed_shells": st.lists(st.sampled_from(["sh", "bash"]), min_size=1),
    },
)


@given(values_of_layers, values_of_layers, values_of_layers)
def test_provenance_is_the_highest_layer_that_has_the_key(
    environment: dict[str, Any], process: dict[str, Any], engine: dict[str, Any]
) -> None:
    configuration = in_environment(environment)
    configuration.configure(process)
    derived = configuration.derived(**engine)
    layers = {
        "default": Configuration().all(),
        "environment": environment,
        "process": process,
        "engine": engine,
    }
    for key in KEYS:
        source = [layer for layer in LAYERS if key in layers.get(layer, ())][-1]
        assert (derived.source(key), derived.get(key)) == (source, layers[source][key])
    assert Configuration().derived(**derived.all()).all() == derived.all()


def in_environment(values: Mapping[str, Any]) -> Configuration:
    with pytest.MonkeyPatch.context() as patch:
        for key, value in values.items():
            patch.setenv(VARIABLES[key], ",".join(value) if isinstance(value, list) else str(value))
        configuration = Configuration()
        configuration.effective()
    return configuration


@given(values_of_layers, values_of_layers)
def test_set_then_unset_restores(before: dict[str, Any], new: dict[str, Any]) -> None:
    configuration = Configuration().derived(**before)
    below = configuration.derived()
    values = below.all()
    for key, value in new.items():
        below.set(key, value)
        assert below.get(key) == value
    for key in new:
        below.unset(key)
    untouched = {key: value for key, value in values.items() if key not in new}
    assert untouched.items() <= below.all().items()
    assert {key: below.get(key) for key in new} == {key: DEFAULTS_WRITTEN[key] for key in new}


DEFAULTS_WRITTEN = {key: list(v) if isinstance(v, tuple) else v for key, v in DEFAULTS.items()}

wrong = st.sampled_from([("max_workers", 0), ("kill_grace", None), ("shell", "\0"), ("nonsense", 1)])


@given(values_of_layers, wrong, st.booleans())
def test_failed_configure_changes_nothing(good: dict[str, Any], bad: tuple[str, Any], first: bool) -> None:
    configuration = Configuration()
    configuration.set("max_retries", 4)
    told: list[Config] = []
    configuration.on_change.append(told.append)
    before = state(configuration)
    pairs = [bad, *good.items()] if first else [*good.items(), bad]
    with pytest.raises(InvalidConfig) as caught:
        configuration.configure(dict(pairs) | {bad[0]: bad[1]})
    assert (caught.value.key, told, state(configuration)) == (bad[0], [], before)


def test_configure_takes_a_mapping_and_keys() -> None:
    configuration = Configuration()
    configuration.configure({"max_workers": 5, "shell": "bash"}, max_workers=6)
    assert (configuration.get("max_workers"), configuration.get("shell")) == (6, "bash")
    before = state(configuration)
    configuration.configure()
    configuration.configure(None)
    configuration.configure({})
    assert state(configuration) == before
    for values in (5, "max_workers", [("max_workers", 5)], RudeMapping(), Rude()):
        with pytest.raises(InvalidConfig, match=r"^configuration (must be a mapping|can't be read)"):
            configuration.configure(values)  # type: ignore[arg-type]
        assert state(configuration) == before


UNKNOWN: list[tuple[Any, str]] = [
    ("max_worker", "unknown configuration key 'max_worker'; did you mean 'max_workers'?"),
    ("MAX_WORKERS", "unknown configuration key 'MAX_WORKERS'"),
    ("", "unknown configuration key ''"),
    ("\ud800", "unknown configuration key '\\ud800'"),
    (Loud("zzz"), "unknown configuration key 'zzz'"),
    (5, "a configuration key is text, not 5"),
    (None, "a configuration key is text, not None"),
    ([], "a configuration key is text, not []"),
    (Rude(), "a configuration key is text, not a Rude"),
]


@pytest.mark.parametrize(("key", "message"), UNKNOWN, ids=shown)
def test_unknown_keys(key: Any, message: str) -> None:
    process = Configuration()
    for configuration in (process, process.derived()):
        before = state(configuration)
        for call in (
            configuration.get,
            configuration.unset,
            configuration.source,
            lambda key, to=configuration: to.set(key, 5),
        ):
            with pytest.raises(InvalidConfig) as caught:
                call(key)
            assert str(caught.value) == message
            assert caught.value.layer == ("process" if configuration is process else "engine")
        assert state(configuration) == before


# ── the environment ───────────────────────────────────────────────────────────────────────────────

TEXTS: list[tuple[str, str, object]] = [
    ("max_workers", "50", 50),
    ("max_workers", " 50\n", 50),
    ("max_workers", "007", 7),
    ("max_commands_per_batch", "none", None),
    ("max_output_bytes", " none ", None),
    ("default_policy", "once", "once"),
    ("default_policy", "once\n", "once"),
    ("retry_delay", "250", 250.0),
    ("retry_delay", "0", 0.0),
    ("max_processes", " 007\n", 7),
    ("isolation", " thread\n", "thread"),
    ("kill_grace", "1.5h", 5_400_000.0),
    ("kill_grace", " 5s ", 5000.0),
    ("shell", "auto", "auto"),
    ("shell", "/opt/my shell", "/opt/my shell"),
    ("shell", "none", None),
    ("shell", " none\n", None),
    ("shell", os.fsdecode(b"/opt/\xff"), os.fsdecode(b"/opt/\xff")),
    ("allowed_shells", "bash", ("bash",)),
    ("allowed_shells", " bash , zsh ", ("bash", "zsh")),
    ("log_level", "warn", "warning"),
    ("log_level", "DEBUG", "debug"),
    ("validation_rules", " no_dd , strict ", ("no_dd", "strict")),
    ("validation_rules", "none", ()),
    ("sudo_allowlist", "systemctl start", ("systemctl start",)),
    ("sudo_allowlist", " none ", ()),
]


@pytest.mark.parametrize(("key", "text", "value"), TEXTS)
def test_texts(key: str, text: str, value: object) -> None:
    found = read_environment({VARIABLES[key]: text})
    assert (found, type(found[key])) == ({key: value}, type(value))


NO_TEXTS = {
    "max_workers": [
        "many",
        "0",
        "-1",
        "none",
        "1.0",
        "1e3",
        "1_000",
        "0x10",
        "\u0665",
        "+5",
        " ",
        "9" * 5000,
        "--5",
    ],
    "max_commands_per_batch": ["0", "None", "500 commands"],
    "default_policy": ["retyr", " ", "{}", "none", "Policy()", "RETRY"],
    "max_retries": ["-1", "none", "3.5"],
    "retry_delay": ["none", "-5", "5 parsecs", "nan", "inf", "1e3", " "],
    "max_processes": ["many", "0", "none", "10001", "1.0", "9" * 5000, " "],
    "isolation": ["proces", "THREAD", "none", "process,thread", " "],
    "kill_grace": ["none", "5S", "1_000"],
    "shell": [" "],
    "allowed_shells": [",", "bash,", ",bash", "a,,b", " "],
    "max_output_bytes": ["-1", "8MiB"],
    "log_level": ["loud", "10", "none", " "],
    "validation_rules": ["nodd", "no_dd,", "no_dd no_mkfs", " ", "None"],
    "sudo_allowlist": ["id,", ",id", " "],
}


@pytest.mark.parametrize("key", KEYS)
def test_wrong_texts(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    variable = VARIABLES[key]
    for text in NO_TEXTS[key]:
        monkeypatch.setenv(variable, text)
        with pytest.raises(InvalidConfig) as caught:
            Configuration().effective()
        error = caught.value
        assert (error.code, error.option, error.key, error.layer) == (
            "invalid_config",
            key,
            key,
            "environment",
        )
        assert str(error).startswith(f"{variable}={shown(text)} (environment): {key} must be ")
        assert len(str(error)) < 250


def test_message_of_a_wrong_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARREA_MAX_WORKERS", "many")
    with pytest.raises(InvalidConfig) as caught:
        Configuration().get("shell")
    assert (
        str(caught.value)
        == "ARREA_MAX_WORKERS='many' (environment): max_workers must be a whole number from 1 to 100000"
    )
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.key, again.layer) == (str(caught.value), "max_workers", "environment")
    assert isinstance(again, InvalidOption)


@pytest.mark.parametrize("key", KEYS)
@given(text=st.text() | st.sampled_from([text for _, text, _ in TEXTS]) | st.integers().map(str))
@example(text="\ud800")
@example(text="\0")
@example(text="\udcff")
@example(text="true")
def test_any_text_means_the_same_as_the_value_in_python_or_is_refused(key: str, text: str) -> None:
    variable = VARIABLES[key]
    try:
        found = read_environment({variable: text})
    except InvalidConfig as error:
        assert str(error).startswith(f"{variable}=") and str(error).isprintable()
        assert (error.key, error.layer) == (key, "environment")
        return
    if not text:
        assert found == {}
        return
    assert checked(found, "process") == found
    word = text.strip()
    candidates = [word, text, word.lower(), [name.strip() for name in text.split(",")]]
    candidates += [None, []] if word == "none" else []
    candidates += [int(word)] if word.isdigit() and word.isascii() else []
    meanings = [in_python(key, candidate) for candidate in candidates]
    assert found[key] in [meaning for meaning in meanings if meaning is not NOTHING]


NOTHING = object()


def in_python(key: str, value: object) -> object:
    try:
        return checked({key: value}, "process")[key]
    except InvalidConfig:
        return NOTHING


def test_other_names_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TASK", "BATCH", "ATTEMPT", "SLOT", "ANYTHING", "CI", "", "max_workers", "MAX_WORKERS_"):
        monkeypatch.setenv(f"ARREA_{name}", "nonsense")
    monkeypatch.setenv("MAX_WORKERS", "nonsense")
    assert {Configuration().source(key) for key in KEYS} == {"default"}


def test_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in VARIABLES.values():
        monkeypatch.setenv(variable, "")
    assert {Configuration().source(key) for key in KEYS} == {"default"}


def test_environment_is_read_at_the_first_use(monkeypatch: pytest.MonkeyPatch) -> None:
    configuration = Configuration()
    assert configuration.version == 0
    monkeypatch.setenv("ARREA_MAX_WORKERS", "5")
    assert configuration.get("max_workers") == 5
    monkeypatch.setenv("ARREA_MAX_WORKERS", "6")
    assert configuration.get("max_workers") == 5


USES: dict[str, Any] = {
    "effective": lambda it: it.effective(),
    "all": lambda it: it.all(),
    "get": lambda it: it.get("shell"),
    "source": lambda it: it.source("shell"),
    "set": lambda it: it.set("max_workers", 5),
    "configure": lambda it: it.configure(max_workers=5),
    "unset": lambda it: it.unset("max_workers"),
    "reload": lambda it: it.reload(),
    "derived": lambda it: it.derived(max_workers=5),
}


@pytest.mark.parametrize("use", USES)
def test_wrong_variable_is_told_at_every_use_until_it_is_right(
    use: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARREA_MAX_WORKERS", "many")
    configuration = Configuration()
    for _ in range(2):
        with pytest.raises(InvalidConfig, match=r"^ARREA_MAX_WORKERS='many'"):
            USES[use](configuration)
        assert configuration.version == 0
    monkeypatch.setenv("ARREA_MAX_WORKERS", "8")
    USES[use](configuration)
    assert configuration.get("max_workers") == (5 if use in ("set", "configure") else 8)


def test_reload(monkeypatch: pytest.MonkeyPatch) -> None:
    configuration = Configuration()
    configuration.set("shell", "bash")
    version, told = configuration.version, []
    configuration.on_change.append(told.append)
    monkeypatch.setenv("ARREA_MAX_WORKERS", "5")
    monkeypatch.setenv("ARREA_SHELL", "zsh")
    configuration.reload()
    assert (configuration.get("max_workers"), configuration.get("shell")) == (5, "bash")
    assert configuration.version > version and told == [configuration.effective()]
    before = state(configuration)
    configuration.reload()
    assert state(configuration) == before, "nothing else was found"
    monkeypatch.setenv("ARREA_MAX_WORKERS", "6")
    monkeypatch.setenv("ARREA_LOG_LEVEL", "loud")
    with pytest.raises(InvalidConfig, match=r"^ARREA_LOG_LEVEL='loud' \(environment\)"):
        configuration.reload()
    assert state(configuration) == before and len(told) == 1


def test_importing_reads_no_environment() -> None:
    code = """if True:
        import os, arrea._prepare.config
        os.environ["ARREA_MAX_WORKERS"] = "5"
        print(arrea._prepare.config.Configuration().get("max_workers"))"""
    environment = {**os.environ, "ARREA_MAX_WORKERS": "many"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.stdout, done.stderr) == ("5\n", "")


# ── texts for later doors ─────────────────────────────────────────────────────────────────────────


def test_text_of_a_flag_is_named_as_it_was_written() -> None:
    assert from_text("max_workers", "5", "process", "--parallel") == 5
    with pytest.raises(
        InvalidConfig, match=r"^--parallel='x' \(process\): max_workers must be a whole number"
    ):
        from_text("max_workers", "x", "process", "--parallel")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *((text, True) for text in ("true", "1", "yes", "on", "TRUE", " On\n")),
        *((text, False) for text in ("false", "0", "no", "off", "False")),
    ],
)
def test_switches(text: str, value: bool) -> None:
    assert switch(read_switch(text), "color") is value


@pytest.mark.parametrize(
    "value", [read_switch("maybe"), read_switch(""), read_switch("2"), 1, 0, None, "true"]
)
def test_no_switches(value: object) -> None:
    with pytest.raises(InvalidOption, match="color must be true or false"):
        switch(value, "color")


# ── versions, copies, listeners ───────────────────────────────────────────────────────────────────


def test_effective_is_rebuilt_only_when_something_changed() -> None:
    configuration = Configuration()
    first, version = configuration.effective(), configuration.version
    configuration.unset("max_workers")
    assert configuration.effective() is first and configuration.version == version
    configuration.set("max_workers", 5)
    second = configuration.effective()
    assert (first.max_workers, second.max_workers) == (100, 5)
    assert configuration.effective() is second and configuration.version == version + 1
    configuration.configure(max_workers=6, shell="bash")
    assert configuration.version == version + 2


def test_derived_goes_its_own_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARREA_MAX_RETRIES", "7")
    process = Configuration()
    process.set("shell", "bash")
    told: list[Config] = []
    process.on_change.append(told.append)
    engine = process.derived(max_workers=4)
    monkeypatch.setenv("ARREA_MAX_RETRIES", "8")
    process.configure(shell="zsh", max_workers=9)
    process.reload()
    assert [engine.get(key) for key in ("max_workers", "shell", "max_retries")] == [4, "bash", 7]
    told.clear()
    engine.set("max_workers", 3)
    assert (process.get("max_workers"), told, engine.on_change) == (9, [], [])
    inner = engine.derived(kill_grace=5)
    assert (inner.get("max_workers"), inner.source("max_workers"), inner.get("kill_grace")) == (
        3,
        "engine",
        5.0,
    )
    engine.unset("max_workers")
    assert inner.get("max_workers") == 3 and engine.get("max_workers") == 100


def test_derived_refuses_wrong_keys() -> None:
    for keys, key in [
        ({"max_workers": 0}, "max_workers"),
        ({"max_worker": 1}, "max_worker"),
        ({"self": 1}, "self"),
    ]:
        with pytest.raises(InvalidConfig) as caught:
            Configuration().derived(**keys)
        assert (caught.value.key, caught.value.layer) == (key, "engine")


def test_copy() -> None:
    for original in (Configuration(), Configuration().derived(shell="bash")):
        original.set("max_workers", 5)
        original.on_change.append(print)
        copy = original.copy()
        assert state(copy) == state(original) and copy.on_change == []
        copy.set("max_workers", 6)
        assert (original.get("max_workers"), copy.get("max_workers")) == (5, 6)
        assert copy.source("max_workers") == original.source("max_workers")


def test_copy_needs_no_lock_that_another_thread_holds() -> None:
    configuration = Configuration()
    configuration.set("max_workers", 5)
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with configuration._lock:
            held.set()
            done.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert held.wait(10)
        copy = configuration.copy()
        copy.set("max_workers", 6)
        assert (configuration.get("max_workers"), copy.get("max_workers")) == (5, 6)
    finally:
        done.set()
        thread.join()


def test_listeners_are_called_outside_of_the_lock_with_what_is_in_force() -> None:
    configuration = Configuration()
    seen: list[tuple[int, int]] = []

    def listener(new: Config) -> None:
        other = threading.Thread(target=configuration.set, args=("shell", "bash"))
        configuration.on_change.remove(listener)  # it may; and the other thread must not call it again
        other.start()
        other.join(10)
        assert not other.is_alive(), "it waits for a lock that we hold"
        seen.append((new.max_workers, configuration.effective().max_workers))

    configuration.on_change.append(listener)
    configuration.set("max_workers", 5)
    assert (seen, configuration.get("shell")) == ([(5, 5)], "bash")


def test_no_change_of_many_threads_is_lost() -> None:
    configuration = Configuration()
    integers = ["max_workers", "max_commands_per_batch", "max_retries", "max_output_bytes"]
    start, wrong = threading.Barrier(len(integers)), []

    def change(key: str) -> None:
        start.wait(10)
        for value in range(1, 201):
            configuration.set(key, value)
            if configuration.get(key) != value:
                wrong.append((key, value))

    threads = [threading.Thread(target=change, args=(key,)) for key in integers]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert wrong == [] and [configuration.get(key) for key in integers] == [200] * 4
    assert configuration.version == 1 + 4 * 200


def test_signal_handler_may_change_it_in_the_middle_of_a_change(monkeypatch: pytest.MonkeyPatch) -> None:
    configuration = Configuration()
    configuration.effective()
    make, interrupted = config._State, []

    def make_and_interrupt(*arguments: Any) -> Any:
        made = make(*arguments)
        if not interrupted:
            interrupted.append(True)
            signal.raise_signal(signal.SIGUSR1)
        return made

    before = signal.signal(signal.SIGUSR1, lambda *_: configuration.set("max_retries", 9))
    monkeypatch.setattr(config, "_State", make_and_interrupt)
    try:
        configuration.set("max_workers", 5)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert interrupted and (configuration.get("max_retries"), configuration.get("max_workers")) == (9, 5)


def test_lock_is_one_that_a_signal_handler_may_take_again() -> None:
    configuration = Configuration()
    with configuration._lock:
        configuration.set("max_workers", 5)
    assert configuration.get("max_workers") == 5
