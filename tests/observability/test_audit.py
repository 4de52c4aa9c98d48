"""`haas audit` against real backends that were filled through a proxy, and recorded answers."""

from __future__ import annotations

import json
from contextlib import closing, contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from flows import backends
from haas_otel.ids import span_id_of
from tests.backends import environment_of_zipkin, zipkin
from tests.e2e.prefect_processes import PrefectProcesses
from tests.http_server import HttpServer, Reply
from tests.observability import programs
from tests.parts import require
from tests.receiver import Receiver
from tests.waits import wait_until
from tests.warm import warm

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RECORDED = programs.PACKED.parent
FLOWS, TASKS = 20, 10
LEFT_OUT, IDENTICAL, TWICE, ALTERED = (0, 57, 199), 3, 90, 120  # which of the runs
# In every second flow run, what has completed is rolled back after that: a later state.
PROJECT = f"""
from contextlib import suppress

import flows
from prefect.transactions import transaction
from haas_otel import flow, task

@task(name="Encode")
def encoding(number):
    if number % 5 == 4:
        raise ValueError(number)

@flow
def several(rolled_back):
    with suppress(LookupError), transaction():
        for number in range({TASKS}):
            encoding(number, return_state=True)
        if rolled_back:
            raise LookupError
    return 1

for number in range({FLOWS}):
    several(number % 2)
"""
# With runs that ended just now; one that is killed when it has sent the first span again.
AUDIT = """
import os, sys
from datetime import timedelta
import flows.audit
from haas_otel.delivery.otlp import Exporter
if not os.environ.get("AS_IT_IS"):
    flows.audit.ENDED_BEFORE = timedelta()
if os.environ.get("DIES"):
    send = Exporter.send
    Exporter.send = lambda self, spans: [send(self, spans), os._exit(9)]
from deployments.cli import main
main(sys.argv[1:])
"""


@dataclass
class Proxy:
    """Two hundred runs of which every span was held back, as it was sent in either format."""

    environment: dict[str, str]
    folder: Path
    otlp: list[Any] = field(default_factory=list)
    zipkin: list[dict[str, Any]] = field(default_factory=list)

    def audit(self, *arguments: str, **more: str) -> tuple[int, str, list[list[str]]]:
        """Run the audit; return its exit code, its summary and what it lists."""
        environment = self.environment | more
        done = warm().run("-c", AUDIT, "audit", *arguments, env=environment, cwd=self.folder)
        assert "Traceback" not in done.stderr, done.stderr
        summary, *rows = done.stdout.splitlines() or [""]
        return done.returncode, summary, [row.split(maxsplit=2) for row in rows]


@pytest.fixture(scope="module")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectProcesses]:
    """A server of its own: the audit looks for every run that the server knows."""
    processes = PrefectProcesses(tmp_path_factory.mktemp("prefect") / "home")
    try:
        processes.start_server()
        yield processes
    finally:
        processes.stop()


@pytest.fixture(scope="module")
def proxy(prefect: PrefectProcesses, tmp_path_factory: pytest.TempPathFactory) -> Proxy:
    folder = tmp_path_factory.mktemp("audit")
    own = {"PYTHONPATH": str(programs.ROOT), "HAAS_OTEL_DIR": str(folder / "otel")}
    made = Proxy(prefect.environment | own, folder)
    with Receiver().start("grpc") as receiver, zipkin() as spans:
        receiver.rule = lambda signal, message: (
            made.otlp.append(message) if signal == "traces" else None
        )
        variables = receiver.environment | environment_of_zipkin(spans)
        variables |= {"OTEL_TRACES_EXPORTER": "otlp,zipkin_json", "OTEL_METRICS_EXPORTER": "none"}
        (folder / "project.py").write_text(PROJECT)
        done = warm().run("project.py", env=made.environment | variables, cwd=folder)
        assert done.returncode == 0, done.stderr
        count = FLOWS * TASKS
        both = lambda: min(len(receiver.spans), len(spans.items)) >= count  # noqa: E731
        wait_until(both, what="all spans")
        made.zipkin = sorted(spans.items, key=lambda span: str(span["timestamp"]))
    assert len(made.zipkin) == count
    return made


def edited(number: int, span: Any, alter: Any) -> list[Any]:
    """Return what the proxy lets through in place of a span."""
    if number in LEFT_OUT:
        return []
    if number == ALTERED:
        return [alter(span)]
    if number == IDENTICAL:
        return [span, span]
    return [span, alter(span)] if number == TWICE else [span]


def fill_jaeger(proxy: Proxy, there: programs.Backend) -> dict[str, str]:
    def alter(span: Any) -> Any:
        copy = deepcopy(span)
        for attribute in copy.attributes:
            if attribute.key == "task.status":
                attribute.value.string_value = "Cancelled"
        return copy

    scopes = [s for m in proxy.otlp for r in m.resource_spans for s in r.scope_spans]
    ordered = sorted(
        (span for s in scopes for span in s.spans), key=lambda s: s.start_time_unix_nano
    )
    for number, span in enumerate(ordered):
        for each in edited(number, span, alter):
            request = deepcopy(next(message for message in proxy.otlp if message.resource_spans))
            (resource,) = request.resource_spans
            del resource.scope_spans[1:]
            del resource.scope_spans[0].spans[:]
            resource.scope_spans[0].spans.append(each)
            there.post("traces", request.SerializeToString())
    otlp = {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf", "OTEL_METRICS_EXPORTER": "none"}
    return otlp | {"OTEL_EXPORTER_OTLP_ENDPOINT": there.http, "OTEL_LOGS_EXPORTER": "none"}


def fill_zipkin(proxy: Proxy, there: programs.Backend) -> dict[str, str]:
    import httpx

    def alter(span: dict[str, Any]) -> dict[str, Any]:
        return span | {"tags": span["tags"] | {"task.status": "Cancelled"}}

    for number, span in enumerate(proxy.zipkin):
        for each in edited(number, span, alter):
            url = f"{there.api}/api/v2/spans"
            httpx.post(url, json=[each], timeout=60).raise_for_status()
    endpoint = {"OTEL_EXPORTER_ZIPKIN_ENDPOINT": f"{there.api}/api/v2/spans"}
    return endpoint | {"OTEL_TRACES_EXPORTER": "zipkin_json"}


# Zipkin keeps two spans that are the same as one.
BACKENDS = {
    "jaeger": (programs.jaeger, fill_jaeger, (IDENTICAL, TWICE)),
    "zipkin": (programs.zipkin, fill_zipkin, (TWICE,)),
}


@pytest.mark.parametrize("kind", BACKENDS)
def test_what_is_wrong_in_a_backend_is_found_and_repaired(
    proxy: Proxy, kind: str, tmp_path: Path, unpacked: Path
) -> None:
    run, fill, twice = BACKENDS[kind]
    with run(tmp_path / kind, unpacked) as there:
        variables = fill(proxy, there)
        name = f"{kind}={there.api}"
        whole = {(span["traceId"], span["tags"]["task.id"]) for span in proxy.zipkin}

        def ids(*numbers: int) -> list[str]:
            return sorted(proxy.zipkin[number]["traceId"] for number in numbers)

        def found() -> tuple[int, str, dict[str, list[str]]]:
            code, summary, rows = proxy.audit("--backend", name, **variables)
            by_result: dict[str, list[str]] = {}
            for result, trace_id, _ in rows:
                by_result[result] = sorted([*by_result.get(result, []), trace_id])
            return code, summary, by_result

        wait_until(lambda: backends.backend(name).spans(proxy.zipkin[198]["traceId"]))
        wrong = {"twice": ids(*twice), "different": ids(ALTERED)}
        code, summary, listed = found()
        present = len(whole) - 3 - len(twice) - 1
        said = f"{present} present, 0 waiting, 3 missing, {len(twice)} twice, 1 different."
        assert summary == f"{len(whole)} spans looked for: {said}"
        assert (code, listed) == (1, {"missing": ids(*LEFT_OUT), **wrong})
        # Killed when the first is sent again, and run again: each is there once.
        killed, _, _ = proxy.audit("--backend", name, "--repair", DIES="1", **variables)
        assert killed == 9
        _, summary, _ = proxy.audit("--backend", name, "--repair", **variables)
        assert summary.endswith(f"0 missing, {len(twice)} twice, 1 different; 2 sent again.")
        assert (code, *found()[::2]) == (1, 1, wrong)
        for number in LEFT_OUT:
            span = proxy.zipkin[number]
            there_now = backends.backend(name).spans(span["traceId"])
            assert [each.span_id for each in there_now].count(span["id"]) == 1


def test_the_store_has_all_and_what_ended_just_now_is_not_looked_for(proxy: Proxy) -> None:
    code, summary, rows = proxy.audit("--backend", "store")
    assert (code, summary[:30], rows) == (0, "200 spans looked for: 200 pres", [])
    assert proxy.audit(AS_IT_IS="1")[:2] == (
        0,
        "0 spans looked for: 0 present, 0 waiting, 0 missing, 0 twice, 0 different.",
    )


def test_what_waits_on_this_disk_is_listed_apart(proxy: Proxy, tmp_path: Path) -> None:
    """Nobody answers there: all of a run's spans wait."""
    own = {"HAAS_OTEL_DIR": str(tmp_path), "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    script = PROJECT.replace(f"range({FLOWS})", "range(1)")
    done = warm().run("-c", script, env=proxy.environment | own, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with serving({}) as url:
        code, summary, _ = proxy.audit("--backend", f"tempo={url}", "--since", "1d", **own)
    assert code == 1  # for those of the other runs
    assert f" 0 present, {TASKS} waiting, {FLOWS * TASKS} missing" in summary


@contextmanager
def serving(answers: dict[str, Any]) -> Iterator[str]:
    """Answer by path with JSON."""

    def answer(path: str, *_: object) -> Reply:
        found = answers.get(path.partition("?")[0])
        return Reply(404 if found is None else 200, json.dumps(found).encode())

    with closing(HttpServer(answer)) as server:
        yield f"http://127.0.0.1:{server.port}"


@pytest.mark.parametrize("kind", ["jaeger", "zipkin", "tempo"])
def test_recorded_answers_are_read(kind: str) -> None:
    """Those for Tempo are Jaeger's of its OTLP API, as Tempo documents that it wraps them."""
    folder = RECORDED / ("zipkin-3.5.1" if kind == "zipkin" else "jaeger-2.13")
    require("recorded answers", folder.exists(), "set HAAS_TEST_DATA to the tests' data")
    index = json.loads((folder / "index.json").read_text())
    answers = {}
    for request in index["requests"]:
        path = request["path"]
        if kind == "tempo":
            path = path.replace("/api/v3/traces/", "/api/v2/traces/")
        if request["status"] == 200 and request["file"].endswith(".json"):
            answer = json.loads((folder / request["file"]).read_text())
            answers[path] = {"trace": answer.get("result")} if "/v3/" in request["path"] else answer
    with serving(answers) as url:
        asked = backends.backend(f"{kind}={url}")
        for run in index["runs"]:
            (task_run,) = run["task_runs"]
            (span,) = asked.spans(UUID(run["flow_run"]).hex)
            assert span.span_id == f"{span_id_of(UUID(task_run['id'])):016x}"
            assert span.attributes["task.status"] == run["want"]
            assert float(span.attributes["task.duration_ms"]) == pytest.approx(
                span.duration / 1e3, abs=1
            )
        assert asked.spans("0" * 31 + "1") == []


def test_a_backend_that_is_none(proxy: Proxy) -> None:
    done = warm().run(
        *("-m", "deployments.cli", "audit", "--backend", "elastic"),
        env=proxy.environment,
        cwd=proxy.folder,
    )
    assert done.returncode == 1
    assert "'elastic' is no backend: give store, jaeger=URL, zipkin=URL, tempo=URL." in done.stderr
