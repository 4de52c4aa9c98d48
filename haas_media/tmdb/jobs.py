"""Which crew matters most: TMDb lists hundreds of jobs and does not rank them."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_JOBS: Mapping[str, int] = MappingProxyType(
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
_DEPARTMENTS: Mapping[str, int] = MappingProxyType(
    {"Directing": 80, "Writing": 81, "Production": 82, "Sound": 83, "Camera": 84, "Editing": 85}
)
_ANY_OTHER = 100


def crew_weight(job: str | None, department: str | None) -> int:
    """Return the weight of a crew job: the lower, the sooner its person's details are fetched.

    The job decides; a job that is not listed is ranked by its department, after those that are.
    """
    return _JOBS.get(job or "", _DEPARTMENTS.get(department or "", _ANY_OTHER))
