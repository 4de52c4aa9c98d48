"""The sample library: at least twenty real clips, told apart in every way there is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from deployments.samples import CLIPS, SampleError, make_samples
from haas_media.encoding.probe import probe
from haas_media.identification import identify

if TYPE_CHECKING:
    from deployments.samples import SampleLibrary


def test_every_clip_is_real(samples: SampleLibrary) -> None:
    assert len(CLIPS) >= 20
    for clip in CLIPS:
        media = probe(samples.root / clip.path)
        assert [stream.kind for stream in media.streams] == ["video", "audio"]


def test_films_and_episodes_are_told_in_different_ways() -> None:
    told = {clip.path: identify(clip.path.partition("/")[2], kind_of(clip.path)) for clip in CLIPS}
    unknown = [path for path, found in told.items() if found.reason]
    assert unknown == ["films/incoming/8f3a9c2e71d04b55.mkv"]
    found = [each for each in told.values() if not each.reason]
    assert {each.extra for each in found} == {None, "trailer", "sample"}
    assert any(each.ids for each in found)
    assert any(len(each.episodes) > 1 for each in found)
    assert any(each.season == 0 for each in found)
    assert any(each.date for each in found)


def kind_of(path: str) -> str:
    return "movies" if path.startswith("films/") else "tv"


def test_what_is_there_is_not_made_again(samples: SampleLibrary, tmp_path: Path) -> None:
    nowhere = tmp_path / "ffmpeg"
    before = {clip: (samples.root / clip.path).stat().st_mtime_ns for clip in CLIPS}
    made: list[int] = []
    make_samples(samples.root, nowhere, lambda done, _: made.append(done))
    assert made[-1] == len(CLIPS)
    assert {clip: (samples.root / clip.path).stat().st_mtime_ns for clip in CLIPS} == before


def test_a_clip_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    with pytest.raises(SampleError, match="could not be made: no reason given"):
        make_samples(tmp_path, Path("/bin/false"))
