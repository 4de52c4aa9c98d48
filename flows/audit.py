"""The audit: whether each task run that Prefect knows to have started has its span, once and true.

The ids that a span must have follow from the run; so a backend can be asked for just that one.
"""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from haas_media.markdown import Report
from haas_media.wording import counted
from haas_otel import decision, ids, records, span
from haas_otel.server import connected

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.client.schemas.objects import FlowRun, TaskRun

    from flows.backends import Backend, Found
    from haas_otel.records import Run
    from haas_otel.server import Server

ENDED_BEFORE = timedelta(minutes=5)
CLOSE = 1_000  # µs: backends round times, some to milliseconds
RESULTS = ("present", "waiting", "missing", "twice", "different")


class Expected(NamedTuple):
    """A span that has to be there. ``status`` and ``end`` (µs) where the record has them."""

    run: Run
    status: str | None
    end: int | None

    @property
    def ids(self) -> tuple[str, str]:
        """Its trace's id and its own, in lower-case hex."""
        return f"{self.run.trace_id:032x}", f"{self.run.span_id:016x}"

    @property
    def name(self) -> str:
        """How it is called in a sentence."""
        attributes = self.run.attributes
        return f"{attributes['task.type']} of {attributes.get('prefect.flow_run.name', 'no flow')}"


@dataclass(slots=True)
class Audit(Report):
    """What was found: spans by result, each with what is said of it; and those sent again."""

    heading = "Audit of spans"

    found: dict[str, list[tuple[Expected, str]]] = field(
        default_factory=lambda: {result: [] for result in RESULTS}
    )
    repaired: int = 0

    @property
    def is_right(self) -> bool:
        """Whether nothing is missing, twice or different; what waits here is none of these."""
        return not any(self.found[result] for result in ("missing", "twice", "different"))

    def counts(self) -> dict[str, int]:
        """Return how many spans had each result."""
        return {result: len(self.found[result]) for result in RESULTS}

    def table(self) -> list[dict[str, Any]]:
        """Return a row for each span that is not simply there."""
        return [
            {"result": result, "span": each.name, "trace id": each.ids[0], "what": what}
            for result in RESULTS[1:]
            for each, what in self.found[result]
        ]

    def summary(self) -> str:
        """Return it in a sentence."""
        counts = self.counts()
        total = counted(sum(counts.values()), "span")
        said = ", ".join(f"{counts[result]} {result}" for result in RESULTS)
        again = f"; {self.repaired} sent again" if self.repaired else ""
        return f"{total} looked for: {said}{again}."


def audit(backend: Backend, since: timedelta, *, repair: bool = False) -> Audit:
    """Look for the spans of all task runs that ended in this time, but the last five minutes.

    Args:
        backend: where to look.
        since: how long ago the oldest began.
        repair: send again what is missing there and kept here, and nothing else.

    Raises:
        BackendError: the backend cannot be asked.
    """
    from haas_otel.delivery import store

    with connected() as asked:
        expected = [*_expected(asked, since)]
    waiting = store.waiting()
    result = _look(backend, expected, waiting)
    missing = {each.ids for each, _ in result.found["missing"]}
    if repair and missing:
        sent = store.send_again(missing, backend.exporter)
        _await(backend, sent)
        result = _look(backend, expected, waiting)
        result.repaired = len(sent)
    return result


def _await(backend: Backend, sent: set[tuple[str, str]]) -> None:
    """Give a backend a moment to show what was sent."""
    deadline = time.monotonic() + 10
    while sent and time.monotonic() < deadline:
        sent = {ids for ids in sent if not _with_id(backend.spans(ids[0]), ids[1])}
        time.sleep(0.5 if sent else 0)


def _look(backend: Backend, expected: list[Expected], waiting: set[tuple[str, str]]) -> Audit:
    traces: dict[str, list[Expected]] = defaultdict(list)
    for each in expected:
        traces[each.ids[0]].append(each)
    result = Audit()
    for trace_id, wanted in traces.items():
        spans = backend.spans(trace_id)
        for each in wanted:
            mine = _with_id(spans, each.ids[1])
            if not mine:
                found, what = "waiting" if each.ids in waiting else "missing", ""
            elif len(mine) > 1:
                found, what = "twice", f"{len(mine)} times"
            else:
                what = _wrong(each, mine[0])
                found = "different" if what else "present"
            result.found[found].append((each, what))
    return result


def _with_id(spans: list[Found], span_id: str) -> list[Found]:
    return [each for each in spans if each.span_id == span_id]


def _wrong(each: Expected, found: Found) -> str:
    """Return what a span says otherwise than the record of its run."""
    told, start = found.attributes, each.run.start // 1000
    wanted = {key: each.run.attributes[key] for key in ("task.id", "task.type", "task.name")}
    if each.status:
        wanted["task.status"] = each.status
    wrong = [
        f"{key} is {told.get(key)!r}, not {value!r}"
        for key, value in wanted.items()
        if str(told.get(key)) != str(value)
    ]
    if abs(found.start - start) > CLOSE:
        wrong.append(f"it starts {(found.start - start) / 1e3:+.0f} ms from the run")
    if each.end and abs(found.start + found.duration - each.end) > CLOSE:
        wrong.append(f"it ends {(found.start + found.duration - each.end) / 1e3:+.0f} ms from it")
    return "; ".join(wrong)


def _expected(asked: Server, since: timedelta) -> Any:
    """Yield the spans that have to be there, by what the server knows."""
    until = datetime.now(UTC) - ENDED_BEFORE
    owners: dict[UUID, FlowRun | None] = {}
    is_sampled = _sampler()
    for task_run in asked.started(since):
        owner = None
        if task_run.flow_run_id is not None:
            if task_run.flow_run_id not in owners:
                owners[task_run.flow_run_id] = asked.flow_run(task_run.flow_run_id)
            owner = owners[task_run.flow_run_id]
            if owner is None:
                continue  # it was deleted
        run = span.run_of(task_run, owner)
        each = _ending(asked, task_run, owner, run, until)
        if each is not None and is_sampled(run):
            yield each


def _ending(
    asked: Server, task_run: TaskRun, owner: FlowRun | None, run: Run, until: datetime
) -> Expected | None:
    """Return how a task run ended, by its record; None where it did not, or a moment ago."""
    state, told = task_run.state, task_run.labels.get(records.ENDED)
    if state is not None and (state.is_completed() or state.is_failed()):
        # One that a transaction has rolled back has a later state, which is not its end.
        end = span.nanoseconds(task_run.end_time or state.timestamp) // 1000
        status = told or ("Completed" if state.is_completed() else "Failed")
        return Expected(run, str(status), end) if state.timestamp < until else None
    if owner is None or owner.state is None:
        over = state is not None and state.is_crashed() and state.timestamp < until
        return Expected(run, str(told) if told else "Failed", None) if over else None
    root = asked.outermost(owner)
    ended = asked.flow_end(root.id, run.start)
    if ended is None or not ended.final or ended.at > until.timestamp() * decision.SECOND:
        return None
    by_flow = {"Cancelled": "Cancelled", "Crashed": "Failed"}.get(ended.how)
    return Expected(run, str(told) if told else by_flow, None)


def _sampler() -> Any:
    """Return what says whether the sampler of this process's environment takes a run's span."""
    from opentelemetry import trace

    span.tracer()  # sets up, by the same variables as in the processes of runs
    sampler = getattr(trace.get_tracer_provider(), "sampler", None)

    def is_sampled(run: Run) -> bool:
        if sampler is None:
            return True
        name = f"BackgroundTask.{run.attributes['task.type']}"
        parent = ids.context_of(run.caller)
        found = sampler.should_sample(
            parent, run.trace_id, name, trace.SpanKind.INTERNAL, run.attributes
        )
        return bool(found.decision.is_sampled())

    return is_sampled
