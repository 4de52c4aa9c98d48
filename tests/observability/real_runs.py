"""Real runs of the deployments, with every ending, as their processes told them."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from prefect.states import Cancelling

from deployments.defaults import NO_SCHEDULES
from deployments.samples import make_long_film
from deployments.stack import Stack
from deployments.work_pool import deployments_of
from haas_media.encoding import find_ffmpeg
from haas_otel.delivery.logs import STARTED
from tests.backends import environment_of_zipkin, zipkin
from tests.deployments.conftest import clean_environment
from tests.receiver import Receiver
from tests.waits import wait_until

if TYPE_CHECKING:
    from pathlib import Path
    from uuid import UUID

    from prefect.client.orchestration import SyncPrefectClient

    from tests.received import ReceivedSpan

MOVIE = {"kind": "movie", "tmdb_id": 4808}


@dataclass
class RealRuns:
    """What the runs sent: requests of OTLP by their signal, and spans as Zipkin takes them.

    ``endings`` has each flow run's name here, by the trace id of its span.
    """

    endings: dict[str, str] = field(default_factory=dict)
    requests: list[tuple[str, Any]] = field(default_factory=list)
    spans: dict[str, ReceivedSpan] = field(default_factory=dict)
    zipkin: list[dict[str, Any]] = field(default_factory=list)


def make_real_runs(folder: Path) -> RealRuns:
    """Bring up the stack of `haas up`, and have six runs end in it."""
    told = RealRuns()
    ffmpeg = find_ffmpeg()
    film = folder / "films" / "Charade (1963)" / "Charade.1963.mkv"
    make_long_film(ffmpeg, film)
    libraries = [{"title": "Films", "kind": "movies", "path": str(folder / "films")}]
    with (
        Receiver().start("grpc") as receiver,
        zipkin() as spans,
        Stack(
            folder / "data",
            port=0,
            environment=clean_environment(folder) | NO_SCHEDULES | {"HAAS_ENCODING_LIMIT": "2"},
            worker_environment={
                **receiver.environment,
                **environment_of_zipkin(spans),
                "OTEL_TRACES_EXPORTER": "otlp,zipkin_json",
                "HAAS_LIBRARIES": json.dumps(libraries),
                "HAAS_FFMPEG": str(ffmpeg),
            },
        ) as stack,
    ):
        receiver.rule = lambda signal_, message: told.requests.append((signal_, message))
        stack.start()
        with stack.client() as client:
            _run_all(client, stack, film, told)
        wait_until(
            lambda: (
                {span.trace_id for span in receiver.spans} >= set(told.endings)
                and {span["traceId"] for span in spans.items} >= set(told.endings)
            ),
            what="a span of each run",
        )
    told.spans = {span.trace_id: span for span in receiver.spans if "task.type" in span.attributes}
    told.zipkin = spans.items
    return told


def _run_all(client: SyncPrefectClient, stack: Stack, film: Path, told: RealRuns) -> None:
    deployments = {
        name.partition("/")[0]: x.id for name, x in deployments_of(client, stack.work_pool).items()
    }

    def start(ending: str, flow: str, **parameters: Any) -> UUID:
        run = client.create_flow_run_from_deployment(deployments[flow], parameters=parameters)
        told.endings[run.id.hex] = ending
        return run.id

    def ended(run: UUID) -> bool:
        state = client.read_flow_run(run).state
        return bool(state and state.is_final())

    def encoding(ending: str) -> UUID:
        output = film.with_name(f"Charade.1963.{uuid4().hex[:4]}.mkv")
        return start(
            ending, "encoding", source=str(film), output=str(output), video_codec="hevc", crf=18
        )

    cancelled, killed = encoding("cancelled"), encoding("killed")
    runs = [
        cancelled,
        killed,
        start("completed", "metadata-scan"),
        start("cleanup", "person-cleanup"),
        start("addition that fails", "add-to-library", **MOVIE),
    ]
    wait_until(lambda: ended(runs[2]), what="the scan")
    runs.append(start("failed", "metadata-scan", library="No such library"))
    for run in (cancelled, killed):
        wait_until(lambda run=run: _encodes(client, run), what=f"{run} to encode")
    # Its log lines wait for a moment in its memory.
    wait_until(lambda: _has_lines(told, killed), what=f"a line of {killed}")
    client.set_flow_run_state(cancelled, Cancelling())
    pid = wait_until(lambda: client.read_flow_run(killed).infrastructure_pid, what="its process")
    os.kill(int(pid), signal.SIGKILL)
    for run in runs:
        wait_until(lambda run=run: ended(run), what=f"the end of {run}")


def _encodes(client: SyncPrefectClient, run: UUID) -> bool:
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

    mine = FlowRunFilter(id=FlowRunFilterId(any_=[run]))
    found = client.read_task_runs(flow_run_filter=mine)
    return bool(found and found[0].state and found[0].state.is_running())


def _has_lines(told: RealRuns, run: UUID) -> bool:
    return any(
        record.trace_id == run.bytes
        for signal_, request in list(told.requests)
        if signal_ == "logs"
        for resource in request.resource_logs
        for scope in resource.scope_logs
        for record in scope.log_records
        if record.event_name == STARTED
    )


def renamed(request: Any, salt: int, seconds: float = 0) -> Any:
    """Return a request of spans or of logs under other ids, its runs begun so much earlier."""
    copy = type(request)()
    copy.CopyFrom(request)
    is_logs = hasattr(copy, "resource_logs")
    for of_resource in copy.resource_logs if is_logs else copy.resource_spans:
        for attribute in of_resource.resource.attributes:
            if attribute.key == "service.instance.id":  # another in each process
                attribute.value.string_value = str(uuid4())
        for scope in of_resource.scope_logs if is_logs else of_resource.scope_spans:
            for each in scope.log_records if is_logs else scope.spans:
                each.trace_id = salted(each.trace_id, salt)
                each.span_id = salted(each.span_id, salt)
                if seconds and not is_logs:
                    _begin_earlier(each, seconds)
    return copy


def _begin_earlier(span: Any, seconds: float) -> None:
    span.start_time_unix_nano -= round(seconds * 1e9)
    for attribute in span.attributes:
        if attribute.key == "task.duration_ms":
            attribute.value.double_value += seconds * 1e3


def salted(id_: bytes, salt: int) -> bytes:
    """Return another id; of the same length, and with the same salt always the same."""
    length = len(id_)
    mixed = int.from_bytes(id_) ^ (salt & ((1 << 8 * length) - 1))
    return mixed.to_bytes(length)


def renamed_zipkin(span: dict[str, Any], salt: int, seconds: float = 0) -> dict[str, Any]:
    """Return a span as Zipkin takes it, under other ids, begun so much earlier."""
    ids = {
        key: salted(bytes.fromhex(span[key]), salt).hex()
        for key in ("traceId", "id", "parentId")
        if key in span
    }
    micros = round(seconds * 1e6)
    times = {"timestamp": span["timestamp"] - micros, "duration": span["duration"] + micros}
    milliseconds = float(span["tags"].get("task.duration_ms", 0)) + seconds * 1e3
    return {**span, **ids, **times, "tags": {**span["tags"], "task.duration_ms": str(milliseconds)}}
