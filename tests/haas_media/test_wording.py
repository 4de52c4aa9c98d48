"""Reports read as people write."""

from __future__ import annotations

from haas_media.library.add import AddReport
from haas_media.library.cleanup import CleanupReport
from haas_media.library.people import PeopleReport
from haas_media.library.refresh import KindReport, RefreshReport
from haas_media.library.remove import RemoveReport
from haas_media.scan.scan_report import LibraryReport, ScanReport


def test_one_of_each() -> None:
    one = PeopleReport(fetched=1)
    shows = KindReport("tv", known=1, refreshed=1)
    assert [
        ScanReport((LibraryReport("Films", "movies", found=1, matched=1),), requests=1).summary(),
        AddReport("tv", 7, "Dark", 2017, True, 1, 1, 1, 1, 1, people=one).summary(),
        RemoveReport("tv", 7, "Dark", 2017, (5,), 1, 1, 1, 1).summary(),
        RefreshReport((shows,), requests=1).summary(),
        CleanupReport(checked=1, deleted=1).summary(),
    ] == [
        "Found 1 file in 0.0 s: 0 new, 0 changed, 0 moved, 0 removed, 0 parsed, 0 probed; "
        "1 request. Now 1 matched, 0 unmatched.",
        "Added Dark (2017), show 7, 1 season, 1 episode, 1 credit, details of 1 person; "
        "1 request in 0.0 s.",
        "Removed Dark (2017), show 7 with 1 episode and 1 credit of 1 person. "
        "Its 1 file stays on disk and is listed as unmatched.",
        "Refreshed 1 of 1 shows with 1 request in 0.0 s; 0 had not changed.",
        "Looked at 1 person in 0.0 s: 1 to whom no title refers was deleted, 0 kept.",
    ]


def test_several_of_each() -> None:
    assert RemoveReport("movie", 7, "Heat", None, (5, 6), credits=3, files=2).summary() == (
        "Removed Heat, movie 7 with 3 credits of 2 people. "
        "Its 2 files stay on disk and are listed as unmatched."
    )
    assert (
        "3 files wait for the next scan"
        in AddReport("movie", 7, "Heat", 1995, True, files=3).to_markdown()
    )
