"""The report: counts for spans, rows for artifacts, text for people."""

from __future__ import annotations

from haas_media.scan import FileReason, LibraryReport, ScanReport

FILMS = LibraryReport(
    title="Films",
    kind="movies",
    found=3,
    new=2,
    unchanged=1,
    parsed=2,
    matched=2,
    unmatched=1,
    unmatched_files=(
        FileReason("a|b.mkv", "The name says *nothing*."),
        FileReason("01. Tom &amp; Jerry ~Kiss~.mkv", "x"),
        FileReason("- b.mkv", "x"),
    ),
    problems=(FileReason("junk.mkv", "The file is empty."),),
)
SHOWS = LibraryReport(
    title="My_Shows", kind="tv", online=False, offline_reason="its folder is missing", matched=7
)
REPORT = ScanReport((FILMS, SHOWS), requests=4, looked_up=2, people=9, duration=1.25)


def test_counts_are_flat_numbers_over_all_libraries() -> None:
    counts = REPORT.counts()
    assert all(type(value) is int for value in counts.values())
    assert (counts["found"], counts["matched"], counts["requests"]) == (3, 9, 4)
    assert (counts["offline_libraries"], counts["problems"]) == (1, 1)


def test_the_table_has_a_row_for_each_library_and_one_for_all() -> None:
    rows = REPORT.table()
    assert [row["library"] for row in rows] == ["Films", "My_Shows", "all"]
    assert rows[1]["state"] == "offline: its folder is missing"
    assert rows[2]["matched"] == 9
    assert len({tuple(row) for row in rows}) == 1


def test_the_markdown_is_a_document() -> None:
    text = REPORT.to_markdown()
    assert text.startswith("# Library scan\n")
    assert (
        "- **My\\_Shows is offline**: its folder is missing. Nothing of it was removed.\n" in text
    )
    assert "- a\\|b.mkv: The name says \\*nothing\\*.\n" in text
    assert "- 01\\. Tom \\&amp; Jerry \\~Kiss\\~.mkv: x\n- \\- b.mkv: x\n" in text
    assert "## Problems in Films\n\n- junk.mkv: The file is empty.\n" in text
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len(table) == 2 + 3
    assert len({line.replace("\\|", "").count("|") for line in table}) == 1


def test_long_lists_are_cut_and_say_so() -> None:
    many = tuple(FileReason(f"{number}.mkv", "x") for number in range(1000))
    text = ScanReport((LibraryReport("A", "movies", unmatched_files=many),)).to_markdown()
    assert "- … and 800 more" in text
    assert len(text) < 20_000
