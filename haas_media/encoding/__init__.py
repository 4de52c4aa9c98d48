"""Encode media files, so that the only copy of a film can be trusted to it."""

from haas_media.encoding.errors import EncodingError
from haas_media.encoding.ffmpeg import find_ffmpeg
from haas_media.encoding.job import encode
from haas_media.encoding.progress import EncodeProgress
from haas_media.encoding.report import EncodeReport, StreamReport
from haas_media.encoding.request import EncodeRequest, StreamRef

__all__ = [
    "EncodeProgress",
    "EncodeReport",
    "EncodeRequest",
    "EncodingError",
    "StreamRef",
    "StreamReport",
    "encode",
    "find_ffmpeg",
]
