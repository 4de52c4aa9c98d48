"""Spans that are still on this disk: which wait for an exporter, and sending some of them again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from haas_otel.delivery.codec import decode, load
from haas_otel.delivery.exporters import chosen_targets
from haas_otel.delivery.limits import telemetry_directory
from haas_otel.delivery.otlp import Kind
from haas_otel.delivery.segments import FOLDER, SUFFIX, Segment, kind_of
from haas_otel.delivery.store import TraceStore

if TYPE_CHECKING:
    from collections.abc import Collection

    Ids = tuple[str, str]  # of a span: its trace's and its own, in lower-case hex


def waiting() -> set[Ids]:
    """Return the spans that wait on this disk for an exporter of spans."""
    found: set[Ids] = set()
    for path in (telemetry_directory() / FOLDER).glob(f"*{SUFFIX}"):
        segment = Segment(path).read()
        for key, items in segment.waiting.items():
            if kind_of(key) == "spans":
                texts = segment.texts(items.values())
                found |= {tuple(load(text)["context"][:2]) for text in texts}
    return found


def send_again(wanted: Collection[Ids], kind: str) -> set[Ids]:
    """Send those of these spans that are kept here, and return those taken.

    To the chosen exporters whose names begin so; where there are none, to all: what others have
    they are not sent again. One request for each span: when this is cut short, the backend knows
    which are left. Raises what an exporter raises that cannot be made.
    """
    chosen, taken = chosen_targets(), set()
    targets = [each for each in chosen if each.key.startswith(kind)] or chosen
    exporters = [target.load() for target in targets]
    for ids, body in TraceStore().encoded(wanted):
        span = decode(body)
        if exporters and all(each.send([span]).kind is Kind.TAKEN for each in exporters):
            taken.add(ids)
    for exporter in exporters:
        exporter.shutdown()
    return taken
