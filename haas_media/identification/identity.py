"""What a name was taken for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import datetime

    from haas_media.reasons import Reason

Kind = Literal["movies", "tv"]


@dataclass(frozen=True, slots=True)
class Identity:
    """A file whose name tells what it holds.

    `path` is relative to the library's root, with `/` between folders. For a show, `title` and
    `year` are the show's. An episode is told by `season` and `episodes`, by `date` (daily shows),
    or by `absolute` where the name counts episodes without a season; `episodes` then holds the
    same numbers. `bare` says that the season is its folder's alone: the numbers may count from the
    first season on all the same. `seasons` is filled only where one name covers several. `title` is
    None only where nothing in the path names one: an extra, an id tag alone, or an episode's number
    alone.
    `edition` is another cut of a film, `version` what else tells its copies apart, `part` the place
    of a file among those that make one copy. Of what has a `date`, `part` is the place among the
    episodes of that day.
    """

    path: str
    title: str | None = None
    year: int | None = None
    season: int | None = None
    episodes: tuple[int, ...] = ()
    date: datetime.date | None = None
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

    @property
    def is_episode(self) -> bool:
        """Tell whether the name is an episode's or a season's, in whichever kind of library."""
        return bool(self.episodes or self.seasons) or (self.season, self.date) != (None, None)

    def to_json(self) -> dict[str, object]:
        """Return the fields of a line of `haas names --json`."""
        return {
            "path": self.path,
            "title": self.title,
            "year": self.year,
            "country": self.country,
            "season": list(self.seasons) if len(self.seasons) > 1 else self.season,
            "episodes": list(self.episodes),
            "date": self.date.isoformat() if self.date else None,
            "absolute": list(self.absolute),
            "ids": dict(self.ids),
            "extra": self.extra,
            "edition": self.edition,
            "version": self.version,
            "part": self.part,
        }


@dataclass(frozen=True, slots=True)
class Unidentified:
    """A file whose name does not tell what it holds, and a sentence for people that says why."""

    path: str
    reason: Reason

    def to_json(self) -> dict[str, object]:
        """Return the fields of a line of `haas names --json`."""
        return {"path": self.path, "reason": str(self.reason)}
