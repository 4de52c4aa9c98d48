"""Storing what a provider tells of a title: the title, its credits and the people's names at once.

Every function works in the caller's transaction, so that a title is never half written, and
gives the same rows when called again. What a record has as ``missing`` stays as it is on record.
Two writers at once are safe on PostgreSQL: each takes the title's row first, then the people in the
order of their ids, so neither waits for the other in a circle, and the second finds what the first
has committed.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, exists, select, update

from haas_media.catalog.dialects import columns_of, insert, insert_many, table_of, upsert
from haas_media.catalog.models import (
    Credit,
    Episode,
    MediaFile,
    Movie,
    Person,
    Season,
    Show,
    TitleAlias,
    match_key,
    media_file_episodes,
    title_column,
)
from haas_media.providers.records import MovieRecord

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from sqlalchemy.orm import Session

    from haas_media.catalog.models import TitleModel
    from haas_media.providers.records import CreditRecord, EpisodeRecord, SeasonRecord, ShowRecord

EpisodeKey = tuple[int, int, int]

# Columns that are made of what a provider tells of others.
_MADE_OF = {
    "year": {"release_date", "first_air_date"},
    "match_key": {"title", "release_date", "first_air_date"},
}


def store_title(
    session: Session,
    record: MovieRecord | ShowRecord,
    seasons: Sequence[SeasonRecord] = (),
    *,
    replaces: int | None = None,
) -> Movie | Show:
    """Store a movie or a show with its credits, and those seasons that are given, with theirs.

    Seasons that are not given stay as they are. Those that the provider names no more, and episodes
    of a given season that it does not know, go, unless a file belongs to them.

    Args:
        seasons: what it tells of the seasons of a show that are wanted.
        replaces: the id of a title without ``tmdb_id`` that turned out to be this one; its row
            becomes this title's, or its files move to this title if it is known already.
    """
    model: Any = Movie if isinstance(record, MovieRecord) else Show
    title_id = _store_row(session, model, record, replaces)
    _store_people(session, [*record.credits, *_episode_credits(seasons)])
    _renew_credits(session, title_column(model).key, {title_id: record})
    if not isinstance(record, MovieRecord) and "season_numbers" not in record.missing:
        _drop_unknown_seasons(session, title_id, record.season_numbers)
    for season in sorted(seasons, key=lambda season: season.number):
        _store_season(session, title_id, season)
    title: Movie | Show = session.get_one(model, title_id, populate_existing=True)
    return title


def store_seasons(session: Session, show_id: int, seasons: Sequence[SeasonRecord]) -> None:
    """Store some seasons of a show that is in the catalog, with their episodes and credits.

    Args:
        show_id: the show's row, which is held until the transaction ends.
        seasons: what the provider tells of them.
    """
    session.execute(select(Show.id).where(Show.id == show_id).with_for_update())
    _store_people(session, _episode_credits(seasons))
    for season in sorted(seasons, key=lambda season: season.number):
        _store_season(session, show_id, season)


def _episode_credits(seasons: Sequence[SeasonRecord]) -> list[CreditRecord]:
    return [
        credit for season in seasons for episode in season.episodes for credit in episode.credits
    ]


def _store_row(
    session: Session, model: TitleModel, record: MovieRecord | ShowRecord, replaces: int | None
) -> int:
    """Insert or update the title and hold its row until the transaction ends."""
    if replaces is not None:
        _adopt(session, model, record.tmdb_id, replaces)
    now = dt.datetime.now(dt.UTC)
    first = record.release_date if isinstance(record, MovieRecord) else record.first_air_date
    year = first.year if first else None
    row = columns_of(record, table_of(model)) | {
        "year": year,
        "match_key": match_key(record.title, year),
        "source": "tmdb",
        "looked_up_at": now,
        "details_fetched_at": now,
        # The credits may have changed, so the scan looks at the people again.
        "people_fetched_at": None,
        "added_at": now,
    }
    made = {name for name, of in _MADE_OF.items() if of & record.missing}
    keep = {"added_at", *record.missing, *made}
    ids = upsert(session, table_of(model), [row], ["tmdb_id"], keep=keep)
    return ids[(record.tmdb_id,)]


def _adopt(session: Session, model: TitleModel, tmdb_id: int, replaces: int) -> None:
    """Give an offline title its id, or its files to the title that has that id."""
    both = (model.id == replaces) | (model.tmdb_id == tmdb_id)
    columns = (model.id, model.tmdb_id, model.requested)
    rows = session.execute(select(*columns).where(both).order_by(model.id).with_for_update()).all()
    known = {row.tmdb_id: row.id for row in rows}
    if replaces not in [row.id for row in rows if row.tmdb_id is None]:
        return  # another writer was quicker
    if tmdb_id not in known:
        session.execute(update(model).where(model.id == replaces).values(tmdb_id=tmdb_id))
        return
    if any(row.requested for row in rows):
        session.execute(update(model).where(model.id == known[tmdb_id]).values(requested=True))
    column = title_column(model)
    if model is Show:
        _move_episode_links(session, replaces, known[tmdb_id])
    session.execute(
        update(MediaFile).where(column == replaces).values({column.key: known[tmdb_id]})
    )
    session.execute(delete(model).where(model.id == replaces))


def remember_aliases(
    session: Session, model: TitleModel, title_id: int, keys: Iterable[str]
) -> None:
    """Remember under which names and foreign ids of files this title was found."""
    column = table_of(TitleAlias).c.movie_id if model is Movie else table_of(TitleAlias).c.show_id
    rows = [{"key": key, column.name: title_id} for key in sorted(set(keys))]
    upsert(session, table_of(TitleAlias), rows, ["key"], index_where=column.is_not(None))


def _move_episode_links(session: Session, from_show: int, to_show: int) -> None:
    links = session.execute(
        select(media_file_episodes.c.media_file_id, Season.number, Episode.number)
        .join(Episode, Episode.id == media_file_episodes.c.episode_id)
        .join(Season, Season.id == Episode.season_id)
        .where(Season.show_id == from_show)
    ).all()
    wanted = defaultdict(list)
    for file_id, season, number in links:
        wanted[file_id].append((to_show, season, number))
    link_episodes(session, wanted)


def link_episodes(
    session: Session,
    wanted: Mapping[int, Collection[EpisodeKey]],
    *,
    fresh: Collection[int] = (),
) -> dict[EpisodeKey, int]:
    """Say which episodes files hold, in place of what they held; return the episodes' ids.

    Those that are not known yet are made, bare.

    Args:
        wanted: by the id of the file, each episode as its show's id, season and number.
        fresh: those of the files that are new, and hold nothing yet.
    """
    links = media_file_episodes
    if known := wanted.keys() - set(fresh):
        session.execute(delete(links).where(links.c.media_file_id.in_(known)))
    keys = {key for of_file in wanted.values() for key in of_file}
    seasons = _ensure(session, Season, ("show_id", "number"), {key[:2] for key in keys})
    numbers = {(seasons[show_id, season], number) for show_id, season, number in keys}
    ids = _ensure(session, Episode, ("season_id", "number"), numbers)
    episodes = {key: ids[seasons[key[:2]], key[2]] for key in keys}
    rows = [
        {"media_file_id": file_id, "episode_id": episodes[key]}
        for file_id, of_file in wanted.items()
        for key in of_file
    ]
    insert_many(session, links, rows, but_those_there=True)
    return episodes


def _ensure(
    session: Session, model: Any, columns: tuple[str, str], wanted: set[tuple[int, int]]
) -> dict[Any, int]:
    """Return the ids of rows by two numbers, making those that are missing."""
    table = table_of(model)
    parent, number = table.c[columns[0]], table.c[columns[1]]
    known = select(parent, number, table.c.id).where(parent.in_({key[0] for key in wanted}))
    ids = {(row[0], row[1]): row[2] for row in session.execute(known)}
    missing = [dict(zip(columns, key, strict=True)) for key in sorted(wanted - ids.keys())]
    return ids | upsert(session, table, missing, columns)


def _store_season(session: Session, show_id: int, record: SeasonRecord) -> None:
    now = dt.datetime.now(dt.UTC)
    row = columns_of(record, table_of(Season)) | {"show_id": show_id, "details_fetched_at": now}
    ids = upsert(session, table_of(Season), [row], ["show_id", "number"], keep=record.missing)
    season_id = ids[show_id, record.number]
    if "episodes" not in record.missing:
        _drop_unknown_episodes(session, season_id, {episode.number for episode in record.episodes})
    _renew_credits(session, "episode_id", _upsert_episodes(session, season_id, record.episodes))


def _drop_unknown_seasons(session: Session, show_id: int, known: Collection[int]) -> None:
    if not known:  # more likely a mistake than true
        return
    links = media_file_episodes
    has_file = exists().where(Episode.season_id == Season.id, links.c.episode_id == Episode.id)
    session.execute(
        delete(Season).where(Season.show_id == show_id, Season.number.not_in(known), ~has_file)
    )


def _drop_unknown_episodes(session: Session, season_id: int, known: set[int]) -> None:
    has_file = select(media_file_episodes.c.episode_id)
    session.execute(
        delete(Episode).where(
            Episode.season_id == season_id,
            Episode.number.not_in(known),
            Episode.id.not_in(has_file),
        )
    )


def _upsert_episodes(
    session: Session, season_id: int, records: Sequence[EpisodeRecord]
) -> dict[int, EpisodeRecord]:
    """Return the records by the ids of their rows."""
    table = table_of(Episode)
    numbered = {record.number: record for record in records}
    alike = defaultdict(list)
    for _, record in sorted(numbered.items()):
        row = columns_of(record, table) | {"season_id": season_id}
        alike[record.missing].append(row)
    ids: dict[tuple[Any, ...], int] = {}
    for missing, rows in alike.items():
        ids |= upsert(session, table, rows, ["season_id", "number"], keep=missing)
    return {episode_id: numbered[number] for (_, number), episode_id in ids.items()}


def _store_people(session: Session, credits: Iterable[CreditRecord]) -> None:  # noqa: A002
    """Make everybody known by name, and hold their rows so that no cleanup takes them away."""
    people: dict[int, dict[str, Any]] = {}
    for credit in credits:
        person = people.setdefault(
            credit.person_id,
            {"id": credit.person_id, "name": credit.name, "profile_path": credit.profile_path},
        )
        person["profile_path"] = person["profile_path"] or credit.profile_path
    if not people:
        return
    table = table_of(Person)
    statement = insert(session, table)
    upsert = statement.on_conflict_do_update(
        index_elements=["id"],
        set_={"name": statement.excluded.name},
        # The row is held even when the name is the same and nothing is written.
        where=table.c.name != statement.excluded.name,
    )
    session.execute(upsert, [people[person_id] for person_id in sorted(people)])


def _renew_credits(
    session: Session, owner: str, records: Mapping[int, MovieRecord | ShowRecord | EpisodeRecord]
) -> None:
    """Put credits in the place of those on record, cast and crew each where it is not missing.

    Args:
        owner: the column that says whose credits they are.
        records: by the id of the row.
    """
    table = table_of(Credit)
    rows = []
    for kind in ("cast", "crew"):
        missing = [row_id for row_id, record in records.items() if kind in record.missing]
        on_record = select(table.c[owner]).where(table.c.kind == kind, table.c[owner].in_(missing))
        renewed = records.keys() - set(session.scalars(on_record) if missing else ())
        session.execute(delete(table).where(table.c.kind == kind, table.c[owner].in_(renewed)))
        rows += [
            {**columns_of(credit, table), owner: row_id}
            for row_id in records
            if row_id in renewed
            for credit in dict.fromkeys(records[row_id].credits)
            if credit.kind == kind
        ]
    insert_many(session, table, rows)
