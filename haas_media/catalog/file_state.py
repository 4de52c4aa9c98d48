"""What a file is to the catalog, and how that changes. Nothing else writes these columns.

    new ------> pending    a provider has still to be asked for its title
    new ------> matched    to a title that no provider has to be asked for
    new ------> unmatched  with the reason as a code with arguments
    new ------> extra      a trailer or the like, with its title if that is known
    pending --> matched    the provider knows its title
    pending --> unmatched  the provider does not
    matched --> unmatched  its title was removed on request: dismissed, no scan brings it back ...
    dismissed > pending    ... before the title is added again

Any of them is identified anew when the file, its name or its NFO file changes, or when ``recheck``
says so. Each function returns the values of a transition, for an UPDATE or INSERT.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from haas_media.catalog.models import MediaFile
from haas_media.reasons import Reason

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement

    from haas_media.identification.identity import Identity

REMOVED = "removed-on-request"

Values = dict[str, Any]


def identified(found: Identity, kind: str, title_id: int | None, *, waits: bool) -> Values:
    """Return what a file becomes that was identified by its name and NFO files.

    Args:
        found: what they said.
        kind: its library's.
        title_id: its title, if that is known.
        waits: whether a provider has still to be asked for its title.
    """
    state = "pending" if waits else "matched"
    return {
        **_because(found.reason),
        "state": "unmatched" if found.reason else "extra" if found.extra else state,
        "recheck": False,
        "extra_kind": found.extra,
        "movie_id": None,
        "show_id": None,
        **joined(title_id, kind),
        **other_copy(found),
    }


def other_copy(found: Identity) -> Values:
    """Return what a file becomes that stays with its title, as another copy of it."""
    return {
        "edition": found.edition,
        "version": found.version,
        # Of what has a date, the place among the episodes of that day: no part of a copy.
        "part": None if found.date else found.part,
        "identity": found.kept(),
    }


def joined(title_id: int | None, kind: str) -> Values:
    """Return what an extra becomes whose title is known now; ``kind`` is its library's."""
    return {"movie_id" if kind == "movies" else "show_id": title_id}


def matched() -> Values:
    """Return what a pending file becomes whose title is known now."""
    return {**_because(None), "state": "matched"}


def not_matched(reason: Reason) -> Values:
    """Return what a file becomes that a provider has no title for."""
    return {**_because(reason), "state": "unmatched", "movie_id": None, "show_id": None}


def dismissed(title: str) -> Values:
    """Return what the files of a title become that is removed on request."""
    return not_matched(Reason(REMOVED, title=title))


def waits_again() -> Values:
    """Return what a file becomes that the next scan is to identify anew, whatever it was."""
    return {**not_matched(Reason(REMOVED)), **_because(None), "state": "pending", "recheck": True}


def is_dismissed(title: str | None = None) -> ColumnElement[bool]:
    """Return the condition that a file's title, or this one, was removed on request."""
    condition = (MediaFile.state == "unmatched") & (MediaFile.reason_code == REMOVED)
    if title is not None:
        condition &= MediaFile.reason_args["title"].as_string() == title
    return condition


def _because(reason: Reason | None) -> Values:
    code, args = (reason.code, reason.args) if reason else (None, None)
    return {"reason_code": code, "reason_args": args}
