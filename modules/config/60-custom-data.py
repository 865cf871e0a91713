"""Save the custom data of the document.

Reads     ovf.custom_data (secret); Provisioning.DecodeCustomData, .ExecuteCustomData (implies decoding)
Changes   <Lib.Dir>/CustomData, 0600: the Base64 text as it came, or decoded to the bytes it stands for
Skips     when the document has none
Fails     ProvisioningError when it has to be decoded and is no Base64
"""

from __future__ import annotations

import base64
import binascii

from waagent.errors import ProvisioningError
from waagent.module import Context, Module, Outcome, changed, unchanged

MODULE = Module(
    summary="Save the custom data",
    frequency="per-instance",
    reads=("Provisioning.DecodeCustomData", "Provisioning.ExecuteCustomData"),
    when=("provisioning.by=waagent", "ovf.has_custom_data"),
    essential=True,
)


def run(ctx: Context) -> Outcome:
    text, path = str(ctx.secret("ovf.custom_data", "")), f"{ctx.lib}/CustomData"
    content = text.encode()
    if ctx.config.switch("Provisioning.DecodeCustomData") or ctx.config.switch("Provisioning.ExecuteCustomData"):
        content = _decoded(text)
    if not ctx.system.write(path, content, mode=0o600):
        return unchanged(f"{path} has the custom data")
    return changed(f"saved {len(content)} bytes of custom data in {path}")


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ProvisioningError(
            f"cannot decode the custom data: its {len(text)} characters are no Base64 ({error}); give it to the "
            "platform undamaged, or set Provisioning.DecodeCustomData=n"
        ) from error
