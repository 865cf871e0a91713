"""A stand-in for the Azure fabric that speaks HTTP: wire server, host plugin, metadata service, storage.

It shares no code with the agent: it writes its documents by itself, so that a wrong reading of the protocol cannot
agree with itself. Use it in a process of its own (`waagent-simulator serve`) or inside a test (`Simulator`).
"""
from __future__ import annotations

from .errors import ControlError, NotReported, SimulatorError
from .faults import Fault
from .goal_state import Extension, Family, Goal, Instance, RemoteUser, Settings
from .keys import Certificate, make_certificate
from .machine import Machine
from .packages import Package, zip_directory
from .record import RequestRecord, Violation
from .reports import HealthReport, Reports, TelemetryEvent
from .rules import RULES
from .simulator import Simulator

__all__ = ["RULES", "Certificate", "ControlError", "Extension", "Family", "Fault", "Goal", "HealthReport",
           "Instance", "Machine", "NotReported", "Package", "RemoteUser", "Reports", "RequestRecord",
           "Settings", "Simulator",
           "SimulatorError", "TelemetryEvent", "Violation", "make_certificate", "zip_directory"]
