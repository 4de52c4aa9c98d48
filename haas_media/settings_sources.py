"""Where settings come from: one ``haas.toml``, every key also as ``HAAS_...`` variable, which wins.

The file is the one that ``HAAS_CONFIG`` names, else ``haas.toml`` in the working directory if
there is one. Relative paths in the file start at the file's own folder, relative paths in the
environment at the working directory, so that a worker that starts elsewhere means the same place.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_origin

from pydantic import BaseModel, ValidationError

from haas_media.settings import Library, Section, Settings, SettingsError, from_home, with_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

CONFIG_NAME = "haas.toml"
CONFIG_VARIABLE = "HAAS_CONFIG"

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
# What variables have as JSON.
_JSON = {
    tuple: (list, "a JSON list, such as [...]"),
    dict: (dict, 'a JSON object, such as {"/there": "/here"}'),
}
_OF_ANOTHER_KIND = re.compile(r"(\w+?)_(?:type|parsing|from_float)")


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
    os.environ["HAAS_OTEL_DIR"] = str(telemetry_dir(settings.data_dir))


def telemetry_dir(data_dir: Path, environment: Mapping[str, str] = os.environ) -> Path:
    """Return the folder of spans on disk: ``HAAS_OTEL_DIR``, else one in the data directory."""
    chosen = environment.get("HAAS_OTEL_DIR", "").strip()
    return Path(chosen).expanduser().absolute() if chosen else data_dir / "telemetry"


def load_settings(path: Path | None = None, *, without: Iterable[str] = ()) -> Settings:
    """Read the settings from file and environment.

    Args:
        path: the file to read instead of the one that ``HAAS_CONFIG`` or the working directory
            would give.
        without: settings that keep their default, whatever file and environment say.

    Raises:
        SettingsError: a file that is missing, unreadable or broken, an unknown key, a wrong value.
    """
    file = config_file(path)
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


def config_file(path: Path | None = None) -> Path | None:
    """Return the settings file in use, if there is one.

    Args:
        path: the file to use instead of the one that ``HAAS_CONFIG`` or the working directory
            would give.

    Raises:
        SettingsError: it is in a home folder that is not known.
    """
    named = path or _value(CONFIG_VARIABLE)
    if named:
        try:
            return from_home(Path(named))
        except ValueError as wrong:
            raise SettingsError(f"{CONFIG_VARIABLE} {wrong}.") from None
    local = Path(CONFIG_NAME)
    return local if local.exists() else None


def _value(name: str) -> str:
    """Return what a variable holds, less what files of variables leave around it."""
    text = os.environ.get(name, "").strip()
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "\"'"
    return text[1:-1].strip() if quoted else text


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
    except (ValueError, RecursionError) as error:  # numbers and lists without end, too
        raise SettingsError(f"{file} is not valid TOML: {error}. Mend that line.") from None
    _anchor(raw, file.absolute().parent)
    return raw


def _anchor(raw: dict[str, Any], base: Path) -> None:
    """Let the relative paths of a settings file start at its own folder."""

    def anchored(value: Any) -> Any:
        if isinstance(value, list):
            return [anchored(each) for each in value]
        if isinstance(value, dict):
            return {name: anchored(each) for name, each in value.items()}
        relative = isinstance(value, str) and value.strip() and not value.startswith("~")
        return str(base / value) if relative else value

    libraries = raw.get("libraries")
    places = [(each, "path") for each in (libraries if isinstance(libraries, list) else ())]
    places += [(raw, "data_dir"), (raw.get("encoding"), "roots")]
    for table, key in (*places, (raw.get("watch"), "path_mappings")):
        if isinstance(table, dict) and key in table:
            table[key] = anchored(table[key])
    if isinstance(raw.get("database_url"), str):
        raw["database_url"] = with_file(raw["database_url"], anchored)
    if "/" in str(raw.get("ffmpeg", "")):
        raw["ffmpeg"] = anchored(raw["ffmpeg"])


def _variables() -> dict[str, tuple[tuple[str, ...], Any]]:
    """Map each variable to its key and to what its value is, of which ``_JSON`` has some."""
    found: dict[str, tuple[tuple[str, ...], Any]] = {}
    for name, info in Settings.model_fields.items():
        section = info.annotation
        if isinstance(section, type) and issubclass(section, Section):
            for inner, field in section.model_fields.items():
                variable = f"HAAS_{name}_{inner}".upper()
                found[variable] = ((name, inner), get_origin(field.annotation))
        else:
            found[f"HAAS_{name}".upper()] = ((name,), get_origin(section))
    return found


def _read_environment() -> dict[str, Any]:
    raw: dict[str, Any] = {}
    for variable, (key, kind) in _variables().items():
        if text := _value(variable):
            target = raw if len(key) == 1 else raw.setdefault(key[0], {})
            target[key[-1]] = _read_json(variable, text, *_JSON[kind]) if kind in _JSON else text
    return raw


def _read_json(variable: str, text: str, kind: type, called: str) -> Any:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise SettingsError(f"{variable} is not valid JSON: {error}. It takes {called}.") from None
    except RecursionError:
        raise SettingsError(f"{variable} is nested too deeply. It takes {called}.") from None
    if not isinstance(value, kind):
        raise SettingsError(f"{variable} must be {called}.")
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
