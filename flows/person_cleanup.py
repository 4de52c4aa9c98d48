"""The cleanup: people to whom no title refers any more are deleted."""
# ruff: noqa: B008 - a call in a default is how Prefect takes the description of a parameter

from flows.add_to_library import TmdbId
from flows.catalog import catalog_for_task
from flows.forms import field
from flows.reporting import ProgressArtifact, logger, parameters, publish, run_settings, sentence
from flows.retrying import RETRIES
from haas_media.wording import counted_people
from haas_otel import flow, task


@task(name="Person metadata cleanup", **RETRIES)
def person_cleanup(person_ids: list[int] | None) -> dict[str, int]:
    """Clean up some people, or everybody; return the counts of the report.

    Raises:
        SettingsError: the settings are wrong.
        CatalogError: the catalog cannot be opened.
    """
    from haas_media.library.cleanup import cleanup_people

    settings = run_settings()
    progress = ProgressArtifact("person-cleanup-progress", sentence(_named(person_ids)))
    logger().info("Looking for people to whom no title refers: %s", _named(person_ids))
    with catalog_for_task(settings) as catalog:
        report = cleanup_people(catalog, person_ids, on_progress=progress)
    progress.finish(report.summary())
    return publish(report, "person-cleanup")


def _named(person_ids: list[int] | None) -> str:
    who = "everybody" if person_ids is None else counted_people(len(person_ids))
    return f"cleanup of {who}"


def _run_name() -> str:
    return _named(parameters().get("person_ids"))


@flow(name="person-cleanup", flow_run_name=_run_name)
def person_cleanup_flow(
    person_ids: list[TmdbId] | None = field(
        None,
        title="People",
        description="TMDb ids of the people to look at. Left out: everybody in the catalog.",
    ),
) -> dict[str, int]:
    """Delete people to whom no movie, show or episode refers."""
    return person_cleanup(person_ids)
