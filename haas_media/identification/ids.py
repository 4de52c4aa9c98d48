"""Read the tags people put into names: ids of databases, and editions."""

from __future__ import annotations

from haas_media.identification import rules

# No database of titles has more; neither does a column of numbers.
LARGEST_ID = 2**31 - 1


def ids_in(name: str) -> dict[str, str]:
    """Return the ids that one name gives, keyed `tmdb`, `imdb` and `tvdb`."""
    ids: dict[str, str] = {}
    if "tt" not in name and "db" not in name and "DB" not in name:
        return ids
    for source, value in rules.TAG.findall(name):
        key = source.casefold().removeprefix("the")
        _put(ids, "tmdb" if key == "moviedb" else key, value.casefold())
    bare = rules.BARE_IMDB.search(name)
    if bare:
        ids.setdefault("imdb", bare[1])
    return ids


def _put(ids: dict[str, str], key: str, value: str) -> None:
    digits = value.removeprefix("tt")
    if not int(digits) or (value.startswith("tt") and key != "imdb"):
        return
    if key != "imdb" and int(digits) > LARGEST_ID:
        return
    ids[key] = f"tt{digits:0>7}" if key == "imdb" else str(int(digits))


def edition_in(name: str) -> str | None:
    """Return the edition that a `{edition-...}` tag names."""
    tag = rules.EDITION_TAG.search(name) if "{" in name else None
    return tag[1] if tag else None


def without_tags(name: str) -> str:
    """Return a name without its tags."""
    return rules.ANY_TAG.sub("", name) if "{" in name or "[" in name or "(" in name else name
