"""Say what a media file is from its path below a library's root.

Names are read by strict patterns first; only what none of them takes is handed to guessit. Folders
count as much as the file's own name. What a name does not tell is never made up: such a file comes
back with a `reason`, a sentence that says what to do.
"""

from __future__ import annotations

from haas_media.identification.identity import Identity, Kind
from haas_media.identification.kinds import FileClass, classify, is_video
from haas_media.identification.reading import identify

__all__ = [
    "FileClass",
    "Identity",
    "Kind",
    "classify",
    "identify",
    "is_video",
]
