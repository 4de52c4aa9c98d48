"""The refresh: what has changed at TMDb is read again."""

from flows.catalog import catalog_for_task
from flows.forms import field
from flows.reporting import ProgressArtifact, logger, parameters, publish, run_settings, sentence
from flows.retrying import RETRIES
from flows.tmdb import require_tmdb
from haas_otel import flow, task


@task(name="Metadata refresh", **RETRIES)
def metadata_refresh(
    movies: bool, tv_shows: bool, people: bool, changed_only: bool
) -> dict[str, int]:
    """Refresh what is chosen; return the counts of the report.

    Raises:
        SettingsError: the settings are wrong, or there is no TMDb token.
        CatalogError: the catalog cannot be opened.
        ProviderError: TMDb refuses the token, or could not be reached.
    """
    from haas_media.library.refresh import refresh

    settings = run_settings()
    what = _named(movies, tv_shows, people, changed_only)
    progress = ProgressArtifact("metadata-refresh-progress", sentence(what))
    logger().info(sentence(what))
    with require_tmdb(settings) as provider, catalog_for_task(settings) as catalog:
        report = refresh(
            catalog,
            provider,
            movies=movies,
            tv_shows=tv_shows,
            people=people,
            changed_only=changed_only,
            on_progress=progress,
        )
    progress.finish(report.summary())
    return publish(report, "metadata-refresh")


def _named(movies: bool, tv_shows: bool, people: bool, changed_only: bool) -> str:
    chosen = [
        name
        for name, wanted in (("movies", movies), ("shows", tv_shows), ("people", people))
        if wanted
    ]
    which = "what has changed of" if changed_only else "all"
    return f"refresh of {which} {', '.join(chosen)}" if chosen else "refresh of nothing"


def _run_name() -> str:
    given = parameters()
    names = ("movies", "tv_shows", "people", "changed_only")
    return _named(*(bool(given.get(name, True)) for name in names))


@flow(name="metadata-refresh", flow_run_name=_run_name)
def metadata_refresh_flow(
    movies: bool = field(True, title="Movies", description="Refresh movies."),
    tv_shows: bool = field(
        True, title="Shows", description="Refresh shows, with their seasons and episodes."
    ),
    people: bool = field(True, title="People", description="Refresh people."),
    changed_only: bool = field(
        True,
        title="Changed only",
        description="Ask TMDb's lists of changes first, and read only what is in them.",
    ),
) -> dict[str, int]:
    """Read again what has changed at TMDb."""
    if not (movies or tv_shows or people):
        raise ValueError("Nothing is chosen. Tick at least one of movies, shows and people.")
    return metadata_refresh(movies, tv_shows, people, changed_only)
