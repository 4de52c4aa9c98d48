"""``haas check``: what is wrong, one line each."""

from __future__ import annotations

import itertools
import os
import shutil
import stat
import subprocess
from typing import TYPE_CHECKING, Literal

from rich.console import Console
from rich.markup import escape

from deployments import check_mistakes as mistakes
from deployments.check_mistakes import Finding
from deployments.filesystems import network_filesystem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from haas_media.settings import Library, Settings

MARKS = {"right": "[green]✓[/]", "note": "[yellow]·[/]", "wrong": "[red]✗[/]"}
FREE_BYTES = 1 << 30


def check(console: Console | None = None) -> bool:
    """Print a line for everything that has to be right; return whether nothing is wrong."""
    out = console or Console(highlight=False)
    fine = True
    for finding in findings():
        out.print(
            f" {MARKS[finding.how]} {finding.what:<12} {escape(finding.text)}", soft_wrap=True
        )
        fine = fine and finding.how != "wrong"
    return fine


def findings() -> Iterator[Finding]:
    """Look at one thing after the other."""
    from haas_media.settings import SettingsError
    from haas_media.settings_sources import load_settings, misspelt_variables

    for text in misspelt_variables():
        yield Finding("settings", "wrong", text)
    try:
        settings = load_settings()
    except SettingsError as error:
        for text in str(error).splitlines():
            yield Finding("settings", "wrong", text)
        settings = None
    if settings is not None:
        from deployments.check_catalog import catalog_finding

        yield _settings_found()
        yield from _folders(settings)
        yield _guarded("database", lambda: catalog_finding(settings.database_url))
        yield _guarded("ffmpeg", lambda: _ffmpeg(settings))
        yield _guarded("TMDb", lambda: _tmdb(settings))
        if address := settings.watch.listen:
            yield _guarded("webhooks", lambda: _webhooks(settings, address))
    yield from _spans(settings)
    from deployments.check_prefect import server_findings

    yield from server_findings(settings)


def _guarded(what: str, look: Callable[[], Finding]) -> Finding:
    try:
        return look()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what is wrong
        return Finding(what, "wrong", str(error) or type(error).__name__)


def _settings_found() -> Finding:
    from haas_media.settings_sources import config_file

    file = config_file()
    text = str(file.absolute()) if file else "no haas.toml here, from the environment"
    return Finding("settings", "right", text)


def _folders(settings: Settings) -> Iterator[Finding]:
    if not settings.libraries:
        yield Finding(
            "libraries",
            "wrong",
            "None is set: add a [[libraries]] table with title, kind and path to haas.toml.",
        )
    for library in settings.libraries:
        yield _library(library)
    yield from _overlaps(settings.libraries)
    yield _guarded("data", lambda: _data_dir(settings.data_dir))


def _overlaps(libraries: Sequence[Library]) -> Iterator[Finding]:
    """Find libraries that reach the same files, by whatever name or mount."""
    # Not pathlib's, which raises where a disk does not answer.
    there = [library for library in libraries if os.path.isdir(library.path)]  # noqa: PTH112
    for one, other in itertools.permutations(there, 2):
        told = {"one": one.title, "other": other.title, "path": one.path}
        if one.path.samefile(other.path):
            if libraries.index(one) > libraries.index(other):
                yield mistakes.SAME_FOLDER.found(**told)
        elif any(above.samefile(other.path) for above in one.path.resolve().parents):
            yield mistakes.NESTED_FOLDERS.found(**told)


def _library(library: Library) -> Finding:
    def finding(how: Literal["right", "wrong"], text: str) -> Finding:
        return Finding("library", how, f"{library.title}: {library.path}{text}")

    try:
        if not stat.S_ISDIR(library.path.stat().st_mode):
            return finding("wrong", " is not a folder. Give the folder that holds the media files.")
        if not os.access(library.path, os.R_OK | os.X_OK):
            return finding("wrong", " cannot be read. Give this user the right to read it.")
        with os.scandir(library.path) as entries:
            if next(entries, None) is None:
                return finding("wrong", " is empty. Is its disk mounted?")
    except (FileNotFoundError, NotADirectoryError):
        return finding("wrong", " does not exist. Mount its disk, or correct its path.")
    except OSError as error:
        return finding("wrong", f" cannot be looked at: {error.strerror}. See to its disk.")
    return finding("right", "")


def _data_dir(data_dir: Path) -> Finding:
    place = _writable(data_dir)
    if place is None:
        text = f"{data_dir} cannot be written to. Set HAAS_DATA_DIR to a folder that can."
        return Finding("data", "wrong", text)
    free = shutil.disk_usage(place).free
    if free < FREE_BYTES:
        return Finding("data", "wrong", f"{data_dir} has {free >> 20} MiB left. Make room there.")
    return Finding("data", "right", f"{data_dir}, {free >> 30} GiB free")


def _writable(folder: Path) -> Path | None:
    """Return what is there of a folder's path, if this user may write there."""
    place = folder
    while not place.exists():
        place = place.parent
    return place if place.is_dir() and os.access(place, os.W_OK | os.X_OK) else None


def _ffmpeg(settings: Settings) -> Finding:
    from haas_media.encoding import find_ffmpeg
    from haas_media.encoding.ffmpeg import list_encoders

    ffmpeg = find_ffmpeg(settings.ffmpeg)
    list_encoders(ffmpeg)
    answer = subprocess.run(
        [ffmpeg, "-hide_banner", "-version"], capture_output=True, text=True, timeout=30, check=True
    )
    return Finding("ffmpeg", "right", f"{ffmpeg}: {answer.stdout.partition(' Copyright')[0]}")


def _tmdb(settings: Settings) -> Finding:
    from haas_media.providers.records import Gone, ProviderRefused
    from haas_media.providers.tmdb import RetryPolicy, TmdbClient

    if settings.tmdb.token is None:
        text = "no HAAS_TMDB_TOKEN: scans work from NFO files and names alone"
        return Finding("TMDb", "note", text)
    token = settings.tmdb.token.get_secret_value()
    try:
        with TmdbClient(token, settings.tmdb.url, retries=RetryPolicy(retries=0)) as client:
            client.movie(603)  # any would do
    except ProviderRefused as error:
        return Finding("TMDb", "wrong", str(error))
    except Gone:
        pass  # a proxy may not know that movie; it took the token
    return Finding("TMDb", "right", f"{settings.tmdb.url} takes the token")


def _webhooks(settings: Settings, address: str) -> Finding:
    from deployments.webhooks import listening_address

    listening_address(settings, address)
    return Finding("webhooks", "right", f"taken at {address}, by `haas watch`")


def _spans(settings: Settings | None) -> Iterator[Finding]:
    from haas_media.settings_sources import telemetry_dir

    directory = telemetry_dir(settings.data_dir) if settings else None
    yield _guarded("spans", lambda: _collector(directory))
    kind = network_filesystem(directory) if directory else None
    if kind is not None:
        yield mistakes.SPANS_ON_A_NETWORK.found(path=directory, kind=kind)


def _collector(directory: Path | None) -> Finding:
    from deployments.collector import CollectorError, endpoint, send_nothing

    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return Finding("spans", "note", "off: OTEL_SDK_DISABLED is true")
    if directory and _writable(directory) is None:
        text = f"{directory} cannot be written to. Set HAAS_OTEL_DIR to a folder that can."
        return Finding("spans", "wrong", text)
    where = endpoint()
    if where is None:
        kept = directory or "the local trace store"
        return Finding("spans", "right", f"kept in {kept}: no OTEL_EXPORTER_OTLP_ENDPOINT")
    try:
        send_nothing()
    except CollectorError as error:
        return Finding("spans", "wrong", f"{where}: {error}")
    return Finding("spans", "right", f"{where} takes spans")
