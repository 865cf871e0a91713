"""The machine's own name in /etc/hosts: renamed where it is, and nowhere else."""

from __future__ import annotations

import pytest

from waagent.machine import hostname, hosts
from waagent.system import System

PLAIN = "127.0.0.1 localhost\n::1 localhost ip6-localhost\n"


@pytest.mark.parametrize(
    ("before", "name", "was", "becomes"),
    [
        pytest.param("image", "web", "127.0.1.1\timage\n", "127.0.1.1\tweb\n", id="debian's-line"),
        pytest.param("image", "web", "127.0.1.1 image.corp.net image\n", "127.0.1.1 web.corp.net web\n", id="domain-stays"),
        pytest.param("image.a.net", "web", "127.0.1.1 image.a.net image\n", "127.0.1.1 web\n", id="no-domain-any-more"),
        pytest.param("image", "web.b.net", "127.0.1.1 image\n", "127.0.1.1 web.b.net\n", id="with-a-domain"),
        pytest.param("image.a.net", "web.b.net", "127.0.1.1 image.a.net image\n", "127.0.1.1 web.b.net web\n", id="both"),
        pytest.param("", "web", "127.0.1.1 debian db # keep\n", "127.0.1.1 web debian db # keep\n", id="former-name-unknown"),
        pytest.param("localhost", "web", "127.0.1.1 localhost\n", "127.0.1.1 web\n", id="generalized"),
        pytest.param("image", "web", "127.0.0.1 localhost image\n", "127.0.0.1 localhost web\n", id="beside-localhost"),
        pytest.param("image", "web", "::1 image\n10.0.0.4 image\n", "::1 web\n10.0.0.4 image\n", id="loopback-alone"),
        pytest.param("image", "web", "127.0.1.1 images\n", "127.0.1.1 web images\n", id="whole-words"),
    ],
)  # fmt: skip
def test_the_former_name_becomes_the_new_one(
    system: System, put, before: str, name: str, was: str, becomes: str
) -> None:
    put("/etc/hosts", PLAIN + was)
    assert hosts.rename(system, before, name)
    assert system.read_text("/etc/hosts") == PLAIN + becomes
    assert not hosts.rename(system, before, name) and not hosts.rename(system, name, name)


@pytest.mark.parametrize(
    "content", ["", PLAIN, "# 127.0.1.1 image\n", "127.0.0.1 localhost localhost.localdomain\n", "127.0.1.1\n"]
)
def test_a_file_without_the_name_stays_as_it_is(system: System, put, content: str) -> None:
    put("/etc/hosts", content)
    assert not hosts.rename(system, "localhost.localdomain", "web")
    assert system.read_text("/etc/hosts") == content


def test_without_the_file_none_is_made(system: System) -> None:
    assert not hosts.rename(system, "image", "web")
    assert not system.exists("/etc/hosts")


def test_setting_the_name_renames_there_even_where_the_kernel_has_it_already(system: System, put, profile) -> None:
    put("/proc/sys/kernel/hostname", "web\n")
    put("/etc/hostname", "image\n")
    put("/etc/hosts", f"{PLAIN}127.0.1.1 image\n")
    assert hostname.set_name(system, profile, "web")
    assert system.read_text("/etc/hosts") == f"{PLAIN}127.0.1.1 web\n"
    assert not hostname.set_name(system, profile, "web")


def test_a_file_that_cannot_be_replaced_costs_no_name(system: System, put, profile) -> None:
    put("/proc/sys/kernel/hostname", "image\n")
    put("/etc/hosts", "127.0.1.1 image\n")
    system.path("/etc/hosts").unlink()
    system.path("/etc/hosts").mkdir()
    assert hostname.set_name(system, profile, "web")
    assert hostname.current(system) == "web"
