"""Adding a title that TMDb knows, with its seasons, credits and people."""
# ruff: noqa: B008 - a call in a default is how Prefect takes the description of a parameter

from typing import Annotated, Literal

from pydantic import Field, StrictInt

from flows.catalog import the_catalog
from flows.forms import field
from flows.reporting import ProgressArtifact, logger, parameters, run_settings, sentence, tell
from flows.retrying import RETRIES
from flows.tmdb import require_tmdb
from haas_otel import flow, task

Kind = Literal["movie", "tv"]
TmdbId = Annotated[StrictInt, Field(ge=1, le=2**31 - 1)]


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
    progress = ProgressArtifact("add-to-library-progress", sentence(_named(kind, tmdb_id)))
    logger().info("Asking TMDb for %s", _named(kind, tmdb_id))
    with require_tmdb(settings) as provider, the_catalog(settings) as catalog:
        report = add(catalog, provider, kind, tmdb_id, on_progress=progress)
    progress.finish(report.summary())
    return tell(report, "add-to-library", report.summary())


def _named(kind: str, tmdb_id: int) -> str:
    return f"{'movie' if kind == 'movie' else 'show'} {tmdb_id}"


def _run_name() -> str:
    given = parameters()
    return f"add {_named(given['kind'], given['tmdb_id'])}"


@flow(name="add-to-library", flow_run_name=_run_name)
def add_to_library_flow(
    kind: Kind = field(title="Kind", description="A movie, or a show with all its seasons."),
    tmdb_id: TmdbId = field(
        title="TMDb id",
        description="The number in the address of the title's page at www.themoviedb.org.",
    ),
) -> dict[str, int]:
    """Add a title that TMDb knows to the catalog, or renew it."""
    return add_to_library(kind, tmdb_id)
