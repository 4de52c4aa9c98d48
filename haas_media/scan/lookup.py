"""Asking the provider for what it has not been asked yet, one title at a time.

Requests run in a few threads, writing in the scan's own; each title is one transaction. What could
not be reached stays as it is, and the next scan asks again.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, exists, or_, select, update

from haas_media.catalog import file_state
from haas_media.catalog.dialects import chunked
from haas_media.catalog.library_rows import hold
from haas_media.catalog.models import (
    Episode,
    MediaFile,
    Movie,
    Season,
    Show,
    media_file_episodes,
    title_column,
)
from haas_media.catalog.store_titles import (
    link_episodes,
    remember_aliases,
    store_seasons,
    store_title,
)
from haas_media.catalog.title_rows import alias_keys
from haas_media.identification.identity import Identity
from haas_media.pool import map_unordered
from haas_media.providers.records import (
    Gone,
    MovieRecord,
    NoMatch,
    ProviderUnreachable,
    ShowRecord,
    UnusableRecord,
)
from haas_media.providers.title_requests import (
    ShowRequest,
    ShowResult,
    TitleRequest,
    request_movie,
    request_show,
)
from haas_media.reasons import Reason
from haas_media.scan.store import drop_bare_titles
from haas_media.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from sqlalchemy.orm import Session

    from haas_media.catalog.models import TitleModel
    from haas_media.catalog.opening import Catalog
    from haas_media.scan.scan_state import ScanState

    Write = Callable[[Callable[[Session], object]], None]

_CHUNK = 200


def look_up(state: ScanState) -> None:
    """Ask the provider for every title of the libraries in reach that waits for it.

    Raises:
        ProviderRefused: the provider refuses the credentials; nothing else can work.
    """
    provider = state.provider
    if provider is None:
        return
    libraries = sorted(each.row.id for each in state.online)
    write = partial(_write, state.catalog, libraries)
    movies, shows = (_waiting(state, model, libraries) for model in (Movie, Show))
    done = unreachable = 0
    for ids, model, ask in ((movies, Movie, request_movie), (shows, Show, request_show)):
        requests: Iterator[Any] = _requests(state, write, model, ids)
        for request, answer in map_unordered(
            partial(ask, provider), requests, state.settings.tmdb.max_concurrent
        ):
            done += 1
            share = done / (len(movies) + len(shows))
            state.progress.report("looking up", share, request.title)
            if isinstance(answer, MovieRecord):
                write(partial(_store_movie, request=request, record=answer))
                state.looked_up += 1
            elif isinstance(answer, ShowResult):
                write(partial(_store_show, request=request, answer=answer))
                state.looked_up += bool(answer.record or answer.seasons)
                state.notes += answer.notes
            elif isinstance(answer, ProviderUnreachable):
                unreachable += 1
            else:
                _take_refusal(state, write, model, request, answer)
    if unreachable:
        state.notes.append(
            f"{counted(unreachable, 'title')} could not be looked up, as the provider was not "
            "reached; the next scan asks again"
        )
    state.progress.counts["looked up"] = state.looked_up


def _write(catalog: Catalog, libraries: list[int], work: Callable[[Session], object]) -> None:
    """Do work in a transaction that holds the rows of the libraries first."""

    def held(session: Session) -> None:
        hold(session, libraries)
        work(session)

    catalog.write(held)


def _waiting(state: ScanState, model: TitleModel, libraries: list[int]) -> list[int]:
    """Return the titles with files in these libraries that have to be asked for."""
    column = title_column(model)
    here = MediaFile.library_id.in_(libraries)
    pending = select(column).where(here, MediaFile.state == "pending", column.is_not(None))
    has_file = exists().where(column == model.id, here)
    condition = or_(model.id.in_(pending), model.looked_up_at.is_(None) & has_file)
    if state.refresh_existing:
        condition |= has_file
    with state.catalog.reading() as session:
        return list(session.scalars(select(model.id).where(condition).order_by(model.id)))


def _requests(
    state: ScanState, write: Write, model: TitleModel, ids: Sequence[int]
) -> Iterator[TitleRequest]:
    """Load titles some at a time, as late as possible: another scan may have been quicker."""
    refresh = state.refresh_existing
    for chunk in chunked(ids, _CHUNK):
        with state.catalog.reading() as session:
            chosen = select(model).where(model.id.in_(chunk)).order_by(model.id)
            rows: Sequence[Any] = session.scalars(chosen).all()
            others = _other_titles(session, model, [row.id for row in rows if not row.tmdb_id])
        for row in rows:
            if row.looked_up_at and not (row.tmdb_id and (refresh or model is Show)):
                write(partial(_match, model=model, title_id=row.id))
                continue
            about = _request(row, refresh) | {"other_titles": others.get(row.id, ())}
            if model is Show:
                with state.catalog.reading() as session:
                    yield _show_request(session, row, refresh, about)
            else:
                yield TitleRequest(**about)


def _other_titles(
    session: Session, model: TitleModel, ids: Sequence[int]
) -> dict[int, tuple[str, ...]]:
    """Return what else the names of files call their titles."""
    other_titles = MediaFile.identity["other_titles"]
    column = title_column(model)
    rows = session.execute(
        select(column, other_titles).where(column.in_(ids), other_titles[0].as_string() != "")
    )
    found: dict[int, tuple[str, ...]] = {}
    for title_id, titles in rows:
        known = found.get(title_id, ())
        found[title_id] = (*known, *(title for title in titles if title not in known))
    return found


def _request(row: Movie | Show, refresh: bool) -> dict[str, Any]:
    tvdb_id = row.tvdb_id if isinstance(row, Show) else None
    return {
        "id": row.id,
        "title": row.title,
        "year": row.year,
        "tmdb_id": row.tmdb_id,
        "imdb_id": row.imdb_id,
        "tvdb_id": tvdb_id,
        "source": row.source,
        "detailed": row.details_fetched_at is not None and not refresh,
        "aliases": ()
        if row.tmdb_id
        else tuple(alias_keys(row.imdb_id, tvdb_id) or [row.match_key]),
    }


def _show_request(session: Session, row: Show, refresh: bool, about: dict[str, Any]) -> ShowRequest:
    # All files if the show is asked for as a whole: numbers may be counted anew.
    as_a_whole = refresh or row.looked_up_at is None
    states = ["pending", "matched"] if as_a_whole else ["pending"]
    files = session.execute(
        select(MediaFile.id, MediaFile.identity).where(
            MediaFile.show_id == row.id,
            MediaFile.state.in_(states),
            MediaFile.identity.is_not(None),
        )
    )
    known: defaultdict[int, set[int]] = defaultdict(set)
    for season, number in session.execute(
        select(Season.number, Episode.number)
        .join(Episode, Episode.season_id == Season.id)
        .where(
            Season.show_id == row.id,
            Season.details_fetched_at.is_not(None),
            # A bare one is known from a file alone; the provider may have more to say by now.
            or_(Episode.title.is_not(None), Episode.air_date.is_not(None)),
        )
    ):
        known[season].add(number)
    return ShowRequest(
        **about,
        files={file_id: Identity.of_kept(kept) for file_id, kept in files},
        known={} if refresh else {number: frozenset(found) for number, found in known.items()},
        season_numbers=tuple(row.season_numbers),
        wanted=frozenset(known) if refresh else frozenset(),
    )


def _store_movie(session: Session, request: TitleRequest, record: MovieRecord) -> None:
    if not _is_there(session, Movie, request, record):
        return
    movie = store_title(session, record, replaces=_replaced(session, Movie, request, record))
    remember_aliases(session, Movie, movie.id, request.aliases)
    _match(session, Movie, movie.id)


def _store_show(session: Session, request: ShowRequest, answer: ShowResult) -> None:
    show_id = request.id
    if not _is_there(session, Show, request, answer.record):
        return
    if answer.record is not None:
        replaces = _replaced(session, Show, request, answer.record)
        show_id = store_title(session, answer.record, answer.seasons, replaces=replaces).id
        remember_aliases(session, Show, show_id, request.aliases)
    elif answer.seasons:
        store_seasons(session, show_id, answer.seasons)
    asked_for = MediaFile.id.in_(list(answer.episodes))
    still_there = select(MediaFile.id).where(asked_for, MediaFile.show_id == show_id)
    links = {
        file_id: [(show_id, season, number) for season, number in answer.episodes[file_id]]
        for file_id in session.scalars(still_there)
    }
    link_episodes(session, links)
    for file_id, reason in answer.refused.items():
        session.execute(
            update(MediaFile)
            .where(MediaFile.id == file_id, MediaFile.show_id == show_id)
            .values(**file_state.not_matched(reason))
        )
    _drop_bare_episodes(session, show_id)
    _match(session, Show, show_id, but=answer.waiting)


def _replaced(
    session: Session,
    model: TitleModel,
    request: TitleRequest,
    record: MovieRecord | ShowRecord,
) -> int | None:
    """Return the title that a record takes the place of: one without an id, or whose id is gone."""
    if request.tmdb_id == record.tmdb_id:
        return None
    if request.tmdb_id is not None:
        key = f"tmdb:{request.tmdb_id}|"
        gone = (model.id == request.id) & (model.tmdb_id == request.tmdb_id)
        session.execute(update(model).where(gone).values(tmdb_id=None, match_key=key))
    return request.id


def _drop_bare_episodes(session: Session, show_id: int) -> None:
    """Drop episodes and seasons that were made for files which are placed elsewhere now."""
    seasons = select(Season.id).where(Season.show_id == show_id)
    linked = exists().where(media_file_episodes.c.episode_id == Episode.id)
    bare = Episode.title.is_(None) & Episode.air_date.is_(None) & Episode.overview.is_(None)
    session.execute(delete(Episode).where(Episode.season_id.in_(seasons), bare, ~linked))
    used = exists().where(Episode.season_id == Season.id)
    session.execute(
        delete(Season).where(Season.show_id == show_id, Season.details_fetched_at.is_(None), ~used)
    )


def _is_there(
    session: Session,
    model: TitleModel,
    request: TitleRequest,
    record: MovieRecord | ShowRecord | None,
) -> bool:
    """Tell whether a title is on record still: it may have been removed while it was asked for.

    Another scan may have found it to be one that was on record already. A removal takes the rows of
    the libraries first, as we do, so that this stays true.
    """
    condition = model.id == request.id
    if record is not None:
        condition |= model.tmdb_id == record.tmdb_id
    return session.scalar(select(model.id).where(condition).limit(1)) is not None


def _match(session: Session, model: TitleModel, title_id: int, but: Collection[int] = ()) -> None:
    """Say that the files which waited for this title are its, but for some that go on waiting."""
    waited = (title_column(model) == title_id) & (MediaFile.state == "pending")
    session.execute(
        update(MediaFile).where(waited, MediaFile.id.not_in(but)).values(**file_state.matched())
    )


def _take_refusal(
    state: ScanState, write: Write, model: TitleModel, request: TitleRequest, answer: object
) -> None:
    """Note that the provider has no such title, or none that can be used."""
    good_without = False
    if isinstance(answer, NoMatch):
        reason = answer.reason
        good_without = request.source == "nfo"
    elif isinstance(answer, Gone) and request.tmdb_id:
        what = "movie" if model is Movie else "show"
        reason = Reason("unknown-tmdb-id", what=what, id=request.tmdb_id)
    elif isinstance(answer, Gone | UnusableRecord):
        reason = Reason("unusable-record", problem=str(answer).rstrip("."))
    else:
        assert isinstance(answer, Exception)  # noqa: S101 - what else a thread hands on
        raise answer
    if not isinstance(answer, NoMatch) and (request.detailed or request.source == "tmdb"):
        state.notes.append(f"{request.title}: {reason}")
    write(partial(_no_match, model=model, request=request, reason=reason, good=good_without))


def _no_match(
    session: Session, model: TitleModel, request: TitleRequest, reason: Reason, good: bool
) -> None:
    """Leave a title that is good without the provider, or has been read; else let its files go."""
    now = dt.datetime.now(dt.UTC)
    detailed = model.details_fetched_at.is_not(None)
    good = good or bool(session.scalar(select(detailed).where(model.id == request.id)))
    session.execute(update(model).where(model.id == request.id).values(looked_up_at=now))
    if good:
        _match(session, model, request.id)
        return
    session.execute(
        update(MediaFile)
        .where(title_column(model) == request.id, MediaFile.state.in_(("pending", "matched")))
        .values(**file_state.not_matched(reason))
    )
    drop_bare_titles(session, model, [request.id])
