"""The provisioning document, ovf-env.xml: what the owner of the VM asked for when it was created.

parse(raw) takes the bytes of the file and gives a ProvisioningDocument; redact(raw, note) gives the bytes that
may be kept. Both are pure and raise OvfInvalid with the element in question.

What is accepted: UTF-8 with or without a byte order mark, NUL padding behind it, any prefixes. Elements are found
by namespace and local name as children of their parent; one that may stand once and stands twice is an error,
because then it is not known what is wanted. White space around values does not count, except in a password. A
document type declaration is refused: entities are the way to make a parser eat the machine.

The facts that the instance-media step publishes from it (`facts`):

    ovf.host_name, ovf.user_name           str
    ovf.has_password, ovf.has_custom_data  bool
    ovf.disable_ssh_password               True, False; absent where the document does not say
    ovf.public_keys                        list of {path, fingerprint, value}; value wins over fingerprint
    ovf.key_pairs                          list of {path, fingerprint}
    ovf.provision_guest_agent              str as written ("true", …); see guest_agent_wanted
    ovf.provision_guest_proxy_agent, ovf.preprovisioned_vm   bool
    ovf.preprovisioned_vm_type             None, Running, Savable, PreprovisionedOSDisk
    ovf.version                            str
    secret: ovf.password, ovf.custom_data  str as written (custom data is Base64)

Source: provisioning 3.3 and 3.5.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Optional
from xml.etree.ElementTree import Element, TreeBuilder

from waagent.errors import OvfInvalid

OVF = "http://schemas.dmtf.org/ovf/environment/1"
WA = "http://schemas.microsoft.com/windowsazure"

# Custom data is at most 64 KiB before Base64; a document far beyond is no provisioning document.
LIMIT = 4 * 1024 * 1024
DEPTH = 50

# What stands for the password in a saved copy: ours and the incumbent's, and cloud-init's.
REDACTED = "*"
REDACTIONS = (REDACTED, "REDACTED")


@dataclass(frozen=True)
class PublicKey:
    """A key for authorized_keys: by value (one OpenSSH line) or by the thumbprint of a certificate."""

    path: str
    fingerprint: str = ""
    value: str = ""


@dataclass(frozen=True)
class KeyPair:
    """A private key to be put at a path, by the thumbprint of its certificate."""

    path: str
    fingerprint: str


@dataclass(frozen=True)
class ProvisioningDocument:
    """See the module's docstring; password and custom_data never show in its repr."""

    host_name: str
    user_name: str
    provision_guest_agent: str
    password: str = field(default="", repr=False)
    disable_ssh_password: Optional[bool] = None
    public_keys: tuple[PublicKey, ...] = ()
    key_pairs: tuple[KeyPair, ...] = ()
    custom_data: str = field(default="", repr=False)
    version: str = "1.0"
    configuration_set_type: str = ""
    guest_agent_package_name: str = ""
    kms_server_host_name: str = ""
    preprovisioned_vm: bool = False
    preprovisioned_vm_type: str = ""
    provision_guest_proxy_agent: bool = False
    enable_trusted_image_identifier: bool = False

    @property
    def guest_agent_wanted(self) -> bool:
        """Anything but "false" (any case) means that the agent stays: free text was always tolerated."""
        return self.provision_guest_agent.lower() != "false"

    @property
    def newer_than_known(self) -> bool:
        """Whether the version is above the one this parser knows; compared as text, as the platform's agents do."""
        return self.version > "1.0"

    @property
    def redacted(self) -> bool:
        """Whether this is a copy whose password was taken out."""
        return self.password in REDACTIONS

    def facts(self) -> dict[str, Any]:
        """The public facts."""
        public: dict[str, Any] = {
            "host_name": self.host_name,
            "user_name": self.user_name,
            "has_password": bool(self.password),
            "has_custom_data": bool(self.custom_data),
            "public_keys": [
                {"path": key.path, "fingerprint": key.fingerprint, "value": key.value} for key in self.public_keys
            ],
            "key_pairs": [{"path": pair.path, "fingerprint": pair.fingerprint} for pair in self.key_pairs],
            "provision_guest_agent": self.provision_guest_agent,
            "provision_guest_proxy_agent": self.provision_guest_proxy_agent,
            "preprovisioned_vm": self.preprovisioned_vm,
            "preprovisioned_vm_type": self.preprovisioned_vm_type,
            "version": self.version,
        }
        if self.disable_ssh_password is not None:
            public["disable_ssh_password"] = self.disable_ssh_password
        return public

    def secrets(self) -> dict[str, str]:
        """The secret facts; one that was redacted is not known."""
        known = {"password": "" if self.redacted else self.password, "custom_data": self.custom_data}
        return {key: value for key, value in known.items() if value}


def parse(raw: bytes) -> ProvisioningDocument:
    """Read the document. Raises OvfInvalid naming the element that is missing or wrong."""
    root = _Reader(_clean(raw)).root
    if root.tag not in (f"{{{OVF}}}Environment", "Environment"):
        raise _invalid("Environment", f"the document's root is {_local(root.tag)!r}")
    section = _require(root, "ProvisioningSection")
    wanted = _require(section, "LinuxProvisioningConfigurationSet")
    platform_section = _require(root, "PlatformSettingsSection")
    platform = _require(platform_section, "PlatformSettings")
    return ProvisioningDocument(
        host_name=_require_text(wanted, "HostName"),
        user_name=_require_text(wanted, "UserName"),
        password=_password(wanted),
        disable_ssh_password=_stated(wanted, "DisableSshPasswordAuthentication"),
        public_keys=tuple(_public_key(key) for key in _listed(wanted, "PublicKeys", "PublicKey")),
        key_pairs=tuple(_key_pair(pair) for pair in _listed(wanted, "KeyPairs", "KeyPair")),
        custom_data=_text(wanted, "CustomData"),
        version=_require_text(section, "Version"),
        configuration_set_type=_text(wanted, "ConfigurationSetType"),
        provision_guest_agent=_require_text(platform, "ProvisionGuestAgent"),
        guest_agent_package_name=_text(platform, "GuestAgentPackageName"),
        kms_server_host_name=_text(platform, "KmsServerHostname"),
        preprovisioned_vm=_truth(platform, "PreprovisionedVm"),
        preprovisioned_vm_type=_text(platform, "PreprovisionedVMType") or _text(platform, "PreprovisionedVmType"),
        provision_guest_proxy_agent=_truth(platform, "ProvisionGuestProxyAgent"),
        enable_trusted_image_identifier=_truth(platform, "EnableTrustedImageIdentifier"),
    )


def redact(raw: bytes, note: str = "") -> bytes:
    """The document with every password replaced by "*"; all else stays byte for byte.

    `note` is kept in a comment behind the document (see `note_of`). Raises OvfInvalid where it is no XML.
    """
    data = _clean(raw)
    reader = _Reader(data)
    for begin, end in sorted(reader.secrets, reverse=True):
        data = data[:begin] + REDACTED.encode() + data[end:]
    if note:
        data = _NOTE.sub(b"", data).rstrip() + b"\n<!-- waagent: " + note.replace("--", "").encode() + b" -->\n"
    return data


_NOTE = re.compile(rb"\n?<!-- waagent: (.*?) -->\n?")


def note_of(raw: bytes) -> str:
    """The note that `redact` left in a saved copy; empty where there is none."""
    found = _NOTE.search(raw)
    return found.group(1).decode("utf-8", "replace") if found else ""


class _Reader:
    """The tree of a document, and where in its bytes the contents of the password elements stand."""

    def __init__(self, data: bytes) -> None:
        from xml.parsers import expat

        self._builder = TreeBuilder()
        self._parser = parser = expat.ParserCreate("utf-8", namespace_separator="}")
        self._depth = 0
        self._inside: int | None = None  # depth of the password element that is open
        self._begin = 0
        self._data = data
        self.secrets: list[tuple[int, int]] = []
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._builder.data
        parser.StartDoctypeDeclHandler = self._doctype
        try:
            parser.Parse(data, True)
            self.root: Element = self._builder.close()
        except expat.ExpatError as error:
            raise _invalid("document", f"line {error.lineno}: {expat.errors.messages[error.code]}") from error

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > DEPTH:
            raise _invalid("document", f"elements are nested deeper than {DEPTH}")
        self._builder.start(_tag(name), {_tag(key): value for key, value in attributes.items()})
        if self._inside is None and _local(_tag(name)) in ("UserPassword", "AdminPassword", "adminPassword"):
            at = self._parser.CurrentByteIndex
            self._inside, self._begin = self._depth, _behind_tag(self._data, at)

    def _end(self, name: str) -> None:
        self._builder.end(_tag(name))
        if self._inside == self._depth:
            at = self._parser.CurrentByteIndex
            if at > self._begin:  # not an empty-element tag
                self.secrets.append((self._begin, at))
            self._inside = None
        self._depth -= 1

    def _doctype(self, *_: object) -> None:
        raise _invalid("DOCTYPE", "document type declarations are not accepted")


def _behind_tag(data: bytes, at: int) -> int:
    """The offset behind the ">" of the start tag at `at`; a ">" within an attribute's quotes does not end it."""
    quote = 0
    for offset in range(at, len(data)):
        byte = data[offset]
        if quote:
            quote = 0 if byte == quote else quote
        elif byte in b"\"'":
            quote = byte
        elif byte == ord(">"):
            return offset + 1
    return len(data)


def _clean(raw: bytes) -> bytes:
    if len(raw) > LIMIT:
        raise _invalid("document", f"it has {len(raw)} bytes, more than {LIMIT}")
    data = raw[3:] if len(raw) >= 3 and min(raw[:3]) > 128 else raw
    data = data.strip(b"\0 \t\r\n")
    if not data:
        raise _invalid("document", "the file is empty")
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _invalid("document", f"byte {error.start} is not UTF-8") from error
    return data


def _tag(name: str) -> str:
    space, separator, local = name.rpartition("}")
    return f"{{{space}}}{local}" if separator else name


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]


def _child(parent: Element, name: str) -> Element | None:
    found = parent.findall(f"{{{WA}}}{name}")
    if len(found) > 1:
        raise _invalid(name, f"it stands {len(found)} times in {_local(parent.tag)}")
    return found[0] if found else None


def _require(parent: Element, name: str) -> Element:
    found = _child(parent, name)
    if found is None:
        raise _invalid(name, f"it is missing in {_local(parent.tag)}")
    return found


def _text(parent: Element, name: str) -> str:
    found = _child(parent, name)
    return (found.text or "").strip() if found is not None else ""


def _require_text(parent: Element, name: str) -> str:
    _require(parent, name)
    text = _text(parent, name)
    if not text:
        raise _invalid(name, f"it is empty in {_local(parent.tag)}")
    return text


def _password(parent: Element) -> str:
    found = _child(parent, "UserPassword")
    return "" if found is None else found.text or ""


def _stated(parent: Element, name: str) -> bool | None:
    return _text(parent, name).lower() == "true" if _text(parent, name) else None


def _truth(parent: Element, name: str) -> bool:
    return _text(parent, name).lower() in ("true", "1", "yes", "on")


def _listed(parent: Element, container: str, name: str) -> list[Element]:
    ssh = _child(parent, "SSH")
    holder = _child(ssh, container) if ssh is not None else None
    return [] if holder is None else holder.findall(f"{{{WA}}}{name}")


def _public_key(element: Element) -> PublicKey:
    key = PublicKey(_require_text(element, "Path"), _thumbprint(element), _text(element, "Value"))
    if not key.value and not key.fingerprint:
        raise _invalid("PublicKey", f"the one for {key.path} has neither Value nor Fingerprint")
    return key


def _key_pair(element: Element) -> KeyPair:
    _require_text(element, "Fingerprint")
    return KeyPair(_require_text(element, "Path"), _thumbprint(element))


def _thumbprint(element: Element) -> str:
    """Names a file in the state directory, so nothing but hexadecimal digits may pass."""
    text = _text(element, "Fingerprint").replace(":", "").upper()
    if text and not re.fullmatch(r"[0-9A-F]{32,128}", text):
        raise _invalid("Fingerprint", f"{text[:60]!r} is no thumbprint in hexadecimal digits")
    return text


def _invalid(element: str, what: str) -> OvfInvalid:
    return OvfInvalid(
        f"cannot use the provisioning document ovf-env.xml: {element}: {what}; the VM is not provisioned from it",
        element=element,
    )
