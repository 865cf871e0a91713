"""Who this machine is: the firmware's id in the platform's byte order, containers, Azure's mark."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Script
from waagent.errors import InstanceError
from waagent.instance import smbios
from waagent.system import System

PLATFORM = "0f8fad5b-d9cb-469f-a165-70867728950e"
TURNED = "5bad8f0f-cbd9-9f46-a165-70867728950e"


@pytest.fixture
def firmware(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "sys/class/dmi/id").mkdir(parents=True)
    (root / "sys/firmware/dmi/tables").mkdir(parents=True)
    (root / "proc/1").mkdir(parents=True)
    return root


def dmi(root: Path, name: str, text: str) -> None:
    (root / "sys/class/dmi/id" / name).write_text(text + "\n")


def test_generation_2_reports_the_id_as_the_platform_writes_it(system: System, firmware: Path) -> None:
    dmi(firmware, "product_uuid", PLATFORM.upper())
    dmi(firmware, "chassis_asset_tag", smbios.ASSET_TAG)
    (firmware / "sys/firmware/efi").mkdir()
    (firmware / "sys/firmware/dmi/tables/smbios_entry_point").write_bytes(b"_SM3_\0\x18\x03\x01\0" + bytes(14))

    assert smbios.identify(system) == smbios.Identity(PLATFORM, "smbios", True, 2, "")


def test_generation_1_reports_three_groups_turned(system: System, firmware: Path) -> None:
    dmi(firmware, "product_uuid", TURNED)
    (firmware / "sys/firmware/dmi/tables/smbios_entry_point").write_bytes(b"_SM_\0\x1f\x02\x03" + bytes(23))

    found = smbios.identify(system)
    assert (found.vm_id, found.generation, found.azure) == (PLATFORM, 1, False)


def test_without_an_entry_point_hyper_v_with_a_bios_is_known_to_be_old(system: System, firmware: Path) -> None:
    dmi(firmware, "product_uuid", TURNED)
    dmi(firmware, "sys_vendor", "Microsoft Corporation")
    assert smbios.identify(system).vm_id == PLATFORM


def test_a_virtual_machine_of_another_maker_keeps_its_order(system: System, firmware: Path) -> None:
    dmi(firmware, "product_uuid", PLATFORM)
    dmi(firmware, "sys_vendor", "QEMU")
    assert smbios.identify(system).vm_id == PLATFORM


def test_in_a_container_the_firmware_is_the_hosts(system: System, firmware: Path) -> None:
    dmi(firmware, "product_uuid", "11111111-2222-3333-4444-555555555555")
    dmi(firmware, "chassis_asset_tag", smbios.ASSET_TAG)
    environ = f"PATH=/bin\0container=systemd-nspawn\0container_uuid={PLATFORM.replace('-', '')}\0"
    (firmware / "proc/1/environ").write_bytes(environ.encode())

    assert smbios.identify(system) == smbios.Identity(PLATFORM, "container", False, 0, "systemd-nspawn")


def test_dmidecode_is_asked_where_sysfs_has_none(system: System, script: Script, firmware: Path) -> None:
    (firmware / "usr/bin/dmidecode").write_text("")
    (firmware / "usr/bin/dmidecode").chmod(0o755)
    script.on("dmidecode", "--string", "system-uuid", stdout=f"{PLATFORM}\n")
    assert smbios.identify(system) == smbios.Identity(PLATFORM, "dmidecode", False, 1, "")


def test_the_device_tree_is_the_last_resort(system: System, firmware: Path) -> None:
    (firmware / "proc/device-tree").mkdir()
    (firmware / "proc/device-tree/vm,uuid").write_bytes(PLATFORM.encode() + b"\0")
    assert smbios.identify(system) == smbios.Identity(PLATFORM, "device-tree", False, 0, "")


@pytest.mark.parametrize(
    "text", ["", "Not Settable", "00000000-0000-0000-0000-000000000000", "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF"]
)
def test_a_machine_without_an_id_is_an_error_that_says_where_it_was_looked_for(
    system: System, firmware: Path, text: str
) -> None:
    dmi(firmware, "product_uuid", text)
    with pytest.raises(InstanceError, match="product_uuid nor dmidecode nor the device tree"):
        smbios.identify(system)


@pytest.mark.row("provisioning", 57)
def test_row_57_ids_are_the_same_in_any_case_and_either_byte_order() -> None:
    assert smbios.same(PLATFORM.upper(), TURNED)
    assert smbios.same(TURNED, TURNED.upper())
    assert not smbios.same(PLATFORM, "11111111-2222-3333-4444-555555555555")
    assert smbios.swapped(smbios.swapped(PLATFORM)) == PLATFORM
