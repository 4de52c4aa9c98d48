"""The last part of a scan: details of the people in titles whose records are new."""

from __future__ import annotations

import datetime as dt
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from haas_media.catalog.models import Movie, Show
from haas_media.catalog.upserts import table_of, update_many
from haas_media.library.people import fetch_people, wanted_people

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.orm import Session

    from haas_media.catalog.opening import Catalog
    from haas_media.progress import Progress
    from haas_media.providers.records import Provider

_CHUNK = 500


def read_people(
    catalog: Catalog,
    provider: Provider,
    *,
    threads: int,
    tell: Callable[[float, str], None],
) -> int:
    """Read details of the people of titles that were stored since their people were read last.

    Args:
        catalog: an open catalog.
        provider: whom to ask.
        threads: requests under way at once.
        tell: told the share that is done, and the person at hand.

    Returns:
        How many people's details were read.
    """
    movies, shows = _new_titles(catalog, Movie), _new_titles(catalog, Show)
    if not movies and not shows:
        return 0

    def on_progress(progress: Progress) -> None:
        tell(progress.fraction, progress.current)

    wanted = wanted_people(catalog, movie_ids=list(movies), show_ids=list(shows))
    report = fetch_people(catalog, provider, wanted, threads=threads, on_progress=on_progress)
    if not report.unreachable:
        for model, titles in ((Movie, movies), (Show, shows)):
            _settle(catalog, model, titles)
    return report.fetched


def _new_titles(catalog: Catalog, model: Any) -> dict[int, dt.datetime]:
    """Return titles whose people have not been looked at, with the time they were stored."""
    with catalog.reading() as session:
        rows = session.execute(
            select(model.id, model.details_fetched_at).where(
                model.people_fetched_at.is_(None), model.details_fetched_at.is_not(None)
            )
        )
        return {row[0]: row[1] for row in rows}


def _settle(catalog: Catalog, model: Any, titles: dict[int, dt.datetime]) -> None:
    ids = sorted(titles)
    for start in range(0, len(ids), _CHUNK):
        catalog.write(partial(_mark, model=model, ids=ids[start : start + _CHUNK], titles=titles))


def _mark(session: Session, model: Any, ids: list[int], titles: dict[int, dt.datetime]) -> None:
    now = dt.datetime.now(dt.UTC)
    # Not if it was stored again meanwhile, perhaps with other people.
    rows = [
        {"id": each, "details_fetched_at": titles[each], "people_fetched_at": now} for each in ids
    ]
    update_many(session, table_of(model), rows, by=("id", "details_fetched_at"))
