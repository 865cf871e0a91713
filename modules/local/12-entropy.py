"""Stir the random seed of the platform into the kernel's pool, before any key is made.

A new machine made of an image knows little that others of the same image do not know. The platform gives each one a
seed in a table of its firmware. It is stirred in and not counted as entropy: a bad seed does no harm.

Reads     /sys/firmware/acpi/tables/OEM0
Changes   the kernel's random pool
Skips     where the firmware has no such table

Source: provisioning 8.5.
"""

from __future__ import annotations

from waagent.module import Context, Module, Outcome, changed, skipped

MODULE = Module(summary="Stir in the platform's random seed", frequency="per-boot", limit=30.0)

SEED = "/sys/firmware/acpi/tables/OEM0"


def run(ctx: Context) -> Outcome:
    if not ctx.system.exists(SEED):
        return skipped("the firmware has no seed (OEM0)")
    ctx.system.run("dd", f"if={SEED}", "of=/dev/urandom", "bs=4096", "status=none")
    return changed(f"{SEED} is in the random pool")
