"""Programs that start others: what they start is judged, wherever among their words it stands."""

import pytest

from arrea._prepare.validation.launcher_table import FIRST, USAGES
from arrea._prepare.validation.usage import usage_of
from arrea._prepare.validation.validator import Validator

DEFAULT = Validator()
LENIENT = Validator(allow_substitution=True)

WORDS = """
env
env -i A=1 -u X
env -- A=1
env -S
/usr/bin/env -C /
nice
nice -n 5
nice -5
nohup
setsid -f
stdbuf -oL
stdbuf -o L
timeout 5
timeout -k 5 10
timeout --foreground --signal=KILL 1m
timeout --kill 5 10
time
time -p
/usr/bin/time -f %e
! time
coproc
exec
exec -a name
command
command -p
builtin command
ionice -c 3
chrt -i 0
taskset -c 0
strace -f -o log
ltrace -f
gdb --args
valgrind --tool=x
perf record -o x --
flock /l
flock -w 5 /l
xargs
xargs -0 -n1 -P 4
xargs -I{} -n1
ls | xargs -r
find . -name x -exec
find . -execdir
fd x -x
fd -e c -X
parallel
parallel -j4
watch -n 1
ssh host
ssh -p 22 -o A=b user@host
ssh host --
ssh $OPTIONS host
sshpass -p x ssh host
runuser -u www --
setpriv --reuid 1
chroot /mnt
unshare -r
nsenter -t 1 -m
docker exec c
docker exec -it -u root c
docker -H x run --rm -v /:/x -e A=b img
docker compose -f x exec -T web
docker-compose run --rm web
podman container exec c
kubectl -n a exec -it pod -c b --
oc rsh pod
lxc exec c --
systemd-run --user -p X=y
ip netns exec n
git bisect run
git -C /r submodule foreach
npx
npm exec --
poetry run
uv run --with x
conda run -n e
mise exec node@20 --
asdf exec
bundle exec
nix develop -c
direnv exec .
entr
ts
chronic
ifne
unbuffer
busybox
toybox
proot -r x
fakeroot
firejail --private
gosu user
tini --
dumb-init
catchsegv
cpulimit -l 50 --
numactl -N 0
prlimit --nofile=1
tmux new -d
tmux new-session -d -s name
screen -dmS name
xterm -e
mpirun -np 4
cross-env A=1
start-stop-daemon -S --exec /bin/env --
sudo
sudo -u root -E A=1
sudo --
doas -u a
timeout $LIMIT 5
unknown-launcher
./in-environment.sh
""".strip().split("\n")

LINES = """
sh -c
bash -lc
bash -ec
bash -o pipefail -c
bash --norc --rcfile x -c
bash -c -e
dash -c
zsh -f -c
fish --command
env -S
env -iS
eval
eval --
builtin eval
trap -- EXIT 2>x; eval
su -c
su - user -c
su --command
runuser www -c
flock /l -c
script -c
script -q x --command
watch
ssh host
npx -c
git submodule foreach --recursive
git rebase -i --exec
git rebase -x
git filter-branch --tree-filter
docker exec c sh -c
docker run --entrypoint sh img -c
kubectl exec p -- bash -c
find . -exec sh -c
xargs -I{} sh -c
parallel
parallel -j4 :::
hyperfine
hyperfine --prepare
tmux new -d
tmux run-shell
nix-shell --run
vagrant ssh -c
gcloud compute ssh v --command
tar xf y --to-command
rsync -e
rsync a b --rsh
sort --compress-program
adb shell
entr -s
busybox sh -c
timeout 5 nice bash -c
concurrently ls
pwsh -c
""".strip().split("\n")

CODE = [
    "python -c 'import os; os.system(\"{}\")'",
    "python3.11 -Ic 'import os; os.system(\"{}\")'",
    "python3 -c \"import subprocess; subprocess.run('{}', shell=True)\"",
    "python3 -c \"import os; os.popen('{}'[:3] + 'x')\"",
    "pypy3 -X dev -c 'import subprocess as s; s.check_output(\"{}\")'",
    "perl -e 'system(\"{}\")'",
    "perl -ne 'print `{}`'",
    "perl -e 'system(qq({}))'",
    "ruby -e '`{}`'",
    "ruby -e '%x({})'",
    "ruby -e 'system \"{}\"'",
    'node -e \'require("child_process").execSync("{}")\'',
    'node --eval=\'require("child_process").exec("{}")\'',
    "php -r 'shell_exec(\"{}\");'",
    "lua -e 'os.execute(\"{}\")'",
    "awk 'BEGIN {{ system(\"{}\") }}'",
    "awk -F: '{{ print | \"{}\" }}' f",
    "awk 'BEGIN {{ \"{}\" | getline }}'",
    "Rscript -e 'system(\"{}\")'",
    "osascript -e 'do shell script \"{}\"'",
    "expect -c 'spawn {}'",
    "vim -c '!{}'",
    "vim -c ':!{}' -c q",
    "vim '+!{}'",
    "gdb -batch -ex 'shell {}'",
    "sqlite3 db '.shell {}'",
    "python3 <<E\nimport os\nos.system('{}')\nE\n",
    "python - <<< 'import os; os.system(\"{}\")'",
    "echo 'import os; os.system(\"{}\")' | python",
]

LISTS = [
    'python -c \'import subprocess; subprocess.run(["rm", "-rf", "x"])\'',
    "python -c \"import os; os.execvp('rm', ['rm', '-r', '-f', 'x'])\"",
    "python -c \"import subprocess; subprocess.call(['sudo', 'ls'])\"",
    'node -e \'require("child_process").spawn("rm", ["-rf", "x"])\'',
    'perl -e \'system("rm", "-rf", "x")\'',
    "perl -e 'exec qw(rm -rf x)'",
    'ruby -e \'IO.popen(["rm", "-rf", "x"])\'',
    'elixir -e \'System.cmd("rm", ["-rf", "x"])\'',
]

FED = [
    "{} | sh",
    "{} | bash -s -- x",
    "{} | sudo -u me sh"[:5] + "env sh",
    "{} | cat | tee log | sh",
    "{} | (cd x; sh)",
    "{} | if true; then bash; fi",
    "({}) | sh",
    "{{ ls; {}; }} | bash",
    "for x in 1 2; do {}; done | sh",
    "f() {{ {}; }}; f | sh",
    "echo() {{ :; }}; {} | sh",
    "{} | ssh host",
    "{} | ssh host bash",
    "{} | docker exec -i c sh",
    "{} | at now",
    "{} | parallel",
    "sh < <({})",
    "bash <({})",
    ". <({})",
    'eval "$({})"',
    'bash -c "`{}`"',
    "{} > >(sh)",
    "{} | tee >(bash)",
]
PRINTED = [
    "echo rm -rf x",
    "echo 'rm -rf x'",
    "echo -n rm -rf x",
    r"echo -e 'rm\x20-rf x'",
    r"echo 'ls\nrm -rf x'",
    "printf 'rm -rf x'",
    r"printf '%s\n' 'rm -rf x'",
    "printf 'rm %s x' -rf",
    r"printf '\162m -rf x'",
    "yes rm -rf x",
    "cat <<< 'rm -rf x'",
    "awk 'BEGIN { print \"rm -rf x\" }'",
]


@pytest.mark.parametrize("launcher", WORDS)
def test_words_behind_a_launcher(launcher: str) -> None:
    for command in ("rm -rf x", "rm -r -f x", "/bin/rm -fr x"):
        assert LENIENT.line(f"{launcher} {command}").rule == "no_rm_rf"
    assert LENIENT.line(f"{launcher} dd if=x of=y").rule in ("no_dd", "no_sudo")


@pytest.mark.parametrize("launcher", WORDS)
def test_a_shell_behind_a_launcher(launcher: str) -> None:
    verdict = LENIENT.line(f"{launcher} sh -c 'ls; rm -rf x'")
    assert verdict.rule == "no_rm_rf"


@pytest.mark.parametrize(
    "launcher", [line for line in WORDS if not line.startswith(("sudo", "doas", "timeout $"))]
)
def test_what_is_harmless_stays_so_behind_a_launcher(launcher: str) -> None:
    for command in ("ls -l", "rm -r x", "rm -f x", "make -j4 all"):
        assert LENIENT.line(f"{launcher} {command}").allowed


@pytest.mark.parametrize("launcher", LINES)
def test_a_line_in_a_word(launcher: str) -> None:
    for line in ("rm -rf x", "cd y && rm -rf x", 'r""m -r -f x', 'nohup sh -c "rm -rf x" &'):
        assert LENIENT.line(f"{launcher} '{line}'").rule == "no_rm_rf"
    assert LENIENT.line(f"{launcher} 'ls -l'").allowed
    assert LENIENT.line(f"{launcher} 'echo \"rm -rf x\"'").allowed


@pytest.mark.parametrize("code", CODE)
def test_code(code: str) -> None:
    assert LENIENT.line(code.format("rm -rf x")).rule == "no_rm_rf"
    assert LENIENT.line(code.format("sudo ls")).rule == "no_sudo"
    assert LENIENT.line(code.format("ls -l")).allowed


@pytest.mark.parametrize("line", LISTS)
def test_lists_in_code(line: str) -> None:
    assert LENIENT.line(line).code == "dangerous_command"


@pytest.mark.parametrize(
    "line",
    [
        "python -c \"print('rm -rf /')\"",
        "ruby -e \"puts 'sudo ls'\"",
        "node -e \"console.log('rm -rf /')\"",
        "perl -e 'print \"rm -rf /\"'",
        "awk '/rm -rf/ {print $1}' log",
        "python -m x rm",
        "python script.py 'rm -rf x'",
    ],
)
def test_code_that_runs_nothing_is_data(line: str) -> None:
    assert DEFAULT.line(line).allowed


@pytest.mark.parametrize("printed", PRINTED)
@pytest.mark.parametrize("shell", FED)
def test_text_that_is_fed_to_a_shell(printed: str, shell: str) -> None:
    assert LENIENT.line(shell.format(printed)).rule == "no_rm_rf"


@pytest.mark.parametrize(
    "line",
    [
        "sh <<E\nrm -rf x\nE\n",
        "bash -s a <<'E'\nls\nrm -rf x\nE\n",
        "cat <<E | sh\nrm -rf x\nE\n",
        "bash 0<<-E\n\trm -rf x\n\tE\n",
        "while true; do sh; done <<E\nrm -rf x\nE\n",
        "bash <<< 'rm -rf x'",
        "bash /dev/stdin <<< 'rm -rf x'",
        "source /dev/fd/0 <<< 'rm -rf x'",
        "env bash <<< 'rm -rf x'",
        "su - me <<< 'rm -rf x'",
        "echo -rf x | xargs rm",
        "echo rm -rf x | xargs env",
        "echo 'rm -rf x' | xargs -0 sh -c",
    ],
)
def test_documents_and_input(line: str) -> None:
    assert DEFAULT.line(line).rule == "no_rm_rf"


@pytest.mark.parametrize(
    "line",
    [
        "echo cm0= | base64 -d | sh",
        "curl x | base64 -d | bash",
        "curl x | gunzip | sh",
        "echo 'x fr- mr' | rev | sh",
        "echo 'xm -rf y' | sed s/x/r/ | sh",
        "cut -c2- <<< 'xrm -rf y' | sh",
        "echo $x | sh",
        'eval "$x"',
        'bash -c "$x"',
        "$x",
        "$x y",
        "${x} y",
        "*/rm y",
        "/bin/r[m] y",
        "/bin/r? y",
        "rm$IFS-rf$IFS/x",
        "x=dd; $x if=y",
        "xargs sh -c",
        "xargs nice",
        "xargs -I{} {}",
        "xargs -I% sh -c %",
        "find . -exec {} \\;",
        "sh -c '$0 \"$@\"' rm -rf x",
        "python -c \"import os,base64; os.system(base64.b64decode('cm0='))\"",
        '"$@"',
    ],
)
def test_what_runs_is_not_known(line: str) -> None:
    assert DEFAULT.line(line).code == "unparseable"


@pytest.mark.parametrize("line", ["$(a) b", "`a`", '"$(a)" b', 'eval "$(base64 -d x)"', "$(echo rm) -rf x"])
def test_what_runs_is_only_printed(line: str) -> None:
    assert LENIENT.line(line).code == "unparseable"


@pytest.mark.parametrize(
    "line",
    [
        "command -v sudo",
        "command -V rm",
        "sudo_x ls",
        "which dd",
        "type sudo",
        "man rm",
        "apt-get install sudo",
        "docker run --rm img",
        "git rm -rf x",
        "docker rm -f c",
        "gsutil rm -rf gs://x",
        "kill -9 1234",
        "kubectl run x --image=y",
        "taskset -p 1",
        "curl x | sh",
        "cat f | bash",
        "bash script.sh",
        "sh -n script.sh",
        "ssh host uptime",
        "xargs rm",
        "find . -exec rm {} +",
        '"$HOME/bin/x" y',
        "$VENV/bin/python x",
        '"${BIN}"/x y',
        "trap 'rm -f x' EXIT",
        "trap - EXIT",
        "trap cleanup EXIT",
        "alias ll='ls -l'",
        "echo '{\"a\": 1}' | docker run -i img",
        "psql <<E\nDROP TABLE x;\nE\n",
        "tee /dev/null <<E\nrm -rf x\nE\n",
    ],
)
def test_ordinary(line: str) -> None:
    assert DEFAULT.line(line).allowed


def test_a_path_behind_a_variable_that_the_line_sets_is_unknown() -> None:
    assert DEFAULT.line("X='rm -rf '; $X/y").code == "unparseable"
    assert DEFAULT.line("$X/y").allowed


def test_depth_and_length_of_what_is_read_again() -> None:
    assert DEFAULT.line("eval " * 8 + "ls").allowed
    assert DEFAULT.line("eval " * 9 + "ls 'x'").code == "too_deep"
    assert DEFAULT.line("nice " * 32 + "ls").allowed
    assert DEFAULT.line("nice " * 33 + "ls").code == "too_deep"
    assert DEFAULT.words(("nice",) * 33 + ("ls",)).code == "too_deep"


@pytest.mark.parametrize("name", USAGES)
def test_each_line_of_the_table_can_be_read(name: str) -> None:
    usage = usage_of(name)
    assert usage.kind in ("words", "line", "lines", "sub", "none", "escapes")
    assert usage.flags <= {"fed", "=", "{}", "both", "more"}
    assert FIRST[name] in USAGES


def test_subcommands_have_a_program_that_leads_to_them() -> None:
    for name in USAGES:
        above = name.rpartition(".")[0]
        assert not above or usage_of(above).kind == "sub", name
