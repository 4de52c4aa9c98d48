"""Settings: one ``haas.toml``, every key also as ``HAAS_...`` variable; the environment wins.

The file is the one that ``HAAS_CONFIG`` names, else ``haas.toml`` in the working directory if
there is one. Relative paths in the file start at the file's own folder, relative paths in the
environment at the working directory, so that a worker that starts elsewhere means the same place.

The data directory defaults to ``~/.haas``: the same wherever a command, a server or a worker
happens to be started.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_origin
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

CONFIG_NAME = "haas.toml"
CONFIG_VARIABLE = "HAAS_CONFIG"
DEFAULT_DATA_DIR = "~/.haas"

Kind = Literal["movies", "tv"]

# What pydantic calls by Python's names, by the first word of its errors.
_WANTED = {
    "string": "text, in quotes",
    "path": "a path, in quotes",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "tuple": "a list, such as [...]",
    "dict": "a table",
    "model": "a table",
}
_OF_ANOTHER_KIND = re.compile(r"(\w+?)_(?:type|parsing|from_float)")

# The address of a SQLite file, unless SQLite itself is to read its name.
_SQLITE_FILE = re.compile(r"(sqlite(?:\+\w+)?:///)(?!:memory:|file:)([^?]+)(.*)", re.DOTALL)


class SettingsError(Exception):
    """A setting is wrong. The text is a sentence: which key, what is wrong, what to do."""


def _absolute(path: Path) -> Path:
    if "\0" in str(path):
        raise ValueError("holds a NUL character, which no path does")
    # No resolve(): a library behind a symbolic link keeps the name that its owner gave it.
    return Path(os.path.abspath(_from_home(path)))  # noqa: PTH100


def _from_home(path: Path) -> Path:
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


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Library(_Section):
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
        # Not those of pathlib, which raise when the disk does not answer.
        if os.path.exists(self.path) and not os.path.isdir(self.path):  # noqa: PTH110, PTH112
            raise SettingsError(
                f"The path of library {self.title!r} is not a folder: {self.path}. "
                "Give the folder that holds the media files."
            )


class TmdbSettings(_Section):
    """How TMDb is asked. Without a token, scans work from NFO files and names alone.

    Args:
        token: v4 read access token or v3 key.
        url: of the API; a proxy or a local server in place of TMDb's own.
        language: of titles and texts.
        requests_per_second: never exceeded in any second by one process. Runs in several processes
            know nothing of each other: where two may ask at once (two workers, or a refresh beside
            a scan), give each its share, such as 10 and 10.
        max_concurrent: requests under way at once, in one process.
        timeout_seconds: how long a connection, or the next byte of an answer, may take.
    """

    token: SecretStr | None = None
    url: str = "https://api.themoviedb.org/3"
    language: str = "en-US"
    requests_per_second: Annotated[float, Field(gt=0, le=50)] = 20
    max_concurrent: Annotated[int, Field(ge=1, le=32)] = 4
    timeout_seconds: Annotated[float, Field(gt=0, le=300)] = 15

    @field_validator("token")
    @classmethod
    def _blank_is_none(cls, token: SecretStr | None) -> SecretStr | None:
        stripped = token.get_secret_value().strip() if token else ""
        return SecretStr(stripped) if stripped else None

    @field_validator("url")
    @classmethod
    def _http(cls, url: str) -> str:
        return _http_url(url.strip()).rstrip("/")

    @field_validator("language")
    @classmethod
    def _tag(cls, language: str) -> str:
        # TMDb does not complain: titles and texts would only not be those that are wanted.
        if not re.fullmatch(r"[a-zA-Z]{2}(-[a-zA-Z]{2})?", language):
            raise ValueError("must be a language such as en-US or de")
        return language


class ScanSettings(_Section):
    """What a scan does beside identifying."""

    probe: bool = True


class EncodingSettings(_Section):
    """Folders beside the libraries that encodings may write to."""

    roots: tuple[AbsolutePath, ...] = ()


class WatchSettings(_Section):
    """What others tell of changes.

    Args:
        listen: the address at which webhooks are taken, ``ADDRESS:PORT``; none to take none.
        password: that webhooks have to send, where they do not come from this machine alone.
        path_mappings: what paths begin with where others see the disks, and with what here.
    """

    listen: str | None = None
    password: SecretStr | None = None
    path_mappings: dict[str, AbsolutePath] = {}

    @field_validator("password")
    @classmethod
    def _blank_is_none(cls, password: SecretStr | None) -> SecretStr | None:
        return password if password and password.get_secret_value().strip() else None

    @field_validator("path_mappings", mode="before")
    @classmethod
    def _from_json(cls, given: Any) -> Any:
        try:
            return json.loads(given) if isinstance(given, str) else given
        except ValueError:
            raise ValueError('must be a JSON object, such as {"/there": "/here"}') from None


def _with_file(url: str, change: Callable[[str], str]) -> str:
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


class Settings(_Section):
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
        return _with_file(url, lambda path: str(_absolute(Path(path))))

    @field_validator("ffmpeg")
    @classmethod
    def _home(cls, ffmpeg: str | None) -> str | None:
        return str(_from_home(Path(ffmpeg))) if ffmpeg else None

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
    def telemetry_dir(self) -> Path:
        """The folder of spans on disk, unless ``HAAS_OTEL_DIR`` names another."""
        return self.data_dir / "telemetry"

    @property
    def encoding_roots(self) -> tuple[Path, ...]:
        """The folders that encodings may write to: the libraries and ``encoding.roots``."""
        return tuple(library.path for library in self.libraries) + self.encoding.roots

    def library(self, title: str) -> Library:
        """Return the library with this title.

        Raises:
            SettingsError: there is none, or its root is not a folder.
        """
        for library in self.libraries:
            if library.title == title:
                library.check_root()
                return library
        known = ", ".join(repr(library.title) for library in self.libraries)
        hint = f"Known: {known}." if known else "None is set: add a [[libraries]] table."
        raise SettingsError(f"There is no library {title!r} in the settings. {hint}")


def name_telemetry_dir() -> None:
    """Set ``HAAS_OTEL_DIR`` from the data directory, unless it is set: where spans are kept.

    What else is wrong with the settings is for who loads them to say.
    """
    if os.environ.get("HAAS_OTEL_DIR", "").strip():
        return
    others = set(Settings.model_fields) - {"data_dir"}
    try:
        settings = load_settings(without=others)
    except SettingsError:
        settings = Settings()
    os.environ["HAAS_OTEL_DIR"] = str(settings.telemetry_dir)


def load_settings(path: Path | None = None, *, without: Iterable[str] = ()) -> Settings:
    """Read the settings from file and environment.

    Args:
        path: the file to read instead of the one that ``HAAS_CONFIG`` or the working directory
            would give.
        without: settings that keep their default, whatever file and environment say.

    Raises:
        SettingsError: a file that is missing, unreadable or broken, an unknown key, a wrong value.
    """
    file = path or _config_file()
    from_file = _read_file(file) if file else {}
    from_environment = _read_environment()
    given = _merge(from_file, from_environment)
    for name in without:
        given.pop(name, None)
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        problems = [_sentence(dict(problem), file, from_environment) for problem in error.errors()]
        raise SettingsError("\n".join(dict.fromkeys(problems))) from None


def misspelt_variables() -> tuple[str, ...]:
    """List ``HAAS_`` variables that are no setting but look like one, with what they resemble.

    They are not refused: other parts of an installation may use the prefix too.
    """
    known = [CONFIG_VARIABLE, *_variables()]
    found = []
    for name in sorted(os.environ):
        if name.startswith("HAAS_") and name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.85)
            found += [f"{name} is not a setting; did you mean {near[0]}?"] if near else []
    return tuple(found)


def _config_file() -> Path | None:
    named = os.environ.get(CONFIG_VARIABLE)
    if named:
        try:
            return _from_home(Path(named))
        except ValueError as wrong:
            raise SettingsError(f"{CONFIG_VARIABLE} {wrong}.") from None
    local = Path(CONFIG_NAME)
    return local if local.exists() else None


def _read_file(file: Path) -> dict[str, Any]:
    try:
        raw = tomllib.loads(file.read_bytes().decode("utf-8-sig"))
    except FileNotFoundError:
        raise SettingsError(
            f"The settings file {file} does not exist. "
            f"Make it, or let {CONFIG_VARIABLE} name the right one."
        ) from None
    except OSError as error:
        raise SettingsError(f"The settings file {file} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{file} is not UTF-8 text. Save it as UTF-8.") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{file} is not valid TOML: {error}. Mend that line.") from None
    _anchor(raw, file.absolute().parent)
    return raw


def _anchor(raw: dict[str, Any], base: Path) -> None:
    """Let the relative paths of a settings file start at its own folder."""

    def anchored(value: Any) -> Any:
        relative = isinstance(value, str) and value.strip() and not value.startswith("~")
        return str(base / value) if relative else value

    libraries = raw.get("libraries")
    for library in libraries if isinstance(libraries, list) else ():
        if isinstance(library, dict) and "path" in library:
            library["path"] = anchored(library["path"])
    if "data_dir" in raw:
        raw["data_dir"] = anchored(raw["data_dir"])
    if isinstance(raw.get("database_url"), str):
        raw["database_url"] = _with_file(raw["database_url"], anchored)
    if "/" in str(raw.get("ffmpeg", "")):
        raw["ffmpeg"] = anchored(raw["ffmpeg"])
    encoding = raw.get("encoding")
    if isinstance(encoding, dict) and isinstance(encoding.get("roots"), list):
        encoding["roots"] = [anchored(root) for root in encoding["roots"]]
    watch = raw.get("watch")
    if isinstance(watch, dict) and isinstance(watch.get("path_mappings"), dict):
        here = watch["path_mappings"]
        watch["path_mappings"] = {there: anchored(path) for there, path in here.items()}


def _variables() -> dict[str, tuple[tuple[str, ...], bool]]:
    """Map each variable to its key and to whether its value is a JSON list."""
    found: dict[str, tuple[tuple[str, ...], bool]] = {}
    for name, info in Settings.model_fields.items():
        section = info.annotation
        if isinstance(section, type) and issubclass(section, _Section):
            for inner, field in section.model_fields.items():
                is_list = get_origin(field.annotation) is tuple
                found[f"HAAS_{name}_{inner}".upper()] = ((name, inner), is_list)
        else:
            found[f"HAAS_{name}".upper()] = ((name,), get_origin(section) is tuple)
    return found


def _read_environment() -> dict[str, Any]:
    raw: dict[str, Any] = {}
    for variable, (key, is_list) in _variables().items():
        text = os.environ.get(variable, "")
        if text.strip():
            target = raw if len(key) == 1 else raw.setdefault(key[0], {})
            target[key[-1]] = _json_list(variable, text) if is_list else text
    return raw


def _json_list(variable: str, text: str) -> list[Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise SettingsError(f"{variable} is not valid JSON: {error}. It takes a list.") from None
    except RecursionError:
        raise SettingsError(f"{variable} is nested too deeply. It takes a list.") from None
    if not isinstance(value, list):
        raise SettingsError(f"{variable} must be a JSON list, such as [...].")
    return value


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        merged[key] = (
            {**under, **value} if isinstance(under, dict) and isinstance(value, dict) else value
        )
    return merged


def _sentence(problem: dict[str, Any], file: Path | None, environment: dict[str, Any]) -> str:
    location = tuple(problem["loc"])
    key = _dotted(location)
    where = _origin(location, file, environment)
    kind = problem["type"]
    if kind == "extra_forbidden":
        return f"{where}{key} is not a setting. {_suggestion(location)}"
    if kind == "missing":
        return f"{where}{key} is missing. Add it."
    if location == ("libraries",) and kind == "tuple_type":
        return f"{where}libraries must be a list of tables. Head each one with [[libraries]]."
    return f"{where}{key} {_rule(problem)}."


def _rule(problem: dict[str, Any]) -> str:
    if problem["type"] == "literal_error":
        return f"must be {problem['ctx']['expected']}"
    of_another_kind = _OF_ANOTHER_KIND.fullmatch(problem["type"])
    if of_another_kind and (wanted := _WANTED.get(of_another_kind[1])):
        return f"must be {wanted}"
    message = str(problem["msg"]).removeprefix("Value error, ")
    return re.sub(r"^Input should", "must", message).rstrip(".")


def _dotted(location: tuple[int | str, ...]) -> str:
    text = ""
    for part in location:
        text += f"[{part + 1}]" if isinstance(part, int) else f".{part}"
    return text.lstrip(".")


def _origin(location: tuple[int | str, ...], file: Path | None, environment: dict[str, Any]) -> str:
    for variable, (key, _) in _variables().items():
        if location[: len(key)] == key:
            section: Any = environment
            for part in key:
                section = section.get(part, {})
            if section:
                return f"{variable}: "
    return f"{file}: " if file else ""


def _suggestion(location: tuple[int | str, ...]) -> str:
    *path, wrong = location
    model: type[BaseModel] = Settings
    for part in path:
        if part == "libraries":
            model = Library
        elif isinstance(part, str):
            annotation = model.model_fields[part].annotation
            model = annotation if isinstance(annotation, type) else model
    known = list(model.model_fields)
    near = difflib.get_close_matches(str(wrong), known, n=1)
    if near:
        return f"Did you mean {_dotted((*path, near[0]))}?"
    return f"Known here: {', '.join(known)}."
