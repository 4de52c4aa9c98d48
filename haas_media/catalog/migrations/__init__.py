"""Alembic's migrations of the catalog. ``HEAD`` is the newest, told without loading Alembic."""

HEAD = "0003"
