"""Grafana Tempo, by its documented API; it was not at hand to be run.

Its JSON is that of OTLP: ids in hex or, as protobuf has bytes, in base64.
"""

from __future__ import annotations

import base64
from typing import Any

from flows.backends import Found, get


class Tempo:
    """Tempo at an address."""

    exporter = "otlp"

    def __init__(self, url: str) -> None:
        self._url = url

    def spans(self, trace_id: str) -> list[Found]:
        """Return all spans of a trace."""
        answer = get(f"{self._url}/api/v2/traces/{trace_id}") or {}
        found = answer.get("trace", answer)
        return [
            _found(span)
            for resource in found.get("resourceSpans") or found.get("batches") or ()
            for scope in resource.get("scopeSpans", ())
            for span in scope.get("spans", ())
        ]


def _found(span: dict[str, Any]) -> Found:
    id_ = span["spanId"]
    start, end = int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"])
    return Found(
        id_.lower() if len(id_) == 16 else base64.b64decode(id_).hex(),
        start // 1000,
        (end - start) // 1000,
        {each["key"]: next(iter(each["value"].values())) for each in span.get("attributes", ())},
    )
