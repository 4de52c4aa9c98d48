"""The local trace store, which has each span once."""

from __future__ import annotations

from flows.backends import Found


class Store:
    """The trace store of this machine."""

    exporter = "none"

    def spans(self, trace_id: str) -> list[Found]:
        """Return all spans of a trace."""
        from haas_otel.delivery.store import TraceNotFound, TraceStore

        try:
            spans = TraceStore().trace(trace_id)
        except TraceNotFound:
            return []
        return [
            Found(s.span_id, s.start_ns // 1000, (s.end_ns - s.start_ns) // 1000, s.attributes)
            for s in spans
            if s.trace_id == trace_id
        ]
