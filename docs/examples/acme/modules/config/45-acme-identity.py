"""Tell Acme's monitoring which machine this is.

An example of a module that another package brings: it lies in /usr/lib/waagent/modules/config/, runs between the
resource disk and the custom data, and an administrator can replace or mask it like any other step.

Reads     vm.id, ovf.host_name, imds.location
Changes   /etc/acme/identity.conf
Skips     on other distributions than those in MODULE
Fails     SystemRefused when the file cannot be written
"""

from __future__ import annotations

from waagent.module import Context, Module, Outcome, changed, unchanged

MODULE = Module(
    summary="Tell Acme's monitoring which machine this is",
    frequency="per-boot",
    distros=("debian", "rhel", "acme"),
    limit=10,
)

FILE = "/etc/acme/identity.conf"


def run(ctx: Context) -> Outcome:
    values = {
        "id": ctx.fact("vm.id", ""),
        "name": ctx.fact("ovf.host_name", ""),
        "region": ctx.fact("imds.location", ""),
    }
    ctx.system.make_directory("/etc/acme", 0o755)
    text = "".join(f"{key}={value}\n" for key, value in values.items())
    if not ctx.system.write(FILE, text, mode=0o644):
        return unchanged(f"{FILE} is as it should be")
    return changed(f"wrote {FILE}")
