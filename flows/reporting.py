"""How a run tells of itself in the Prefect UI: progress, report, counts on its span."""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any
from uuid import UUID

from opentelemetry import trace

from haas_media.markdown import escaped

if TYPE_CHECKING:
    from haas_media.markdown import Report
    from haas_media.progress import Progress
    from haas_media.settings import Settings

CONTAINER_MARKS = ("/.dockerenv", "/run/.containerenv", "/var/run/secrets/kubernetes.io")
ONCE_A = 1.0  # seconds between two updates of a progress artifact


def parameters() -> dict[str, Any]:
    """Return the parameters of the running flow run; for names of runs."""
    from prefect.runtime import flow_run

    return flow_run.get_parameters()


def set_counts(counts: Mapping[str, int | float | str]) -> None:
    """Set ``media.<name>`` on the span of the running task for each count."""
    span = trace.get_current_span()
    for name, value in counts.items():
        span.set_attribute(f"media.{name}", value)


class ProgressArtifact:
    """A progress bar in the UI, moved at most once a second and never backwards.

    A bar that cannot be drawn is told in the log once; it never fails the task.

    Args:
        key: the artifact's key: lower case and dashes.
        title: what the bar shows the progress of.
        clock: seconds, monotonic.
    """

    def __init__(self, key: str, title: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._key = key
        self._title = title
        self._clock = clock
        self._percent = 0.0
        self._updated = -ONCE_A
        self._artifact: UUID | None = None
        self._broken = False

    def __call__(self, progress: "Progress") -> None:
        """Show this progress, unless the bar was moved less than a second ago."""
        if self._clock() - self._updated >= ONCE_A:
            self._show(progress.fraction * 100, self._describe(progress))

    def finish(self, description: str) -> None:
        """Show the bar full."""
        self._show(100.0, description)

    def _describe(self, progress: "Progress") -> str:
        counts = ", ".join(f"{name} {count}" for name, count in progress.counts.items())
        lines = [self._title, progress.phase, progress.current, counts]
        return "\n\n".join(line for line in lines if line)

    def _show(self, percent: float, description: str) -> None:
        self._percent = max(self._percent, min(percent, 100.0))
        self._updated = self._clock()
        try:
            # The UI reads descriptions as Markdown.
            self._write("\n\n".join(map(escaped, description.split("\n\n"))))
        except Exception as error:  # noqa: BLE001 - a drawing is never worth a failed task
            if not self._broken:
                logger().warning("The progress bar cannot be updated: %s", error)
            self._broken = True

    def _write(self, description: str) -> None:
        from prefect.artifacts import create_progress_artifact, update_progress_artifact

        if self._artifact is None:
            created = create_progress_artifact(
                progress=self._percent, key=self._key, description=description
            )
            assert isinstance(created, UUID)  # noqa: S101 - a coroutine only in async callers
            self._artifact = created
        else:
            update_progress_artifact(
                artifact_id=self._artifact, progress=self._percent, description=description
            )


def publish(report: "Report", key: str) -> dict[str, int]:
    """Tell of a report everywhere: span, log, table and Markdown; return its counts.

    The work is done by now, so artifacts that cannot be kept are told in the log, and no more.

    Args:
        report: what a task has done.
        key: the start of the artifacts' keys.
    """
    set_counts(report.counts())
    logger().info(report.summary())
    try:
        _keep(report, key)
    except Exception as error:  # noqa: BLE001 - a page is never worth a failed task
        logger().warning("The report cannot be kept in the Prefect UI: %s", error)
    return report.counts()


def _keep(report: "Report", key: str) -> None:
    from prefect.artifacts import create_markdown_artifact, create_table_artifact

    summary = escaped(report.summary())
    if rows := report.table():
        create_table_artifact(table=rows, key=f"{key}-counts", description=summary)
    create_markdown_artifact(
        markdown=report.to_markdown(), key=f"{key}-report", description=summary
    )


def run_settings() -> "Settings":
    """Read the settings for the running task, and keep a link to its trace with the run.

    The link comes first of all, so that it is there however the run ends. A template that is
    wrong costs the link and is said in the log; it never costs the run.

    Raises:
        SettingsError: something else in the settings is wrong.
    """
    from haas_media.settings import SettingsError
    from haas_media.settings_sources import load_settings

    try:
        settings = load_settings()
    except SettingsError as wrong:
        settings = load_settings(without=["trace_url"])
        logger().warning("This run has no link to its trace. %s", wrong)
        return settings
    link_to_trace(settings.trace_url)
    if folder := _lost_with_this_container():
        logger().warning(
            "Spans are kept in %s, and go with this container before a collector has them: "
            "mount a volume there.",
            folder,
        )
    return settings


def _lost_with_this_container(marks: Iterable[str] = CONTAINER_MARKS) -> str | None:
    """Return the folder of spans if it is a container's own and no volume."""
    import os

    folder = os.environ.get("HAAS_OTEL_DIR", "/")
    while not os.path.exists(folder):  # noqa: PTH110 - a disk that does not answer raises there
        folder = os.path.dirname(folder)  # noqa: PTH120
    inside = any(map(os.path.exists, marks))
    return folder if inside and os.stat(folder).st_dev == os.stat("/").st_dev else None  # noqa: PTH116


def link_to_trace(template: str | None) -> None:
    """Keep a link to the running task's trace with the run.

    A link that cannot be kept is told in the log; it never fails the task.

    Args:
        template: an address with ``{trace_id}``; no link without one, or without a span that is
            sent anywhere.
    """
    from prefect.artifacts import create_link_artifact

    context = trace.get_current_span().get_span_context()
    if not template or not context.is_valid or not context.trace_flags.sampled:
        return
    trace_id = trace.format_trace_id(context.trace_id)
    try:
        create_link_artifact(
            link=template.replace("{trace_id}", trace_id),
            link_text=f"Trace {trace_id}",
            key="trace",
            description="The trace of this run in the tracing backend.",
        )
    except Exception as error:  # noqa: BLE001 - a link is never worth a failed task
        logger().warning("The link to the trace cannot be kept: %s", error)


def sentence(text: str) -> str:
    """Begin with a capital, and leave names as they are."""
    return text[:1].upper() + text[1:]


def logger() -> Any:
    """Return the logger of the running task."""
    from prefect import get_run_logger

    return get_run_logger()
