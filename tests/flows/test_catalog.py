"""What runs say when the catalog's database fails in the middle of the work."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from flows.catalog import catalog_for_task
from haas_media.catalog import CatalogError, CatalogUnreachable, open_catalog
from haas_media.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_a_full_disk_is_said_in_a_sentence(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    with pytest.raises(CatalogError, match=r"failed: database or disk is full\. What was stored"):
        _fill(settings)
    with open_catalog(settings.database_url) as catalog, catalog.reading() as session:
        assert session.scalar(text("SELECT count(*) FROM people")) == 0


def test_a_database_that_is_restarted_may_answer_the_next_attempt(
    new_postgres: Callable[[], str],
) -> None:
    settings = Settings(database_url=new_postgres())
    with pytest.raises(CatalogUnreachable, match=r"The catalog's database failed: .*terminating"):
        _end(settings)


def _fill(settings: Settings) -> None:
    many = "INSERT INTO people (id, name) WITH RECURSIVE n(i) AS "
    many += "(SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) SELECT i, i FROM n"
    with catalog_for_task(settings) as catalog, catalog.engine.begin() as connection:
        connection.execute(text("PRAGMA max_page_count = 1"))  # it is as large as it may be
        connection.execute(text(many))


def _end(settings: Settings) -> None:
    with catalog_for_task(settings) as catalog, catalog.session() as session:
        session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
