"""RDMA on a fake root: machines of both kinds, and the many that have none."""

from __future__ import annotations

import os

import pytest

from tests.modules.conftest import load_module, settle
from waagent.errors import NetworkError
from waagent.machine import rdma
from waagent.provisioning import kvp
from waagent.system.clock import Clock
from waagent.system.command import execute

MAC, ADDRESS = "00:15:5d:33:ff:1d", "172.16.0.4"
SHARED = (
    '<SharedConfig version="1"><Instances><Instance id="a" rdmaMacAddress="00155D33FF1D" '
    'rdmaIPv4Address="172.16.0.4" /></Instances></SharedConfig>'
)
# The MAC is in the bytes at -8, -7, -6 and -3, -2, -1.
INFINIBAND = "00:00:01:49:fe:80:00:00:00:00:00:00:00:15:5d:ff:fd:33:ff:1d"
SHOW = ("ip", "-o", "-4", "addr", "show", "dev", "ib0", "up")
UP, ADD = ("ip", "link", "set", "ib0", "up"), ("ip", "addr", "add", "172.16.0.4/16", "dev", "ib0")
DAT = 'ofa-v2-mlx u2.0 x\nofa-v2-ib0 u2.0 nonthreadsafe default libdaplofa.so.2 dapl.2.0 "ib0 0" ""\n'


class Hasty(Clock):
    """A minute passes at once."""

    passed = 0.0

    def monotonic(self) -> float:
        return self.passed

    def sleep(self, seconds: float) -> None:
        self.passed += seconds


@pytest.fixture
def step():
    return load_module("network/60-rdma.py")


@pytest.fixture
def on(ctx, declared, put):
    declared("OS.EnableRDMA=y")
    ctx.system.clock = Hasty()
    put("/var/lib/waagent/SharedConfig.xml", SHARED)


@pytest.fixture
def device(put, script):
    """An interface ib0 without an address."""
    put("/sys/class/infiniband/mlx5_0/node_type", "1: CA\n")
    put("/sys/class/net/ib0/address", f"{INFINIBAND}\n")
    put("/sys/class/net/eth0/address", "00:0d:3a:01:02:03\n")
    script.on(*SHOW)
    script.on(*UP)
    script.on(*ADD, effect=lambda: script.on(*SHOW, stdout="4: ib0 inet 172.16.0.4/16 scope global ib0\n"))


def pool(put, **values: str) -> None:
    put(kvp.OF_THE_HOST, b"".join(kvp.record(key, value) for key, value in values.items()))


@pytest.mark.parametrize("conf", ["", "OS.EnableRDMA=n", "OS.CheckRdmaDriver=n"])
def test_nobody_gets_it_unasked(ctx, step, declared, conf):
    declared(conf)
    assert step.run(ctx).message == "OS.EnableRDMA=n"


@pytest.mark.parametrize("conf", ["OS.EnableRDMA=y", "OS.UpdateRdmaDriver=y", "OS.CheckRdmaDriver=y"])
def test_any_of_the_three_options_asks_for_it(ctx, step, declared, conf):
    declared(conf)
    assert step.run(ctx).message == "the platform gives this machine no RDMA address"


@pytest.mark.row("provisioning", 95)
@pytest.mark.usefixtures("on", "device")
def test_without_a_pool_it_is_the_newer_kind(ctx, step, script):
    outcome = step.run(ctx)
    assert (outcome.kind, outcome.message) == ("changed", "ib0 has 172.16.0.4")
    assert "there is no /var/lib/hyperv/.kvp_pool_0" in ctx.notes[0]
    assert ctx.published["rdma"] == {"kind": "sr-iov", "interfaces": {"ib0": ADDRESS}}
    settle(ctx)
    assert step.run(ctx).kind == "unchanged"
    assert script.ran.count(ADD) == 1


@pytest.mark.usefixtures("on", "device")
def test_the_pool_names_the_pairs(ctx, step, put):
    put("/var/lib/waagent/SharedConfig.xml", "<SharedConfig/>")
    pool(put, IPoIB_Data=f"NUMPAIRS:2|001122334455:172.16.0.9|00155D33FF1D:{ADDRESS}")
    assert step.run(ctx).message == "ib0 has 172.16.0.4"


@pytest.mark.usefixtures("on")
def test_a_device_that_never_comes_is_waited_for_and_no_failure(ctx, step):
    assert "no RDMA device came in time" in step.run(ctx).message
    assert ctx.system.clock.passed == 120


@pytest.mark.usefixtures("on", "device")
def test_an_interface_that_comes_after_its_device_is_waited_for(ctx, step, put):
    ctx.system.remove_tree("/sys/class/net/ib0")

    class Coming(Hasty):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            if self.passed == 30:
                put("/sys/class/net/ib0/address", f"{INFINIBAND}\n")

    ctx.system.clock = Coming()
    assert step.run(ctx).message == "ib0 has 172.16.0.4"
    assert ctx.system.clock.passed == 30 and ctx.notes[1:] == []


@pytest.mark.usefixtures("on")
def test_a_device_with_another_address_is_left_alone(ctx, step, put):
    put("/sys/class/infiniband/mlx5_0/node_type", "")
    put("/sys/class/net/ib0/address", "00:11:22:33:44:55\n")
    assert step.run(ctx).kind == "skipped"
    assert ctx.system.clock.passed == 60
    assert ctx.notes[-1] == "not every interface came in time: 00:15:5d:33:ff:1d (172.16.0.4)"


@pytest.mark.usefixtures("on", "device")
@pytest.mark.parametrize("content", [b"", b"\xff" * 100, b"\0" * 5119, b"<no"])
def test_damaged_documents_do_not_abort(ctx, step, put, content):
    put(kvp.OF_THE_HOST, content)
    put("/var/lib/waagent/SharedConfig.xml", content)
    assert step.run(ctx).kind == "skipped"


def test_pairs_that_cannot_be_read_are_passed_over():
    text = f"NUMPAIRS:4|00155D33FF1D:{ADDRESS}|00:11:22:33:44:55:10.0.0.1|no|12:1.2.3.4|001122334455:1.2.3"
    assert rdma.pairs(text) == {MAC: ADDRESS, "00:11:22:33:44:55": "10.0.0.1"}


def test_modules_are_loaded_where_the_kernel_has_them(ctx, script, program, put):
    program("modprobe")
    for name in ctx.profile.texts("rdma.modules"):
        script.on("modprobe", "-b", name, status=0 if name == "rdma_cm" else 1)
    put("/sys/module/ib_uverbs/refcnt", "0")
    assert rdma.load_modules(ctx.system, ctx.profile) == ["ib_uverbs", "rdma_cm"]


# -- the older kind ---------------------------------------------------------------------------


@pytest.fixture
def direct(put, script, on):
    """A host that names a driver's version; the driver is loaded, eth1 is its interface."""
    pool(put, NdDriverVersion="144.0")
    put("/etc/dat.conf", DAT)
    put("/sys/module/hv_network_direct/refcnt", "0")
    put("/sys/class/net/eth1/address", f"{MAC}\n")
    show = ("ip", "-o", "-4", "addr", "show", "dev", "eth1", "up")
    script.on(*show)
    script.on("ip", "link", "set", "eth1", "up")
    script.on(
        "ip", "addr", "add", "172.16.0.4/16", "dev", "eth1",
        effect=lambda: script.on(*show, stdout="4: eth1 inet 172.16.0.4/16 scope global eth1\n"),
    )  # fmt: skip


@pytest.mark.usefixtures("direct")
def test_network_direct_gets_address_and_library(ctx, step):
    assert step.run(ctx).message == "eth1 has 172.16.0.4"
    first, entry = ctx.system.read_text("/etc/dat.conf").splitlines()
    assert first == "ofa-v2-mlx u2.0 x"
    assert entry == 'ofa-v2-ib0 u2.0 nonthreadsafe default libdaplofa.so.2 dapl.2.0 "172.16.0.4 0" ""'
    assert ctx.published["rdma"]["kind"] == "network-direct"
    settle(ctx)
    assert step.run(ctx).kind == "unchanged" and ctx.system.effects == []


@pytest.mark.usefixtures("direct")
@pytest.mark.parametrize(("version", "tells"), [("3.9", True), ("4.0", True), ("4", True), ("4.1", False), ("142.0", False)])
def test_an_old_driver_is_told_by_its_device(ctx, step, put, script, version, tells):
    pool(put, NdDriverVersion=version)
    put("/dev/hvnd_rdma")
    script.on("tee", "/dev/hvnd_rdma")
    step.run(ctx)
    told = [given for argv, given in zip(script.ran, script.inputs) if argv[0] == "tee"]
    assert told == [b'rdmaMacAddress="00:15:5d:33:ff:1d" rdmaIPv4Address="172.16.0.4"'] * tells


@pytest.mark.usefixtures("direct")
def test_a_driver_s_device_that_never_comes_is_named_after_two_minutes(ctx, step, put):
    pool(put, NdDriverVersion="4.0")
    with pytest.raises(NetworkError, match=r"/dev/hvnd_rdma did not come within 120 s"):
        step.run(ctx)


@pytest.mark.usefixtures("direct")
def test_without_the_library_it_says_what_to_install(ctx, step):
    ctx.system.remove("/etc/dat.conf")
    with pytest.raises(NetworkError, match="install the DAT library"):
        step.run(ctx)


@pytest.mark.parametrize(
    ("distro", "version", "question", "there"),
    [
        ("rhel", "7.9", ("rpm", "-q", "microsoft-hyper-v-rdma"), "microsoft-hyper-v-rdma-4.1.0.144-20160504.x86_64\n"),
        ("sles", "12.5", None, "msft-rdma-kmp-default-144.0_k4.4.21_69-1.x86_64\n"),
    ],
)
@pytest.mark.usefixtures("direct")
def test_the_driver_that_fits_is_installed(ctx, script, declared, distro, version, question, there):
    declared("OS.EnableRDMA=y", distro, version)
    flavour = os.uname().release.rpartition("-")[2]
    question = question or ("rpm", "-q", f"msft-rdma-kmp-{flavour}")
    words = {"version": "144.0", "module": "144_0", "number": "144", "flavour": flavour, "release": version.replace(".", "")}
    script.on(*question, stdout=there)
    assert rdma.have_driver(ctx.system, ctx.profile, "144.0", update=False) == ""
    script.on(*question, stdout=there.replace("144", "1440"), status=0)
    for command in ctx.profile.commands("rdma.driver-install", **words):
        script.on(*command)
    assert "counts after a restart" in rdma.have_driver(ctx.system, ctx.profile, "144.0", update=False)
    assert len(script.ran) > 3


ZYPPER = """#!/bin/sh
case "$*" in
    *search*) printf 'S | Name | Type | Version | Arch | Repository\\n--+--\\n%s\\n' "$LISTED" ;;
    *) echo "$*" >"$0.log" ;;
esac
"""


@pytest.mark.parametrize(
    ("listed", "wanted"),
    [
        (["v | x | package | 142.0_k4.4-3.1 | x86_64 | HPC", "v | x | package | 144.0_k4.4-3.1 | x86_64 | HPC"], "x=144.0_k4.4-3.1"),
        (["v | x | package | 1440.0_k4.4-3.1 | x86_64 | HPC"], None),
        ([], None),
    ],
)
def test_suse_takes_the_edition_that_fits(declared, tmp_path, listed, wanted):
    """The shell's part of the profile, in a real shell with a zypper that writes down what it is told."""
    ctx = declared("OS.EnableRDMA=y", "sles", "12.5")
    zypper = tmp_path / "zypper"
    zypper.write_text(ZYPPER)
    zypper.chmod(0o755)
    words = {"flavour": "azure", "number": "144"}
    (command,) = (argv for argv in ctx.profile.commands("rdma.driver-install", **words) if argv[0] == "sh")
    local = tmp_path / "rdma/msft-rdma-kmp-azure-144.0_k4.4.21-1.x86_64.rpm"
    local.parent.mkdir()
    local.touch()
    text = command[-1].replace("/opt/microsoft/rdma", str(local.parent)).replace("zypper", str(zypper))
    shown = "\n".join(listed).replace(" x ", " msft-rdma-kmp-azure ")
    answer = execute((*command[:-1], text), None, 10.0, {"LISTED": shown})
    assert answer.status == 0, answer.stderr
    told = (tmp_path / "zypper.log").read_text().strip()
    expected = wanted.replace("x=", "msft-rdma-kmp-azure=", 1) if wanted else str(local)
    assert told == f"--non-interactive --no-gpg-checks install --force --oldpackage {expected}"


@pytest.mark.usefixtures("direct")
def test_ubuntu_has_its_driver_with_the_kernel(ctx, script, declared):
    declared("OS.EnableRDMA=y", "ubuntu", "16.04")
    script.on("modinfo", "hv_network_direct_144_0", status=1)
    assert "OS.UpdateRdmaDriver=y" in rdma.have_driver(ctx.system, ctx.profile, "144.0", update=False)
    for command in ctx.profile.commands("rdma.driver-update"):
        script.on(*command)
    assert "counts after a restart" in rdma.have_driver(ctx.system, ctx.profile, "144.0", update=True)
    script.on("modinfo", "hv_network_direct_144_0")
    assert rdma.have_driver(ctx.system, ctx.profile, "144.0", update=True) == ""
    assert ctx.system.read_text(rdma.ALIAS) == "alias hv_network_direct hv_network_direct_144_0\n"


@pytest.mark.parametrize(("distro", "version"), [("debian", "12"), ("sles", "15.5"), ("sles", "11.4"), ("openeuler", "22")])
def test_systems_whose_kernel_has_all_or_nothing_are_left_alone(ctx, script, declared, distro, version):
    declared("OS.EnableRDMA=y", distro, version)
    assert rdma.have_driver(ctx.system, ctx.profile, "144.0", update=True) == "" and script.ran == []
