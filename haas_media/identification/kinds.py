"""Tell what a file is by its extension, cheaply enough for a walk over 100,000s of names."""

from __future__ import annotations

from typing import Literal

FileClass = Literal["video", "audio", "image", "subtitle", "nfo", "other"]

_BY_CLASS: dict[FileClass, str] = {
    "video": (
        "3g2 3gp amv asf avi divx dv dvr-ms evo f4v flv hevc m1v m2p m2t m2ts m2v m4v mk3d"
        " mkv mov mp2v mp4 mpe mpeg mpg mpv mts mxf nsv nut nuv ogm ogv qt rm rmvb tp trp ts vc1"
        " vob vro webm wm wmv wtv xvid y4m iso img strm"
    ),
    "audio": (
        "aac ac3 aif aiff alac amr ape dff dsf dts dtshd eac3 flac m4a m4b mka mlp mp2 mp3 mpc oga"
        " ogg opus ra thd truehd wav wma wv"
    ),
    "image": "avif bmp gif heic ico jpe jpeg jpg jxl png svg tbn tif tiff webp",
    "subtitle": ("ass dfxp idx mpl2 pgs psb rt sami sbv smi srt ssa stl sub sup ttml usf vtt"),
    "nfo": "nfo",
    "other": "7z bak bup ifo json lnk m3u part rar tmp torrent txt url xml zip",
}
_CLASSES: dict[str, FileClass] = {
    extension: kind for kind, extensions in _BY_CLASS.items() for extension in extensions.split()
}
# A title in one file that is no media file: the image of a disc, or a text file with an address.
_UNPROBED = (".iso", ".img", ".strm")
# A disc is one title, whatever streams it has.
_DISCS = frozenset({"bdmv", "video_ts", "hvdvd_ts"})


def classify(name: str) -> FileClass:
    """Tell what a file is by its extension.

    A hidden file, a half-written one or one without extension is `other`.
    """
    stem, dot, extension = name.rpartition(".")
    if not dot or not stem or name[name.rfind("/") + 1] == ".":
        return "other"
    return _CLASSES.get(extension) or _CLASSES.get(extension.lower(), "other")


def is_video(name: str) -> bool:
    """Tell whether a file is a video by its extension."""
    return classify(name) == "video"


def is_whole_disc(folder: str) -> bool:
    """Tell whether a folder's name is that of a Blu-ray, DVD or HD DVD's structure."""
    return folder.lower() in _DISCS


def can_be_probed(name: str) -> bool:
    """Tell whether what a title is found under is a media file, not a disc or an address."""
    return not (name.lower().endswith(_UNPROBED) or is_whole_disc(name))


def split_extension(name: str) -> tuple[str, str]:
    """Split a name into stem and extension (lower case, no dot) where the extension is a known one.

    Names of folders and releases hold dots that start no extension (`Mr. Nobody`, `x264.AAC2.0`).
    """
    stem, dot, extension = name.rpartition(".")
    extension = extension.lower()
    return (stem, extension) if dot and extension in _CLASSES else (name, "")
