"""Parts and editions of files in columns of their own.

What was one column, ``version``, is told apart by the next scan, which identifies these files anew.
"""

import json

import sqlalchemy as sa
from alembic import op

from haas_media.catalog import dialects

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add columns; fill in what is on record, and have looked at again what is not."""
    op.add_column("media_files", sa.Column("edition", dialects.CleanText(), nullable=True))
    op.add_column("media_files", sa.Column("part", sa.Integer(), nullable=True))
    connection = op.get_bind()
    names = ("id", "folder_id", "state", "version", "part", "identity")
    files = sa.table("media_files", *map(sa.column, names), sa.column("recheck"))
    told = sa.cast(files.c.identity, sa.Text)
    # Of an episode of a day it is which of that day's, not a part.
    of_files = told.like('%"part": %') & told.not_like('%"date": %')
    rows = connection.execute(sa.select(files.c.id, told).where(of_files)).all()
    change = sa.update(files).where(files.c.id == sa.bindparam("_id"))
    parts = [{"_id": row_id, "number": json.loads(kept).get("part")} for row_id, kept in rows]
    if parts:
        connection.execute(change.values(part=sa.bindparam("number")), parts)
    folders = sa.table("folders", sa.column("id"), sa.column("recheck"))
    versions = files.c.version.is_not(None) & (files.c.state != "unmatched")
    connection.execute(sa.update(files).where(versions).values(recheck=sa.true()))
    again = sa.select(files.c.folder_id).where(versions)
    connection.execute(sa.update(folders).where(folders.c.id.in_(again)).values(recheck=sa.true()))
