"""What can be set, with what each value may be; `haas_media.settings_sources` reads it.

The data directory defaults to ``~/.haas``: the same wherever a command, a server or a worker
happens to be started.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)

if TYPE_CHECKING:
    from collections.abc import Callable

DEFAULT_DATA_DIR = "~/.haas"

Kind = Literal["movies", "tv"]

# The address of a SQLite file, unless SQLite itself is to read its name.
_SQLITE_FILE = re.compile(r"(sqlite(?:\+\w+)?:///)(?!:memory:|file:)([^?]+)(.*)", re.DOTALL)


class SettingsError(Exception):
    """A setting is wrong. The text is a sentence: which key, what is wrong, what to do."""


def _absolute(path: Path) -> Path:
    if "\0" in str(path):
        raise ValueError("holds a NUL character, which no path does")
    # No resolve(): a library behind a symbolic link keeps the name that its owner gave it.
    return Path(os.path.abspath(from_home(path)))  # noqa: PTH100


def from_home(path: Path) -> Path:
    """Return a path whose ``~`` is a folder.

    Raises:
        ValueError: that folder is not known.
    """
    try:
        return path.expanduser()
    except RuntimeError:  # which pydantic would let through
        raise ValueError(f"begins with a home folder that is not known here: {path}") from None


def _not_blank(value: Any) -> Any:
    # An empty path would be the working directory, wherever a worker happens to be started.
    if isinstance(value, str) and not value.strip():
        raise ValueError("must not be blank")
    return value


AbsolutePath = Annotated[Path, BeforeValidator(_not_blank), AfterValidator(_absolute)]


def _blank_is_none(secret: SecretStr | None) -> SecretStr | None:
    return secret if secret and secret.get_secret_value().strip() else None


Secret = Annotated[SecretStr | None, AfterValidator(_blank_is_none)]


class Section(BaseModel):
    """A table of the file: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Library(Section):
    """A folder of films or of shows."""

    title: Annotated[
        str, Field(max_length=200), BeforeValidator(_not_blank), AfterValidator(str.strip)
    ]
    kind: Kind
    path: AbsolutePath

    def check_root(self) -> None:
        """Refuse a root that is there but is no folder.

        A root that is missing or cannot be looked at is not refused: its disk may be offline.

        Raises:
            SettingsError: the path is a file or something else that cannot hold media.
        """
        try:
            mode = os.stat(self.path).st_mode  # noqa: PTH116 - one look, as disks come and go
        except OSError:
            return
        if not stat.S_ISDIR(mode):
            raise SettingsError(
                f"The path of library {self.title!r} is not a folder: {self.path}. "
                "Give the folder that holds the media files."
            )


class TmdbSettings(Section):
    """How TMDb is asked. Without a token, scans work from NFO files and names alone.

    Args:
        token: v4 read access token or v3 key.
        url: of the API, with its version or not; a proxy or a local server in place of TMDb's own.
        language: of titles and texts.
        requests_per_second: never exceeded in any second by one process. Runs in several processes
            know nothing of each other: where two may ask at once (two workers, or a refresh beside
            a scan), give each its share, such as 10 and 10.
        max_concurrent: requests under way at once, in one process.
        timeout_seconds: how long a connection, or the next byte of an answer, may take.
    """

    token: Secret = None
    url: str = "https://api.themoviedb.org/3"
    language: str = "en-US"
    requests_per_second: Annotated[float, Field(gt=0, le=50)] = 20
    max_concurrent: Annotated[int, Field(ge=1, le=32)] = 4
    timeout_seconds: Annotated[float, Field(gt=0, le=300)] = 15

    @field_validator("token")
    @classmethod
    def _stripped(cls, token: SecretStr | None) -> SecretStr | None:
        return SecretStr(token.get_secret_value().strip()) if token else None

    @field_validator("url")
    @classmethod
    def _api(cls, url: str) -> str:
        parts = urlsplit(_http_url(url.strip()))
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("must not hold a user name, password or query")
        return f"{parts.geturl().rstrip('/').removesuffix('/3')}/3"

    @field_validator("language")
    @classmethod
    def _tag(cls, language: str) -> str:
        # TMDb does not complain: titles and texts would only not be those that are wanted.
        if not re.fullmatch(r"[a-zA-Z]{2}(-[a-zA-Z]{2})?", language):
            raise ValueError("must be a language such as en-US or de")
        return language


class ScanSettings(Section):
    """What a scan does beside identifying."""

    probe: bool = True


class EncodingSettings(Section):
    """Folders beside the libraries that encodings may write to."""

    roots: tuple[AbsolutePath, ...] = ()


class WatchSettings(Section):
    """What others tell of changes.

    Args:
        listen: the address at which webhooks are taken, ``ADDRESS:PORT``; none to take none.
        password: that webhooks have to send, where they do not come from this machine alone.
        path_mappings: what paths begin with where others see the disks, and with what here.
    """

    listen: str | None = None
    password: Secret = None
    path_mappings: dict[str, AbsolutePath] = {}


def with_file(url: str, change: Callable[[str], str]) -> str:
    """Change the path of a SQLite file's address; leave any other as it is."""
    parts = _SQLITE_FILE.fullmatch(url)
    return f"{parts[1]}{change(parts[2])}{parts[3]}" if parts else url


def _http_url(url: str) -> str:
    wrong = "must be an address that begins with http:// or https://"
    if not re.match(r"https?://[^/\s]+", url):
        raise ValueError(wrong)
    try:
        _ = urlsplit(url).port
    except ValueError:
        raise ValueError(f"{wrong}; its host or port cannot be one") from None
    return url


class Settings(Section):
    """Everything that can be set. Secrets are kept out of its repr.

    Args:
        libraries: the libraries, each with a title of its own.
        data_dir: where the catalog and other state live.
        database_url: the catalog; ``sqlite:///<data_dir>/catalog.sqlite3`` unless given.
        tmdb: how TMDb is asked.
        scan: what a scan does.
        encoding: further folders for encodings.
        watch: what others tell of changes.
        ffmpeg: path of the ffmpeg to use, if not the one that comes along.
        trace_url: template with ``{trace_id}`` for links to traces.
    """

    libraries: tuple[Library, ...] = ()
    data_dir: AbsolutePath = Field(default=Path(DEFAULT_DATA_DIR), validate_default=True)
    # Hidden: a database address can hold a password.
    database_url: str = Field(default="", repr=False)
    tmdb: TmdbSettings = TmdbSettings()
    scan: ScanSettings = ScanSettings()
    encoding: EncodingSettings = EncodingSettings()
    watch: WatchSettings = WatchSettings()
    ffmpeg: str | None = None
    trace_url: str | None = None

    @field_validator("libraries")
    @classmethod
    def _distinct(cls, libraries: tuple[Library, ...]) -> tuple[Library, ...]:
        for what, seen in (
            ("title", [library.title for library in libraries]),
            ("path", [str(library.path) for library in libraries]),
        ):
            doubles = sorted({value for value in seen if seen.count(value) > 1})
            if doubles:
                raise ValueError(f"must each have a {what} of their own; twice: {doubles[0]!r}")
        return libraries

    @field_validator("database_url")
    @classmethod
    def _absolute_file(cls, url: str) -> str:
        return with_file(url, lambda path: str(_absolute(Path(path))))

    @field_validator("ffmpeg")
    @classmethod
    def _place(cls, ffmpeg: str | None) -> str | None:
        return str(_absolute(Path(ffmpeg))) if ffmpeg and "/" in ffmpeg else ffmpeg or None

    @field_validator("trace_url")
    @classmethod
    def _template(cls, url: str | None) -> str | None:
        if url and "{trace_id}" not in _http_url(url):
            raise ValueError("must hold {trace_id} where the trace's id goes")
        return url or None

    @model_validator(mode="after")
    def _default_database(self) -> Settings:
        if not self.database_url:
            url = f"sqlite:///{self.data_dir / 'catalog.sqlite3'}"
            object.__setattr__(self, "database_url", url)
        return self

    @property
    def encoding_roots(self) -> tuple[Path, ...]:
        """The folders that encodings may write to: the libraries and ``encoding.roots``."""
        return tuple(library.path for library in self.libraries) + self.encoding.roots

    def library(self, title: str) -> Library:
        """Return the library with this title.

        Raises:
            SettingsError: there is none.
        """
        for library in self.libraries:
            if library.title == title:
                return library
        known = ", ".join(repr(library.title) for library in self.libraries)
        hint = f"Known: {known}." if known else "None is set: add a [[libraries]] table."
        raise SettingsError(f"There is no library {title!r} in the settings. {hint}")
