"""What can go wrong inside the simulator, as opposed to what a client of it does wrong (see rules.py).

    SimulatorError          the caller asked for something that cannot be done; the message says what would work
    ├── NotReported         wait_for() ran out of time; also a TimeoutError
    └── ControlError        the control API refused a command line client (carries the HTTP status)
"""
from __future__ import annotations


class SimulatorError(Exception):
    """A request to the simulator itself (not through the fabric) that cannot be fulfilled."""


class NotReported(SimulatorError, TimeoutError):
    """The machine did not report in time what somebody waits for."""


class ControlError(SimulatorError):
    """The control API answered with an error."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
