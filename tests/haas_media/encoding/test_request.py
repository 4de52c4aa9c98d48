"""Parameters are refused before anything runs, with a sentence."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from haas_media.encoding import EncodeRequest

GOOD: dict[str, Any] = {"source": "/films/a.mkv", "output": "/films/b.mkv"}


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"source": None}, "Give either a source or a list of streams"),
        ({"streams": [{"input": "a", "index": 0}]}, "Give either a source or a list of streams"),
        ({"source": None, "streams": []}, "The list of streams is empty"),
        (
            {"source": None, "streams": [{"input": "a", "index": 1}] * 2},
            "Stream 1 of 'a' is named twice",
        ),
        ({"source": None, "streams": [{"input": "a", "index": -1}]}, "greater than or equal to 0"),
        ({"source": None, "streams": [{"input": "a", "index": "0"}]}, "valid integer"),
        ({"source": ""}, "at least 1 character"),
        ({"source": "a\0b"}, "cannot hold a NUL character"),
        ({"output": "/films/b.avi"}, "ends in '.avi'; give it one of .mkv, .mp4, .m4v, .mov, .web"),
        ({"output": "/films/b"}, "has no ending; give it one of"),
        ({"video_codec": "divx"}, "'h264', 'hevc', 'av1', 'vp9' or 'copy'"),
        ({"resolution": "8k"}, "'source', '480p', '720p', '1080p' or '2160p'"),
        ({"hardware_acceleration": "cuda"}, "'none', 'auto', 'nvenc'"),
        ({"crf": 20, "video_bitrate": "2M"}, "Give either crf or video_bitrate, not both"),
        ({"crf": 52}, "crf for H.264 is from 0 to 51, not 52"),
        ({"crf": -1}, "crf for H.264 is from 0 to 51, not -1"),
        ({"crf": 64, "video_codec": "av1"}, "crf for AV1 is from 0 to 63"),
        ({"crf": True}, "valid integer"),
        ({"video_bitrate": "fast"}, "'fast' is no bitrate: write 2500k, 4M or a number"),
        ({"video_bitrate": "9" * 400 + "k"}, "is no bitrate"),
        ({"video_bitrate": True}, "valid integer"),
        ({"video_bitrate": 100}, "video_bitrate for H.264 is from 50k to 240M, not 0.1k"),
        ({"video_bitrate": "120M", "video_codec": "av1"}, "for AV1 is from 50k to 100M"),
        ({"video_codec": "copy", "crf": 20}, "crf has no meaning with video_codec 'copy'"),
        ({"video_codec": "copy", "video_bitrate": "2M"}, "video_bitrate has no meaning"),
        ({"video_codec": "copy", "resolution": "720p"}, "resolution has no meaning"),
        ({"video_codec": "copy", "hardware_acceleration": "auto"}, "hardware_acceleration has no"),
        (
            {"output": "/films/b.webm"},
            "WebM does not hold H.264: choose AV1, VP9 or another ending",
        ),
        (
            {"output": "b.mov", "video_codec": "av1"},
            "QuickTime does not hold AV1: choose H.264, HE",
        ),
        ({"device": "0"}, "A device is given, but hardware_acceleration is 'none'"),
        (
            {"device": "/dev/sda", "hardware_acceleration": "vaapi"},
            "'/dev/sda' is no GPU: give its number",
        ),
        (
            {"device": "/dev/dri/renderD128", "hardware_acceleration": "nvenc"},
            "NVENC counts its GPUs: give a number",
        ),
        ({"device": "0", "hardware_acceleration": "amf"}, "AMF chooses its GPU itself"),
        ({"crf_": 3}, "Extra inputs are not permitted"),
        ({"quality": 59}, "'small' or a VMAF from 60 to 99, not 59"),
        ({"quality": 99.5}, "'small' or a VMAF from 60 to 99, not 99.5"),
        ({"quality": "best"}, "'visually lossless', 'good' or 'small'"),
        ({"quality": "good", "crf": 20}, "Give either quality or crf, not both"),
        ({"quality": 90, "video_bitrate": "2M"}, "Give either quality or video_bitrate, not both"),
        ({"quality": "good", "video_codec": "copy"}, "quality has no meaning with video_codec"),
        (
            {"quality": "good", "hardware_acceleration": "auto"},
            "software encoders only, which are better at it: set hardware_acceleration to 'none'",
        ),
        ({"deinterlace": "yes"}, "'auto', 'always' or 'never'"),
        ({"hdr": "no"}, "'auto', 'keep', 'tonemap' or 'refuse'"),
        ({"hdr": "tonemap", "video_codec": "copy"}, "hdr has no meaning with video_codec 'copy'"),
        ({"deinterlace": "always", "video_codec": "copy"}, "deinterlace has no meaning"),
        ({"verify": "no"}, "'quick' or 'full'"),
        ({"allow_loss": 1}, "valid boolean"),
        ({"refuse_larger": "yes"}, "valid boolean"),
    ],
)
def test_refused(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        EncodeRequest.model_validate(GOOD | values)
    assert sentence in str(refusal.value)


@pytest.mark.parametrize(
    ("given", "bits"),
    [
        (2_500_000, 2_500_000),
        ("2500000", 2_500_000),
        ("2500k", 2_500_000),
        ("2.5M", 2_500_000),
        (" 4 Mbit/s ", 4_000_000),
        ("64K", 64_000),
    ],
)
def test_bitrates(given: str | int, bits: int) -> None:
    assert EncodeRequest(**GOOD, video_bitrate=given).video_bitrate == bits
