"""The settings file a handler reads: config/N.settings, or config/INSTANCE.N.settings.

Protected settings pass through encrypted, with the thumbprint of their certificate; the handler decrypts them with
LIB/<thumbprint>.prv. All three keys are always there, null when absent. A handler without settings gets an empty
0.settings. The file of the number about to be enabled always becomes the newest: handlers pick it by its time.

Source: extensions 3.2 - 3.4.
"""

from __future__ import annotations

import json
import os

from waagent.extensions.layout import Layout
from waagent.fabric.desired import Settings
from waagent.system import System


def text(settings: Settings | None) -> str:
    """The content of the file."""
    if settings is None:
        return ""
    handler_settings = {
        "publicSettings": settings.public,
        "protectedSettings": settings.protected,
        "protectedSettingsCertThumbprint": settings.thumbprint,
    }
    return json.dumps({"runtimeSettings": [{"handlerSettings": handler_settings}]})


def missing_key(system: System, layout: Layout, settings: Settings | None) -> str:
    """Why a handler will not be able to read its protected settings; "" when it will."""
    if settings is None or settings.protected is None:
        return ""
    if not settings.thumbprint:
        return "the goal state does not say for which certificate they are"
    if not settings.thumbprint.isalnum():
        return f"{settings.thumbprint[:80]!r} is no thumbprint of a certificate"
    key = f"{layout.lib}/{settings.thumbprint}.prv"
    return "" if system.exists(key) else f"there is no key {key}"


def write(system: System, layout: Layout, name: str, version: str, instance: str, settings: Settings | None) -> str:
    """Write the file and make it the newest; returns its path."""
    path = layout.settings_file(name, version, instance, settings.sequence if settings else 0)
    if not system.write(path, text(settings), mode=0o600, secret=True):
        os.utime(str(system.path(path)))
    return path
