"""The first tables. Names of constraints and indexes are those of the models' convention."""

from typing import Any

import sqlalchemy as sa
from alembic import op

from haas_media.catalog.dialects import CleanText, FsPath, UtcDateTime

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make everything."""
    op.create_table(
        "libraries",
        _id(),
        sa.Column("title", CleanText(), nullable=False, unique=True),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("path", FsPath(), nullable=False),
        sa.Column("online", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("offline_reason", CleanText()),
        sa.Column("last_scanned", UtcDateTime()),
        sa.CheckConstraint("kind IN ('movies', 'tv')", name="ck_libraries_kind"),
    )
    _create_titles(
        "movies", sa.Column("release_date", sa.Date()), sa.Column("runtime", sa.Integer())
    )
    op.create_table(
        "people",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("name", CleanText(), nullable=False),
        sa.Column("biography", CleanText()),
        sa.Column("birthday", sa.Date()),
        sa.Column("deathday", sa.Date()),
        sa.Column("place_of_birth", CleanText()),
        sa.Column("imdb_id", CleanText()),
        sa.Column("profile_path", CleanText()),
        sa.Column("known_for", CleanText()),
        sa.Column("details_fetched_at", UtcDateTime()),
    )
    _create_titles(
        "shows",
        sa.Column("first_air_date", sa.Date()),
        sa.Column("tvdb_id", sa.Integer(), index=True),
        sa.Column("season_numbers", sa.JSON(), nullable=False),
    )
    op.create_table(
        "folders",
        _id(),
        _of("libraries", "library_id", index=False, nullable=False),
        sa.Column("path", FsPath(), nullable=False),
        sa.Column("signature", sa.String(32), nullable=False),
        sa.Column("nfo_signature", sa.String(32), nullable=False),
        sa.Column("mounted", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.UniqueConstraint("library_id", "path", name="uq_folders_path"),
    )
    op.create_table(
        "seasons",
        _id(),
        _of("shows", "show_id", index=False, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("title", CleanText()),
        sa.Column("air_date", sa.Date()),
        sa.Column("overview", CleanText()),
        sa.Column("poster_path", CleanText()),
        sa.Column("details_fetched_at", UtcDateTime()),
        sa.CheckConstraint("number >= 0", name="ck_seasons_number"),
        sa.UniqueConstraint("show_id", "number", name="uq_seasons_number"),
    )
    op.create_table(
        "title_aliases",
        _id(),
        sa.Column("key", CleanText(), nullable=False),
        _of("movies", "movie_id"),
        _of("shows", "show_id"),
        sa.CheckConstraint(
            "(movie_id IS NULL AND show_id IS NOT NULL)"
            " OR (movie_id IS NOT NULL AND show_id IS NULL)",
            name="ck_title_aliases_one_title",
        ),
    )
    for kind in ("movie", "show"):
        _create_partial_index(
            f"uq_title_aliases_{kind}_key", "title_aliases", "key", f"{kind}_id IS NOT NULL"
        )
    op.create_table(
        "episodes",
        _id(),
        _of("seasons", "season_id", index=False, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("title", CleanText()),
        sa.Column("air_date", sa.Date()),
        sa.Column("overview", CleanText()),
        sa.Column("runtime", sa.Integer()),
        sa.CheckConstraint("number >= 0", name="ck_episodes_number"),
        sa.UniqueConstraint("season_id", "number", name="uq_episodes_number"),
    )
    op.create_table(
        "media_files",
        _id(),
        _of("libraries", "library_id", index=False, nullable=False),
        _of("folders", "folder_id", ondelete="SET NULL"),
        sa.Column("path", FsPath(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("mtime_ns", sa.BigInteger(), nullable=False),
        sa.Column("inode", sa.String(24)),
        sa.Column("state", sa.String(9), nullable=False),
        sa.Column("unmatched_reason", CleanText()),
        _of("movies", "movie_id", ondelete="SET NULL"),
        _of("shows", "show_id", ondelete="SET NULL"),
        sa.Column("extra_kind", CleanText()),
        sa.Column("version", CleanText()),
        sa.Column("identity", sa.JSON()),
        sa.Column("sidecars", sa.JSON(), nullable=False),
        sa.Column("streams", sa.JSON()),
        sa.Column("container", CleanText()),
        sa.Column("duration", sa.Float()),
        sa.Column("probed_at", UtcDateTime()),
        sa.Column("probe_error", CleanText()),
        sa.Column("added_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint(
            "state IN ('matched', 'unmatched', 'pending', 'extra')", name="ck_media_files_state"
        ),
        sa.CheckConstraint("movie_id IS NULL OR show_id IS NULL", name="ck_media_files_one_title"),
        sa.UniqueConstraint("library_id", "path", name="uq_media_files_path"),
        sa.Index("ix_media_files_state", "library_id", "state"),
    )
    _create_partial_index(
        "ix_media_files_unprobed", "media_files", "library_id", "probed_at IS NULL", unique=False
    )
    op.create_table(
        "credits",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True),
        _of("people", "person_id", ondelete=None, nullable=False),
        _of("movies", "movie_id"),
        _of("shows", "show_id"),
        _of("episodes", "episode_id"),
        sa.Column("kind", sa.String(4), nullable=False),
        sa.Column("character", CleanText()),
        sa.Column("order", sa.Integer()),
        sa.Column("job", CleanText()),
        sa.Column("department", CleanText()),
        sa.Column("weight", sa.Integer(), nullable=False),
        sa.CheckConstraint("kind IN ('cast', 'crew')", name="ck_credits_kind"),
        sa.CheckConstraint(
            "(CASE WHEN movie_id IS NULL THEN 0 ELSE 1 END)"
            " + (CASE WHEN show_id IS NULL THEN 0 ELSE 1 END)"
            " + (CASE WHEN episode_id IS NULL THEN 0 ELSE 1 END) = 1",
            name="ck_credits_one_title",
        ),
    )
    op.create_table(
        "media_file_episodes",
        _of("media_files", "media_file_id", index=False, primary_key=True),
        _of("episodes", "episode_id", primary_key=True),
    )


def _create_titles(table: str, *own: sa.Column[Any]) -> None:
    """Make a table of titles, which movies and shows have in common but for their own columns."""
    op.create_table(
        table,
        *own,
        _id(),
        sa.Column("tmdb_id", sa.Integer(), unique=True),
        sa.Column("imdb_id", CleanText(), index=True),
        sa.Column("match_key", CleanText(), nullable=False, index=True),
        sa.Column("title", CleanText(), nullable=False),
        sa.Column("original_title", CleanText()),
        sa.Column("year", sa.Integer()),
        sa.Column("overview", CleanText()),
        sa.Column("poster_path", CleanText()),
        sa.Column("genres", sa.JSON(), nullable=False),
        sa.Column("popularity", sa.Float(), nullable=False),
        sa.Column("vote_average", sa.Float()),
        sa.Column("source", sa.String(8), nullable=False),
        sa.Column("looked_up_at", UtcDateTime(), index=True),
        sa.Column("details_fetched_at", UtcDateTime()),
        sa.Column("people_fetched_at", UtcDateTime(), index=True),
        sa.Column("added_at", UtcDateTime(), nullable=False),
    )
    offline = f"uq_{table}_match_key_offline"
    _create_partial_index(offline, table, "match_key", "tmdb_id IS NULL")


def _id() -> sa.Column[int]:
    return sa.Column("id", sa.Integer(), primary_key=True)


def _of(
    table: str, column: str, *, ondelete: str | None = "CASCADE", index: bool = True, **how: Any
) -> sa.Column[int]:
    """Make a column that refers to rows of a table."""
    key = sa.ForeignKey(f"{table}.id", ondelete=ondelete)
    return sa.Column(column, sa.Integer(), key, index=index, **how)


def _create_partial_index(
    name: str, table: str, column: str, where: str, *, unique: bool = True
) -> None:
    condition = sa.text(where)
    op.create_index(
        name,
        table,
        [column],
        unique=unique,
        sqlite_where=condition,
        postgresql_where=condition,
    )
