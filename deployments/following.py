"""``haas traces --follow``: what begins and ends on this machine, as it does."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from deployments.traces import STYLES, running_rows
from haas_otel.delivery.store import TraceStore

if TYPE_CHECKING:
    from pathlib import Path

EVERY = 0.5  # seconds
LATEST = 200  # so many of the tasks that began last are looked at for their end


def follow(directory: Path, task_type: str | None) -> None:
    """Print a line for each task that runs now, then for each that begins, is lost or ends.

    Args:
        directory: the trace store.
        task_type: only those of this type.
    """
    store, console = TraceStore(directory), Console(highlight=False)
    spans = store.tasks(task_type=task_type, limit=LATEST)
    ended = {str(span.attributes["task.id"]) for span in spans}
    known: dict[str, tuple[str, str, str]] = {}  # by task run: type, run, state
    missed: set[str] = set()  # those of them that the last look did not find
    while True:
        now = {
            row["task_id"]: (row["type"], row["flow_run_name"] or row["task_id"], row["state"])
            for row in running_rows(directory, task_type)
        }
        for task_id in (each for each in now if known.get(each) != now[each]):
            _print(console, *now[task_id])
        for span in reversed(store.tasks(task_type=task_type, limit=LATEST)):
            task_id = str(span.attributes["task.id"])
            if task_id not in ended:
                name = span.attributes.get("prefect.flow_run.name") or task_id
                _print(console, str(span.task_type), str(name), str(span.task_status))
                ended.add(task_id)
        missing = known.keys() - now.keys() - ended
        for task_id in missing & missed:  # for good: its span is not sampled
            _print(console, *known[task_id][:2], "ended")
            ended.add(task_id)
        missed = missing - ended
        known = {task_id: known[task_id] for task_id in missed} | now
        time.sleep(EVERY)


def _print(console: Console, task_type: str, run: str, state: str) -> None:
    line = Text(f"{datetime.now(UTC):%H:%M:%S}  {task_type}  ")
    line.append(f"{state:<9}", STYLES.get(state, "red" if state == "lost" else "cyan"))
    line.append(f"  {run}")
    console.print(line, soft_wrap=True)
