"""Importing what a task needs while Prefect still asks its server."""

import os
import threading
from collections.abc import Callable
from importlib import import_module


def import_early(*modules: str) -> Callable[[], None]:
    """Begin to import modules in a thread, if this process is that of a flow run.

    Returns:
        What waits for them. Where an import fails, the task's own will say so.
    """

    def run() -> None:
        for module in modules:
            import_module(module)

    if "PREFECT__FLOW_RUN_ID" not in os.environ:
        return lambda: None
    thread = threading.Thread(target=run, name="haas-early-imports", daemon=True)
    thread.start()
    return thread.join
