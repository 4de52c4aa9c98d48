"""Where an output may be written, and what it must not overwrite."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from haas_media.encoding.errors import EncodingError

if TYPE_CHECKING:
    from collections.abc import Sequence

# How coarsely a file system may tell the time of a file.
_COARSEST_SECONDS = 2.0
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def resolve_input(name: str) -> Path:
    """Make an input's path absolute. Raises EncodingError when it is an address, not a path."""
    path = Path(os.path.abspath(name))  # noqa: PTH100 - the name stays; no link is followed
    if _ADDRESS.match(name) and not os.path.exists(path):  # noqa: PTH110 - this one never raises
        # Not repeated: an address may hold a password.
        raise EncodingError("An input is an address, not a file: only files can be encoded.")
    return path


def resolve_output(name: str, roots: Sequence[Path]) -> Path:
    """Follow every link in an output's path and hold it to the roots.

    Raises EncodingError with a sentence when it leads outside them, when its folder is not there,
    or when it is not the name of a file.
    """
    if not roots:
        raise EncodingError(
            "No library is configured, so there is nowhere an output may be written: add one to "
            "haas.toml."
        )
    path = Path(os.path.realpath(name))
    allowed = [Path(os.path.realpath(root)) for root in roots]
    if not any(path.is_relative_to(root) and path != root for root in allowed):
        shown = ", ".join(repr(str(root)) for root in allowed)
        raise EncodingError(
            f"The output {str(path)!r} is outside the libraries ({shown}): choose a name in one "
            "of them."
        )
    _check_place(path)
    return path


def _check_place(path: Path) -> None:
    if not os.path.isdir(path.parent):  # noqa: PTH112 - this one never raises
        raise EncodingError(
            f"The folder {str(path.parent)!r} does not exist: make it, or mount its disk, first."
        )
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise EncodingError(f"The folder {str(path.parent)!r} cannot be written to.")
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise EncodingError(
            f"The output {str(path)!r} cannot be used: {error.strerror}."
        ) from error
    if stat.S_ISDIR(mode):
        raise EncodingError(f"The output {str(path)!r} is a folder: add a file name.")
    if not stat.S_ISREG(mode):
        raise EncodingError(f"The output {str(path)!r} is there already and is not a file.")


def refuse_same_file(output: Path, inputs: Sequence[Path]) -> None:
    """Refuse to overwrite what is read, by whatever name. Raises EncodingError.

    A union or network file system shows a file under numbers of its own, so that one reached both
    through it and past it is known by its size and date only.
    """
    for path in inputs:
        try:
            one, other = path.stat(), output.stat()
        except OSError:
            continue  # there is no output yet; an input that is gone is missed soon
        if os.path.samestat(one, other):
            raise EncodingError(
                f"The output {str(output)!r} is the same file as the input {str(path)!r}: choose "
                "another name, and replace the input yourself when you are content."
            )
        apart = abs(one.st_mtime - other.st_mtime)
        if one.st_size == other.st_size and apart < _COARSEST_SECONDS:
            raise EncodingError(
                f"The output {str(output)!r} has the size and date of the input {str(path)!r}, so "
                "it may be the same file, reached another way: choose another name. If it is a "
                "copy, delete it first, or change its date with 'touch'."
            )
