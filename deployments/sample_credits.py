"""Credits for the sample library, as TMDb would tell them: two films that share an actor.

The demo asks nobody outside, and the cleanup of people needs people.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from haas_media.providers.records import CreditRecord, MovieRecord

if TYPE_CHECKING:
    from haas_media.catalog.opening import Catalog

TO_REMOVE = 381  # To Catch a Thief: no clip of it is in the sample library


def _cast(*people: tuple[int, str, str]) -> tuple[CreditRecord, ...]:
    return tuple(
        CreditRecord(person_id, name, "cast", character=character, order=order)
        for order, (person_id, name, character) in enumerate(people)
    )


def _director(person_id: int, name: str) -> tuple[CreditRecord, ...]:
    return (CreditRecord(person_id, name, "crew", job="Director", department="Directing"),)


GRANT = (2638, "Cary Grant")
FILMS = (
    MovieRecord(
        tmdb_id=3085,
        title="His Girl Friday",
        release_date=dt.date(1940, 1, 18),
        runtime=92,
        credits=_cast((*GRANT, "Walter Burns"), (30155, "Rosalind Russell", "Hildy Johnson"))
        + _director(11435, "Howard Hawks"),
    ),
    MovieRecord(
        tmdb_id=TO_REMOVE,
        title="To Catch a Thief",
        release_date=dt.date(1955, 8, 3),
        runtime=106,
        credits=_cast((*GRANT, "John Robie"), (4070, "Grace Kelly", "Frances Stevens"))
        + _director(2636, "Alfred Hitchcock"),
    ),
)


def store_sample_credits(catalog: Catalog) -> int:
    """Store the two films with their credits; return how many people have a part in them."""
    from sqlalchemy import select

    from haas_media.catalog.models import Movie
    from haas_media.catalog.store_titles import store_title

    with catalog.session() as session:
        for film in FILMS:
            known = select(Movie.id).where(Movie.title == film.title, Movie.tmdb_id.is_(None))
            store_title(session, film, replaces=session.scalar(known))
    return len({credit.person_id for film in FILMS for credit in film.credits})
