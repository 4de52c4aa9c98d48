"""Whether a file that moved keeps its identification."""

from __future__ import annotations

from typing import TYPE_CHECKING

from haas_media.catalog.keys import match_key
from haas_media.scan.identification import Identification

if TYPE_CHECKING:
    from haas_media.scan.diff import KnownFile


def new_identification(file: KnownFile, found: Identification) -> Identification | None:
    """Return what a moved file is to be taken for now; none if it keeps what it was.

    It keeps that unless its new place says clearly that it is something else: an id tag or NFO
    file that speaks of another title, another title with its year, other episodes.

    Args:
        file: what is on record.
        found: what its new path and the NFO files there say.
    """
    if file.dismissed and found.source != "tag":
        return None
    if file.movie_id is None and file.show_id is None:
        return found
    old = Identification.from_json(file.identity or {})
    if found.extra or old.extra:
        return found if found.extra != old.extra else None
    if _other_ids(old, found) or _other_numbers(old, found):
        return found
    certain = found.source != "name" or found.year is not None or found.season is not None
    return found if certain and _other_title(old, found) else None


def _other_ids(old: Identification, found: Identification) -> bool:
    if found.source == "tag" and not old.ids:
        return True
    return any(old.ids.get(source, value) != value for source, value in found.ids.items())


def _other_numbers(old: Identification, found: Identification) -> bool:
    def told(what: Identification) -> tuple[object, ...]:
        return what.season, what.episodes, what.date, what.absolute

    nothing = told(Identification())
    return told(found) not in (told(old), nothing)


def _other_title(old: Identification, found: Identification) -> bool:
    if not found.title or not old.title:
        return False
    if match_key(old.title, None) != match_key(found.title, None):
        return True
    return None not in (old.year, found.year) and old.year != found.year
