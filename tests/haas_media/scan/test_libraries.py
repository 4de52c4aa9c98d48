"""Libraries whose settings change keep their records, even when disks are away meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from haas_media.catalog.models import Library as Row
from haas_media.settings import Library
from tests.databases import on_both_databases

if TYPE_CHECKING:
    from tests.haas_media.scan.shelf import House


@pytest.fixture
def two(house: House) -> House:
    """Two libraries of films, A with Heat and B with Ran."""
    (house.films.root.with_name("b")).mkdir()
    a = Library(title="A", kind="movies", path=house.films.root)
    b = Library(title="B", kind="movies", path=house.films.root.with_name("b"))
    house.with_settings(libraries=(a, b))
    house.films.put("Heat (1995).mkv", "../b/Ran (1985).mkv")
    house.scan()
    return house


def rows(house: House) -> dict[str, str]:
    with house.catalog.reading() as session:
        return {row.title: row.path.rpartition("/")[2] for row in session.query(Row)}


@on_both_databases
@pytest.mark.parametrize("only", [None, "A"])
def test_two_libraries_may_swap_their_titles_while_a_disk_is_offline(
    two: House, only: str | None
) -> None:
    before = two.files()
    a, b = two.settings.libraries
    swapped = (a.model_copy(update={"path": b.path}), b.model_copy(update={"path": a.path}))
    two.with_settings(libraries=swapped)
    two.films.root.rename(two.films.root.with_name("away"))
    assert two.scan(library=only).counts()["removed"] == 0
    assert two.files() == before
    two.films.root.with_name("away").rename(two.films.root)
    counts = two.scan().counts()
    assert (counts["unchanged"], counts["removed"], counts["parsed"]) == (2, 0, 0)
    assert two.files() == before
    assert rows(two) == {"A": "b", "B": "films"}


@on_both_databases
def test_a_library_takes_the_title_of_one_that_left_the_settings(two: House) -> None:
    before = two.files()
    a, b = two.settings.libraries
    two.with_settings(libraries=(b.model_copy(update={"title": "A"}),))
    counts = two.scan().counts()
    assert (counts["found"], counts["unchanged"], counts["parsed"]) == (1, 1, 0)
    assert two.files() == before
    assert rows(two) == {"A": "b", f"A ({a.path})": "films"}
