"""What the platform asked for lately, for people: LIB/history/, one entry for each goal state that changed.

save(system, lib, state, kept, note)    kept: name of a file -> the document as it was received
add(system, lib, file, document, note)  one more document, into the newest entry

    2026-11-23T09-16-05__1/                         wire server, incarnation 1
    2026-11-23T11-02-11__1-8402733151920467713/     with a document of the host plugin: incarnation and ETag
        GoalState.xml, ExtensionsConfig.xml, HostingEnvironmentConfig.xml, SharedConfig.xml, RemoteAccess.xml,
        VmSettings.json     as received, but for signatures of URLs, protected settings and passwords
        Certificates.json   [{"thumbprint": …, "hasPrivateKey": …}]
        waagent_status.json     the last report (local_copy.py); {} before the first
        <handler>.manifest.xml, waagent_policy.json     what was read on the way
    2026-11-23T11-05-00__8402733151920467713/       vmSettings that could not be used, once for each ETag
    2026-11-23T08-00-00__1.zip                      all but the newest entry

Directories 0700, files 0600, times UTC. At most 50 entries stay. A document whose secrets could not be taken out is
not kept. Nothing here fails a goal state: what cannot be written is told, and that is all.

Source: wire-protocol 7.6, 8.3, extensions 8.4, guest-operations 9.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from waagent.errors import SystemRefused
from waagent.fabric import local_copy
from waagent.fabric.local_copy import FOLDER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from waagent.fabric.cache import FabricState
    from waagent.system import System

ENTRIES = 50
HIDDEN = b"***REDACTED***"

# The quotes are entities where JSON stands in an XML document that escapes them.
_QUOTE = rb'(?:"|&quot;|&#34;|&#x22;)'
_PROTECTED = re.compile(
    rb"(" + _QUOTE + rb"protectedSettings" + _QUOTE + rb"\s*:\s*" + _QUOTE + rb").*?(" + _QUOTE + rb")",
    re.DOTALL | re.IGNORECASE,
)
_SIGNED = re.compile(rb"(https?://[^\s\"<>?]{1,2000})\?[^\s\"<>]*?sig=[^\s\"<>]*", re.IGNORECASE)
_PASSWORD = re.compile(rb"(<(?:\w+:)?Password\b[^>]*>).*?(</)", re.DOTALL)
_ENTRY = re.compile(r"\d{4}-\d\d-\d\dT[\d:.-]+_")


def redacted(document: bytes, secrets: Iterable[str]) -> bytes:
    """The document without signatures, protected settings and passwords; a remark when one of `secrets` is left."""
    clean = _PROTECTED.sub(rb"\1" + HIDDEN + rb"\2", document)
    clean = _SIGNED.sub(rb"\1?" + HIDDEN, clean)
    clean = _PASSWORD.sub(rb"\1" + HIDDEN + rb"\2", clean)
    for secret in secrets:
        if secret.encode("utf-8", "replace") in clean:
            return b"not kept: its secrets could not be taken out\n"
    return clean


def save(
    system: System, lib: str, state: FabricState, kept: Mapping[str, bytes], note: Callable[[str], None]
) -> str | None:
    """Make an entry of what is new, pack the ones before, remove the oldest; the entry's name."""
    if not kept or system.planning:
        return None
    moment = system.clock.now().strftime("%Y-%m-%dT%H-%M-%S")
    ids = [_plain(state.goal.incarnation, 32)]
    if "VmSettings.json" in kept:
        if state.refused_etag and len(kept) == 1:
            ids = []
        ids.append(_plain(state.refused_etag or state.etag, 64))
    name = f"{moment}__{'-'.join(ids)}"
    folder = f"{lib}/{FOLDER}"
    quiet = system.quietly()
    summary = [{"thumbprint": one.thumbprint, "hasPrivateKey": one.has_private_key} for one in state.certificates]
    secrets = _secrets(state)
    try:
        quiet.make_directory(folder, mode=0o700)
        quiet.make_directory(f"{folder}/{name}", mode=0o700)
        for file, document in kept.items():
            quiet.write(f"{folder}/{name}/{file}", redacted(document, secrets), secret=True, durable=False)
        certificates = json.dumps(summary, indent=1)
        quiet.write(f"{folder}/{name}/Certificates.json", certificates, secret=True, durable=False)
        quiet.write(f"{folder}/{name}/{local_copy.FILE}", local_copy.NOTHING, secret=True, durable=False)
        _tidy(quiet, folder, name)
    except (SystemRefused, OSError) as error:
        note(f"cannot keep a record of the goal state: {error}")
        return None
    return name


def add(system: System, lib: str, file: str, document: bytes, note: Callable[[str], None]) -> None:
    """Put a document into the newest entry, if there is one; what is there already is not written again."""
    entry = local_copy.newest(str(system.path(lib)))
    if entry is None or system.planning:
        return
    path = f"{lib}/{FOLDER}/{entry.rpartition('/')[2]}/{file}"
    try:
        system.quietly().write(path, redacted(document, ()), secret=True, durable=False)
    except (SystemRefused, OSError) as error:
        note(f"cannot keep a record of {file}: {error}")


def _plain(text: str, length: int) -> str:
    """What of an incarnation or ETag may stand in a file's name."""
    return "".join(letter for letter in text if letter.isalnum() or letter in "._")[:length]


def _secrets(state: FabricState) -> list[str]:
    """What has to be gone: protected settings, and the query of the place for the status."""
    found: list[str] = []
    for desired in (state.desired, state.fabric, state.fast_track):
        if desired is not None:
            found += [one.protected for handler in desired.handlers for one in handler.settings if one.protected]
            found.append(desired.status_blob.partition("?")[2])
    return [secret for secret in found if len(secret) > 3]


def _tidy(quiet: System, folder: str, newest: str) -> None:
    """Pack every entry but the newest, then keep the latest ENTRIES by name, which begins with the time."""
    for entry in quiet.listing(folder):
        if entry != newest and _ENTRY.match(entry) and quiet.is_directory(f"{folder}/{entry}"):
            quiet.write(f"{folder}/{entry}.zip", _packed(quiet, f"{folder}/{entry}"), secret=True, durable=False)
            quiet.remove_tree(f"{folder}/{entry}")
    entries = [entry for entry in quiet.listing(folder) if _ENTRY.match(entry) and entry != newest]
    for entry in entries[: max(len(entries) + 1 - ENTRIES, 0)]:
        quiet.remove(f"{folder}/{entry}", durable=False)


def _packed(quiet: System, folder: str) -> bytes:
    import io
    import zipfile

    into = io.BytesIO()
    with zipfile.ZipFile(into, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in quiet.listing(folder):
            if not quiet.is_directory(f"{folder}/{name}"):
                archive.writestr(name, quiet.read(f"{folder}/{name}"))
    return into.getvalue()
