"""The words that matter: what `validator` looks for in plain lines. No more than that: it is imported at each start.

`tests/validation/test_validator.py` holds the sets against the tables that they stand for.
"""

from __future__ import annotations

# Characters that mean themselves to a shell wherever they stand (but for "=" in a command's first words).
PLAIN = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./,:=@%+- "

# What the rules look for and hardly anything else is called; wherever one stands, the line is looked at.
VERBS = frozenset(
    {
        "rm", "grm", "dd", "mkfs", "mke2fs", "mkdosfs", "mkntfs", "newfs", "sudo", "sudoedit", "doas", "pkexec", "run0",
        "shred", "wipefs", "blkdiscard", "srm", "poweroff", "reboot", "shutdown",
    }
)  # fmt: skip

# Without one of these in it, no rule of the default finds anything in plain words, nor do they run what isn't in them.
NEEDLES = (
    "rm", "dd", "mkfs", "mke2fs", "mkdosfs", "mkntfs", "newfs", "sudo", "doas", "pkexec", "run0", "xargs", "parallel",
)  # fmt: skip

# The words of the grammar: where a line begins with one, it is the grammar's.
KEYWORDS = frozenset(
    {
        "if", "then", "else", "elif", "fi", "for", "while", "until", "do", "done", "case", "esac", "in", "function",
        "select",
    }
)  # fmt: skip

# What a command that begins with it is looked at for: verbs, programs that start others, shells, languages, keywords.
# Texts, for a set of so many words takes a fifth of a millisecond of each start to make.
HEADS = """
- . R Rscript abduco adb alacritty alias and ansible apptainer aprun asdf ash at autossh awk aws-vault bash batch
begin bfs bpftrace bsdtar bsub builtin bun bundle bunx busybox bwrap cabal cargo case catatonit catchsegv ccache
cgdb cgexec chamber choom chpst chronic chroot chrt clisp clush command compgen complete concurrently conda coproc
cpulimit crictl cross-env crun crystal csh ctr daemon daemonize dash dbus-launch dbus-run-session dcfldd dd deno
devbox direnv distcc distrobox distrobox-enter do doas docker docker-compose dokku done doppler dotenv dotenvx dsh
dtach dumb-init dune eatmydata ed elif elixir else emacs emacsclient entr env env-cmd envdir envuidgid erl esac
escript esy eval ex exec expect fakechroot fakeroot fd fdfind fi find firejail fish flatpak flatpak-spawn flock fly
flyctl foot for function gamemoderun gawk gcloud gdb gdbserver gdd genv gfind ghc git gnome-terminal go goawk gosu
grm groovy gsort gsplit gtar gtime gtimeout guile guix gvim gxargs hatch heaptrack heroku host-spawn hotspot hush
hyperfine i386 if ifne in incus infisical ionice ip ipython irb jj jruby julia just jython k3s kcov kitty konsole
ksh ksh93 kubectl lima limactl linux32 linux64 lksh lldb ltrace lua luajit luau lxc lxc-attach lxc-execute
machinectl mamba mapfile mariadb mawk memray microk8s micromamba micropython mise mkdosfs mke2fs mkfs mkntfs mksh
mosh mpiexec mpirun multipass mysql nawk nerdctl newfs newgrp nice nix nix-shell nocorrect node nodejs nodemon
nodenv noglob nohup not npm npx nq nsenter numactl nvim nvm oc ocaml oksh op opam optirun or original-awk orterun
osascript parallel parallel-ssh pdksh pdm pdsh perf perl php pipenv pipx pixi pkexec pnpm pnpx podman podman-compose
poetry poop posh powershell prime-run prlimit proot proxychains proxychains4 psql pssh pwsh py-spy pyenv pypy python
qsub racket raku rbash rbenv readarray reflex remsh repeat rksh rm rr rsh rsync rtx ruby run0 runc runghc runuser
rustup rye rzsh s6-setuidgid salloc samply sbatch sbcl scala sccache schedtool screen script select sem setarch
setlock setpriv setsid setuidgid sg sh singularity slogin snap softlimit sort source split sqlite3 srun ssh
ssh-agent sshpass stack start-stop-daemon stdbuf strace stuff su su-exec sudo sudoedit swift systemd-cat
systemd-inhibit systemd-nspawn systemd-run tar taskset tclsh tcsh terminator then time timeout tini tmux toolbox
torify torsocks toybox trap ts tsocks tsp unbuffer unshare until urxvt uv uvx vagrant valgrind vglrun vi view vim
volta watch watchexec while wine wine64 winpty wish with-env wsl x86_64 xargs xfce4-terminal xterm xvfb-run yarn
yash zip zsh
""".replace("\n", " ")

# The same, for the strict rules only.
STRICT_HEADS = """
blkdiscard chgrp chmod chown cp ddrescue halt init install kill killall5 loginctl mv poweroff reboot shred shutdown
srm systemctl tee telinit wipefs
""".replace("\n", " ")
