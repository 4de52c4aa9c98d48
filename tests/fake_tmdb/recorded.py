"""Answers that TMDb once gave, from the directory of test data; nothing of them is kept here."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

_REPOSITORY = Path(__file__).resolve().parents[2]
_IGNORED = {"api_key", "language", "page", "include_adult"}


def recorded_directory() -> Path | None:
    """Return where TMDb's recorded answers are, from HAAS_TEST_DATA; None when they are not."""
    data = Path(os.environ.get("HAAS_TEST_DATA") or _REPOSITORY.parent / "shared")
    return data / "tmdb" if (data / "tmdb" / "tmdblib_wiremock" / "index.json").is_file() else None


class Recorded:
    """Recorded answers by path and query.

    An answer for which there is no recording with these ``append_to_response`` parts is put
    together from the recordings of the parts, as TMDb itself does.
    """

    def __init__(self, directory: Path) -> None:
        self._root = directory / "tmdblib_wiremock"
        index = json.loads((self._root / "index.json").read_text())
        self.entries: list[dict[str, Any]] = [e for e in index if e["status"] in (200, 404)]
        self._by_path: dict[str, list[dict[str, Any]]] = {}
        for entry in self.entries:
            self._by_path.setdefault(entry["path"], []).append(entry)

    def read(self, entry: dict[str, Any]) -> Any:
        """Return the body of an entry of the index."""
        return json.loads((self._root / entry["file"]).read_text(encoding="utf-8"))

    def answer(self, path: str, query: dict[str, str]) -> tuple[int, Any] | None:
        """Return status and body for a path with its ``/3``; None without a recording."""
        asked = {k: v for k, v in query.items() if k not in _IGNORED}
        append = asked.pop("append_to_response", "")
        entry = self._closest(path, asked, append)
        if entry is None:
            return None
        body = self.read(entry)
        if entry["status"] == 200:
            for part in filter(None, append.split(",")):
                sub = self._closest(f"{path}/{part}", {}, "")
                if part not in body and sub is not None and sub["status"] == 200:
                    body[part] = {k: v for k, v in self.read(sub).items() if k != "id"}
        return entry["status"], body

    def _closest(self, path: str, asked: dict[str, str], append: str) -> dict[str, Any] | None:
        entries = self._by_path.get(path, [])
        if path.startswith("/3/search/") or path.startswith("/3/find/"):
            entries = [e for e in entries if _essential(e["query"]) == asked]
        parts = set(append.split(",")) - {""}

        def distance(entry: dict[str, Any]) -> tuple[int, int]:
            has = set(entry["query"].get("append_to_response", "").split(",")) - {""}
            return len(parts - has), len(entry["query"])

        return min(entries, key=distance, default=None)


def _essential(query: dict[str, str]) -> dict[str, str]:
    return {k: v for k, v in query.items() if k not in _IGNORED}
