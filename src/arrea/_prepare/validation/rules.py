"""The rules: what they look for in one simple command. A new rule is one entry in `RULES`.

A rule is given a call with a known name and hands back the place in its source that it objects to, or None.
"""

from __future__ import annotations

from arrea._prepare.validation.names import names
from arrea._prepare.validation.special_launchers import ELEVATORS
from arrea._prepare.validation.words import GLOB, UNKNOWN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from arrea._prepare.validation.commands import Call
    from arrea._prepare.validation.source import Span

    Found = Span | None


class Rule:
    """names: of the programs that it concerns, None for all. find: see above. what, hint: for the message."""

    __slots__ = ("find", "hint", "names", "what")

    def __init__(
        self, names: Iterable[str] | None, find: Callable[[Call], Found], what: str, hint: str
    ) -> None:
        self.names = None if names is None else frozenset(names)
        self.find = find
        self.what = what
        self.hint = hint

    def concerns(self, name: str) -> bool:
        return self.names is None or name in self.names or (name.startswith("mkfs.") and "mkfs" in self.names)


# ── options ──────────────────────────────────────────────────────────────────────────────────────


def options_of(words: Sequence[str]) -> Iterable[tuple[int, str]]:
    """The options among a command's words, as getopt finds them: up to `--`, between and behind operands."""
    for at, word in enumerate(words[1:], 1):
        if word == "--":
            return
        if word[:1] == "-" and len(word) > 1:
            yield at, word


def has_letter(option: str, letters: str) -> bool:
    """A cluster such as `-rf` with one of the letters, before anything unknown in it.

    >>> has_letter("-rf", "rR"), has_letter("--rf", "r"), has_letter("-v", "r")
    (True, False, False)
    """
    if option[:2] == "--":
        return False
    for letter in option[1:]:
        if letter in UNKNOWN:
            return False
        if letter in letters:
            return True
    return False


def is_long(option: str, name: str, shortest: int) -> bool:
    """`--recursive`, or what getopt takes for it: at least `shortest` letters of it."""
    return option[:2] == "--" and len(option) - 2 >= shortest and ("--" + name).startswith(option)


def operands_of(words: Sequence[str]) -> list[int]:
    operands, plain = [], False
    for at, word in enumerate(words[1:], 1):
        if plain or word[:1] != "-" or word == "-":
            operands.append(at)
        plain = plain or word == "--"
    return operands


# ── the default rules ────────────────────────────────────────────────────────────────────────────


def _rm_rf(call: Call) -> Found:
    recursive = forced = 0
    for at, option in options_of(call.words):
        if not recursive and (has_letter(option, "rR") or is_long(option, "recursive", 1)):
            recursive = at
        if not forced and (has_letter(option, "f") or is_long(option, "force", 1)):
            forced = at
        if recursive and forced:
            return call.between(0, max(recursive, forced))
    return None


def _first_word(call: Call) -> Found:
    return call.between(0, 0)


def _dd(call: Call) -> Found:
    for at, word in enumerate(call.words[1:], 1):
        if word.startswith(("if=", "of=")):
            return call.between(0, at)
    return None


def _bomb(call: Call) -> Found:
    return None if call.bomb is None else call.between(0, 0)


# ── the strict ones ──────────────────────────────────────────────────────────────────────────────


_STOPS = names(
    """
    poweroff reboot halt kexec emergency rescue suspend hibernate hybrid-sleep soft-reboot exit
    """
)


def _shutdown(call: Call) -> Found:
    name, words = call.name, call.words
    if name in ("init", "telinit"):
        return next((call.between(0, at) for at, word in enumerate(words[1:], 1) if word in ("0", "6")), None)
    if name in ("systemctl", "loginctl"):
        return next((call.between(0, at) for at in operands_of(words)[:1] if words[at] in _STOPS), None)
    return call.between(0, 0)


_SYSTEM = names(
    """
    / /bin /boot /dev /etc /home /lib /lib32 /lib64 /opt /proc /root /run /sbin /srv /sys /usr /var
    """
)


def _is_system(word: str) -> bool:
    """The root, a directory of the system, or all that is in one."""
    path = word.replace(GLOB, "").rstrip("*")
    path = path.rstrip("/") or ("/" if path else "")
    return path in _SYSTEM or path.rpartition("/")[0] in ("/usr", "/var", "/etc", "/boot")


def _is_recursive(words: Sequence[str]) -> int:
    return next(
        (at for at, word in options_of(words) if has_letter(word, "R") or is_long(word, "recursive", 3)), 0
    )


def _chown_root(call: Call) -> Found:
    recursive = _is_recursive(call.words)
    operands = operands_of(call.words)
    if not recursive or not operands:
        return None
    owner = call.words[operands[0]]
    if owner.partition(":")[0] in ("root", "0"):
        return call.between(0, max(recursive, operands[0]))
    return next((call.between(0, max(recursive, at)) for at in operands if _is_system(call.words[at])), None)


_OPEN_MODES = names(
    """
    777 0777 00777 1777 01777 2777 02777 4777 04777 6777 06777 7777 07777 a+rwx a=rwx +rwx =rwx ugo+rwx ugo=rwx a+rwX
    a=rwX ugo+rwX ugo=rwX o+rwx o=rwx u+rwx,g+rwx,o+rwx u=rwx,g=rwx,o=rwx
    """
)


def _chmod_777(call: Call) -> Found:
    recursive = _is_recursive(call.words)
    for mode in range(1, len(call.words)):
        if call.words[mode] in _OPEN_MODES:
            if recursive:
                return call.between(0, max(recursive, mode))
            return next(
                (
                    call.between(0, max(mode, at))
                    for at in operands_of(call.words)
                    if _is_system(call.words[at])
                ),
                None,
            )
    return None


_DEVICES = (
    "sd",
    "nvme",
    "vd",
    "hd",
    "xvd",
    "mmcblk",
    "disk/",
    "mapper/",
    "md",
    "dm-",
    "loop",
    "ram",
    "mtdblock",
)
_WRITERS = ("tee", "cp", "install", "mv", "ddrescue", "dcfldd", "dd")


def _is_device(word: str) -> bool:
    return word.startswith("/dev/") and word[5:].startswith(_DEVICES)


def _block_device(call: Call) -> Found:
    for operator, target, place in call.redirects:
        if ">" in operator and _is_device(target):
            return place
    if call.name not in _WRITERS:
        return None
    operands = operands_of(call.words)
    at = operands if call.name == "tee" else operands[-1:]
    return next(
        (call.between(0, index) for index in at if _is_device(call.words[index].removeprefix("of="))), None
    )


def _pipe_to_shell(call: Call) -> Found:
    return call.between(0, 0) if call.reads_unknown else None


_TESTS = (
    "-name",
    "-iname",
    "-path",
    "-ipath",
    "-wholename",
    "-regex",
    "-iregex",
    "-lname",
    "-ilname",
    "-newer",
)


def _find_delete(call: Call) -> Found:
    words = call.words
    found = (at for at, word in enumerate(words) if word == "-delete" and words[at - 1] not in _TESTS)
    return next((call.between(0, at) for at in found), None)


def _kill_init(call: Call) -> Found:
    if call.name == "killall5":
        return call.between(0, 0)
    words = call.words
    at = 1
    while at < len(words) and words[at][:1] == "-" and words[at] != "--":
        at += 2 if words[at] in ("-s", "-n", "--signal", "-q", "--queue") else 1
        if words[at - 1] == "-1" and at > 2:
            return call.between(0, at - 1)
    return next(
        (call.between(0, index) for index in range(at, len(words)) if words[index] in ("1", "-1")), None
    )


# ── the table ────────────────────────────────────────────────────────────────────────────────────

RULES: dict[str, Rule] = {
    "no_rm_rf": Rule(("rm", "grm"), _rm_rf, "deletes recursively without asking", "leave out -r or -f"),
    "no_sudo": Rule(
        ELEVATORS, _first_word, "gets the rights of another user", "allow it with sudo_allowlist"
    ),
    "no_dd": Rule(
        ("dd", "gdd", "dcfldd"),
        _dd,
        "copies raw blocks, over a whole disk if the name is wrong",
        "use cp, head -c or truncate",
    ),
    "no_mkfs": Rule(
        ("mkfs", "mke2fs", "mkdosfs", "mkntfs", "newfs"),
        _first_word,
        "makes a file system and deletes what is there",
        "do it by hand",
    ),
    "no_fork_bomb": Rule(
        None, _bomb, "starts itself again and again until the machine stands still", "end the recursion"
    ),
    "no_shutdown": Rule(
        ("shutdown", "reboot", "halt", "poweroff", "init", "telinit", "systemctl", "loginctl"),
        _shutdown,
        "stops the machine",
        "do it by hand",
    ),
    "no_chown_root": Rule(
        ("chown", "chgrp"),
        _chown_root,
        "changes the owner of a whole tree that is the system's, or to root",
        "name the files",
    ),
    "no_chmod_777": Rule(
        ("chmod",), _chmod_777, "lets everybody write", "give rights to those who need them, as in u+rwX"
    ),
    "no_block_device_write": Rule(None, _block_device, "writes over a disk", "write to a file"),
    "no_pipe_to_shell": Rule(
        None, _pipe_to_shell, "runs text that nobody has read", "save it, read it, then run the file"
    ),
    "no_find_delete": Rule(
        ("find", "gfind", "bfs"), _find_delete, "deletes all that it finds", "look with -print first"
    ),
    "no_shred": Rule(
        ("shred", "wipefs", "blkdiscard", "srm"), _first_word, "deletes beyond recovery", "use rm"
    ),
    "no_kill_init": Rule(("kill", "killall5"), _kill_init, "ends every process", "name the process"),
}
