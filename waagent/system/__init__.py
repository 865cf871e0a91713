"""The only door to the machine: System, and what passes through it."""

from waagent.system.clock import Clock
from waagent.system.command import Result
from waagent.system.door import System
from waagent.system.effects import Effect

__all__ = ["Clock", "Effect", "Result", "System"]
