"""People and credits of the generated catalogue, the same for the same id at every start."""

from __future__ import annotations

import random
import re
from typing import Any


def word_list(text: str) -> list[str]:
    """Return the words of a text."""
    return re.findall(r"\S+", text)


JOBS = (
    ("Director", "Directing"),
    ("Screenplay", "Writing"),
    ("Writer", "Writing"),
    ("Producer", "Production"),
    ("Executive Producer", "Production"),
    ("Original Music Composer", "Sound"),
    ("Director of Photography", "Camera"),
    ("Editor", "Editing"),
    ("Casting", "Production"),
    ("Gaffer", "Lighting"),
    ("Stunt Coordinator", "Crew"),
    ("Foley Artist", "Sound"),
)


def person(person_id: int, name: str | None = None, **fields: Any) -> dict[str, Any]:
    """Return a person as ``/person/{id}`` has them, with TMDb's gaps."""
    rng = random.Random(f"person-{person_id}")
    return {
        "adult": False,
        "biography": rng.choice(["", f"Born to act.\n\nPerson {person_id}."]),
        "birthday": rng.choice([None, "", f"19{rng.randint(30, 99)}-0{rng.randint(1, 9)}-11"]),
        "deathday": None,
        "id": person_id,
        "imdb_id": rng.choice([None, "", f"nm{person_id:07d}"]),
        "known_for_department": rng.choice(["Acting", "Directing", None]),
        "name": name or f"Person {person_id}",
        "place_of_birth": rng.choice([None, "Lyon, France"]),
        "profile_path": rng.choice([None, f"/person{person_id}.jpg"]),
        **fields,
    }


def cast(person_id: int, name: str | None, character: str, order: int) -> dict[str, Any]:
    """Return an entry of ``cast`` or ``guest_stars``."""
    return {
        **_credited(person_id, name),
        "character": character,
        "credit_id": f"cast{person_id}-{order}",
        "order": order,
    }


def crew(person_id: int, name: str | None, job: str, department: str) -> dict[str, Any]:
    """Return an entry of ``crew``."""
    return {
        **_credited(person_id, name),
        "credit_id": f"crew{person_id}-{job}",
        "department": department,
        "job": job,
    }


def _credited(person_id: int, name: str | None) -> dict[str, Any]:
    return {
        "adult": False,
        "id": person_id,
        "known_for_department": "Acting",
        "name": name or f"Person {person_id}",
        "original_name": name or f"Person {person_id}",
        "profile_path": None,
    }


def some_credits(rng: random.Random, people: int, most_cast: int, most_crew: int) -> dict[str, Any]:
    """Return ``cast`` and ``crew`` drawn from that many people; the same ones direct often."""
    size = min(people, rng.randint(min(3, most_cast), most_cast))
    ids = rng.sample(range(1, people + 1), size)
    roles = [
        cast(i, None, rng.choice(["", "Self", f"Role {i % 97}"]), n) for n, i in enumerate(ids)
    ]
    team = [
        crew(rng.randint(1, people if job != "Director" else max(1, people // 50)), None, job, dep)
        for job, dep in rng.choices(JOBS, k=rng.randint(1, most_crew))
    ]
    return {"cast": roles, "crew": team}


def aggregate(given: dict[str, Any], episodes: int) -> dict[str, Any]:
    """Return credits in the shape of ``aggregate_credits``."""
    cast_list = [
        {
            **{k: v for k, v in c.items() if k not in ("character", "credit_id", "order")},
            "roles": [
                {
                    "credit_id": c["credit_id"],
                    "character": c["character"],
                    "episode_count": episodes,
                }
            ],
            "total_episode_count": episodes,
            "order": 500 - c["order"],
        }
        for c in given["cast"]
    ]
    crew_list = [
        {
            **{k: v for k, v in c.items() if k not in ("job", "credit_id")},
            "jobs": [{"credit_id": c["credit_id"], "job": c["job"], "episode_count": episodes}],
            "total_episode_count": episodes,
        }
        for c in given["crew"]
    ]
    return {"cast": cast_list, "crew": crew_list}
