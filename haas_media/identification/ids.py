"""Read the tags people put into names."""

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
        key = source.casefold().removeprefix("the").replace("moviedb", "tmdb")
        digits = value.casefold().removeprefix("tt")
        if key == "imdb" and int(digits):
            ids[key] = f"tt{digits:0>7}"
        elif value.isdecimal() and 0 < int(digits) <= LARGEST_ID:
            ids[key] = str(int(digits))
    if bare := rules.BARE_IMDB.search(name):
        ids.setdefault("imdb", bare[1])
    return ids
