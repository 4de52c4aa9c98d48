"""Local servers that speak what Application Insights and Zipkin take, for exporters to send to."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.faulty_port import FaultyPort
from tests.http_server import HttpServer, Reply

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

KEY = "0b1e5c0e-1234-4abc-8def-5ec2e7000001"


@dataclass(frozen=True)
class Answer:
    """What a server says: its status code and the JSON with it."""

    status: int
    body: Any = None


@dataclass
class JsonServer:
    """Takes JSON that is posted to ``path`` at a free port, gzip or not; keeps what it took.

    ``answer`` decides for each request, given what was posted; what is kept are requests answered
    with 200 to 299.
    """

    path: str
    answer: Callable[[list[Any]], Answer]
    taken: list[list[Any]] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)

    def __enter__(self) -> JsonServer:
        self._server = HttpServer(self._reply)
        self._front = FaultyPort(self._server.port, 0)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._front.stop()
        self._server.close()

    @property
    def address(self) -> str:
        """Where it listens, without a path."""
        return f"http://127.0.0.1:{self._front.port}"

    @property
    def items(self) -> list[Any]:
        """Everything that was taken, in its order."""
        return [item for request in self.taken for item in request]

    def go_down(self) -> None:
        """Refuse connections from now on."""
        self._front.set_mode("refuse")

    def come_up(self) -> None:
        """Take connections again."""
        self._front.set_mode("pass")

    def _reply(self, path: str, headers: dict[str, str], body: bytes) -> Reply:
        self.seen.append(path)
        answer = self._take(path, body)
        return Reply(
            answer.status, b"" if answer.body is None else json.dumps(answer.body).encode()
        )

    def _take(self, path: str, body: bytes) -> Answer:
        if path.partition("?")[0] != self.path:
            return Answer(404)
        text = body.decode()
        if text.startswith("["):
            items = json.loads(text)
        else:  # lines of JSON are as good
            items = [json.loads(line) for line in text.splitlines() if line]
        answer = self.answer(items)
        if 200 <= answer.status < 300:
            self.taken.append(items)
        return answer


def application_insights() -> JsonServer:
    """Return a server for `environment_of_azure`, which takes all that has the right key."""

    def answer(envelopes: list[Any]) -> Answer:
        if any(envelope["iKey"] != KEY for envelope in envelopes):
            return Answer(400, {"itemsReceived": 0, "itemsAccepted": 0, "errors": []})
        count = len(envelopes)
        return Answer(200, {"itemsReceived": count, "itemsAccepted": count, "errors": []})

    return JsonServer("/v2.1/track", answer)


def environment_of_azure(server: JsonServer, *signals: str) -> dict[str, str]:
    """Return the variables that lead these signals of a process to it."""
    return {
        "APPLICATIONINSIGHTS_CONNECTION_STRING": (
            f"InstrumentationKey={KEY};IngestionEndpoint={server.address}/"
        ),
        **{f"OTEL_{signal}_EXPORTER": "azure_monitor_opentelemetry_exporter" for signal in signals},
    }


def zipkin() -> JsonServer:
    """Return a server that takes spans as Zipkin does."""

    def answer(spans: list[Any]) -> Answer:
        # What Zipkin refuses a whole request for.
        right = all(
            len(span["traceId"]) in (16, 32)
            and len(span["id"]) == 16
            and all(isinstance(value, str) for value in span.get("tags", {}).values())
            and isinstance(span.get("duration", 1), int)
            for span in spans
        )
        return Answer(202 if right else 400)

    return JsonServer("/api/v2/spans", answer)


def environment_of_zipkin(server: JsonServer) -> dict[str, str]:
    """Return the variables that lead the spans of a process to it."""
    return {
        "OTEL_TRACES_EXPORTER": "zipkin_json",
        "OTEL_EXPORTER_ZIPKIN_ENDPOINT": f"{server.address}/api/v2/spans",
    }
