"""The audit as a deployment: whether each task run has its span in the backend."""
# ruff: noqa: B008 - a call in a default is how Prefect takes the description of a parameter

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import Field

from flows.forms import field
from flows.reporting import publish
from haas_otel import flow

# It has no tasks, and so leaves no span: it looks after those of others.

Days = Annotated[float, Field(gt=0, le=90)]


@flow(name="audit-spans", flow_run_name="audit spans", log_prints=False)
def audit_spans_flow(
    backend: str = field(
        "store",
        title="Backend",
        description="Where to look: store, jaeger=URL, zipkin=URL or tempo=URL.",
    ),
    since_days: Days = field(
        1.0, title="Look back (days)", description="How long ago a run may have begun."
    ),
    repair: bool = field(
        False,
        title="Repair",
        description="Send again what is missing there and kept on the worker's machine.",
    ),
) -> dict[str, int]:
    """Say which task runs have no span in the backend, two, or one that tells another ending."""
    from flows.audit import audit
    from flows.backends import backend as backend_of
    from haas_otel.delivery.metrics import send_audit

    report = audit(backend_of(backend), timedelta(days=since_days), repair=repair)
    send_audit(report.counts())
    return publish(report, "audit-spans")
