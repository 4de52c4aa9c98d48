"""Libraries of real small clips, and what the catalog says of them."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select

from haas_media.catalog.models import Episode, MediaFile, Movie, Season, Show, media_file_episodes
from haas_media.mounts import is_mounted
from haas_media.scan import ScanReport, scan
from haas_media.settings import Library, Settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from haas_media.catalog.opening import Catalog


@dataclass
class Shelf:
    """A library's folder."""

    root: Path
    clip: Path

    def put(self, *paths: str, text: str | bytes | None = None) -> None:
        """Put real clips there, or files with this text."""
        for path in paths:
            file = self.root / path
            file.parent.mkdir(parents=True, exist_ok=True)
            if text is None:
                shutil.copyfile(self.clip, file)
            else:
                file.write_bytes(text.encode() if isinstance(text, str) else text)

    def move(self, old: str, new: str) -> None:
        """Move a file or folder."""
        (self.root / new).parent.mkdir(parents=True, exist_ok=True)
        (self.root / old).rename(self.root / new)

    def remove(self, path: str) -> None:
        """Remove a file or folder."""
        target = self.root / path
        shutil.rmtree(target) if target.is_dir() else target.unlink()


@dataclass
class House:
    """Two libraries, their settings and their catalog."""

    films: Shelf
    shows: Shelf
    settings: Settings
    catalog: Catalog

    def scan(self, **options: Any) -> ScanReport:
        """Scan everything."""
        return scan(self.settings, self.catalog, **options)

    def with_settings(self, **changes: Any) -> Settings:
        """Change the settings for the scans that follow."""
        self.settings = self.settings.model_copy(update=changes)
        return self.settings

    def add_films(self) -> Path:
        """Have another library of films, beside the first one; return its root."""
        root = self.films.root.with_name("more")
        root.mkdir(exist_ok=True)
        more = Library(title="More", kind="movies", path=root)
        self.with_settings(libraries=(*self.settings.libraries, more))
        return root

    def files(self) -> dict[str, dict[str, Any]]:
        """Return what is on record of each file, by its path."""
        with self.catalog.reading() as session:
            rows = session.execute(
                select(MediaFile, Movie, Show)
                .outerjoin(Movie, Movie.id == MediaFile.movie_id)
                .outerjoin(Show, Show.id == MediaFile.show_id)
            ).all()
            return {
                file.path: _described(session, file, movie or show) for file, movie, show in rows
            }

    def titles(self) -> dict[str, str]:
        """Return what each file belongs to, as text."""
        return {path: file["is"] for path, file in sorted(self.files().items())}

    def known(self) -> list[str]:
        """Return all titles on record."""
        with self.catalog.reading() as session:
            return sorted(
                _name(title) for model in (Movie, Show) for title in session.scalars(select(model))
            )


def _described(session: Any, file: MediaFile, title: Movie | Show | None) -> dict[str, Any]:
    episodes = session.execute(
        select(Season.number, Episode.number)
        .join(Episode, Episode.season_id == Season.id)
        .join(media_file_episodes, media_file_episodes.c.episode_id == Episode.id)
        .where(media_file_episodes.c.media_file_id == file.id)
        .order_by(Season.number, Episode.number)
    ).all()
    what = file.extra_kind if file.state == "extra" else file.state
    if title is not None:
        what = _name(title) + _numbers(episodes)
        what += f" ({file.extra_kind})" if file.extra_kind else ""
    return {
        "is": what,
        "id": file.id,
        "state": file.state,
        "reason": file.unmatched_reason,
        "title_id": title.id if title else None,
        "tmdb_id": title.tmdb_id if title else None,
        "version": file.version,
        "duration": file.duration,
        "streams": file.streams,
        "probe_error": file.probe_error,
        "sidecars": {item["name"]: item["kind"] for item in file.sidecars},
    }


def _name(title: Movie | Show) -> str:
    return f"{title.title} ({title.year})" if title.year else title.title


def _numbers(episodes: Iterable[Any]) -> str:
    return "".join(f" S{season:02d}E{number:02d}" for season, number in episodes)


def make_settings(base: Path) -> Settings:
    return Settings(
        libraries=(
            Library(title="Films", kind="movies", path=base / "films"),
            Library(title="Shows", kind="tv", path=base / "shows"),
        ),
        data_dir=base / "data",
    )


@contextmanager
def mounted(folder: Path, source: Path | None = None) -> Iterator[Path]:
    """Mount a disk of its own on a folder, or another folder of the same disk."""
    folder.mkdir(exist_ok=True)
    what = ["-t", "tmpfs", "tmpfs"] if source is None else ["--bind", str(source)]
    mount = subprocess.run(["mount", *what, str(folder)], capture_output=True)
    if mount.returncode:
        pytest.skip(f"no disk can be mounted here: {mount.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        if is_mounted(str(folder)):
            subprocess.run(["umount", str(folder)], check=True)
