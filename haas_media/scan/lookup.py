"""Asking the provider for what it has not been asked yet, one title at a time.

Requests run in a few threads, writing in the scan's own; each title is one transaction. What could
not be reached stays as it is, and the next scan asks again.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, exists, func, or_, select, update

from haas_media.catalog.models import (
    Episode,
    Library,
    MediaFile,
    Movie,
    Season,
    Show,
    media_file_episodes,
)
from haas_media.catalog.titles import (
    link_episodes,
    remember_aliases,
    store_movie,
    store_seasons,
    store_show,
)
from haas_media.providers.records import (
    Gone,
    MovieRecord,
    NoMatch,
    ProviderUnreachable,
    ShowRecord,
    UnusableRecord,
)
from haas_media.scan.asking import Question, ShowAnswer, ShowQuestion, ask_movie, ask_show
from haas_media.scan.identification import Identification
from haas_media.scan.pool import map_unordered
from haas_media.scan.store import drop_bare_titles
from haas_media.scan.titles import alias_keys
from haas_media.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from sqlalchemy.orm import Session

    from haas_media.catalog.opening import Catalog
    from haas_media.providers.records import Provider
    from haas_media.settings import Kind

_CHUNK = 200


@dataclass(slots=True)
class Looked:
    """What came of asking. ``notes`` are sentences for the report."""

    titles: int = 0
    unreachable: int = 0
    notes: list[str] = field(default_factory=list)


class _Writer:
    """Writes one title at a time, holding the rows of the libraries first.

    A scan's batches and a removal take them first, too, so that no two wait in a circle.
    """

    def __init__(self, catalog: Catalog, library_ids: list[int]) -> None:
        self._catalog = catalog
        self._hold = (
            select(Library.id)
            .where(Library.id.in_(library_ids))
            .order_by(Library.id)
            .with_for_update()
        )

    def write(self, work: Callable[[Session], object]) -> None:
        """Do work in a transaction of its own."""

        def held(session: Session) -> None:
            session.execute(self._hold)
            work(session)

        self._catalog.write(held)


def look_up(
    catalog: Catalog,
    provider: Provider,
    library_ids: Iterable[int],
    *,
    refresh: bool,
    threads: int,
    tell: Callable[[float, str], None],
) -> Looked:
    """Ask for every title of these libraries that waits for it.

    Args:
        catalog: an open catalog.
        provider: whom to ask.
        library_ids: the libraries; those that are offline are left out by the caller.
        refresh: ask for titles that are known already, too.
        threads: requests under way at once.
        tell: told the share that is done, and the title at hand.

    Raises:
        ProviderRefused: the provider refuses the credentials; nothing else can work.
    """
    looked = Looked()
    libraries = sorted(library_ids)
    writer = _Writer(catalog, libraries)
    movies = _waiting(catalog, Movie, libraries, refresh)
    shows = _waiting(catalog, Show, libraries, refresh)
    total = len(movies) + len(shows)
    done = 0

    def note(title: str) -> None:
        nonlocal done
        done += 1
        tell(done / total, title)

    for question, movie in map_unordered(
        lambda question: ask_movie(provider, question),
        _movie_questions(catalog, writer, movies, refresh),
        threads,
    ):
        note(question.title)
        _take_movie(writer, question, movie, looked)
    for asked, show in map_unordered(
        lambda question: ask_show(provider, question),
        _show_questions(catalog, writer, shows, refresh),
        threads,
    ):
        note(asked.show.title)
        _take_show(writer, asked, show, looked)
    if looked.unreachable:
        looked.notes.append(
            f"{counted(looked.unreachable, 'title')} could not be looked up, as the provider was "
            "not reached; the next scan asks again"
        )
    return looked


def _waiting(
    catalog: Catalog, model: type[Movie | Show], libraries: list[int], refresh: bool
) -> list[int]:
    """Return the titles with files in these libraries that have to be asked for."""
    column = MediaFile.movie_id if model is Movie else MediaFile.show_id
    here = MediaFile.library_id.in_(libraries)
    pending = select(column).where(here, MediaFile.state == "pending", column.is_not(None))
    has_file = exists().where(column == model.id, here)
    never = (model.looked_up_at.is_(None)) & has_file
    condition = or_(model.id.in_(pending), never)
    if refresh:
        condition = or_(condition, has_file)
    with catalog.reading() as session:
        return list(session.scalars(select(model.id).where(condition).order_by(model.id)))


def _rows(catalog: Catalog, model: Any, ids: list[int]) -> Iterator[Any]:
    """Load titles some at a time, as late as possible: another scan may have been quicker."""
    for start in range(0, len(ids), _CHUNK):
        with catalog.reading() as session:
            rows = session.scalars(
                select(model).where(model.id.in_(ids[start : start + _CHUNK])).order_by(model.id)
            ).all()
        yield from rows


def _question(row: Movie | Show, refresh: bool) -> Question:
    tvdb_id = row.tvdb_id if isinstance(row, Show) else None
    aliases = () if row.tmdb_id else alias_keys(row.imdb_id, tvdb_id) or [row.match_key]
    return Question(
        id=row.id,
        title=row.title,
        year=row.year,
        tmdb_id=row.tmdb_id,
        imdb_id=row.imdb_id,
        tvdb_id=tvdb_id,
        source=row.source,
        detailed=row.details_fetched_at is not None and not refresh,
        aliases=tuple(aliases),
    )


# Movies


def _movie_questions(
    catalog: Catalog, writer: _Writer, ids: list[int], refresh: bool
) -> Iterator[Question]:
    for row in _rows(catalog, Movie, ids):
        if row.looked_up_at is not None and not (refresh and row.tmdb_id):
            writer.write(partial(_match, kind="movies", title_id=row.id))
        else:
            yield _question(row, refresh)


def _take_movie(
    writer: _Writer,
    question: Question,
    answer: MovieRecord | NoMatch | Exception,
    looked: Looked,
) -> None:
    if isinstance(answer, MovieRecord):
        record = answer

        def write(session: Session) -> None:
            if not _is_there(session, Movie, question, record):
                return
            replaces = question.id if question.tmdb_id is None else None
            movie = store_movie(session, record, replaces=replaces)
            remember_aliases(session, Movie, movie.id, question.aliases)
            _match(session, "movies", movie.id)

        writer.write(write)
        looked.titles += 1
    else:
        _take_failure(writer, "movies", question, answer, looked)


# Shows


def _show_questions(
    catalog: Catalog, writer: _Writer, ids: list[int], refresh: bool
) -> Iterator[ShowQuestion]:
    for row in _rows(catalog, Show, ids):
        if row.looked_up_at is not None and row.tmdb_id is None:
            writer.write(partial(_match, kind="tv", title_id=row.id))
            continue
        with catalog.reading() as session:
            question = _show_question(session, row, refresh)
        yield question


def _show_question(session: Session, row: Show, refresh: bool) -> ShowQuestion:
    files = session.execute(
        select(MediaFile.id, MediaFile.identity).where(
            MediaFile.show_id == row.id,
            # All of them if the show is asked for the first time: numbers may be counted anew.
            (MediaFile.state == "pending")
            if row.looked_up_at is not None
            else MediaFile.state.in_(("pending", "matched")),
        )
    ).all()
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
    return ShowQuestion(
        show=_question(row, refresh),
        files={
            file_id: Identification.from_json(identity)
            for file_id, identity in files
            if identity is not None
        },
        known={} if refresh else {number: frozenset(found) for number, found in known.items()},
        season_numbers=tuple(row.season_numbers),
        wanted=frozenset(known) if refresh else frozenset(),
    )


def _take_show(
    writer: _Writer,
    question: ShowQuestion,
    answer: ShowAnswer | NoMatch | Exception,
    looked: Looked,
) -> None:
    if not isinstance(answer, ShowAnswer):
        _take_failure(writer, "tv", question.show, answer, looked)
        return
    writer.write(lambda session: _store_show(session, question, answer))
    looked.titles += bool(answer.record or answer.seasons)
    looked.notes += answer.notes


def _store_show(session: Session, question: ShowQuestion, answer: ShowAnswer) -> None:
    show_id = question.show.id
    if not _is_there(session, Show, question.show, answer.record):
        return
    if answer.record is not None:
        replaces = show_id if question.show.tmdb_id is None else None
        show_id = store_show(session, answer.record, answer.seasons, replaces=replaces).id
        remember_aliases(session, Show, show_id, question.show.aliases)
    elif answer.seasons:
        store_seasons(session, show_id, answer.seasons)
    still_there = set(
        session.scalars(
            select(MediaFile.id).where(
                MediaFile.id.in_(list(answer.episodes)), MediaFile.show_id == show_id
            )
        )
    )
    session.execute(
        delete(media_file_episodes).where(media_file_episodes.c.media_file_id.in_(still_there))
    )
    for file_id in sorted(still_there):
        for season, number in answer.episodes[file_id]:
            link_episodes(session, file_id, show_id, season, (number,))
    _drop_bare_episodes(session, show_id)
    _match(session, "tv", show_id)


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


# Both


def _files_of(kind: Kind, title_id: int) -> Any:
    column = MediaFile.movie_id if kind == "movies" else MediaFile.show_id
    return column == title_id


def _is_there(
    session: Session,
    model: type[Movie | Show],
    question: Question,
    record: MovieRecord | ShowRecord | None,
) -> bool:
    """Tell whether a title is on record still: it may have been removed while it was asked for.

    Another scan may have found it to be one that was on record already. A removal takes the rows of
    the libraries first, as we do, so that this stays true.
    """
    condition = model.id == question.id
    if record is not None:
        condition |= model.tmdb_id == record.tmdb_id
    return session.scalar(select(model.id).where(condition).limit(1)) is not None


def _match(session: Session, kind: Kind, title_id: int) -> None:
    """Say that the files which waited for this title are its."""
    session.execute(
        update(MediaFile)
        .where(_files_of(kind, title_id), MediaFile.state == "pending")
        .values(state="matched", unmatched_reason=None)
    )


def _take_failure(
    writer: _Writer,
    kind: Kind,
    question: Question,
    answer: object,
    looked: Looked,
) -> None:
    if isinstance(answer, ProviderUnreachable):
        looked.unreachable += 1
        return
    if isinstance(answer, NoMatch):
        told = question.source == "nfo"
        writer.write(lambda session: _no_match(session, kind, question, answer.reason, told))
    elif isinstance(answer, (Gone, UnusableRecord)):
        reason = _refused(kind, question, answer)
        if question.detailed or question.source == "tmdb":
            looked.notes.append(f"{question.title}: {reason}")
        writer.write(lambda session: _no_match(session, kind, question, reason, False))
    elif isinstance(answer, Exception):
        raise answer


def _refused(kind: Kind, question: Question, error: Exception) -> str:
    if isinstance(error, Gone) and question.tmdb_id:
        what = "movie" if kind == "movies" else "show"
        return (
            f"TMDb has no {what} with id {question.tmdb_id}. "
            "Correct the id tag or the NFO file that gives it"
        )
    return str(error)


def _no_match(
    session: Session, kind: Kind, question: Question, reason: str, told_by_nfo: bool
) -> None:
    """Note that the provider has nothing; what an NFO file tells of a title is good without it."""
    model: Any = Movie if kind == "movies" else Show
    now = dt.datetime.now(dt.UTC)
    detailed = session.scalar(
        select(func.count()).where(model.id == question.id, model.details_fetched_at.is_not(None))
    )
    if told_by_nfo or detailed:
        session.execute(update(model).where(model.id == question.id).values(looked_up_at=now))
        _match(session, kind, question.id)
        return
    session.execute(
        update(MediaFile)
        .where(_files_of(kind, question.id), MediaFile.state.in_(("pending", "matched")))
        .values(
            state="unmatched",
            unmatched_reason=reason.rstrip(".") + ".",
            movie_id=None,
            show_id=None,
        )
    )
    session.execute(update(model).where(model.id == question.id).values(looked_up_at=now))
    drop_bare_titles(session, kind, [question.id])
