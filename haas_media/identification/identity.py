"""What a file is taken for."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from haas_media.identification.nfo import Nfo
    from haas_media.reasons import Reason

Kind = Literal["movies", "tv"]
Source = Literal["tag", "nfo", "name"]

_KEPT = (
    *("extra", "title", "other_titles", "year", "ids", "source", "season", "episodes", "date"),
    *("absolute", "bare", "edition", "version", "part"),
)
_OF_NAMES = (
    *("title", "year", "country", "season", "episodes", "date", "absolute", "ids", "extra"),
    *("edition", "version", "part"),
)


@dataclass(frozen=True, slots=True)
class Identity:
    """What one file is taken for, by its name and by what else there is.

    `reason` says why it is nothing, `extra` what kind of extra it is. `title`, `year` and `ids` are
    the movie's or the show's. An episode is told by `season` and `episodes`, by `date` (daily
    shows), or by `absolute` where the name counts episodes without a season; `episodes` then holds
    the same numbers. `bare` says that the season is its folder's alone: the numbers may count from
    the first season on all the same. `seasons` is filled only where one name covers several.
    `title` is None only where nothing names one: an extra, an id tag alone, or an episode's number
    alone. `edition` is another cut of a film, `version` what else tells its copies apart, `part`
    the place of a file among those that make one copy. Of what has a `date`, `part` is the place
    among the episodes of that day.

    `source` is what had the last word. `details` is what an NFO file tells of the title,
    `episode_details` of the episodes, `note` what was wrong on the way, `unread` that an NFO file
    could not be opened, so that it is to be tried again.
    """

    reason: Reason | None = None
    title: str | None = None
    year: int | None = None
    season: int | None = None
    episodes: tuple[int, ...] = ()
    date: dt.date | None = None
    absolute: tuple[int, ...] = ()
    ids: dict[str, str] = field(default_factory=dict)
    extra: str | None = None
    edition: str | None = None
    version: str | None = None
    part: int | None = None
    country: str | None = None
    seasons: tuple[int, ...] = ()
    other_titles: tuple[str, ...] = ()
    bare: bool = False
    source: Source = "name"
    details: Nfo | None = None
    episode_details: tuple[Nfo, ...] = ()
    note: Reason | None = None
    unread: bool = False

    @property
    def is_episode(self) -> bool:
        """Tell whether the name is an episode's or a season's, in whichever kind of library."""
        return bool(self.episodes or self.seasons) or (self.season, self.date) != (None, None)

    def to_json(self, path: str) -> dict[str, object]:
        """Return the fields of a line of `haas names --json`."""
        if self.reason:
            return {"path": path, "reason": str(self.reason)}
        told = {name: _plain(getattr(self, name)) for name in _OF_NAMES}
        several = {"season": list(self.seasons)} if len(self.seasons) > 1 else {}
        return {"path": path, **told, **several}

    def kept(self) -> dict[str, Any]:
        """Return what is kept with the file."""
        values = {name: getattr(self, name) for name in _KEPT}
        return {name: _plain(value) for name, value in values.items() if value or value == 0}

    @classmethod
    def of_kept(cls, kept: Mapping[str, Any] | None) -> Identity:
        """Undo ``kept``; what only another version keeps is left out."""
        known: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in (kept or {}).items()
            if name in _KEPT
        }
        if "date" in known:
            known["date"] = dt.date.fromisoformat(known["date"])
        return cls(**known)


def _plain(value: Any) -> Any:
    if isinstance(value, dt.date):
        return value.isoformat()
    return list(value) if isinstance(value, tuple) else value
