"""Set-up from the standard ``OTEL_*`` variables, through the ecosystem's own configurator."""

from __future__ import annotations

import atexit
import logging
import os
import threading
from collections import Counter
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from opentelemetry import trace

from haas_otel import _sdk, span
from haas_otel.delivery.disk import SharedDisk
from haas_otel.delivery.exporters import chosen_names, chosen_targets
from haas_otel.delivery.limits import Limits, telemetry_directory
from haas_otel.delivery.logs import EndedEvents, LogExporting, SpanLogHandler
from haas_otel.delivery.metrics import chosen_metrics, shared_resource
from haas_otel.delivery.processor import DurableSpanProcessor
from haas_otel.delivery.segments import Journal
from haas_otel.ids import TaskRunIdGenerator, deciding_on_runs

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

    from opentelemetry.trace import TracerProvider

_logger = logging.getLogger(__name__)

_lock = threading.Lock()
_journal_lock = threading.Lock()
_configured = False
_processor: DurableSpanProcessor | None = None
_journal: Journal | None = None
_disk: SharedDisk | None = None
_logs: SpanLogHandler | None = None


class TaskSpanConfigurator(_sdk._OTelSDKConfigurator):  # type: ignore[misc]
    """The SDK's configurator, with our ids and with export that outlives the process.

    Sampler, resource, id generator and exporters are chosen by the SDK's variables and entry
    points. As an ``opentelemetry_configurator`` entry point it lets ``opentelemetry-instrument``
    set up the same.
    """

    def _configure(self, **kwargs: Any) -> None:
        global _processor, _logs
        if os.environ.get("OTEL_CONFIG_FILE"):
            super()._configure(**kwargs)
            _use_provider()
            return
        _leave_out_what_is_no_limit()
        resource = shared_resource(kwargs.get("auto_instrumentation_version"))
        metrics = chosen_metrics(resource, _running)
        events = chosen_targets("LOGS", "events", EndedEvents)
        targets = (*chosen_targets(), *metrics, *events)
        processor = DurableSpanProcessor(_the_journal(), targets, Limits.from_environment())
        is_named = os.environ.get("OTEL_PYTHON_ID_GENERATOR")  # else it would be looked for
        ids = _sdk._import_id_generator(_sdk._get_id_generator()) if is_named else None
        _sdk._init_tracing(
            exporters={},
            id_generator=TaskRunIdGenerator(ids),
            sampler=_sdk._import_sampler(_sdk._get_sampler()),
            resource=resource,
            span_processors=[processor],
            tracer_configurator=_sdk._import_tracer_configurator(_sdk._get_tracer_configurator()),
        )
        _use_provider()
        _processor = processor
        if names := chosen_names("LOGS"):
            _logs = SpanLogHandler(LogExporting(names), resource)
            span.announce = _logs.announce


def configure(provider: TracerProvider | None = None) -> None:
    """Set up tracing once in a process, or add our ids to the application's provider."""
    global _configured
    if provider is not None:
        _configured = _use_provider(provider)
    if _configured:
        return
    with _lock:
        if _configured:
            return
        try:
            if not _use_provider():
                TaskSpanConfigurator().configure()
            if _processor is not None:  # opentelemetry-instrument may have set it up
                # Registered after the provider's own, it runs before that.
                atexit.register(_end, _processor)
                span.deliver_last = partial(_end_at_once, _processor)
            if _logs is not None:
                # Not earlier: when Prefect is imported it takes away the handlers that are there.
                _logs.install()
        except Exception:
            _logger.exception("OpenTelemetry could not be set up; there will be no spans")
        _configured = True


def disk(settle: Callable[[], object]) -> SharedDisk | None:
    """Return the disk that this process shares with others; None while it cannot be used.

    It sets nothing up: an application may still do that, after its flow has begun. With its own
    provider there are start records on the disk, and no spans.
    """
    global _disk
    if _disk is None:
        journal = _the_journal()
        try:
            _disk = SharedDisk(journal, settle, _wake)
        except OSError as error:
            _warn_once(f"runs are not written down in {journal.directory}: {error}")
    return _disk


def _the_journal() -> Journal:
    global _journal
    with _journal_lock:
        if _journal is None:
            _journal = Journal(telemetry_directory())
            os.register_at_fork(after_in_child=_journal.forget_after_fork)
            atexit.register(_journal.close)
    return _journal


def _wake() -> None:
    """Have it found out, while a run goes on, whether the collectors answer."""
    if _processor is not None:
        _processor.wake()


def _running() -> Counter[str]:
    """Return how many task runs go on, on this machine, by type."""
    return _disk.running() if _disk is not None else Counter()


@cache
def _warn_once(text: str) -> None:
    _logger.warning(text)


def deliver_pending(timeout: timedelta) -> int:
    """Have our processor send what it can, and return how many spans went out."""
    configure()
    if _processor is None:
        return 0
    before = _processor.delivered
    _processor.deliver(timeout)
    return _processor.delivered - before


def _end(processor: DurableSpanProcessor) -> None:
    """Have logs sent while the last spans are, for no longer."""
    timeout = processor.begin_shutdown()
    if _logs is not None:
        _logs.end(timeout)


def _end_at_once(processor: DurableSpanProcessor) -> None:
    """Do what the exit functions would do."""
    _end(processor)
    processor.shutdown()


def _use_provider(given: TracerProvider | None = None) -> bool:
    """Add our ids to a provider, or to the one that is set; say whether there is one.

    Sampling by them, too.
    """
    provider: Any = given or trace.get_tracer_provider()
    if isinstance(provider, trace.ProxyTracerProvider):
        return False
    ids = getattr(provider, "id_generator", None)
    if ids is not None and not isinstance(ids, TaskRunIdGenerator):
        provider.id_generator = TaskRunIdGenerator(ids)
    if (sampler := getattr(provider, "sampler", None)) is not None:
        provider.sampler = deciding_on_runs(sampler)
    return True


def _leave_out_what_is_no_limit() -> None:
    """Ignore limits that are no numbers, as the specification has it: the SDK refuses to start."""
    for name in [
        name for name in os.environ if name.startswith("OTEL_") and name.endswith("_LIMIT")
    ]:
        value = os.environ[name].strip()
        if value and not (value.isascii() and value.isdigit()):
            _logger.warning("%s=%r is no limit: a whole number from 0; it is ignored", name, value)
            del os.environ[name]
