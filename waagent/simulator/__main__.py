"""python3 -m waagent.simulator, also installed as waagent-simulator."""
from __future__ import annotations

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
