"""Removing a title; the people it had are cleaned up by a run of their own."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from flows.add_to_library import KIND, TMDB_ID, Kind, TmdbId
from flows.catalog import catalog_for_task
from flows.reporting import logger, parameters, publish, run_settings
from flows.retrying import RETRIES
from haas_media.library import named
from haas_media.wording import counted, counted_people
from haas_otel import flow, task

if TYPE_CHECKING:
    from haas_media.library.remove import RemoveReport

CLEANUP = "person-cleanup/nightly"


@task(name="Remove from library", **RETRIES)
def remove_from_library(kind: Kind, tmdb_id: int) -> "RemoveReport":
    """Remove a title; its files stay where they are.

    Raises:
        SettingsError: the settings are wrong.
        CatalogError: the catalog cannot be opened.
        TitleUnknown: the library has no such title.
    """
    from haas_media.library.remove import remove_from_library as remove

    settings = run_settings()
    with catalog_for_task(settings) as catalog:
        report = remove(catalog, kind, tmdb_id)
    publish(report, "remove-from-library")
    return report


def _run_name() -> str:
    given = parameters()
    return f"remove {named(given['kind'], given['tmdb_id'])}"


@flow(name="remove-from-library", flow_run_name=_run_name)
def remove_from_library_flow(kind: Kind = KIND, tmdb_id: TmdbId = TMDB_ID) -> dict[str, int]:
    """Remove a title from the catalog, then have the people it had cleaned up."""
    report = remove_from_library(kind, tmdb_id)
    queue_cleanup(report.person_ids)
    return report.counts()


def queue_cleanup(person_ids: Sequence[int]) -> None:
    """Start the cleanup of these people as a run of its own, without waiting for it.

    When it cannot be started the nightly cleanup of everybody does its work; that is said.
    """
    from prefect.client.schemas.objects import FlowRun
    from prefect.deployments import run_deployment
    from prefect.exceptions import ObjectNotFound

    if not person_ids:
        return
    try:
        run = run_deployment(
            CLEANUP, parameters={"person_ids": list(person_ids)}, timeout=0, as_subflow=False
        )
    except ObjectNotFound:
        logger().warning(
            "%s is not deployed, so its %s until it is.",
            CLEANUP,
            counted(len(person_ids), "person stays", "people stay"),
        )
    except Exception as error:  # noqa: BLE001 - the title is removed, whatever becomes of this
        logger().warning(
            "The cleanup of %s cannot be queued, and the nightly one does its work: %s",
            counted_people(len(person_ids)),
            error,
        )
    else:
        assert isinstance(run, FlowRun)  # noqa: S101 - a coroutine only in async callers
        logger().info("Queued the cleanup of %s: run %s", counted_people(len(person_ids)), run.name)
