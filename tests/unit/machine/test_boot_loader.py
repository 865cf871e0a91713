"""The serial console, distribution by distribution: which file, which line, and how the boot loader learns it."""

from __future__ import annotations

import pytest

from tests.conftest import Script
from tests.modules.conftest import profile_of
from waagent.errors import MachineError
from waagent.machine import boot_loader
from waagent.system import System

GRUB = "/etc/default/grub"
OPTIONS = "console=ttyS0 earlyprintk=ttyS0"
GRUBBY = ("grubby", "--update-kernel=ALL", f"--args={OPTIONS}")
MKCONFIG = ("grub2-mkconfig", "-o", "/boot/grub2/grub.cfg")
DEFAULT = 'GRUB_TIMEOUT=5\nGRUB_CMDLINE_LINUX_DEFAULT="quiet splash"\nGRUB_CMDLINE_LINUX="rhgb"\n'


@pytest.mark.row("provisioning", 3)
@pytest.mark.parametrize(
    ("distro", "version", "installed", "before", "after", "ran"),
    [
        ("debian", "12", ["update-grub"], DEFAULT, f'DEFAULT="quiet splash {OPTIONS}"\n', ("update-grub",)),
        ("ubuntu", "24.04", ["update-grub"], DEFAULT, f'DEFAULT="quiet splash {OPTIONS}"\n', ("update-grub",)),
        ("rhel", "9.4", ["grubby", "grub2-mkconfig"], DEFAULT, f'LINUX="rhgb {OPTIONS}"\n', GRUBBY),
        ("rhel", "8.10", ["grub2-mkconfig"], DEFAULT, f'LINUX="rhgb {OPTIONS}"\n', MKCONFIG),
        ("fedora", "40", ["grubby"], "GRUB_TIMEOUT=5\n", f'LINUX="{OPTIONS}"\n', GRUBBY),
        ("sles", "15.5", ["grub2-mkconfig"], DEFAULT, f'DEFAULT="quiet splash {OPTIONS}"\n', MKCONFIG),
        ("opensuse-leap", "15.6", ["grub2-mkconfig"], DEFAULT, f'DEFAULT="quiet splash {OPTIONS}"\n', MKCONFIG),
        ("azurelinux", "3.0", ["grub2-mkconfig"], DEFAULT, f" {OPTIONS}", MKCONFIG),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isalpha() else None,
)
def test_row_12_3_the_console_is_set_in_grub_2(
    system: System, script: Script, put, program, tmp_path, distro, version, installed, before, after, ran
) -> None:
    profile = profile_of(tmp_path / "root", distro, version)
    program(*installed)
    script.on(*ran)
    file = put(GRUB, before)
    assert boot_loader.add_console(system, profile) == GRUB
    assert after in file.read_text() and file.read_text().count("console=ttyS0") == 1
    assert script.ran == [ran]
    assert boot_loader.add_console(system, profile) == ""
    assert script.ran == [ran], "the second time there is nothing to do"


MENU = "default=0\ntitle One\n\troot (hd0,0)\n\tkernel /vmlinuz ro quiet\n\tinitrd /initrd\ntitle Two\n\tkernel /old ro\n"


@pytest.mark.row("provisioning", 3)
@pytest.mark.parametrize(("distro", "version"), [("rhel", "6.10"), ("sles", "11.4")])
def test_row_12_3_the_console_is_set_in_every_entry_of_grub_1(system: System, put, tmp_path, distro, version) -> None:
    file = put("/boot/grub/menu.lst", MENU)
    profile = profile_of(tmp_path / "root", distro, version)
    assert boot_loader.add_console(system, profile) == "/boot/grub/menu.lst"
    kernels = [line.strip() for line in file.read_text().splitlines() if line.strip().startswith("kernel")]
    assert kernels == [f"kernel /vmlinuz ro quiet {OPTIONS}", f"kernel /old ro {OPTIONS}"]
    assert "\tinitrd /initrd\n" in file.read_text()


def test_a_boot_loader_that_cannot_be_told_again_is_named(system: System, script: Script, profile, put, program) -> None:
    file = put(GRUB, DEFAULT)
    with pytest.raises(MachineError, match="there is no update-grub; the file is changed"):
        boot_loader.add_console(system, profile)
    file.write_text(DEFAULT)
    program("update-grub")
    script.on("update-grub", status=1)
    with pytest.raises(MachineError, match="update-grub ended with status 1; the file is changed"):
        boot_loader.add_console(system, profile)


def test_without_a_boot_loader_that_is_known_it_is_told(system: System, profile) -> None:
    with pytest.raises(MachineError, match="cannot set the serial console: there is no /etc/default/grub"):
        boot_loader.add_console(system, profile)
