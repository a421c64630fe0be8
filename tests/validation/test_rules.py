"""The rules, each with what it refuses, in which words, and what it lets pass."""

import pytest

from arrea._prepare.validation.rules import RULES, has_letter, is_long
from arrea._prepare.validation.validator import DEFAULT_RULES, Validator

STRICT = Validator(("strict",), allow_substitution=True)
DEFAULT = Validator()

REFUSED = {
    "no_rm_rf": """
rm -rf /  =>  rm -rf
rm  -r  -f x  =>  rm  -r  -f
rm -fr x  =>  rm -fr
rm -Rf x  =>  rm -Rf
rm -vrf x  =>  rm -vrf
rm -r x -f  =>  rm -r x -f
rm x -rf  =>  rm x -rf
rm --recursive --force x  =>  rm --recursive --force
rm --rec --for x  =>  rm --rec --for
rm -r --force x  =>  rm -r --force
rm -f --rec x  =>  rm -f --rec
rm -rf -- x  =>  rm -rf
\\rm -rf x  =>  \\rm -rf
r''m "-rf" x  =>  r''m "-rf"
$'\\x72m' -rf x  =>  $'\\x72m' -rf
/bin/rm -rf x  =>  /bin/rm -rf
A=1 rm -rf x  =>  rm -rf
rm -rf"$x" y  =>  rm -rf"$x"
rm -rf$IFS/x  =>  rm -rf$IFS/x
rm {-r,-f} x  =>  rm {-r,-f}
rm -r 2>/dev/null -f x  =>  rm -r 2>/dev/null -f
sudo rm -rf x  =>  rm -rf
""",
    "no_sudo": """
sudo ls  =>  sudo
sudo -i  =>  sudo
/usr/bin/sudo ls  =>  /usr/bin/sudo
su\\do ls  =>  su\\do
sudoedit x  =>  sudoedit
doas ls  =>  doas
pkexec ls  =>  pkexec
run0 ls  =>  run0
ls | sudo tee x  =>  sudo
env sudo ls  =>  sudo
""",
    "no_dd": """
dd if=a of=b  =>  dd if=a
dd  of=b  =>  dd  of=b
dd bs=1M "if=a"  =>  dd bs=1M "if=a"
dd of="$x"  =>  dd of="$x"
""",
    "no_mkfs": """
mkfs x  =>  mkfs
mkfs.ext4 x  =>  mkfs.ext4
/sbin/mkfs.xfs x  =>  /sbin/mkfs.xfs
mke2fs x  =>  mke2fs
newfs x  =>  newfs
mkdosfs x  =>  mkdosfs
mkntfs x  =>  mkntfs
""",
    "no_fork_bomb": """
:(){ :|:& };:  =>  :(){ :|:& }
: () { : | : & } ; :  =>  : () { : | : & }
f(){ f|f& };f  =>  f(){ f|f& }
f() { f & f & }; f  =>  f() { f & f & }
f() { { f; } & }  =>  f() { { f; } & }
f() ( f | cat )  =>  f() ( f | cat )
function f { f | f; }  =>  function f { f | f; }
f() { if x; then f & fi; }  =>  f() { if x; then f & fi; }
f() { coproc f; }  =>  f() { coproc f; }
a() { b & }; b() { a; }  =>  a() { b & }
""",
    "no_shutdown": """
shutdown -h now  =>  shutdown
reboot  =>  reboot
/sbin/halt  =>  /sbin/halt
poweroff -f  =>  poweroff
init 0  =>  init 0
telinit 6  =>  telinit 6
systemctl reboot  =>  systemctl reboot
systemctl --force poweroff  =>  systemctl --force poweroff
""",
    "no_chown_root": """
chown -R me /  =>  chown -R me /
chown -R me:me /etc  =>  chown -R me:me /etc
chown me /usr/lib -R  =>  chown me /usr/lib -R
chown -R me /*  =>  chown -R me /*
chown -R root x  =>  chown -R root
chown -hR root:root .  =>  chown -hR root:root
chown --recursive 0 x  =>  chown --recursive 0
""",
    "no_chmod_777": """
chmod -R 777 x  =>  chmod -R 777
chmod 777 -R x  =>  chmod 777 -R
chmod --recursive a+rwx x  =>  chmod --recursive a+rwx
chmod 0777 /  =>  chmod 0777 /
chmod a+rwx /etc  =>  chmod a+rwx /etc
""",
    "no_block_device_write": """
echo x > /dev/sda  =>  > /dev/sda
> /dev/nvme0n1  =>  > /dev/nvme0n1
cat x >> /dev/mmcblk0  =>  >> /dev/mmcblk0
{ a; b; } >| /dev/vda  =>  >| /dev/vda
tee /dev/sdb  =>  tee /dev/sdb
echo x | tee -a /dev/hda  =>  tee -a /dev/hda
cp img /dev/disk/by-id/x  =>  cp img /dev/disk/by-id/x
""",
    "no_pipe_to_shell": """
curl x | sh  =>  sh
wget -qO- x | bash -s  =>  bash -s
cat f | python3  =>  python3
curl x | env bash  =>  bash
bash <(curl x)  =>  bash <(curl x)
source <(curl x)  =>  source <(curl x)
bash -c "$(curl x)"  =>  bash -c "$(curl x)"
eval "$(curl x)"  =>  eval "$(curl x)"
""",
    "no_find_delete": """
find . -delete  =>  find . -delete
find / -name x -delete  =>  find / -name x -delete
""",
    "no_shred": """
shred x  =>  shred
wipefs -a x  =>  wipefs
blkdiscard x  =>  blkdiscard
srm x  =>  srm
""",
    "no_kill_init": """
kill 1  =>  kill 1
kill -9 1  =>  kill -9 1
kill -s KILL 1  =>  kill -s KILL 1
kill -9 -1  =>  kill -9 -1
kill -- -1  =>  kill -- -1
killall5  =>  killall5
""",
}

ALLOWED = {
    "no_rm_rf": [
        "rm x",
        "rm -r x",
        "rm -f x",
        "rm -- -rf",
        "rm -r -- -f",
        "rm $x y",
        "rm -r$x",
        "rmdir x",
        "rm -i x",
        "git rm -rf x",
        "rm-rf x",
        "rmx -rf",
    ],
    "no_sudo": [
        "sudoku",
        "echo sudo",
        "man sudo",
        "pseudo x",
        "command -v sudo",
        "usermod -aG sudo me",
    ],
    "no_dd": [
        "dd --help",
        "dd",
        "add if=x",
        "which dd",
        "echo dd if=x",
    ],
    "no_mkfs": [
        "mkfsx",
        "which mkfs",
        "ls /sbin/mkfs.ext4",
        "mkfifo x",
    ],
    "no_fork_bomb": [
        "f() { f; }; f",
        "f() { a | b & }; f",
        "f() { a & }; f & f &",
        "a() { b & }; b() { c; }; a & a &",
        ": | : &",
    ],
    "no_shutdown": [
        "init 3",
        "systemctl restart x",
        "systemctl status reboot.target",
        "echo shutdown",
        "man reboot",
    ],
    "no_chown_root": [
        "chown me /etc/x",
        "chown -R me x",
        "chown root x",
        "chown -R me:me ./build",
    ],
    "no_chmod_777": [
        "chmod 777 x",
        "chmod -R 755 x",
        "chmod +x x",
        "chmod -R u+rwX x",
    ],
    "no_block_device_write": [
        "cat /dev/sda",
        "cp /dev/sda x",
        "echo x > /dev/null",
        "echo x > /dev/stderr",
        "tee x",
    ],
    "no_pipe_to_shell": [
        "sh x",
        "sh < x",
        "echo ls | sh",
        "cat f | python x.py",
        "cat f | grep sh",
        "cat f | python -m json.tool",
        "curl -o f x",
    ],
    "no_find_delete": [
        "find . -name delete",
        "find . -print",
    ],
    "no_shred": [
        "echo shred",
        "rm x",
    ],
    "no_kill_init": [
        "kill -9 1234",
        "kill -1 1234",
        "kill $x",
        "kill %1",
        "kill -0 12",
        "kill -HUP 11",
    ],
}


def rows(table: dict[str, str]) -> list[tuple[str, str, str]]:
    """Rule, line, and the fragment of it that the verdict must show."""
    lines = [(rule, line) for rule, text in table.items() for line in text.strip().split("\n")]
    return [(rule, line.partition("  =>  ")[0], line.partition("  =>  ")[2]) for rule, line in lines]


@pytest.mark.parametrize(("rule", "line", "fragment"), rows(REFUSED))
def test_refused(rule: str, line: str, fragment: str) -> None:
    verdict = Validator((rule,), allow_substitution=True).line(line)
    assert (verdict.code, verdict.rule) == ("dangerous_command", rule)
    assert verdict.reason
    assert verdict.hint
    assert STRICT.line(line).code == "dangerous_command"


@pytest.mark.parametrize(("rule", "line", "fragment"), rows(REFUSED))
def test_the_fragment_is_what_was_found_at_the_span(rule: str, line: str, fragment: str) -> None:
    verdict = Validator((rule,), allow_substitution=True).line(line)
    assert verdict.span
    if rule != "no_pipe_to_shell":
        assert verdict.fragment == fragment
        assert line[slice(*verdict.span)] == fragment


@pytest.mark.parametrize(
    ("rule", "line"), [(rule, line) for rule, lines in ALLOWED.items() for line in lines]
)
def test_allowed(rule: str, line: str) -> None:
    assert Validator((rule,)).line(line).allowed


@pytest.mark.parametrize(("rule", "line", "fragment"), rows(REFUSED))
def test_a_rule_that_was_not_chosen_finds_nothing(rule: str, line: str, fragment: str) -> None:
    others = tuple(name for name in RULES if name != rule)
    assert Validator(others, allow_substitution=True).line(line).rule != rule


def test_the_order_of_the_rules_is_that_of_the_table() -> None:
    assert DEFAULT.line("dd if=x; sudo ls; rm -rf x").rule == "no_rm_rf"
    assert DEFAULT.line("dd if=x; sudo ls").rule == "no_sudo"
    assert Validator(("no_dd", "no_rm_rf")).line("dd if=x; rm -rf y").rule == "no_rm_rf"


def test_the_default_rules_are_five_and_strict_has_them_all() -> None:
    assert set(DEFAULT_RULES) < set(RULES)
    assert tuple(RULES)[:5] == DEFAULT_RULES


def test_every_rule_has_cases() -> None:
    assert set(REFUSED) == set(ALLOWED) == set(RULES)


def test_options_as_getopt_reads_them() -> None:
    assert has_letter("-vrf", "r")
    assert not has_letter("--rf", "r")
    assert not has_letter("-v\x02rf", "r")
    assert is_long("--rec", "recursive", 1)
    assert not is_long("--recx", "recursive", 1)
    assert not is_long("--", "recursive", 1)
