"""The provisioning medium: ovf-env.xml as text, as a directory, as a DVD image.

Source: provisioning 3.5 to 3.9; wire-protocol 2.9.
"""
from __future__ import annotations

import base64
import os
import shutil
import subprocess
import tempfile
from typing import TYPE_CHECKING, Union
from xml.sax.saxutils import escape

from .errors import SimulatorError

if TYPE_CHECKING:
    from .machine import Machine

# genisoimage (or mkisofs) writes UDF, as the platform's DVD has it; xorriso can write ISO 9660 with Joliet only.
IMAGE_PROGRAMS = (
    ("genisoimage", ("-quiet", "-udf", "-J", "-r")),
    ("mkisofs", ("-quiet", "-udf", "-J", "-r")),
    ("xorriso", ("-as", "mkisofs", "-quiet", "-J", "-r")),
)


def _text(value: object) -> str:
    return escape(str(value), {"\r": "&#13;"})  # a bare carriage return would come out as a line feed


def ovf_env(machine: Machine) -> str:
    def element(name: str, value: object) -> str:
        return f"      <{name}>{_text(value)}</{name}>\n"

    parts = [element("ConfigurationSetType", "LinuxProvisioningConfiguration"),
             element("HostName", machine.host_name), element("UserName", machine.user)]
    if machine.password:
        parts.append(element("UserPassword", machine.password))
    password_login_off = str(machine.disable_password_authentication).lower()
    parts.append(element("DisableSshPasswordAuthentication", password_login_off))
    parts.append(_ssh(machine))
    if machine.custom_data is not None:
        parts.append(element("CustomData", base64.b64encode(machine.custom_data).decode()))
    settings = {"ProvisionGuestAgent": str(machine.provision_guest_agent).lower()}
    settings.update(machine.platform_settings)
    platform = "".join(f"      <wa:{name}>{_text(value)}</wa:{name}>\n" for name, value in settings.items()
                       if name != "GuestAgentPackageName")
    return f"""<?xml version="1.0" encoding="utf-8"?>
<ovf:Environment xmlns:ovf="http://schemas.dmtf.org/ovf/environment/1" \
xmlns:wa="http://schemas.microsoft.com/windowsazure" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
  <wa:ProvisioningSection>
    <wa:Version>1.0</wa:Version>
    <LinuxProvisioningConfigurationSet xmlns="http://schemas.microsoft.com/windowsazure">
{"".join(parts)}    </LinuxProvisioningConfigurationSet>
  </wa:ProvisioningSection>
  <wa:PlatformSettingsSection>
    <wa:Version>1.0</wa:Version>
    <wa:PlatformSettings>
{platform}      <wa:GuestAgentPackageName xsi:nil="true" />
    </wa:PlatformSettings>
  </wa:PlatformSettingsSection>
</ovf:Environment>
"""


def _ssh(machine: Machine) -> str:
    default = f"/home/{machine.user}/.ssh/authorized_keys"
    keys = "".join(f"          <PublicKey>\n            <Path>{_text(path or default)}</Path>\n"
                   f"            <Value>{_text(value)}</Value>\n          </PublicKey>\n"
                   for value, path in machine.ssh_keys)
    keys += "".join(f"          <PublicKey>\n            <Fingerprint>{print_}</Fingerprint>\n"
                    f"            <Path>{_text(path or default)}</Path>\n            <Value />\n"
                    "          </PublicKey>\n" for print_, path in machine.ssh_fingerprints)
    pairs = "".join(f"          <KeyPair>\n            <Fingerprint>{print_}</Fingerprint>\n"
                    f"            <Path>{_text(path)}</Path>\n          </KeyPair>\n"
                    for print_, path in machine.ssh_key_pairs)
    if not keys and not pairs:
        return ""
    return ("      <SSH>\n" + (f"        <PublicKeys>\n{keys}        </PublicKeys>\n" if keys else "")
            + (f"        <KeyPairs>\n{pairs}        </KeyPairs>\n" if pairs else "") + "      </SSH>\n")


def write_directory(text: str, directory: Union[str, os.PathLike[str]]) -> str:
    """Write `text` as ovf-env.xml into `directory` (made if need be), mode 0600; returns its path."""
    os.makedirs(directory, exist_ok=True)
    path = os.path.join(directory, "ovf-env.xml")
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    return path


def write_image(text: str, path: Union[str, os.PathLike[str]]) -> str:
    """Write a DVD image that holds `text` as ovf-env.xml; returns the name of the program that made it.

    SimulatorError if no such program is installed. The image holds secrets: mode 0600.
    """
    where = os.fspath(path)
    for program, options in IMAGE_PROGRAMS:
        if shutil.which(program) is None:
            continue
        os.close(os.open(where, os.O_WRONLY | os.O_CREAT, 0o600))
        with tempfile.TemporaryDirectory(prefix="waagent-simulator-") as directory:
            write_directory(text, directory)
            os.chmod(os.path.join(directory, "ovf-env.xml"), 0o644)
            done = subprocess.run([program, *options, "-V", "PROVISIONING", "-o", where, directory],
                                  capture_output=True, text=True, timeout=120, check=False)
        if done.returncode != 0:
            raise SimulatorError(f"cannot write {where}: {program} failed with status {done.returncode}: "
                                 f"{done.stderr.strip()}")
        return program
    names = ", ".join(program for program, _ in IMAGE_PROGRAMS)
    raise SimulatorError(f"cannot write {where}: none of {names} is installed; install genisoimage, "
                         "or use a directory")
