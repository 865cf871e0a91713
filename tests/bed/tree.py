"""Guest trees: made once, cached, never changed; every bed writes into a layer of its own.

    base(suite)                 Path of an unpacked Debian: systemd, sshd, Python and what the agent needs
    base(suite, "cloud-init")   the same with further packages of that Debian
    layers(suite, deb, …)       the read-only layers of a guest with `deb` installed, topmost first

A base is keyed by suite and package list (mmdebstrap needs 30 to 60 s), an installed layer by the
base and the content of the .deb (a few seconds).

The tree is what an image builder calls generalized: no machine id, no SSH host keys, no user.
systemd-networkd has the address that network.py expects.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from bed import cache, network
from bed.cache import say

SUITES = ("bullseye", "bookworm", "trixie")

PACKAGES = (
    "systemd", "systemd-sysv", "udev", "dbus", "libpam-systemd", "procps", "kmod",
    "openssh-server", "openssh-client", "sudo", "passwd",
    "python3", "python3-yaml", "python3-requests", "python3-cryptography", "python3-configobj",
    "openssl", "ca-certificates", "iproute2", "iptables", "nftables", "logrotate",
    "e2fsprogs", "fdisk", "parted", "util-linux", "eject",
)  # fmt: skip

# Generalizing, in the words of the shell, inside the new tree.
GENERALIZE = """
set -eu
rm -f /etc/ssh/ssh_host_* /etc/machine-id /var/lib/dbus/machine-id /etc/resolv.conf
: >/etc/machine-id
echo localhost >/etc/hostname
printf '127.0.0.1 localhost\\n::1 localhost ip6-localhost\\n' >/etc/hosts
: >/etc/fstab
systemctl enable systemd-networkd.service ssh.service >/dev/null 2>&1
systemctl mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer \
  systemd-networkd-wait-online@.service >/dev/null 2>&1
cat >/etc/systemd/network/10-eth0.network
"""


def base(suite: str, *extra: str) -> Path:
    if suite not in SUITES:
        raise ValueError(f"guest tree {suite}: not one of {', '.join(SUITES)}")
    packages = (*PACKAGES, *extra)
    name = "-".join((suite, *extra))
    key = _digest(suite, *packages, GENERALIZE, network.GUEST_NETWORK)
    tree = cache.directory() / "trees" / f"{name}-{key}"
    with cache.locked(f"tree-{name}"):
        if not tree.exists():
            say(f"making the {name} guest tree with mmdebstrap (once; about a minute)")
            _bootstrap(suite, packages, tree)
    return tree


def layers(suite: str, deb: Path, *extra: str) -> list[Path]:
    below = base(suite, *extra)
    key = _digest(below.name, hashlib.sha256(deb.read_bytes()).hexdigest())
    layer = cache.directory() / "layers" / f"{suite}-{key}"
    with cache.locked(f"layer-{suite}"):
        if not layer.exists():
            say(f"installing {deb.name} in {below.name}")
            cache.drop_old(layer.parent, keep=8)
            _install(below, deb, layer)
    return [layer, below]


@contextlib.contextmanager
def mounted(lowers: list[Path], upper: Path, work: Path, at: Path) -> Iterator[Path]:
    for directory in (upper, work, at):
        directory.mkdir(parents=True, exist_ok=True)
    options = f"lowerdir={':'.join(map(str, lowers))},upperdir={upper},workdir={work}"
    subprocess.run(["mount", "-t", "overlay", "waagent-bed", "-o", options, str(at)], check=True)
    try:
        yield at
    finally:
        subprocess.run(["umount", "--lazy", str(at)], check=True)


def _bootstrap(suite: str, packages: tuple[str, ...], tree: Path) -> None:
    new = tree.with_name(tree.name + ".new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    command = [
        "mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(packages)}",
        "--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/locale/*",
        "--dpkgopt=path-exclude=/usr/share/doc/*",
        '--customize-hook=chroot "$1" sh -c "$GENERALIZE" <"$NETWORK_FILE"',
        "--format=directory", suite, str(new),
    ]  # fmt: skip
    network_file = tree.with_name(tree.name + ".network")
    network_file.write_text(network.GUEST_NETWORK, encoding="ascii")
    cache.checked(command, f"make the {suite} guest tree", GENERALIZE=GENERALIZE, NETWORK_FILE=str(network_file))
    network_file.unlink()
    new.rename(tree)


def _install(below: Path, deb: Path, layer: Path) -> None:
    new = layer.with_name(layer.name + ".new")
    shutil.rmtree(new, ignore_errors=True)
    with mounted([below], new / "upper", new / "work", new / "root") as root:
        shutil.copyfile(deb, root / "waagent.deb")
        install = ["chroot", str(root), "dpkg", "--install", "/waagent.deb"]
        cache.checked(install, f"install {deb.name} in {below.name}")
        (root / "waagent.deb").unlink()
    (new / "upper").rename(layer)
    shutil.rmtree(new)


def _digest(*words: str) -> str:
    return hashlib.sha256("\0".join(words).encode()).hexdigest()[:12]
