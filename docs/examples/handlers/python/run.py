#!/usr/bin/python3
"""A handler in Python, with nothing but its own library, and openssl for what is encrypted.

Public settings: {"disks": ["sda", "sdb"]}; protected ones: {"token": "…"}.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

NUMBER = os.environ["ConfigSequenceNumber"]
FOLDERS = json.loads(Path("HandlerEnvironment.json").read_text(encoding="utf-8"))[0]["handlerEnvironment"]
SEEN = Path("mrseq")


def main(verb: str) -> int:
    if verb == "enable":
        enable()
    elif verb == "update":
        print(f"to {version()} from {os.environ['AZURE_GUEST_AGENT_UPDATING_FROM_VERSION']}")
    elif verb in ("install", "disable", "uninstall"):
        print(f"{verb} {version()}")
    else:
        print("usage: run.py install|enable|update|disable|uninstall", file=sys.stderr)
        return 2
    return 0


def version() -> str:
    return os.environ["AZURE_GUEST_AGENT_EXTENSION_VERSION"]


def enable() -> None:
    text = Path(FOLDERS["configFolder"], f"{NUMBER}.settings").read_text(encoding="utf-8")
    if not text:
        print("no settings: nothing to watch, nothing to report")
        return
    if SEEN.exists() and SEEN.read_text(encoding="ascii").strip() == NUMBER:
        print(f"the settings {NUMBER} are applied already")
        return
    settings = json.loads(text)["runtimeSettings"][0]["handlerSettings"]
    disks = (settings.get("publicSettings") or {}).get("disks")
    try:
        token = protected(settings).get("token", "none")
    except subprocess.CalledProcessError as error:
        print(error.stderr.decode(errors="replace"), file=sys.stderr)
        report("error", 3, "cannot decrypt the protected settings")
        return
    if not disks:
        report("error", 2, "disks is missing in the public settings")
        return
    report("success", 0, f"watching {' '.join(disks)} with a token of {len(token)} characters")
    SEEN.write_text(NUMBER, encoding="ascii")


def protected(settings: dict[str, Any]) -> dict[str, Any]:
    """The protected settings; {} when there are none. Raises CalledProcessError."""
    if not settings.get("protectedSettings"):
        return {}
    key = f"../{settings['protectedSettingsCertThumbprint']}"
    command = ["openssl", "cms", "-decrypt", "-inform", "DER", "-recip", f"{key}.crt", "-inkey", f"{key}.prv"]
    secret = base64.b64decode(settings["protectedSettings"])
    return dict(json.loads(subprocess.run(command, input=secret, capture_output=True, check=True).stdout))


def report(status: str, code: int, message: str) -> None:
    """Under another name first, so that nobody reads half of it."""
    told = {
        "name": "DiskWatch",
        "operation": "Enable",
        "status": status,
        "code": code,
        "formattedMessage": {"lang": "en-US", "message": message},
    }
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    new = Path(FOLDERS["statusFolder"], f"{NUMBER}.status.new")
    new.write_text(json.dumps([{"version": 1.0, "timestampUTC": now, "status": told}]), encoding="utf-8")
    new.rename(new.with_suffix(""))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
