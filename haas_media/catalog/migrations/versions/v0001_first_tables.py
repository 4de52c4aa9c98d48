"""The first tables."""

import sqlalchemy as sa
from alembic import op

from haas_media.catalog import dialects

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make everything."""
    op.create_table(
        "libraries",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("title", dialects.CleanText(), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("path", dialects.FsPath(), nullable=False),
        sa.Column("online", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("offline_reason", dialects.CleanText(), nullable=True),
        sa.Column("last_scanned", dialects.UtcDateTime(), nullable=True),
        sa.CheckConstraint("kind IN ('movies', 'tv')", name="ck_libraries_kind"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_libraries")),
        sa.UniqueConstraint("title", name=op.f("uq_libraries_title")),
    )
    op.create_table(
        "movies",
        sa.Column("release_date", sa.Date(), nullable=True),
        sa.Column("runtime", sa.Integer(), nullable=True),
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("tmdb_id", sa.Integer(), nullable=True),
        sa.Column("imdb_id", dialects.CleanText(), nullable=True),
        sa.Column("match_key", dialects.CleanText(), nullable=False),
        sa.Column("title", dialects.CleanText(), nullable=False),
        sa.Column("original_title", dialects.CleanText(), nullable=True),
        sa.Column("year", sa.Integer(), nullable=True),
        sa.Column("overview", dialects.CleanText(), nullable=True),
        sa.Column("poster_path", dialects.CleanText(), nullable=True),
        sa.Column("genres", sa.JSON(), nullable=False),
        sa.Column("popularity", sa.Float(), nullable=False),
        sa.Column("vote_average", sa.Float(), nullable=True),
        sa.Column("source", sa.String(length=8), nullable=False),
        sa.Column("looked_up_at", dialects.UtcDateTime(), nullable=True),
        sa.Column("details_fetched_at", dialects.UtcDateTime(), nullable=True),
        sa.Column("people_fetched_at", dialects.UtcDateTime(), nullable=True),
        sa.Column("added_at", dialects.UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_movies")),
        sa.UniqueConstraint("tmdb_id", name=op.f("uq_movies_tmdb_id")),
    )
    op.create_index(op.f("ix_movies_imdb_id"), "movies", ["imdb_id"], unique=False)
    op.create_index(op.f("ix_movies_looked_up_at"), "movies", ["looked_up_at"], unique=False)
    op.create_index("ix_movies_match_key", "movies", ["match_key"], unique=False)
    op.create_index(
        op.f("ix_movies_people_fetched_at"), "movies", ["people_fetched_at"], unique=False
    )
    op.create_index(
        "uq_movies_match_key_offline",
        "movies",
        ["match_key"],
        unique=True,
        sqlite_where=sa.text("tmdb_id IS NULL"),
        postgresql_where=sa.text("tmdb_id IS NULL"),
    )
    op.create_table(
        "people",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", dialects.CleanText(), nullable=False),
        sa.Column("biography", dialects.CleanText(), nullable=True),
        sa.Column("birthday", sa.Date(), nullable=True),
        sa.Column("deathday", sa.Date(), nullable=True),
        sa.Column("place_of_birth", dialects.CleanText(), nullable=True),
        sa.Column("imdb_id", dialects.CleanText(), nullable=True),
        sa.Column("profile_path", dialects.CleanText(), nullable=True),
        sa.Column("known_for", dialects.CleanText(), nullable=True),
        sa.Column("details_fetched_at", dialects.UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_people")),
    )
    op.create_table(
        "shows",
        sa.Column("first_air_date", sa.Date(), nullable=True),
        sa.Column("tvdb_id", sa.Integer(), nullable=True),
        sa.Column("season_numbers", sa.JSON(), nullable=False),
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("tmdb_id", sa.Integer(), nullable=True),
        sa.Column("imdb_id", dialects.CleanText(), nullable=True),
        sa.Column("match_key", dialects.CleanText(), nullable=False),
        sa.Column("title", dialects.CleanText(), nullable=False),
        sa.Column("original_title", dialects.CleanText(), nullable=True),
        sa.Column("year", sa.Integer(), nullable=True),
        sa.Column("overview", dialects.CleanText(), nullable=True),
        sa.Column("poster_path", dialects.CleanText(), nullable=True),
        sa.Column("genres", sa.JSON(), nullable=False),
        sa.Column("popularity", sa.Float(), nullable=False),
        sa.Column("vote_average", sa.Float(), nullable=True),
        sa.Column("source", sa.String(length=8), nullable=False),
        sa.Column("looked_up_at", dialects.UtcDateTime(), nullable=True),
        sa.Column("details_fetched_at", dialects.UtcDateTime(), nullable=True),
        sa.Column("people_fetched_at", dialects.UtcDateTime(), nullable=True),
        sa.Column("added_at", dialects.UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_shows")),
        sa.UniqueConstraint("tmdb_id", name=op.f("uq_shows_tmdb_id")),
    )
    op.create_index(op.f("ix_shows_imdb_id"), "shows", ["imdb_id"], unique=False)
    op.create_index(op.f("ix_shows_looked_up_at"), "shows", ["looked_up_at"], unique=False)
    op.create_index("ix_shows_match_key", "shows", ["match_key"], unique=False)
    op.create_index(
        op.f("ix_shows_people_fetched_at"), "shows", ["people_fetched_at"], unique=False
    )
    op.create_index(op.f("ix_shows_tvdb_id"), "shows", ["tvdb_id"], unique=False)
    op.create_index(
        "uq_shows_match_key_offline",
        "shows",
        ["match_key"],
        unique=True,
        sqlite_where=sa.text("tmdb_id IS NULL"),
        postgresql_where=sa.text("tmdb_id IS NULL"),
    )
    op.create_table(
        "folders",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("library_id", sa.Integer(), nullable=False),
        sa.Column("path", dialects.FsPath(), nullable=False),
        sa.Column("signature", sa.String(length=32), nullable=False),
        sa.Column("nfo_signature", sa.String(length=32), nullable=False),
        sa.Column("mounted", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.ForeignKeyConstraint(
            ["library_id"], ["libraries.id"], name=op.f("fk_folders_library_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_folders")),
        sa.UniqueConstraint("library_id", "path", name="uq_folders_path"),
    )
    op.create_table(
        "seasons",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("show_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("title", dialects.CleanText(), nullable=True),
        sa.Column("air_date", sa.Date(), nullable=True),
        sa.Column("overview", dialects.CleanText(), nullable=True),
        sa.Column("poster_path", dialects.CleanText(), nullable=True),
        sa.Column("details_fetched_at", dialects.UtcDateTime(), nullable=True),
        sa.CheckConstraint("number >= 0", name="ck_seasons_number"),
        sa.ForeignKeyConstraint(
            ["show_id"], ["shows.id"], name=op.f("fk_seasons_show_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_seasons")),
        sa.UniqueConstraint("show_id", "number", name="uq_seasons_number"),
    )
    op.create_table(
        "title_aliases",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("key", dialects.CleanText(), nullable=False),
        sa.Column("movie_id", sa.Integer(), nullable=True),
        sa.Column("show_id", sa.Integer(), nullable=True),
        sa.CheckConstraint(
            "(movie_id IS NULL AND show_id IS NOT NULL)"
            " OR (movie_id IS NOT NULL AND show_id IS NULL)",
            name="ck_title_aliases_one_title",
        ),
        sa.ForeignKeyConstraint(
            ["movie_id"], ["movies.id"], name=op.f("fk_title_aliases_movie_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["show_id"], ["shows.id"], name=op.f("fk_title_aliases_show_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_title_aliases")),
    )
    op.create_index(op.f("ix_title_aliases_movie_id"), "title_aliases", ["movie_id"], unique=False)
    op.create_index(op.f("ix_title_aliases_show_id"), "title_aliases", ["show_id"], unique=False)
    op.create_index(
        "uq_title_aliases_movie_key",
        "title_aliases",
        ["key"],
        unique=True,
        sqlite_where=sa.text("movie_id IS NOT NULL"),
        postgresql_where=sa.text("movie_id IS NOT NULL"),
    )
    op.create_index(
        "uq_title_aliases_show_key",
        "title_aliases",
        ["key"],
        unique=True,
        sqlite_where=sa.text("show_id IS NOT NULL"),
        postgresql_where=sa.text("show_id IS NOT NULL"),
    )
    op.create_table(
        "episodes",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("season_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("title", dialects.CleanText(), nullable=True),
        sa.Column("air_date", sa.Date(), nullable=True),
        sa.Column("overview", dialects.CleanText(), nullable=True),
        sa.Column("runtime", sa.Integer(), nullable=True),
        sa.CheckConstraint("number >= 0", name="ck_episodes_number"),
        sa.ForeignKeyConstraint(
            ["season_id"], ["seasons.id"], name=op.f("fk_episodes_season_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_episodes")),
        sa.UniqueConstraint("season_id", "number", name="uq_episodes_number"),
    )
    op.create_table(
        "media_files",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("library_id", sa.Integer(), nullable=False),
        sa.Column("folder_id", sa.Integer(), nullable=True),
        sa.Column("path", dialects.FsPath(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("mtime_ns", sa.BigInteger(), nullable=False),
        sa.Column("inode", sa.String(length=24), nullable=True),
        sa.Column("state", sa.String(length=9), nullable=False),
        sa.Column("unmatched_reason", dialects.CleanText(), nullable=True),
        sa.Column("movie_id", sa.Integer(), nullable=True),
        sa.Column("show_id", sa.Integer(), nullable=True),
        sa.Column("extra_kind", dialects.CleanText(), nullable=True),
        sa.Column("version", dialects.CleanText(), nullable=True),
        sa.Column("identity", sa.JSON(), nullable=True),
        sa.Column("sidecars", sa.JSON(), nullable=False),
        sa.Column("streams", sa.JSON(), nullable=True),
        sa.Column("container", dialects.CleanText(), nullable=True),
        sa.Column("duration", sa.Float(), nullable=True),
        sa.Column("probed_at", dialects.UtcDateTime(), nullable=True),
        sa.Column("probe_error", dialects.CleanText(), nullable=True),
        sa.Column("added_at", dialects.UtcDateTime(), nullable=False),
        sa.CheckConstraint(
            "state IN ('matched', 'unmatched', 'pending', 'extra')", name="ck_media_files_state"
        ),
        sa.CheckConstraint("movie_id IS NULL OR show_id IS NULL", name="ck_media_files_one_title"),
        sa.ForeignKeyConstraint(
            ["folder_id"],
            ["folders.id"],
            name=op.f("fk_media_files_folder_id"),
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["library_id"],
            ["libraries.id"],
            name=op.f("fk_media_files_library_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["movie_id"], ["movies.id"], name=op.f("fk_media_files_movie_id"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["show_id"], ["shows.id"], name=op.f("fk_media_files_show_id"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_media_files")),
        sa.UniqueConstraint("library_id", "path", name="uq_media_files_path"),
    )
    op.create_index(op.f("ix_media_files_folder_id"), "media_files", ["folder_id"], unique=False)
    op.create_index(op.f("ix_media_files_movie_id"), "media_files", ["movie_id"], unique=False)
    op.create_index(op.f("ix_media_files_show_id"), "media_files", ["show_id"], unique=False)
    op.create_index("ix_media_files_state", "media_files", ["library_id", "state"], unique=False)
    op.create_index(
        "ix_media_files_unprobed",
        "media_files",
        ["library_id"],
        unique=False,
        sqlite_where=sa.text("probed_at IS NULL"),
        postgresql_where=sa.text("probed_at IS NULL"),
    )
    op.create_table(
        "credits",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("person_id", sa.Integer(), nullable=False),
        sa.Column("movie_id", sa.Integer(), nullable=True),
        sa.Column("show_id", sa.Integer(), nullable=True),
        sa.Column("episode_id", sa.Integer(), nullable=True),
        sa.Column("kind", sa.String(length=4), nullable=False),
        sa.Column("character", dialects.CleanText(), nullable=True),
        sa.Column("order", sa.Integer(), nullable=True),
        sa.Column("job", dialects.CleanText(), nullable=True),
        sa.Column("department", dialects.CleanText(), nullable=True),
        sa.Column("weight", sa.Integer(), nullable=False),
        sa.CheckConstraint("kind IN ('cast', 'crew')", name="ck_credits_kind"),
        sa.CheckConstraint(
            "(CASE WHEN movie_id IS NULL THEN 0 ELSE 1 END)"
            " + (CASE WHEN show_id IS NULL THEN 0 ELSE 1 END)"
            " + (CASE WHEN episode_id IS NULL THEN 0 ELSE 1 END) = 1",
            name="ck_credits_one_title",
        ),
        sa.ForeignKeyConstraint(
            ["episode_id"], ["episodes.id"], name=op.f("fk_credits_episode_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["movie_id"], ["movies.id"], name=op.f("fk_credits_movie_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["person_id"], ["people.id"], name=op.f("fk_credits_person_id")),
        sa.ForeignKeyConstraint(
            ["show_id"], ["shows.id"], name=op.f("fk_credits_show_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_credits")),
    )
    op.create_index(op.f("ix_credits_episode_id"), "credits", ["episode_id"], unique=False)
    op.create_index(op.f("ix_credits_movie_id"), "credits", ["movie_id"], unique=False)
    op.create_index(op.f("ix_credits_person_id"), "credits", ["person_id"], unique=False)
    op.create_index(op.f("ix_credits_show_id"), "credits", ["show_id"], unique=False)
    op.create_table(
        "media_file_episodes",
        sa.Column("media_file_id", sa.Integer(), nullable=False),
        sa.Column("episode_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["episode_id"],
            ["episodes.id"],
            name=op.f("fk_media_file_episodes_episode_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["media_file_id"],
            ["media_files.id"],
            name=op.f("fk_media_file_episodes_media_file_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("media_file_id", "episode_id", name=op.f("pk_media_file_episodes")),
    )
    op.create_index(
        op.f("ix_media_file_episodes_episode_id"),
        "media_file_episodes",
        ["episode_id"],
        unique=False,
    )


def downgrade() -> None:
    """Drop everything."""
    for table in (
        "media_file_episodes",
        "credits",
        "media_files",
        "episodes",
        "title_aliases",
        "seasons",
        "folders",
        "shows",
        "people",
        "movies",
        "libraries",
    ):
        op.drop_table(table)
