"""Finding or making the titles of a batch of files, known from tags, NFO files and names.

What is found does not depend on how the files fall into batches: ids come before names, and a
title known by name becomes the one with an id when both have the same title and year.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import null, or_, select, update

from haas_media.catalog.dialects import chunked, table_of, upsert
from haas_media.catalog.models import Movie, Show, TitleAlias, match_key
from haas_media.identification.nfo import Nfo

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy import Select
    from sqlalchemy.orm import Session

    from haas_media.catalog.models import TitleModel
    from haas_media.identification.identity import Identity

Key = TypeVar("Key")
_CHUNK = 200
_IDS = ("tmdb_id", "imdb_id", "tvdb_id")


@dataclass(slots=True)
class TitleRow:
    """What a batch needs to know of a title. ``settled``: no provider has to be asked for it."""

    id: int
    tmdb_id: int | None
    imdb_id: str | None
    tvdb_id: int | None
    match_key: str
    source: str
    settled: bool


@dataclass(frozen=True, slots=True)
class _Wanted:
    tmdb_id: int | None
    imdb_id: str | None
    tvdb_id: int | None
    match_key: str
    title: str
    year: int | None
    source: str

    @property
    def has_id(self) -> bool:
        """Whether it is known by an id."""
        return bool(self.tmdb_id or self.imdb_id or self.tvdb_id)

    @property
    def aliases(self) -> list[str]:
        """The keys under which a provider may have found it before; see ``TitleAlias``."""
        ids = alias_keys(self.imdb_id, self.tvdb_id)
        return ids or ([] if self.tmdb_id else [self.match_key])

    @property
    def rank(self) -> tuple[int, str, str]:
        """Order: those with the best id first, then by key, the same in every process."""
        best = 0 if self.tmdb_id else 1 if self.imdb_id or self.tvdb_id else 2
        return best, self.match_key, str(self.tmdb_id or self.imdb_id or self.tvdb_id or "")


class Titles:
    """The titles of one batch, in the transaction of that batch."""

    def __init__(self, session: Session, model: TitleModel) -> None:
        self._session = session
        self._model = model
        self._index: dict[tuple[str, Any], list[TitleRow]] = {}
        self._loaded: dict[int, TitleRow] = {}

    def ensure(self, found: Mapping[str, Identity]) -> dict[str, TitleRow]:
        """Return the title of each identification that names one, making those that are new.

        Args:
            found: identifications by the path of their file.
        """
        wanted = {path: self._wanted(path, what) for path, what in sorted(found.items())}
        details: dict[_Wanted, Nfo | None] = {}
        for path, want in wanted.items():
            details[want] = details.get(want) or found[path].details
        self._load(details)
        rows: dict[_Wanted, TitleRow] = {}
        new: list[_Wanted] = []
        for want in sorted(details, key=lambda want: want.rank):
            row = self._find(want)
            if row is None:
                row = self._new_row(want)
                new.append(want)
            elif row.id:
                self._learn(row, want, details[want])
            rows[want] = row
        self._insert(new, rows, details)
        return {path: rows[want] for path, want in wanted.items()}

    def find(self, found: Mapping[Key, Identity]) -> dict[Key, TitleRow]:
        """Return the titles that extras belong to, as far as they are known."""
        wanted = {
            key: self._wanted("", what) for key, what in found.items() if what.ids or what.title
        }
        keys = list(wanted)
        for chunk in chunked(keys, _CHUNK):
            self._load(wanted[key] for key in chunk)
        return {key: row for key, want in wanted.items() if (row := self._find(want))}

    def _wanted(self, path: str, what: Identity) -> _Wanted:
        tmdb, tvdb = what.ids.get("tmdb"), what.ids.get("tvdb")
        ids = "-".join(f"{source}:{value}" for source, value in sorted(what.ids.items()))
        return _Wanted(
            int(tmdb) if tmdb else None,
            what.ids.get("imdb"),
            int(tvdb) if tvdb and self._model is Show else None,
            # Nobody can take the name of something known by its id alone for another's.
            match_key(what.title, what.year) if what.title else f"{ids}|",
            what.title or path.split("/")[0],
            what.year,
            "nfo" if what.source == "nfo" else "name",
        )

    def _load(self, wanted: Iterable[_Wanted]) -> None:
        model = self._model
        wanted = list(wanted)
        values: list[tuple[Any, set[Any]]] = [
            (model.tmdb_id, {want.tmdb_id for want in wanted if want.tmdb_id}),
            (model.imdb_id, {want.imdb_id for want in wanted if want.imdb_id}),
            (model.match_key, {want.match_key for want in wanted}),
        ]
        if model is Show:
            values.append((Show.tvdb_id, {want.tvdb_id for want in wanted if want.tvdb_id}))
        conditions = [column.in_(some) for column, some in values if some]
        if not conditions:
            return
        rows = self._session.execute(self._columns().where(or_(*conditions)).order_by(model.id))
        for values_of_row in rows:
            self._row(values_of_row)
        keys = {key for want in wanted for key in want.aliases}
        column = TitleAlias.movie_id if model is Movie else TitleAlias.show_id
        aliases = self._columns(TitleAlias.key).join(TitleAlias, column == model.id)
        for key, *row in self._session.execute(aliases.where(TitleAlias.key.in_(keys))):
            self._index["alias", key] = [self._row(row)]

    def _columns(self, *first: Any) -> Select[Any]:
        model: Any = self._model
        tvdb_id = model.tvdb_id if model is Show else null()
        ids = (model.id, model.tmdb_id, model.imdb_id, tvdb_id)
        settled = model.looked_up_at.is_not(None)
        return select(*first, *ids, model.match_key, model.source, settled)

    def _row(self, values: Sequence[Any]) -> TitleRow:
        row = TitleRow(*values)
        if row.id not in self._loaded:
            self._loaded[row.id] = row
            self._note(row)
        return self._loaded[row.id]

    def _find(self, want: _Wanted) -> TitleRow | None:
        if want.tmdb_id and ("tmdb_id", want.tmdb_id) in self._index:
            return self._index["tmdb_id", want.tmdb_id][0]
        ways = [("imdb_id", want.imdb_id), ("tvdb_id", want.tvdb_id)]
        ways += [("alias", key) for key in want.aliases]
        for way in ways:
            fitting = [row for row in self._index.get(way, ()) if _compatible(row, want)]
            if fitting:
                return fitting[0]
        named = [
            row
            for row in self._index.get(("match_key", want.match_key), ())
            if _compatible(row, want)
            # An id that the provider has not been asked for goes before what it said of a name.
            and not (want.has_id and row.source == "tmdb")
        ]
        return next((row for row in named if row.tmdb_id), named[0] if named else None)

    def _note(self, row: TitleRow) -> None:
        for name in (*_IDS, "match_key"):
            value = getattr(row, name)
            if value is not None and row not in self._index.setdefault((name, value), []):
                self._index[name, value].append(row)

    def _new_row(self, want: _Wanted) -> TitleRow:
        key = want.match_key
        if not want.tmdb_id and any(
            row.tmdb_id is None for row in self._index.get(("match_key", key), ())
        ):
            # Another title of the same name and year, told apart by its id alone.
            key = f"{key}|{want.imdb_id or want.tvdb_id}"
        row = TitleRow(0, want.tmdb_id, want.imdb_id, want.tvdb_id, key, want.source, False)
        self._note(row)
        return row

    def _learn(self, row: TitleRow, want: _Wanted, details: Nfo | None) -> None:
        """Add what is new: ids that the title did not have, and what an NFO file tells."""
        values: dict[str, Any] = {}
        for name in _IDS:
            if getattr(row, name) is None and getattr(want, name) is not None:
                values[name] = getattr(want, name)
                setattr(row, name, values[name])
                if row.source != "tmdb":
                    # With a new id the provider can say more than it could before.
                    values["looked_up_at"] = None
                    row.settled = False
        self._note(row)
        if details and row.source != "tmdb":
            values |= _nfo_columns(details, self._model) | {"source": "nfo"}
        if values:
            self._session.execute(
                update(self._model).where(self._model.id == row.id).values(**values)
            )

    def _insert(
        self,
        new: list[_Wanted],
        rows: Mapping[_Wanted, TitleRow],
        details: Mapping[_Wanted, Nfo | None],
    ) -> None:
        with_id = [want for want in new if want.tmdb_id]
        without = [want for want in new if not want.tmdb_id]
        for chosen, column in ((with_id, "tmdb_id"), (without, "match_key")):
            if chosen:
                values = [
                    self._values(want, rows[want].match_key, details[want]) for want in chosen
                ]
                table = table_of(self._model)
                partly = table.c.tmdb_id.is_(None) if column == "match_key" else None
                ids = upsert(
                    self._session,
                    table,
                    values,
                    [column],
                    keep=values[0],
                    index_where=partly,
                )
                for want in chosen:
                    rows[want].id = ids[(getattr(rows[want], column),)]

    def _values(self, want: _Wanted, key: str, details: Nfo | None) -> dict[str, Any]:
        columns = _nfo_columns(details, self._model)
        values: dict[str, Any] = {
            "tmdb_id": want.tmdb_id,
            "imdb_id": want.imdb_id,
            "match_key": key,
            "title": want.title,
            "year": want.year,
            "source": want.source,
            "genres": [],
            "popularity": 0.0,
            "added_at": dt.datetime.now(dt.UTC),
            **columns,
        }
        if self._model is Show:
            values |= {"tvdb_id": want.tvdb_id, "season_numbers": []}
        return values


def alias_keys(imdb_id: str | None, tvdb_id: int | None) -> list[str]:
    """Return the keys of foreign ids; see ``TitleAlias``."""
    named = (("imdb", imdb_id), ("tvdb", tvdb_id))
    return [f"{source}:{value}" for source, value in named if value]


def _compatible(row: TitleRow, want: _Wanted) -> bool:
    """Tell whether no id speaks against the two being one."""
    both = ((getattr(row, name), getattr(want, name)) for name in _IDS)
    return all(have is None or wanted is None or have == wanted for have, wanted in both)


def _nfo_columns(details: Nfo | None, model: TitleModel) -> dict[str, Any]:
    """Turn what an NFO file tells of a title into columns; the same ones for every title."""
    nfo = details or Nfo(None)
    names = ("original_title", "overview", "genres", "vote_average")
    values = {name: getattr(nfo, name) for name in names}
    if model is Movie:
        return values | {"release_date": nfo.date, "runtime": nfo.runtime}
    return values | {"first_air_date": nfo.date}
