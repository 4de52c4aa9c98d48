"""What a file is, by its extension."""

from __future__ import annotations

from haas_media.identification import classify

KINDS = {
    "The Matrix (1999).mkv": "video",
    "The Matrix (1999).MKV": "video",
    "VTS_01_1.VOB": "video",
    "00001.m2ts": "video",
    "Show.S01E02.ts": "video",
    "movie.nfo": "nfo",
    "The Matrix (1999).en.srt": "subtitle",
    "The Matrix (1999).idx": "subtitle",
    "poster.jpg": "image",
    "folder.webp": "image",
    "commentary.flac": "audio",
    "theme.mp3": "audio",
    "README": "other",
    "mkv": "other",
    "": "other",
    ".mkv": "other",
    "._The Matrix (1999).mkv": "other",
    ".The Matrix (1999).mkv": "other",
    "The Matrix (1999).mkv.part": "other",
    "Mr. Nobody": "other",
    "The Matrix.iso": "video",
    "The Matrix (1999).strm": "video",
    "index.tsv": "other",
}


def test_classify() -> None:
    assert {name: classify(name) for name in KINDS} == KINDS
