"""The only door to the machine: System, and what passes through it.

The names below are loaded when first used, so that a process which only needs waagent.system.http (the watcher)
does not pay for the rest.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from waagent.system.clock import Clock
    from waagent.system.command import Result
    from waagent.system.door import System
    from waagent.system.effects import Effect

__all__ = ["Clock", "Effect", "Result", "System"]

_HOMES = {"Clock": "clock", "Effect": "effects", "Result": "command", "System": "door"}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
