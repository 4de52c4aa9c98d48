"""TMDb goes away in the middle of a scan: the scan ends, and the next one does the rest."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest

from haas_media.catalog import open_catalog
from haas_media.providers.tmdb import Outage
from haas_media.scan import scan
from haas_media.settings import Library, ScanSettings, Settings
from tests.fake_tmdb import Catalogue, FakeTmdb, Fault, connected

from .contents import Contents

if TYPE_CHECKING:
    from pathlib import Path

    from haas_media.catalog.opening import Catalog
    from tests.databases import Databases

FILMS = 12
FAULTS = {
    "the port is closed": None,
    "connections are reset": Fault("reset"),
    "503": Fault("status", 503),
    "it asks to come back in an hour": Fault("status", 429, {"Retry-After": "3600"}),
    "a page of HTML": Fault("garbage"),
}


@pytest.fixture
def films(tmp_path: Path) -> tuple[Settings, Catalogue]:
    titles = Catalogue(movies=FILMS, people=20)
    for number in range(1, FILMS + 1):
        name = f"{titles.title('movie', number)} ({titles.year(number)})"
        (tmp_path / "films" / name).mkdir(parents=True)
        (tmp_path / "films" / name / f"{name}.mkv").write_text(name)
    library = Library(title="Films", kind="movies", path=tmp_path / "films")
    probing = ScanSettings(probe=False)
    return Settings(libraries=(library,), data_dir=tmp_path, scan=probing), titles


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_tmdb_down_in_the_middle_of_a_scan(
    films: tuple[Settings, Catalogue], catalog: Catalog, databases: Databases, fault: Fault | None
) -> None:
    settings, titles = films
    outage = Outage(dt.timedelta(0, 0.3), dt.timedelta(0, 0.2))
    with (
        FakeTmdb(titles) as tmdb,
        connected(tmdb.url, requests_per_second=100, outage=outage) as client,
    ):
        _down_after(tmdb, FILMS // 2, fault)
        disturbed = scan(settings, catalog, provider=client)
        assert disturbed.total("matched") + disturbed.total("pending") == FILMS
        assert disturbed.total("pending") > 0
        assert disturbed.total("unmatched") == 0, "nothing is unmatched that was only unreachable"
        tmdb.up()
    with (
        FakeTmdb(titles) as tmdb,
        connected(tmdb.url) as client,
        open_catalog(databases.migrated()) as undisturbed,
    ):
        after = scan(settings, catalog, provider=client)
        assert after.total("matched") == FILMS
        assert after.total("parsed") == 0, "what is known of the files is not read again"
        scan(settings, undisturbed, provider=client)
        for look in (Contents.rows, Contents.people, Contents.credits):
            assert look(Contents(catalog)) == look(Contents(undisturbed))


def _down_after(tmdb: FakeTmdb, requests: int, fault: Fault | None) -> None:
    answer = tmdb.answer

    def answer_the_first(path: str, query: dict[str, str]) -> tuple[int, Any]:
        if len(tmdb.requests) >= requests:
            tmdb.down(fault)
        return answer(path, query)

    tmdb.answer = answer_the_first  # type: ignore[method-assign]
