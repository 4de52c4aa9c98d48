"""Adding a title that TMDb knows, with its seasons, credits and people."""

from typing import Annotated, Any, Literal

from pydantic import Field, StrictInt

from flows.catalog import catalog_for_task
from flows.forms import field
from flows.reporting import ProgressArtifact, logger, parameters, publish, run_settings, sentence
from flows.retrying import RETRIES
from flows.tmdb import require_tmdb
from haas_media.library import named
from haas_otel import flow, task

Kind = Literal["movie", "tv"]
TmdbId = Annotated[StrictInt, Field(ge=1, le=2**31 - 1)]
KIND: Any = field(title="Kind", description="A movie, or a show with all its seasons.")
TMDB_ID: Any = field(
    title="TMDb id",
    description="The number in the address of the title's page at www.themoviedb.org.",
)


@task(name="Add to library", **RETRIES)
def add_to_library(kind: Kind, tmdb_id: int) -> dict[str, int]:
    """Add a title; return the counts of the report.

    Raises:
        SettingsError: the settings are wrong, or there is no TMDb token.
        CatalogError: the catalog cannot be opened.
        TitleUnknown: TMDb has no such title.
        ProviderError: TMDb refuses the token, or could not be reached.
    """
    from haas_media.library.add import add_to_library as add

    settings = run_settings()
    progress = ProgressArtifact("add-to-library-progress", sentence(named(kind, tmdb_id)))
    logger().info("Asking TMDb for %s", named(kind, tmdb_id))
    with require_tmdb(settings) as provider, catalog_for_task(settings) as catalog:
        report = add(catalog, provider, kind, tmdb_id, on_progress=progress)
    progress.finish(report.summary())
    return publish(report, "add-to-library")


def _run_name() -> str:
    given = parameters()
    return f"add {named(given['kind'], given['tmdb_id'])}"


@flow(name="add-to-library", flow_run_name=_run_name)
def add_to_library_flow(kind: Kind = KIND, tmdb_id: TmdbId = TMDB_ID) -> dict[str, int]:
    """Add a title that TMDb knows to the catalog, or renew it."""
    return add_to_library(kind, tmdb_id)
