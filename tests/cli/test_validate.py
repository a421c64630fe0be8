"""`arrea validate`: what would be refused, told to people and to programs; nothing is run."""

import json
from pathlib import Path

import pytest

from tests.cli.door import arrea


def test_what_is_allowed_and_what_is_refused() -> None:
    ran = arrea("validate", "-c", "make -j4", "-c", "rm -r --force build", "--", "rm", "-rf", "a b")
    assert (ran.code, ran.err) == (126, "")
    lines = ran.out.decode().splitlines()
    assert lines[0] == "-c 'make -j4': allowed"
    assert lines[1] == "-c 'rm -r --force build': refused (no_rm_rf)"
    assert lines[2].startswith("  'rm -r --force' deletes") and "--no-validate" in lines[3]
    assert lines[4] == "-- ['rm', '-rf', 'a b']: refused (no_rm_rf)"


def test_all_allowed_is_0() -> None:
    ran = arrea("validate", "-c", "echo 'rm -rf /'", "-c", "git commit -m 'drop sudo'")
    assert (ran.code, ran.err) == (0, "") and ran.out.decode().count(": allowed\n") == 2
    assert arrea("validate", "--quiet", "-c", "make").out == b""


def test_places_in_files_and_standard_input(tmp_path: Path) -> None:
    file = tmp_path / "commands"
    file.write_text("make\n# sudo\n\nsudo id\n")
    ran = arrea("validate", "-q", "--file", str(file), "-", stdin=b"true\nmkfs /dev/x\n")
    heads = [line for line in ran.out.decode().splitlines() if not line.startswith(" ")]
    assert heads == [f"{file}, line 4: refused (no_sudo)", "standard input, line 2: refused (no_mkfs)"]
    assert ran.code == 126


def test_explained() -> None:
    ran = arrea("validate", "--explain", "-c", "find . -name '*.o' | xargs -r rm && echo \"$HOME\"")
    assert ran.code == 0
    told = [line.strip() for line in ran.out.decode().splitlines()[1:]]
    assert told == [
        "would run: find . -name '*.o'",
        "would run: xargs -r rm",
        "would run: rm ...  (by xargs)",
        "would run: echo ...",
    ]


def test_as_objects() -> None:
    words = ["--json", "--explain", "-c", "echo ä; sudo id", "--", "true"]
    ran = arrea("validate", *words)
    refused, allowed = map(json.loads, ran.out.splitlines())
    assert ran.code == 126 and ran.out.isascii()
    assert (refused["index"], refused["command"], refused["allowed"]) == (0, "echo ä; sudo id", False)
    assert (refused["code"], refused["rule"], refused["fragment"]) == ("dangerous_command", "no_sudo", "sudo")
    start, end = refused["span"]
    assert refused["command"][start:end] == "sudo" and refused["reason"] and refused["hint"]
    assert [each["words"] for each in refused["would_run"]] == [["echo", "ä"], ["sudo", "id"], ["id"]]
    assert refused["would_run"][2]["through"] == ["sudo"]
    assert allowed["allowed"] and allowed["code"] is None and allowed["command"] == ["true"]


def test_rules_and_substitution_and_shells() -> None:
    assert arrea("validate", "--rules", "none", "-c", "rm -rf x").code == 0
    assert arrea("validate", "--rules", "strict", "-c", "find . -delete").code == 126
    assert arrea("validate", "--rules=default", "-c", "find . -delete").code == 0
    assert arrea("validate", "-c", "echo $(date)").code == 126
    assert arrea("validate", "--allow-substitution", "-c", "echo $(date)").code == 0
    assert arrea("validate", "-c", "echo a; echo b").code == 0
    assert arrea("validate", "--shell", "fish", "-c", "echo a").code == 0
    fish = arrea("validate", "--shell", "fish", "-c", "echo a; echo b")
    assert fish.code == 126 and "fish" in fish.out.decode() and "unparseable" in fish.out.decode()


@pytest.mark.parametrize("line", ["=rm -rf x", "echo *(e:'rm -rf x':)", "echo a; =sudo id"])
def test_what_only_zsh_understands(line: str) -> None:
    assert arrea("validate", "--shell", "zsh", "-c", line).code == 126


@pytest.mark.parametrize("line", ["f() { echo a; }; f", "a=(1 2); echo ${a[1]}", "(echo a)", "echo <<<a"])
def test_what_zsh_and_bash_understand(line: str) -> None:
    assert arrea("validate", "--shell", "zsh", "-c", line).code == 0


def test_bad_lines_have_a_code_each(tmp_path: Path) -> None:
    file = tmp_path / "bad"
    bad = {
        b"echo \xff": "possible_injection",
        b"echo a\rrm b": "possible_injection",
        "echo \u202egnp.txt".encode(): "possible_injection",
        b"echo 'a": "unparseable",
        b"echo $(": "unparseable",
        b"(" * 200: "too_deep",
        b"echo " + b"x" * 70_000: "command_too_long",
    }
    file.write_bytes(b"\n".join(bad) + b"\n")
    ran = arrea("validate", "--json", "-f", str(file))
    assert [json.loads(line)["code"] for line in ran.out.splitlines()] == list(bad.values())
    assert ran.code == 126


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "no command"),
        (["-c"], "-c needs a value"),
        (["--rules", "nodd", "-c", "true"], "did you mean 'no_dd'?"),
        (["--exlpain", "-c", "true"], "did you mean '--explain'?"),
        (["--shell", "perl", "-c", "true"], "is not allowed"),
        (["rm"], "unexpected argument 'rm'"),
    ],
)
def test_wrong_usage(words: list[str], told: str) -> None:
    ran = arrea("validate", *words)
    assert (ran.code, ran.out) == (2, b"") and told in ran.err and ran.err.startswith("arrea validate: ")


def test_help() -> None:
    for words in (["validate", "--help"], ["help", "validate"]):
        ran = arrea(*words)
        assert ran.code == 0 and b"usage: arrea validate" in ran.out and b"--explain" in ran.out
