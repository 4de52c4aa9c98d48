"""Paths, text and times go through the database and come back as they were."""

from __future__ import annotations

import datetime as dt
import os
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from haas_media.catalog.dialects import from_stored_path, to_stored_path
from haas_media.catalog.models import Library, Movie, match_key
from tests.databases import on_both_databases

if TYPE_CHECKING:
    from haas_media.catalog.opening import Catalog


@given(st.binary(max_size=40))
def test_every_name_has_one_stored_form_of_its_own(raw: bytes) -> None:
    path = os.fsdecode(raw)
    stored = to_stored_path(path)
    stored.encode()  # storable
    assert os.fsencode(from_stored_path(stored)) == raw


@on_both_databases
def test_text_that_no_database_takes_is_cleaned(catalog: Catalog) -> None:
    with catalog.session() as session:
        session.add(Movie(title="a\x00b\udcffc", match_key="x", genres=[]))
    with catalog.reading() as session:
        assert session.query(Movie.title).scalar() == "a\ufffdb\ufffdc"


@on_both_databases
def test_times_are_aware_and_utc(catalog: Catalog) -> None:
    there = dt.timezone(dt.timedelta(hours=5, minutes=30))
    then = dt.datetime(2024, 2, 29, 23, 59, 59, 123456, tzinfo=there)
    with catalog.session() as session:
        session.add(Library(title="Films", kind="movies", path="/films", last_scanned=then))
    with catalog.reading() as session:
        found = session.query(Library.last_scanned).scalar()
    assert found == then
    assert found.utcoffset() == dt.timedelta(0)


SAME = [
    (("The Matrix", 1999), ("matrix", 1999)),
    (("Amélie", 2001), ("AMELIE", 2001)),
    (("Ame\u0301lie", 2001), ("Amélie", 2001)),
    (("Fast & Furious", 2009), ("Fast and Furious", 2009)),
    (("Ocean's Eleven", 2001), ("Oceans Eleven", 2001)),
    (("Se7en: The Film", 1995), ("Se7en - The Film", 1995)),
    (("Straße", None), ("STRASSE", None)),
]
OTHERS = [
    (("Heat", 1995), ("Heat", 1986)),
    (("Heat", 1995), ("Heat", None)),
    (("A", 1998), ("The", 1998)),
    (("!!!", 2000), ("???", 2000)),
    (("千と千尋の神隠し", 2001), ("もののけ姫", 1997)),
    (("x" * 1000, 2001), ("x" * 1001, 2001)),
]


def test_the_same_title_has_the_same_key_and_another_has_another() -> None:
    assert [pair for pair in SAME if match_key(*pair[0]) != match_key(*pair[1])] == []
    assert [pair for pair in OTHERS if match_key(*pair[0]) == match_key(*pair[1])] == []
