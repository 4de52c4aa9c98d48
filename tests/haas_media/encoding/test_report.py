"""What the report says, to people and to programs."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from haas_media.encoding import EncodeReport, StreamReport

REPORT = EncodeReport(
    output=Path("/films/A | B *new*.mkv"),
    size=1_234_567,
    duration=timedelta(minutes=95, seconds=7),
    streams=(
        StreamReport(
            "video", Path("/in/a`b.mkv"), 0, "video mpeg2video 720x576", "video h264", False
        ),
        StreamReport("audio", Path("/in/a`b.mkv"), 1, "audio ac3 6 ch", "audio ac3 6 ch", True),
        StreamReport("subtitle", Path("/in/x.srt"), 0, "subtitle subrip", "subtitle subrip", True),
    ),
    argv=("/usr/bin/ffmpeg", "-i", "file:/in/a```b.mkv", "file:/films/two words.mkv"),
    hardware=None,
    fallback="NVENC was asked for but does not work here.",
    elapsed=timedelta(minutes=20),
    warnings=("Stream left out: 3 (data).",),
)


def test_counts() -> None:
    assert REPORT.counts() == {
        "video": 1,
        "audio": 1,
        "subtitles": 1,
        "copied": 2,
        "bytes": 1_234_567,
        "warnings": 2,
    }


def test_markdown() -> None:
    assert REPORT.to_markdown() == "\n".join(
        [
            "# Encoding",
            "",
            r"Encoded A \| B \*new\*.mkv in 20m 00.0s.",
            "",
            "- 1.2 MB, 1h 35m 07s long, 4.8 times real time, in software.",
            "- NVENC was asked for but does not work here.",
            "- Stream left out: 3 (data).",
            "",
            "| stream | kind | from | was | is |",
            "| ---: | --- | --- | --- | --- |",
            r"| 0 | video | a\`b.mkv \#0 | video mpeg2video 720x576 | video h264 |",
            r"| 1 | audio | a\`b.mkv \#1 | audio ac3 6 ch | audio ac3 6 ch (copied) |",
            r"| 2 | subtitle | x.srt \#0 | subtitle subrip | subtitle subrip (copied) |",
            "",
            "The command:",
            "",
            "````sh",
            "/usr/bin/ffmpeg -i 'file:/in/a```b.mkv' 'file:/films/two words.mkv'",
            "````",
            "",
        ]
    )
