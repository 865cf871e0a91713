"""RDMA on a fake root: machines of both kinds, and the many that have none."""

from __future__ import annotations

import os

import pytest

from tests.modules.conftest import load_module, settle
from waagent.errors import NetworkError
from waagent.machine import rdma
from waagent.provisioning import kvp
from waagent.system.clock import Clock

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
    assert ctx.system.clock.passed == rdma.PATIENCE


@pytest.mark.usefixtures("on")
def test_a_device_with_another_address_is_left_alone(ctx, step, put):
    put("/sys/class/infiniband/mlx5_0/node_type", "")
    put("/sys/class/net/ib0/address", "00:11:22:33:44:55\n")
    assert step.run(ctx).kind == "skipped"


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
def test_an_old_driver_is_told_by_its_device(ctx, step, put, script):
    pool(put, NdDriverVersion="4.0")
    put("/dev/hvnd_rdma")
    script.on("tee", "/dev/hvnd_rdma")
    step.run(ctx)
    told = script.inputs[script.ran.index(("tee", "/dev/hvnd_rdma"))]
    assert told == b'rdmaMacAddress="00:15:5d:33:ff:1d" rdmaIPv4Address="172.16.0.4"'


@pytest.mark.usefixtures("direct")
def test_without_the_library_it_says_what_to_install(ctx, step):
    ctx.system.remove("/etc/dat.conf")
    with pytest.raises(NetworkError, match="install the DAT library"):
        step.run(ctx)


@pytest.mark.parametrize(
    ("distro", "version", "question", "there"),
    [
        ("rhel", "7.9", ("rpm", "-q", "microsoft-hyper-v-rdma"), "microsoft-hyper-v-rdma-4.2.5.144.0-2021.x86_64\n"),
        ("sles", "12.5", None, "msft-rdma-kmp-default-144.0\n"),
    ],
)
@pytest.mark.usefixtures("direct")
def test_the_driver_that_fits_is_installed(ctx, script, declared, distro, version, question, there):
    declared("OS.EnableRDMA=y", distro, version)
    flavour = os.uname().release.rpartition("-")[2]
    question = question or ("rpm", "-q", f"msft-rdma-kmp-{flavour}")
    words = {"version": "144.0", "module": "144_0", "flavour": flavour, "release": version.replace(".", "")}
    script.on(*question, stdout=there)
    assert rdma.have_driver(ctx.system, ctx.profile, "144.0", update=False) == ""
    script.on(*question, status=1)
    for command in ctx.profile.commands("rdma.driver-install", **words):
        script.on(*command)
    assert "counts after a restart" in rdma.have_driver(ctx.system, ctx.profile, "144.0", update=False)
    assert len(script.ran) > 3


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
