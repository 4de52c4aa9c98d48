"""A file's state as a code, what is to be looked at again as a flag, disks where they were mounted.

No table is made anew: SQLite adds and drops columns in place.
"""

import re

import sqlalchemy as sa
from alembic import op

from haas_media.catalog import dialects

revision = "0002"
down_revision = "0001"

_REMOVED = re.compile(r"Removed from the library on request \(((?:movie|show) \d+)\)")
# Sentences without arguments, as the first version kept them.
_SENTENCES = {
    "name-too-long": "The name is longer than any file system takes.",
    "name-says-nothing": "The name says nothing about what the file holds. Rename the file or its"
    " folder to 'Title (Year)', or",
    "no-title": "The name says nothing about what the file holds.",
    "no-episode": "The name has no season and episode, and no date.",
    "no-show-no-episode": "The name says neither which show nor which episode this is.",
    "no-show": "The name tells an episode, but not which show.",
    "number-too-large": "The name tells a season or episode that is larger than any.",
    "episode-among-films": "The name is that of an episode, but the library holds movies.",
}
_MANY = 500


def upgrade() -> None:
    """Add columns, move what they take over, drop those that it came from."""
    op.add_column("libraries", sa.Column("mount", dialects.FsPath(), nullable=True))
    for titles in ("movies", "shows"):
        op.add_column(titles, _flag("requested"))
    op.add_column("folders", _flag("recheck"))
    op.add_column("folders", sa.Column("mount", dialects.FsPath(), nullable=True))
    op.add_column("media_files", sa.Column("reason_code", sa.String(40), nullable=True))
    op.add_column("media_files", sa.Column("reason_args", sa.JSON(), nullable=True))
    op.add_column("media_files", _flag("recheck"))
    op.add_column("media_files", sa.Column("missing_since", dialects.UtcDateTime(), nullable=True))
    op.add_column("media_files", sa.Column("nfo_signature", sa.String(32), nullable=True))
    _carry_over()
    op.drop_column("media_files", "unmatched_reason")
    op.drop_column("folders", "mounted")
    op.drop_column("folders", "nfo_signature")
    op.add_column("folders", sa.Column("nfo_signature", sa.String(32), nullable=True))
    op.create_index(
        "ix_media_files_missing",
        "media_files",
        ["library_id"],
        unique=False,
        sqlite_where=sa.text("missing_since IS NOT NULL"),
        postgresql_where=sa.text("missing_since IS NOT NULL"),
    )


def _flag(name: str) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean(), server_default=sa.false(), nullable=False)


def _carry_over() -> None:
    connection = op.get_bind()
    yes = sa.true()
    folders = sa.table("folders", *map(sa.column, ("id", "signature", "nfo_signature", "mounted")))
    folders.append_column(sa.column("recheck"))
    folders.append_column(sa.column("mount"))
    files = sa.table("media_files", *map(sa.column, ("id", "folder_id", "state", "identity")))
    files.append_column(sa.column("recheck"))
    again = sa.select(folders.c.id).where(folders.c.nfo_signature == "?")
    connection.execute(
        sa.update(files)
        .where(
            files.c.folder_id.in_(again)
            | ((files.c.state == "pending") & files.c.identity.is_(None))
        )
        .values(recheck=yes)
    )
    connection.execute(
        sa.update(folders)
        .where((folders.c.signature == "") | (folders.c.nfo_signature == "?"))
        .values(recheck=yes)
    )
    # Where its disk was mounted is not on record; the next scan that sees it finds out.
    connection.execute(sa.update(folders).where(folders.c.mounted == yes).values(mount=""))
    for titles in ("movies", "shows"):
        # Who had added them is not on record either, so none of them is taken for a scan's.
        table = sa.table(titles, sa.column("source"), sa.column("requested"))
        connection.execute(sa.update(table).where(table.c.source == "tmdb").values(requested=yes))
    _carry_over_reasons(connection)


def _carry_over_reasons(connection: sa.Connection) -> None:
    names = ("id", "unmatched_reason", "reason_code")
    files = sa.table("media_files", *map(sa.column, names), sa.column("reason_args", sa.JSON()))
    reason = files.c.unmatched_reason
    rows = connection.execute(sa.select(files.c.id, reason).where(reason.is_not(None))).all()
    where = sa.update(files).where(files.c.id == sa.bindparam("_id"))
    change = where.values(reason_code=sa.bindparam("code"), reason_args=sa.bindparam("args"))
    changes = [{"_id": row_id, **_as_code(sentence)} for row_id, sentence in rows]
    for start in range(0, len(changes), _MANY):
        connection.execute(change, changes[start : start + _MANY])


def _as_code(sentence: str) -> dict[str, object]:
    removed = _REMOVED.match(sentence)
    if removed:
        return {"code": "removed-on-request", "args": {"title": removed[1]}}
    for code, beginning in _SENTENCES.items():
        if sentence.startswith(beginning):
            return {"code": code, "args": {}}
    return {"code": "earlier", "args": {"sentence": sentence}}
