"""Which extensions may be processed: the switch Extensions.Enabled, the policy file, entries that make no sense.

    read(system, path) -> Policy | None      None when there is no file; raises PolicyInvalid for a bad one
    in_force(system, path) -> Policy | None  the same with the image's policy; path None: that one alone
    refusals(desired, ...)                   handler name -> plan.Refusal

The file (/etc/waagent_policy.json):
    {"policyVersion": "0.1.0", "extensionPolicies": {"allowListedExtensionsOnly": bool, "signatureRequired": bool,
     "extensions": {NAME: {"signatureRequired": bool, "runtimePolicy": any}},
     "deniedExtensions": [NAME or "BEGINNING.*"]}}

deniedExtensions is this agent's own (others call a file that has it invalid, and refuse everything): what it names
is denied, whatever else the file says. "Contoso.*" means every name that begins with "Contoso."; there are no other
patterns. A file without it means what it means to every agent.

The image's policy, /usr/lib/waagent/extension-policy.json, is for who publishes an image without owning the
subscription: it counts whatever the options say, and the administrator's file can only narrow it: an extension has
to be allowed by both, and is signed when either wants it. (Whoever is root can still replace the file.)

A file that exists and cannot be used refuses every extension. Names are compared without regard to case, attributes
with it.

Source: extensions 4.2, 9.1 - 9.4.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from waagent.errors import ConfigError
from waagent.extensions.layout import objection
from waagent.extensions.plan import Refusal
from waagent.fabric.desired import DISABLED, ENABLED, UNINSTALL, Desired
from waagent.system import System

HIGHEST_VERSION = (0, 1, 0)
SIZE_LIMIT = 1024 * 1024
IMAGE_POLICY = "/usr/lib/waagent/extension-policy.json"

# An entry of the deny list.
_ENTRY = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*(\.\*)?")

# Handlers whose purpose is to set passwords, keys and accounts, in lower case.
USER_CHANGING = frozenset({"microsoft.ostcextensions.vmaccessforlinux", "microsoft.azure.vmaccessforlinux"})


class PolicyInvalid(ConfigError):
    """The policy file cannot be used, so no extension is processed. Facts: file, key."""

    reason = "extension policy invalid"


class Denial(NamedTuple):
    """Why a policy does not allow a handler: the file, the attribute in it, the entry of the deny list or ""."""

    path: str
    attribute: str
    entry: str = ""

    def __str__(self) -> str:
        if self.entry:
            return f"it is in the deny list of {self.path} ({self.attribute} names {self.entry!r})"
        return f"it is not in the allow list of {self.path} ({self.attribute})"


@dataclass(frozen=True)
class Policy:
    """allowed: lower-case names of handlers, None for all; signed: such a name -> whether it has to be signed.

    denied: entries of the deny list as they are written. image: the policy that this one can only narrow.
    """

    path: str
    allowed: frozenset[str] | None = None
    signature_required: bool = False
    signed: Mapping[str, bool] = field(default_factory=dict)
    denied: tuple[str, ...] = ()
    image: Policy | None = None

    def allows(self, handler: str) -> bool:
        return self.denial(handler) is None

    def denial(self, handler: str) -> Denial | None:
        """Why it is not allowed, the image's reason first; None when it is allowed."""
        of_image = self.image.denial(handler) if self.image is not None else None
        if of_image is not None:
            return of_image
        entry = next((one for one in self.denied if _names(one, handler)), "")
        if entry:
            return Denial(self.path, "extensionPolicies.deniedExtensions", entry)
        if self.allowed is not None and handler.lower() not in self.allowed:
            return Denial(self.path, "extensionPolicies.extensions")
        return None

    def requires_signature(self, handler: str) -> bool:
        return bool(self.signature_rule(handler))

    def signature_rule(self, handler: str) -> str:
        """Which file and attribute require a signature of it; "" when none does."""
        of_image = self.image.signature_rule(handler) if self.image is not None else ""
        if of_image or not self.signed.get(handler.lower(), self.signature_required):
            return of_image
        within = "extensionPolicies.extensions" if handler.lower() in self.signed else "extensionPolicies"
        return f"{self.path} ({within}: signatureRequired)"


def read(system: System, path: str) -> Policy | None:
    try:
        raw = system.read(path, SIZE_LIMIT)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _invalid(path, "", f"it cannot be read ({error.strerror or error})") from error
    try:
        return parse(raw.decode("utf-8-sig"), path)
    except UnicodeDecodeError as error:
        raise _invalid(path, "", f"it is not UTF-8 (byte {error.start})") from error


def in_force(system: System, path: str | None) -> Policy | None:
    """Raises PolicyInvalid."""
    image = read(system, IMAGE_POLICY)
    own = read(system, path) if path is not None else None
    return replace(own, image=image) if own is not None else image


def parse(text: str, path: str) -> Policy:
    """Raises PolicyInvalid for anything that is not exactly a policy."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        """The last of several would count, and somebody may have meant another."""
        found = dict(pairs)
        if len(found) != len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise _invalid(path, twice[:80], "it stands twice in the same object")
        return found

    try:
        document = json.loads(text, object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise _invalid(path, "", f"it is not JSON ({error})") from error
    top = _object(path, "the document", document, ("policyVersion", "extensionPolicies"))
    _check_version(path, top.get("policyVersion"))
    known = ("allowListedExtensionsOnly", "signatureRequired", "extensions", "deniedExtensions")
    policies = _object(path, "extensionPolicies", _given(top, "extensionPolicies", {}), known)
    listed_only = _boolean(path, policies, "allowListedExtensionsOnly", "extensionPolicies")
    extensions = _given(policies, "extensions", {})
    if not isinstance(extensions, dict):
        raise _invalid(path, "extensionPolicies.extensions", "it is not an object")
    signed: dict[str, bool] = {}
    named: set[str] = set()
    for name, rules in extensions.items():
        where = f"extensionPolicies.extensions.{name}"
        if name.lower() in named:
            raise _invalid(path, where, "it is named twice: names are compared without regard to case")
        named.add(name.lower())
        entry = _object(path, where, rules, ("signatureRequired", "runtimePolicy"))
        if entry.get("signatureRequired") is not None:
            signed[name.lower()] = _boolean(path, entry, "signatureRequired", where)
    return Policy(
        path,
        frozenset(named) if listed_only else None,
        _boolean(path, policies, "signatureRequired", "extensionPolicies"),
        signed,
        _denied(path, _given(policies, "deniedExtensions", [])),
    )


def _denied(path: str, entries: Any) -> tuple[str, ...]:
    """The deny list. An entry that might be meant for something else is refused: it would deny nothing."""
    where = "extensionPolicies.deniedExtensions"
    if not isinstance(entries, list):
        raise _invalid(path, where, "it is not an array")
    for number, entry in enumerate(entries):
        if not isinstance(entry, str) or not _ENTRY.fullmatch(entry):
            told = f'{entry!r:.80} is neither the name of a handler nor the beginning of names, such as "Contoso.*"'
            raise _invalid(path, f"{where}[{number}]", told)
    return tuple(entries)


def _names(entry: str, handler: str) -> bool:
    """Whether this entry of a deny list means the handler."""
    if entry.endswith(".*"):
        return handler.lower().startswith(entry[:-1].lower())
    return handler.lower() == entry.lower()


def _object(path: str, where: str, value: Any, known: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _invalid(path, where, "it is not an object")
    for key in value:
        if key not in known:
            raise _invalid(path, f"{where}.{key}", f"only {', '.join(known)} are known there")
    return value


def _given(fields: Mapping[str, Any], key: str, default: Any) -> Any:
    value = fields.get(key)
    return default if value is None else value


def _boolean(path: str, fields: Mapping[str, Any], key: str, where: str) -> bool:
    value = _given(fields, key, False)
    if not isinstance(value, bool):
        raise _invalid(path, f"{where}.{key}", f"{value!r} is neither true nor false")
    return value


def _check_version(path: str, value: Any) -> None:
    if not isinstance(value, str) or not re.fullmatch(r"\d+(\.\d+){0,2}", value):
        raise _invalid(path, "policyVersion", f'{value!r} is not a version such as "0.1.0"')
    parts = tuple(int(part) for part in value.split("."))
    if parts + (0,) * (3 - len(parts)) > HIGHEST_VERSION:
        raise _invalid(path, "policyVersion", f"{value} is newer than {'.'.join(map(str, HIGHEST_VERSION))}")


def _invalid(path: str, key: str, why: str) -> PolicyInvalid:
    at = f" at {key}" if key else ""
    return PolicyInvalid(
        f"[InvalidPolicyError] cannot use the extension policy {path}{at}: {why}; no extension is processed until"
        " it is corrected",
        file=path,
        key=key,
    )


def refusals(
    desired: Desired,
    *,
    enabled: bool = True,
    policy: Policy | None = None,
    policy_error: str = "",
    deny_user_changes: bool = False,
    config_file: str = "/etc/waagent.conf",
) -> dict[str, Refusal]:
    """Which handlers are not processed, and why; in the order in which the reasons count."""
    refused: dict[str, Refusal] = {}
    seen: dict[str, str] = {}
    for handler in desired.handlers:
        name = handler.name
        verb = "run" if handler.state == ENABLED else "uninstall"
        bad_name = objection(name, handler.version, tuple(one.name for one in handler.settings))
        if not enabled:
            why = (
                f"will not {verb} {name}: Extensions.Enabled=n in {config_file}; set it to y to process extensions"
            )
            refused[name] = Refusal(why, None, True, None)
        elif policy_error:
            refused[name] = Refusal(f"will not {verb} {name}: {policy_error}", None, True, None)
        elif policy is not None and (denial := policy.denial(name)) is not None:
            refused[name] = Refusal(f"will not {verb} {name}: {denial}; {_remedy(denial)}", None, False, None)
        elif deny_user_changes and handler.state == ENABLED and name.lower() in USER_CHANGING:
            why = f"will not run {name}: it changes user accounts, and Policy.DenyUserChanges=y in {config_file}"
            refused[name] = Refusal(why, None, False, None)
        elif bad_name:
            refused[name] = Refusal(_misconfigured(name, bad_name))
        elif handler.invalid:
            refused[name] = Refusal(_misconfigured(name, handler.invalid))
        elif handler.state not in (ENABLED, DISABLED, UNINSTALL):
            refused[name] = Refusal(_misconfigured(name, f"its requested state is {handler.state!r}"))
        elif seen.get(name.lower()):
            refused[name] = Refusal(_misconfigured(name, f"it is named twice, as {seen[name.lower()]} too"))
        seen[name.lower()] = name
    return refused


def _remedy(denial: Denial) -> str:
    if denial.path == IMAGE_POLICY:
        return "that is the image's and cannot be relaxed"
    return "take it out there to allow it" if denial.entry else "add it there to allow it"


def _misconfigured(name: str, why: str) -> str:
    return (
        f"the goal state's entry for {name} cannot be used: [ExtensionsGoalStateError] {why}; try again with a new"
        " operation on the VM"
    )
