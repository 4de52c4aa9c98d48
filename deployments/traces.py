"""``haas traces``: three queries on the local trace store; one trace as a waterfall."""

from __future__ import annotations

import json
import os
import re
import sys
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from deployments.waterfall import render_json, render_waterfall
from haas_media.wording import lasted
from haas_otel.delivery import open_disk
from haas_otel.delivery.store import TraceStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from haas_otel.delivery.disk import SharedDisk
    from haas_otel.delivery.store import StoredSpan
    from haas_otel.records import Record, Run

UNITS = {"ms": "milliseconds", "s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
STYLES = {"Completed": "green", "Failed": "red", "Cancelled": "yellow"}
LONGEST = timedelta(days=36_525)


class TracesError(Exception):
    """A query cannot be understood. The text is a sentence that says what to give."""


def parse_duration(text: str) -> timedelta:
    """Return what ``500ms``, ``90s``, ``5m``, ``1h30m`` or ``2d`` says.

    Raises:
        TracesError: it is none of these, or longer than a hundred years.
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)", text)
    if not parts or "".join(number + unit for number, unit in parts) != re.sub(r"\s", "", text):
        raise TracesError(f"{text!r} is no duration: write 500ms, 90s, 5m, 1h30m or 2d.")
    try:
        found = sum((timedelta(**{UNITS[u]: float(n)}) for n, u in parts), start=timedelta())
    except OverflowError:
        found = timedelta.max
    if found > LONGEST:
        raise TracesError(f"{text[:40]!r} is longer than anything runs: write 2d, or less.")
    return found


def print_tasks(
    directory: Path,
    *,
    failed: bool,
    slower_than: str | None,
    task_type: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """Print the tasks that a query finds, the latest first.

    Args:
        directory: the trace store.
        failed: only those that failed.
        slower_than: only those that took longer, such as ``5m``.
        task_type: only those of this type.
        limit: at most this many.
        as_json: a JSON array of spans rather than a table.

    Raises:
        TracesError: the duration cannot be understood.
    """
    lost = settle_lost(directory)
    spans = TraceStore(directory).tasks(
        failed=failed,
        slower_than=parse_duration(slower_than) if slower_than else None,
        task_type=task_type,
        limit=limit,
    )
    if as_json:
        print_plain(render_json(spans))
    elif spans:
        _print_table(spans)
    else:
        what = "matches" if failed or slower_than or task_type else "has left a trace"
        print_plain(f"No task {what} in {directory}.")
    _say_what_is_lost(lost)


def print_running(
    directory: Path,
    *,
    slower_than: str | None = None,
    task_type: str | None = None,
    as_json: bool = False,
) -> None:
    """Print the tasks that go on, on this machine, and those whose process has died.

    Args:
        directory: the trace store.
        slower_than: only those that began longer ago, such as ``5m``.
        task_type: only those of this type.
        as_json: a JSON array rather than a table.

    Raises:
        TracesError: the duration cannot be understood.
    """
    before = datetime.now(UTC) - (parse_duration(slower_than) if slower_than else timedelta())
    rows = [
        row
        for row in running_rows(directory, task_type)
        if slower_than is None or datetime.fromisoformat(row["since"]) <= before
    ]
    lost = [row for row in rows if row["state"] == "lost"]
    if as_json:
        print_plain(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    if not rows:
        which = "such task" if slower_than or task_type else "task"
        print_plain(f"No {which} runs on this machine, by {directory}.")
        return
    console = Console(highlight=False)
    widest = max(len(row["type"]) for row in rows)
    console.print(
        f"[dim]{'since (UTC)':<19}  {'task':<{widest}}  {'state':<7}  {'for':>10}  run[/]",
        soft_wrap=True,
    )
    for row in rows:
        since = datetime.fromisoformat(row["since"])
        took = lasted((datetime.now(UTC) - since) // timedelta(microseconds=1) * 1000)
        line = Text(f"{since:%Y-%m-%d %H:%M:%S}  {row['type']:<{widest}}  ")
        line.append(f"{row['state']:<7}", "red" if row["state"] == "lost" else "cyan")
        line.append(f"  {took:>10}  {row['flow_run_name'] or row['task_id']}")
        console.print(line, soft_wrap=True)
    _say_what_is_lost(lost)


def running_rows(directory: Path, task_type: str | None) -> list[dict[str, Any]]:
    """Return the tasks that go on, on this machine, and those whose process has died."""
    disk = _disk(directory)
    # Those that live first: what dies in between is among both, and lost.
    living = _rows(disk.living() if disk else (), "running")
    lost = settle_lost(directory)
    gone = {row["task_id"] for row in lost}
    rows = (*(row for row in living if row["task_id"] not in gone), *lost)
    return [row for row in rows if task_type in (None, row["type"])]


def settle_lost(directory: Path) -> list[dict[str, Any]]:
    """End the spans of runs on this machine whose process died, where their server answers.

    Returns those that are left, as rows: those that another process settles now, too.
    """
    disk = _disk(directory)
    servers = {record.api for record in disk.lost()} if disk else ()
    if disk is None or not servers:  # nothing is looked at twice where nothing is lost
        return []
    os.environ["HAAS_OTEL_DIR"] = str(directory)
    from prefect.settings import PREFECT_API_URL, temporary_settings

    import flows  # noqa: F401 - spans carry its names
    from deployments.server import answers
    from haas_otel.reconciler import settle_here

    for address in servers:
        if address and answers(address):
            with temporary_settings({PREFECT_API_URL: address}):
                settle_here()
    # A record may be there for a moment longer than it takes to write the span down.
    return _rows(disk.lost(), "lost", lambda run: not disk.has(run.trace_id, run.span_id))


def _disk(directory: Path) -> SharedDisk | None:
    try:
        return _opened(directory) if directory.exists() else None
    except OSError:  # somebody else's
        return None


@cache  # what was read of it is not read again by each look of one who follows
def _opened(directory: Path) -> SharedDisk:
    return open_disk(directory)


def _rows(
    records: Iterable[Record], state: str, wanted: Callable[[Run], bool] = lambda _: True
) -> list[dict[str, Any]]:
    found = [
        {
            "type": record.run.attributes["task.type"],
            "name": record.run.attributes["task.name"],
            "state": state,
            "since": datetime.fromtimestamp(record.start / 1e9, UTC).isoformat(),
            "task_id": str(record.run.task_run_id),
            "flow_run_id": str(record.flow_run_id) if record.flow_run_id else None,
            "flow_run_name": record.run.attributes.get("prefect.flow_run.name"),
            "server": record.api,
        }
        for record in records
        if record.run is not None and not record.told and wanted(record.run)
    ]
    return sorted(found, key=lambda row: str(row["since"]))


def _say_what_is_lost(lost: Sequence[dict[str, Any]]) -> None:
    if lost:
        servers = ", ".join(sorted({row["server"] or "Prefect's own" for row in lost}))
        tasks = "1 task is" if len(lost) == 1 else f"{len(lost)} tasks are"
        sys.stderr.write(
            f"{tasks} lost: the process died. How it ended is asked of Prefect ({servers}), by the"
            " next run on this machine, or here once that answers.\n"
        )


def print_trace(directory: Path, trace_id: str, *, as_json: bool) -> None:
    """Print one trace as a waterfall, or as JSON.

    Args:
        directory: the trace store.
        trace_id: the id of the trace, of a task run or of a flow run, or how it begins.
        as_json: a JSON array of spans.

    Raises:
        TraceNotFound: there is none.
        AmbiguousTrace: there are several.
    """
    spans = TraceStore(directory).trace(trace_id)
    if as_json:
        print_plain(render_json(spans))
    else:
        console = Console(highlight=False)
        console.print(waterfall(spans, console.width), soft_wrap=True)


def find_trace(directory: Path, trace_id: str) -> list[StoredSpan]:
    """Return the spans of a trace; none when it is not (yet) there."""
    from haas_otel.delivery.store import TraceNotFound

    try:
        return TraceStore(directory).trace(trace_id)
    except TraceNotFound:
        return []


def waterfall(spans: Sequence[StoredSpan], width: int) -> Text:
    """Return a trace as a tree of bars, with colours where they can be shown."""
    text = Text(render_waterfall(spans, width))
    text.highlight_regex(r"█+", "cyan")
    text.highlight_regex(r"(?m)^ *[│ ]*[·✗].*$", "dim")
    for status, style in STYLES.items():
        text.highlight_regex(rf"(?m){status}$", style)
    return text


def _print_table(spans: Sequence[StoredSpan]) -> None:
    console = Console(highlight=False)
    widest = max(len(span.task_type or "") for span in spans)
    console.print(
        f"[dim]{'started (UTC)':<19}  {'task':<{widest}}  {'status':<9}  {'took':>10}  trace[/]",
        soft_wrap=True,
    )
    for span in spans:
        status = span.task_status or ""
        line = Text(f"{span.started_at:%Y-%m-%d %H:%M:%S}  {span.task_type or '':<{widest}}  ")
        line.append(f"{status:<9}", STYLES.get(status, ""))
        line.append(f"  {lasted(span.end_ns - span.start_ns):>10}  {span.trace_id}")
        console.print(line, soft_wrap=True)
        if span.status_description and status == "Failed":
            console.print(Text(f"    {' '.join(span.status_description.split())}", "dim"))


def print_plain(text: str) -> None:
    """Print text as it is."""
    sys.stdout.write(text + "\n")
