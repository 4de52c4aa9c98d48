"""Cast and crew, in each of the shapes that TMDb gives them."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from haas_media.providers.records import CreditRecord
from haas_media.providers.tmdb.fields import integer, nested, objects, text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    Fields = Mapping[str, Any]

# Which crew matters most: TMDb lists hundreds of jobs and does not rank them.
_JOBS = MappingProxyType(
    {
        "Director": 0,
        "Creator": 0,
        "Series Director": 1,
        "Co-Director": 1,
        "Screenplay": 10,
        "Writer": 10,
        "Teleplay": 11,
        "Story": 12,
        "Original Story": 12,
        "Novel": 13,
        "Book": 13,
        "Author": 13,
        "Comic Book": 13,
        "Characters": 14,
        "Executive Producer": 20,
        "Producer": 20,
        "Co-Producer": 24,
        "Original Music Composer": 30,
        "Music": 31,
        "Director of Photography": 40,
        "Editor": 50,
        "Production Design": 60,
        "Casting": 70,
        "Costume Design": 71,
    }
)
_DEPARTMENTS = MappingProxyType(
    {"Directing": 80, "Writing": 81, "Production": 82, "Sound": 83, "Camera": 84, "Editing": 85}
)
_ANY_OTHER = 100

# Credits, and which of cast and crew there is no list of that can be read, be it an empty one.
Found = tuple[tuple[CreditRecord, ...], set[str]]


def movie_credits(movie: Fields) -> Found:
    """Read ``credits`` of a movie."""
    return _credits(nested(movie, "credits"))


def show_credits(show: Fields) -> Found:
    """Read the creators and the credits of a show.

    ``aggregate_credits`` has everybody of every season; plain ``credits``, only those of the
    newest, is read where a proxy leaves the other out, or empty.
    """
    given, plain = nested(show, "aggregate_credits"), nested(show, "credits")
    found = list(_aggregate(given))
    missing = _missing(given, found)
    if not found:
        found = list(_plain(plain))
        missing &= _missing(plain, found)
    if "created_by" not in show:  # who are of the crew
        missing.add("crew")
    return _without_repeats([*_creators(show), *found]), missing


def episode_credits(episode: Fields) -> Found:
    """Read the guest stars and the crew of an episode."""
    return _credits({"cast": episode.get("guest_stars"), "crew": episode.get("crew")})


def _credits(given: Fields) -> Found:
    found = _without_repeats(_plain(given))
    return found, _missing(given, found)


def _missing(given: Fields, found: Iterable[CreditRecord]) -> set[str]:
    read = {credit.kind for credit in found}
    return {
        kind
        for kind in ("cast", "crew")
        if not isinstance(given.get(kind), list) or (given[kind] and kind not in read)
    }


def _plain(given: Fields) -> Iterator[CreditRecord]:
    for position, item in enumerate(objects(given, "cast")):
        order = integer(item, "order")
        yield from _cast(item, text(item, "character"), position if order is None else order)
    for item in objects(given, "crew"):
        yield from _crew(item, text(item, "job"), text(item, "department"))


def _aggregate(given: Fields) -> Iterator[CreditRecord]:
    # Listed by the number of episodes; 'order' is that of some season, the lead may have 171.
    for position, item in enumerate(objects(given, "cast")):
        roles = dict.fromkeys(filter(None, (text(r, "character") for r in objects(item, "roles"))))
        yield from _cast(item, " / ".join(roles) or None, position)
    for item in objects(given, "crew"):
        for job in objects(item, "jobs"):
            yield from _crew(item, text(job, "job"), text(item, "department"))


def _creators(show: Fields) -> Iterator[CreditRecord]:
    for item in objects(show, "created_by"):
        yield from _crew(item, "Creator", "Creator")


def _cast(item: Fields, character: str | None, order: int) -> Iterator[CreditRecord]:
    return _credit(item, kind="cast", character=character, order=order)


def _crew(item: Fields, job: str | None, department: str | None) -> Iterator[CreditRecord]:
    weight = crew_weight(job, department)
    return _credit(item, kind="crew", job=job, department=department, weight=weight)


def _credit(item: Fields, **what: Any) -> Iterator[CreditRecord]:
    """Return a credit, if it says whose it is."""
    person_id, name = integer(item, "id", least=1), text(item, "name", "original_name")
    if person_id is not None and name is not None:
        yield CreditRecord(person_id, name, profile_path=text(item, "profile_path"), **what)


def _without_repeats(found: Iterable[CreditRecord]) -> tuple[CreditRecord, ...]:
    """Keep the first of the credits that say the same of the same person."""
    first: dict[tuple[object, ...], CreditRecord] = {}
    for credit in found:
        first.setdefault((credit.kind, credit.person_id, credit.character, credit.job), credit)
    return tuple(first.values())


def crew_weight(job: str | None, department: str | None) -> int:
    """Return the weight of a crew job: the lower, the sooner its person's details are fetched.

    The job decides; a job that is not listed is ranked by its department, after those that are.
    """
    return _JOBS.get(job or "", _DEPARTMENTS.get(department or "", _ANY_OTHER))
