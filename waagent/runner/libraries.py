"""Load what later steps need while an earlier one works: a step's process is a fork, and finds it there.

Only steps that are shipped name libraries (MODULE's `imports`), so that no other code gets into the engine. What
cannot be loaded is left to the step, which tells why.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence

from waagent.runner.steps import Step


def loader(later: Sequence[Step]) -> Callable[[], None]:
    """To be called once a step's process is on its way."""
    wanted = [name for step in later if step.rank == "vendor" for name in step.module.imports]

    def load() -> None:
        while wanted:
            try:
                importlib.import_module(wanted.pop(0))
            except ImportError:
                continue

    return load
