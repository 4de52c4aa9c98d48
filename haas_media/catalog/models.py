"""The tables of the catalog. Referential integrity is the database's, not the code's.

Titles (movies and shows) are known by ``tmdb_id`` once a provider has named them. A title that is
known only from an NFO file or a name has none; its ``match_key`` is then unique, so that two scans
at once make one title. Deleting a title deletes its seasons, episodes and credits; its files stay
on record with no title, people stay until the cleanup.
"""

from __future__ import annotations

import datetime as dt
import re
import unicodedata
from hashlib import blake2b
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    false,
    text,
    true,
)
from sqlalchemy.orm import (
    DeclarativeBase,
    InstrumentedAttribute,
    Mapped,
    MappedColumn,
    composite,
    mapped_column,
)

from haas_media.catalog.dialects import CleanText, FsPath, UtcDateTime
from haas_media.reasons import Reason

# int8 where ids are used up by replacing rows; SQLite numbers only INTEGER columns by itself.
BigId = BigInteger().with_variant(Integer, "sqlite")
# None is the database's NULL, not the JSON text "null".
Json = JSON(none_as_null=True)

# For ``match_key``. PostgreSQL's indexes hold no key of more than 2704 bytes.
_NOT_WORD = re.compile(r"[^\w]+")
_ARTICLE = re.compile(r"^(?:the|a|an) (?=.)")
_LONGEST, _KEPT = 400, 300


class Base(DeclarativeBase):
    """All tables; constraint names are the same on both databases."""

    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ix": "ix_%(table_name)s_%(column_0_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy's own protocol
        # As the first migration made the columns: by itself SQLAlchemy 2.1 takes Double.
        float: Float,
        str: CleanText,
        dt.datetime: UtcDateTime,
        dict[str, Any]: Json,
        list[Any]: Json,
    }


def _refers_to(table: str, *, ondelete: str = "CASCADE") -> MappedColumn[Any]:
    return mapped_column(ForeignKey(f"{table}.id", ondelete=ondelete), index=True)


class Library(Base):
    """A library as the settings had it at its last scan."""

    __tablename__ = "libraries"

    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(unique=True)
    kind: Mapped[str] = mapped_column(String(8))
    path: Mapped[str] = mapped_column(FsPath)
    # Where the disk of its root was mounted when it was last seen; none for the system's own.
    mount: Mapped[str | None] = mapped_column(FsPath)
    online: Mapped[bool] = mapped_column(server_default=true(), default=True)
    offline_reason: Mapped[str | None]
    last_scanned: Mapped[dt.datetime | None]

    __table_args__ = (CheckConstraint("kind IN ('movies', 'tv')", name="ck_libraries_kind"),)


class _Title:
    """What movies and shows have in common.

    ``match_key`` is the normalised title with its year.
    ``source`` says who told: ``tmdb``, ``nfo`` or ``name``. ``looked_up_at`` is when a provider
    last answered for this title, ``details_fetched_at`` when its record was last stored, and
    ``people_fetched_at`` when details of its people were read after that. ``requested``: somebody
    has added it, so that it stays without a file.
    """

    id: Mapped[int] = mapped_column(primary_key=True)
    tmdb_id: Mapped[int | None] = mapped_column(unique=True)
    imdb_id: Mapped[str | None] = mapped_column(index=True)
    match_key: Mapped[str]
    title: Mapped[str]
    original_title: Mapped[str | None]
    year: Mapped[int | None]
    overview: Mapped[str | None]
    poster_path: Mapped[str | None]
    genres: Mapped[list[Any]] = mapped_column(default=list)
    popularity: Mapped[float] = mapped_column(default=0.0)
    vote_average: Mapped[float | None]
    source: Mapped[str] = mapped_column(String(8), default="name")
    looked_up_at: Mapped[dt.datetime | None] = mapped_column(index=True)
    details_fetched_at: Mapped[dt.datetime | None]
    people_fetched_at: Mapped[dt.datetime | None] = mapped_column(index=True)
    requested: Mapped[bool] = mapped_column(server_default=false(), default=False)
    added_at: Mapped[dt.datetime] = mapped_column(default=lambda: dt.datetime.now(dt.UTC))


def _partial_index(name: str, column: str, where: str, *, unique: bool = False) -> Index:
    condition = text(where)
    return Index(name, column, unique=unique, sqlite_where=condition, postgresql_where=condition)


def _title_indices(table: str) -> tuple[Index, ...]:
    offline = f"uq_{table}_match_key_offline"
    return (
        Index(f"ix_{table}_match_key", "match_key"),
        _partial_index(offline, "match_key", "tmdb_id IS NULL", unique=True),
    )


class Movie(_Title, Base):
    """A film. ``runtime`` in minutes."""

    __tablename__ = "movies"
    __table_args__ = _title_indices("movies")

    release_date: Mapped[dt.date | None]
    runtime: Mapped[int | None]


class Show(_Title, Base):
    """A show. ``season_numbers`` are those that the provider has."""

    __tablename__ = "shows"
    __table_args__ = _title_indices("shows")

    first_air_date: Mapped[dt.date | None]
    tvdb_id: Mapped[int | None] = mapped_column(index=True)
    season_numbers: Mapped[list[Any]] = mapped_column(default=list)


TitleModel = type[Movie] | type[Show]


class TitleAlias(Base):
    """A name or foreign id of files that a provider has found to mean a title.

    ``key`` is a ``match_key``, or ``imdb:...`` or ``tvdb:...``. With it, the next file of that name
    costs no search. Goes with its title.
    """

    __tablename__ = "title_aliases"

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str]
    movie_id: Mapped[int | None] = _refers_to("movies")
    show_id: Mapped[int | None] = _refers_to("shows")

    __table_args__ = (
        CheckConstraint(
            "(movie_id IS NULL AND show_id IS NOT NULL)"
            " OR (movie_id IS NOT NULL AND show_id IS NULL)",
            name="ck_title_aliases_one_title",
        ),
        _partial_index("uq_title_aliases_movie_key", "key", "movie_id IS NOT NULL", unique=True),
        _partial_index("uq_title_aliases_show_key", "key", "show_id IS NOT NULL", unique=True),
    )


class Season(Base):
    """A season; number 0 holds the specials. ``details_fetched_at``: none if only from names."""

    __tablename__ = "seasons"

    id: Mapped[int] = mapped_column(primary_key=True)
    show_id: Mapped[int] = mapped_column(ForeignKey("shows.id", ondelete="CASCADE"))
    number: Mapped[int]
    title: Mapped[str | None]
    air_date: Mapped[dt.date | None]
    overview: Mapped[str | None]
    poster_path: Mapped[str | None]
    details_fetched_at: Mapped[dt.datetime | None]

    __table_args__ = (
        UniqueConstraint("show_id", "number", name="uq_seasons_number"),
        CheckConstraint("number >= 0", name="ck_seasons_number"),
    )


# A file can hold several episodes, and an episode can have several files.
media_file_episodes = Table(
    "media_file_episodes",
    Base.metadata,
    Column("media_file_id", ForeignKey("media_files.id", ondelete="CASCADE"), primary_key=True),
    Column(
        "episode_id", ForeignKey("episodes.id", ondelete="CASCADE"), primary_key=True, index=True
    ),
)


class Episode(Base):
    """An episode. ``runtime`` in minutes."""

    __tablename__ = "episodes"

    id: Mapped[int] = mapped_column(primary_key=True)
    season_id: Mapped[int] = mapped_column(ForeignKey("seasons.id", ondelete="CASCADE"))
    number: Mapped[int]
    title: Mapped[str | None]
    air_date: Mapped[dt.date | None]
    overview: Mapped[str | None]
    runtime: Mapped[int | None]

    __table_args__ = (
        UniqueConstraint("season_id", "number", name="uq_episodes_number"),
        CheckConstraint("number >= 0", name="ck_episodes_number"),
    )


class Person(Base):
    """Somebody with a credit. The key is TMDb's person id.

    ``details_fetched_at`` is none while only the name and picture from a credit are known.
    """

    __tablename__ = "people"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str]
    biography: Mapped[str | None]
    birthday: Mapped[dt.date | None]
    deathday: Mapped[dt.date | None]
    place_of_birth: Mapped[str | None]
    imdb_id: Mapped[str | None]
    profile_path: Mapped[str | None]
    known_for: Mapped[str | None]
    details_fetched_at: Mapped[dt.datetime | None]


class Credit(Base):
    """A person's part in exactly one movie, show or episode.

    ``kind`` is ``cast`` (with character and order) or ``crew`` (with job, department and weight:
    the lower, the more important).
    """

    __tablename__ = "credits"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("people.id"), index=True)
    movie_id: Mapped[int | None] = _refers_to("movies")
    show_id: Mapped[int | None] = _refers_to("shows")
    episode_id: Mapped[int | None] = _refers_to("episodes")
    kind: Mapped[str] = mapped_column(String(4))
    character: Mapped[str | None]
    order: Mapped[int | None] = mapped_column("order")
    job: Mapped[str | None]
    department: Mapped[str | None]
    weight: Mapped[int] = mapped_column(default=100)

    __table_args__ = (
        CheckConstraint("kind IN ('cast', 'crew')", name="ck_credits_kind"),
        CheckConstraint(
            "(CASE WHEN movie_id IS NULL THEN 0 ELSE 1 END)"
            " + (CASE WHEN show_id IS NULL THEN 0 ELSE 1 END)"
            " + (CASE WHEN episode_id IS NULL THEN 0 ELSE 1 END) = 1",
            name="ck_credits_one_title",
        ),
    )


class Folder(Base):
    """A folder with media files, as the last scan left it.

    ``signature`` sums up the names, sizes and times of everything in it: while it is the same,
    nothing in it is looked at one by one, unless ``recheck`` says so. ``nfo_signature`` sums up the
    NFO files that bear on all files in it, those of its parents included; none if not known.
    ``mount`` is where the disk is mounted that its files are on, if that is another one than the
    root's; empty if not known. A folder is written in the transaction of its last file.
    """

    __tablename__ = "folders"

    id: Mapped[int] = mapped_column(primary_key=True)
    library_id: Mapped[int] = mapped_column(ForeignKey("libraries.id", ondelete="CASCADE"))
    path: Mapped[str] = mapped_column(FsPath)
    signature: Mapped[str] = mapped_column(String(32), default="")
    nfo_signature: Mapped[str | None] = mapped_column(String(32))
    recheck: Mapped[bool] = mapped_column(server_default=false(), default=False)
    mount: Mapped[str | None] = mapped_column(FsPath)

    __table_args__ = (UniqueConstraint("library_id", "path", name="uq_folders_path"),)


class MediaFile(Base):
    """A video file of a library, or the folder of a disc. ``path`` is relative to its root.

    ``edition`` is another cut of its title, ``version`` tells copies apart, ``part`` is its place
    among the files that make one copy.

    ``state``, ``reason_code`` with ``reason_args`` and ``recheck`` are those of
    ``haas_media.catalog.file_state``. ``identity`` is what name and NFO said, ``nfo_signature``
    sums up its own NFO file (none if not known), ``streams`` what probing found. ``missing_since``:
    it was not there, and the next scan decides.
    """

    __tablename__ = "media_files"

    id: Mapped[int] = mapped_column(primary_key=True)
    library_id: Mapped[int] = mapped_column(ForeignKey("libraries.id", ondelete="CASCADE"))
    folder_id: Mapped[int | None] = _refers_to("folders", ondelete="SET NULL")
    path: Mapped[str] = mapped_column(FsPath)
    size: Mapped[int] = mapped_column(BigInteger)
    mtime_ns: Mapped[int] = mapped_column(BigInteger)
    # As text: some file systems use the whole unsigned range.
    inode: Mapped[str | None] = mapped_column(String(24))
    state: Mapped[str] = mapped_column(String(9), default="pending")
    reason_code: Mapped[str | None] = mapped_column(String(40))
    reason_args: Mapped[dict[str, Any] | None]
    unmatched_reason: Mapped[Reason | None] = composite(
        Reason.from_columns, "reason_code", "reason_args"
    )
    recheck: Mapped[bool] = mapped_column(server_default=false(), default=False)
    missing_since: Mapped[dt.datetime | None]
    nfo_signature: Mapped[str | None] = mapped_column(String(32))
    movie_id: Mapped[int | None] = _refers_to("movies", ondelete="SET NULL")
    show_id: Mapped[int | None] = _refers_to("shows", ondelete="SET NULL")
    extra_kind: Mapped[str | None]
    edition: Mapped[str | None]
    version: Mapped[str | None]
    part: Mapped[int | None]
    identity: Mapped[dict[str, Any] | None]
    sidecars: Mapped[list[Any]] = mapped_column(default=list)
    streams: Mapped[list[Any] | None]
    container: Mapped[str | None]
    duration: Mapped[float | None]
    probed_at: Mapped[dt.datetime | None]
    probe_error: Mapped[str | None]
    added_at: Mapped[dt.datetime] = mapped_column(default=lambda: dt.datetime.now(dt.UTC))

    __table_args__ = (
        UniqueConstraint("library_id", "path", name="uq_media_files_path"),
        # Rows are wide; what every scan asks of all of them is answered from these alone.
        Index("ix_media_files_state", "library_id", "state"),
        _partial_index("ix_media_files_unprobed", "library_id", "probed_at IS NULL"),
        _partial_index("ix_media_files_missing", "library_id", "missing_since IS NOT NULL"),
        CheckConstraint(
            "state IN ('matched', 'unmatched', 'pending', 'extra')", name="ck_media_files_state"
        ),
        CheckConstraint("movie_id IS NULL OR show_id IS NULL", name="ck_media_files_one_title"),
    )


def title_column(model: TitleModel) -> InstrumentedAttribute[int | None]:
    """Return the column in which files have their movie, or their show."""
    return MediaFile.movie_id if model is Movie else MediaFile.show_id


def title_model(kind: str) -> TitleModel:
    """Return the table of the titles of a kind, which libraries call ``movies``."""
    return Show if kind == "tv" else Movie


def match_key(title: str, year: int | None) -> str:
    """Normalise a title and its year: case, accents, punctuation and a leading article go.

    ``The Matrix`` of 1999 and ``matrix`` of 1999 have one key. A title that is nothing but
    punctuation keeps it. Of one that is longer than any title, the end is summed up.
    """
    decomposed = unicodedata.normalize("NFKD", title).casefold()
    bare = "".join(char for char in decomposed if not unicodedata.combining(char))
    words = _NOT_WORD.sub(" ", bare.replace("&", " and ").replace("'", "").replace("’", ""))
    words = _ARTICLE.sub("", words.replace("_", " ").strip())
    return f"{_bounded(' '.join(words.split()) or title.strip())}|{year or ''}"


def _bounded(words: str) -> str:
    if len(words) <= _LONGEST:
        return words
    rest = words[_KEPT:].encode("utf-8", "surrogatepass")
    return f"{words[:_KEPT]}~{blake2b(rest, digest_size=16).hexdigest()}"
