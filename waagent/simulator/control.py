"""The control API: JSON over HTTP on loopback, for the command line and for scripts."""
from __future__ import annotations

import json
from typing import TYPE_CHECKING

from .listener import Answer, Request, Response
from .rules import Refused

if TYPE_CHECKING:
    from .simulator import Simulator


def error_document(refused: Refused) -> Response:
    return Response(refused.status, json.dumps({"error": refused.message}), "application/json", refused.headers)


def handle(simulator: Simulator, request: Request) -> Answer:
    raise Refused(404, "no such resource")
