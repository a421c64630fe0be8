"""Sets of names, and one of programs that start nothing."""

from __future__ import annotations


def names(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


# Their words are only text, or they have subcommands called `rm`: an `rm` among them is no program.
QUIET = names(
    """
    echo printf print say true false : test [ [[ cat grep egrep fgrep rg ag ack sed awk head tail less more wc
    sort uniq tr cut tee diff cmp comm man info help whatis apropos tldr cheat which whereis type hash whence
    where command file stat ls dir find locate git hg svn bzr fossil jj sl darcs p4 cvs apt apt-get aptitude
    dpkg yum dnf rpm zypper pacman apk emerge brew port snap flatpak pip pip3 pipx npm yarn pnpm cargo gem go
    conda mamba poetry uv docker podman nerdctl buildah skopeo docker-compose podman-compose kubectl oc helm
    kind k3d minikube lxc incus multipass limactl colima vagrant gsutil gcloud aws az s3cmd s4cmd mc rclone b2
    hdfs hadoop ipfs dvc etcdctl consul vault zfs zpool lvm btrfs restic borg rustic heroku fly flyctl dokku
    eb cf doctl linode-cli hcloud terraform tofu pulumi ansible nomad wp gh glab hub jira task todo todo.sh
    trash trash-put rmtrash fc history logger wall write notify-send alert cowsay figlet toilet banner export
    declare local readonly typeset unset unalias alias set setenv let read return exit shift complete compgen
    compopt bind kill pkill pgrep pidof killall mkdir touch cp mv ln rmdir chmod chown install basename
    dirname realpath readlink expr seq cd pushd popd make gmake ninja cmake meson bazel just wget curl http jq
    yq vi vim nvim nano emacs code tar zip unzip cpio mail sendmail mutt espeak
    """
)
