"""Programs that start others, one line each: how to find the command among their words.

    timeout : 1 words -k --kill-after -s --signal
    │         │ │     └ options that take a value
    │         │ └ what the rest is
    │         └ how many words stand in between (here one, the duration)
    └ names; `docker.exec` is a subcommand of a program whose own line says `sub`

What the rest is:

    words   a command: a program and its arguments    line   a shell line, joined with blanks
    lines   shell lines, one in each word             sub    the name of a subcommand that has a line of its own
    none    nothing that runs                         escapes  commands of the program's own, see -e^

An option and its value:

    -o      only a value               -c!   a shell line             -x.   from there on, a command
    -e^     a command of the program's own, that may escape to a shell (`!ls`, `shell ls`)
    -p+     the program that the rest are the arguments of
    -v?     looks at something, runs nothing
    -g%     a setting, `key=value`, whose value may be a command
    -S$     a line that takes the place of its words (`env`)    -I}  stands for what is given (`xargs`)

More words: `fed` (without a command, a shell reads the input), `=` (assignments may stand before the command), `{}`
(stands for what is found or given), `both` (with a command, or with a shell line in an option), `more` (behind `--` are
options, too).
"""

from __future__ import annotations

_TABLE = """
! { if then elif else while until do not and or begin - noglob nocorrect repeat : words
nohup setsid chronic ifne unbuffer builtin eatmydata winpty catchsegv fakeroot fakechroot softlimit : words
ccache distcc sccache tsocks torify torsocks proxychains proxychains4 vglrun optirun prime-run gamemoderun \
    : words
busybox toybox wine wine64 dbus-run-session dbus-launch heaptrack hotspot : words
command : words -v? -V?
exec : words -a
nice : words -n --adjustment
ionice : words -c --class -n --classdata -p? --pid?
chrt : 1 words -T --sched-runtime -P --sched-period -D --sched-deadline -p? --pid?
taskset : 1 words -p? --pid?
stdbuf : words -i --input -o --output -e --error
timeout gtimeout : 1 words -k --kill-after -s --signal
time gtime : words -f --format -o --output
env genv : words = -u --unset -C --chdir -a --argv0 -S$ --split-string$
xargs gxargs : words -I} -J} -n --max-args -P --max-procs -L -d --delimiter -a --arg-file -E -s --max-chars -R -S \
    --process-slot-var
strace : words -a -b -e -E -I -O -o -p -P -s -S -u -U -X --trace --output --env --user
ltrace : words -a -A -D -e -F -l -n -o -p -s -u -w -x -X
gdb lldb cgdb : none --args. --. -ex^ -iex^ -x -p -eval-command^ --eval-command^ -o^ --one-line^
gdbserver : 1 words
rr perf samply py-spy memray : sub
rr.record : words
perf.record perf.stat perf.trace : words -e --event -F --freq -o --output -C --cpu -p --pid -r --repeat -c \
    --count -G --call-graph -W -j --branch-filter -k --clockid --input
perf.sched perf.lock perf.mem perf.c2c : sub
perf.sched.record perf.lock.record perf.mem.record perf.c2c.record : words -e -o
samply.record py-spy.record memray.run : words -o --output -r --rate -d
bpftrace : none -c!
valgrind kcov : words
flock : 1 words -c! --command! -E --conflict-exit-code -w --wait --timeout
watch : line -n --interval -q --equexit
script : none -c! --command! -I -O -B -o -m -E -T -t
ssh autossh slogin : 1 line fed -B -b -c -D -E -e -F -I -i -J -L -l -m -O -o% -p -Q -R -S -W -w -M
sshpass : words -p -f -d -P
mosh : 1 words --ssh! --client --server! --port
rsh remsh : 1 line fed -l
su : none fed more -c! --command! --session-command! -s --shell -g --group -G --supp-group -w -T
runuser : words fed both -c! --command! --session-command! -u --user -s --shell -g --group -G --supp-group -w
newgrp : none fed -c!
sg : 1 lines fed -c!
setpriv : words --reuid --regid --groups --inh-caps --ambient-caps --bounding-set --securebits --pdeathsig
chroot : 1 words fed --userspec --groups
unshare : words fed -R --root -w --wd -S --setuid -G --setgid --map-user --map-group --propagation --setgroups
nsenter : words fed -t --target -S --setuid -G --setgid -N
setarch : 1 words fed
linux32 linux64 i386 x86_64 : words fed
systemd-run : words -p --property -u --unit --slice --uid --gid --nice -E --setenv -M --machine -H --host \
    -d --description --on-active --on-boot --on-calendar --working-directory
systemd-inhibit systemd-cat : words --what --who --why --mode -t --identifier -p --priority
systemd-nspawn : words fed -D --directory -M --machine -u --user --bind --bind-ro -E --setenv -i --image
prlimit : words -p? --pid? -o --output
cpulimit : words -l --limit -p? --pid? -e?
numactl : words -C --physcpubind -m --membind -N --cpunodebind -i --interleave -p --preferred -w
chpst : words -u -U -e -/ -n -l -L -m -d -o -p -f -c -r -t
setuidgid envuidgid s6-setuidgid gosu su-exec setlock envdir : 1 words
tini dumb-init catatonit : words -p -e -v -r --rewrite
firejail : words
bwrap : words --chdir --hostname --uid --gid --unsetenv
proot : words -r --rootfs -b --bind -w --cwd -q --qemu -m --mount
xvfb-run : words -n --server-num -s --server-args -e --error-file -f --auth-file -w --wait -p --xauth-protocol
ssh-agent : words -t -a
cgexec : words -g
choom : words -n -p?
schedtool : words -e. -n -a
hyperfine : lines -w --warmup -m --min-runs -M --max-runs -r --runs -p! --prepare! -s! --setup! -c! \
    --cleanup! -n --command-name -S --shell -L -P -D --export-json --export-markdown --export-csv -i --style \
    -u --time-unit --output
poop : lines -d --duration
entr : words {} -s!
reflex : words {} -r --regex -R -g --glob -G -d
watchexec : line -e --exts -w --watch -i --ignore -f --filter -s --signal -d --debounce
nodemon : words -e --ext -w --watch -i --ignore -x! --exec! -d --delay
ts tsp nq : words
at batch : none fed
tmux : sub -L -S -f
tmux.new tmux.new-session : line -s -n -c -t -x -y -e -F -f
tmux.neww tmux.new-window tmux.splitw tmux.split-window tmux.respawn-pane tmux.respawn-window tmux.popup \
    tmux.display-popup : line -n -c -t -e -F -l -p -h -w -x -y
tmux.run tmux.run-shell tmux.if tmux.if-shell tmux.pipe-pane tmux.send tmux.send-keys : lines -t -d -N
stuff : lines
screen : words -S -c -t -T -s -e -h -p -r? -x? -ls? -X.
dtach abduco : 1 words -e -r
mapfile readarray complete compgen : none -C!
sqlite3 : 1 escapes -cmd^
psql mysql mariadb : none -c^ -e^ --command^ --execute^
expect : none -c^
xterm konsole alacritty kitty foot urxvt gnome-terminal xfce4-terminal terminator : none -e. -x. --. --command!
vim vi nvim view ex ed gvim : none -c^ --cmd^ -S -u -s +^
emacs emacsclient : none --eval^ -eval^ -e^
find gfind bfs : none {} -exec. -execdir. -ok. -okdir.
fd fdfind : none {} -x. --exec. -X. --exec-batch. -e --extension -t --type -E --exclude -d --max-depth -j \
    --threads
tar gtar bsdtar : none --to-command! --checkpoint-action% -I! --use-compress-program! --rsh-command! -F! \
    --info-script! --new-volume-script!
rsync : none -e! --rsh! --rsync-path!
zip : none -TT! --unzip-command!
sort gsort : none --compress-program!
split gsplit : none --filter!
ip : sub -n
ip.netns ip.vrf : sub
ip.netns.exec ip.vrf.exec : 1 words
git : sub -C -c% --git-dir --work-tree --namespace --exec-path --config-env
git.bisect git.submodule : sub
git.bisect.run : words
git.submodule.foreach : line
git.rebase : none -x! --exec!
git.filter-branch : none --tree-filter! --index-filter! --msg-filter! --env-filter! --parent-filter! \
    --commit-filter!
git.difftool git.mergetool : none -x! --extcmd!
git.clone git.fetch git.push git.pull git.ls-remote : none --upload-pack! --receive-pack! --exec! -c%
docker podman nerdctl docker-compose podman-compose : sub -H --host -c --context -l --log-level --config \
    -f --file -p --project-name --profile --project-directory --env-file
docker.compose docker.container : sub -f --file -p --project-name --profile --project-directory --env-file
docker.exec docker.container.exec docker.compose.exec docker-compose.exec : 1 words -e --env \
    --env-file -u --user -w --workdir --index --detach-keys
docker.run docker.create docker.container.run docker.container.create docker.compose.run \
    docker-compose.run : 1 words --entrypoint+ -e --env --env-file -v --volume -p --publish -w --workdir \
    -u --user --name --network --net --mount -l --label -m --memory --cpus --restart --platform -h --hostname \
    --add-host --cap-add --cap-drop --security-opt --device --gpus --ulimit --shm-size --tmpfs --dns \
    --log-driver --log-opt --pull --cidfile --ipc --pid --userns --uts -a --group-add --link --expose \
    --volumes-from --stop-signal --stop-timeout --runtime --annotation --cpu-shares --cpuset-cpus -c \
    --memory-swap --network-alias --ip --sysctl --storage-opt --isolation --attach --label-file \
    --ulimit --pids-limit --health-cmd! --health-interval --health-timeout --health-retries --health-start-period \
    --oom-score-adj --cgroup-parent --cgroupns --blkio-weight --cpu-period --cpu-quota --cpuset-mems \
    --device-cgroup-rule \
    --dns-option --dns-search --domainname --ip6 --kernel-memory --link-local-ip --mac-address --memory-reservation \
    --memory-swappiness --stop-signal --volume-driver --gpus --requires --secret --umask --systemd --hostuser
kubectl oc : sub -n --namespace --context --cluster --kubeconfig -s --server --user
kubectl.exec kubectl.rsh : 1 words -c --container -n --namespace -f --filename
kubectl.run kubectl.debug : 1 words --image -n --namespace --overrides --restart --env -l --labels -c \
    --container --target
k3s microk8s : sub
k3s.kubectl microk8s.kubectl : sub -n --namespace
k3s.kubectl.exec microk8s.kubectl.exec : 1 words -c --container -n --namespace
lxc incus runc crun crictl ctr : sub
lxc.exec incus.exec runc.exec crun.exec crictl.exec : 1 words --env --mode --user --group --cwd
ctr.task ctr.tasks : sub
ctr.task.exec ctr.tasks.exec : 1 words --exec-id
lxc-attach lxc-execute : words fed -n --name -P -s -v -u -g -f
machinectl distrobox toolbox apptainer singularity flatpak snap : sub
machinectl.shell : 1 words fed --uid -E --setenv
distrobox.enter : 1 words fed -n --name -a
distrobox-enter : 1 words fed -n --name -a
toolbox.run : words -c --container -d -r
apptainer.exec singularity.exec : 1 words -B --bind -H --home -W --pwd --env --overlay
flatpak.run : 1 words --command!
flatpak-spawn host-spawn : words
snap.run : 1 words
vagrant multipass limactl : sub
vagrant.ssh : none fed -c! --command!
multipass.exec limactl.shell : 1 words fed --workdir -d
lima : words fed
wsl : words fed -d -u -e. --exec. --cd
adb : sub -s -t -H -P
adb.shell adb.exec-out : line fed
heroku dokku fly flyctl gcloud : sub -a --app
heroku.run dokku.run dokku.enter : line -a --app -s --size
fly.ssh flyctl.ssh gcloud.compute : sub
fly.ssh.console flyctl.ssh.console : none -C! --command! -a --app
gcloud.compute.ssh : none --command! --zone --project
ansible : none -a! --args! -m -i -u
pdsh dsh clush pssh parallel-ssh : line -w -h -H -l -x -g -f -p -t
npx bunx pnpx : words -c! --call! -p --package
npm pnpm yarn bun : sub --prefix -C --dir --cwd
npm.exec npm.x pnpm.exec pnpm.dlx yarn.exec yarn.dlx bun.x : words -c! --call! -p --package
concurrently : lines -n --names -c -p --prefix -k -m --max-processes
cross-env env-cmd with-env : words = -f --file -e
dotenv dotenvx : sub -f -e
dotenv.run dotenvx.run : words -f
poetry pipenv hatch pdm rye uv pixi conda mamba micromamba pipx : sub -n --name --directory --project
poetry.run pipenv.run hatch.run pdm.run rye.run : words -e -p --project
uv.run pixi.run : words --with --python -p --env-file --extra --group --directory --project -e
uvx pipx.run : words --from --with --python -p
conda.run mamba.run micromamba.run : words -n --name -p --prefix --cwd
bundle rbenv pyenv nodenv asdf mise rtx nvm volta direnv rustup devbox aws-vault op chamber doppler \
    infisical : sub
bundle.exec rbenv.exec pyenv.exec nodenv.exec asdf.exec volta.run devbox.run op.run doppler.run \
    infisical.run : words --env-file -p --project -c --config --command! --env
mise.exec mise.x rtx.exec rtx.x : words both -c! --command! -C --cd -j
direnv.exec nvm.exec nvm.run rustup.run aws-vault.exec chamber.exec : 1 words
nix guix opam cabal stack dune esy jj cargo go : sub
nix.develop nix.shell nix.run : none -c. --command.
nix-shell : none --run! --command! -p
guix.shell guix.environment opam.exec cabal.exec stack.exec dune.exec esy.exec jj.util.exec : words --switch
jj.util : sub
cargo.watch : none -x -s! --shell!
go.run go.test go.generate : none -exec!
just : none -c. --command. --shell
daemonize daemon : words -p -l -o -e -E -c -u -a -n --name -D -X! --command!
mpirun mpiexec srun salloc aprun orterun : words -n -np -N -c -p -t -w -J -H --host --hostfile -x -mca \
    --mca --map-by --bind-to --partition --time --ntasks --nodes
sbatch : none --wrap!
bsub qsub : words -q -n -J -o -e -R -W
sem : line {} -j --jobs --id
pwsh powershell : none -c! -Command! --command!
"""

Usages = dict[str, str]


def _read(table: str) -> tuple[Usages, dict[str, str]]:
    usages: Usages = {}
    first: dict[str, str] = {}
    for row in table.replace("\\\n", " ").strip().split("\n"):
        names, _, usage = row.partition(" : ")
        listed = names.split()
        for name in listed:
            usages[name] = usage
            first[name] = listed[0]
    return usages, first


# What is said of each name, and the first name of its line: `podman run` is read as `docker run` is.
USAGES, FIRST = _read(_TABLE)
