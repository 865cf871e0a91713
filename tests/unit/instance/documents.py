"""Provisioning documents for tests, in the platform's two spellings of the namespaces.

Source: provisioning 3.6 to 3.9.
"""

from __future__ import annotations

from xml.sax.saxutils import escape

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAM laptop"
ECDSA = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIEXAMPLE= token"
THUMBPRINT = "0123456789ABCDEF0123456789ABCDEF01234567"

PREFIXED = """<?xml version="1.0" encoding="utf-8"?>
<ovf:Environment xmlns:ovf="http://schemas.dmtf.org/ovf/environment/1"
                 xmlns:wa="http://schemas.microsoft.com/windowsazure"
                 xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
  <wa:ProvisioningSection>
    <wa:Version>{version}</wa:Version>
    <LinuxProvisioningConfigurationSet xmlns="http://schemas.microsoft.com/windowsazure">
      <ConfigurationSetType>LinuxProvisioningConfiguration</ConfigurationSetType>
{wanted}
    </LinuxProvisioningConfigurationSet>
  </wa:ProvisioningSection>
  <wa:PlatformSettingsSection>
    <wa:Version>1.0</wa:Version>
    <wa:PlatformSettings>
{platform}
      <wa:GuestAgentPackageName xsi:nil="true"/>
      <wa:PreprovisionedVm>false</wa:PreprovisionedVm>
    </wa:PlatformSettings>
  </wa:PlatformSettingsSection>
</ovf:Environment>
"""


def document(
    host: str = "web-01",
    user: str = "operator1",
    password: str | None = None,
    disable: str | None = None,
    keys: tuple[tuple[str, str, str], ...] = (),
    pairs: tuple[tuple[str, str], ...] = (),
    custom_data: str | None = None,
    agent: str | None = "true",
    version: str = "1.0",
) -> bytes:
    """A document; keys are (path, fingerprint, value), pairs (path, fingerprint)."""
    wanted = [f"<HostName>{escape(host)}</HostName>", f"<UserName>{escape(user)}</UserName>"]
    if password is not None:
        wanted.append(f"<UserPassword>{escape(password)}</UserPassword>")
    if disable is not None:
        wanted.append(f"<DisableSshPasswordAuthentication>{disable}</DisableSshPasswordAuthentication>")
    public = "".join(
        f"<PublicKey><Path>{escape(path)}</Path><Fingerprint>{print_}</Fingerprint>"
        f"<Value>{escape(value)}</Value></PublicKey>"
        for path, print_, value in keys
    )
    private = "".join(
        f"<KeyPair><Fingerprint>{print_}</Fingerprint><Path>{escape(path)}</Path></KeyPair>"
        for path, print_ in pairs
    )
    if keys or pairs:
        wanted.append(f"<SSH><PublicKeys>{public}</PublicKeys><KeyPairs>{private}</KeyPairs></SSH>")
    if custom_data is not None:
        wanted.append(f"<CustomData>{custom_data}</CustomData>")
    platform = "" if agent is None else f"<wa:ProvisionGuestAgent>{escape(agent)}</wa:ProvisionGuestAgent>"
    return PREFIXED.format(wanted="\n".join(wanted), platform=platform, version=version).encode()
