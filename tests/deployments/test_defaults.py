"""What `prefect deploy` fills into prefect.yaml, and that the file and the defaults agree."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments import defaults
from deployments.work_pool import DEFAULT, VARIABLE, WorkPoolNameError, work_pool_name

FILE = Path(__file__).parent.parent.parent / "prefect.yaml"


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*(each.variable for each in defaults.SCHEDULES.values()), *VARIABLES]:
        monkeypatch.delenv(name, raising=False)


VARIABLES = {
    defaults.AUDIT_BACKEND: "store",
    defaults.TIMEZONE: "UTC",
    defaults.ENCODING_LIMIT: "1",
    defaults.ENCODING_AGAIN: "false",
    VARIABLE: DEFAULT,
    defaults.CODE_DIR: "the current directory",
    defaults.JOB_VARIABLES: "{}",
    defaults.JOB_ENV: "{}",
}


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("HAAS_SCAN_SCHEDULE", "hourly please", "HAAS_SCAN_SCHEDULE is 'hourly please': give a"),
        ("HAAS_REFRESH_SCHEDULE", "61 * * * *", "HAAS_REFRESH_SCHEDULE is '61 [*] [*] [*] [*]'"),
        ("HAAS_SCAN_SCHEDULE", "0 */2 * * * *", "HAAS_SCAN_SCHEDULE is .*: give 5 fields"),
        ("HAAS_SCAN_SCHEDULE", "0 0 31 2 *", "HAAS_SCAN_SCHEDULE is .*: no such day comes"),
        ("HAAS_AUDIT_BACKEND", "jaeger", "HAAS_AUDIT_BACKEND: 'jaeger' is no backend: give store"),
        ("HAAS_TIMEZONE", "Middle-earth", "HAAS_TIMEZONE is 'Middle-earth': give a name such as"),
        ("HAAS_JOB_ENV", "A=b", "HAAS_JOB_ENV is not valid JSON"),
        ("HAAS_JOB_ENV", "[1]", "HAAS_JOB_ENV must be a JSON object such as {.HAAS_DATA_DIR"),
        ("HAAS_JOB_VARIABLES", "image", "HAAS_JOB_VARIABLES is not valid JSON"),
        ("HAAS_JOB_VARIABLES", '"a"', "HAAS_JOB_VARIABLES must be a JSON object such as {.image"),
        ("HAAS_JOB_VARIABLES", '{"env": {}}', "has .env.: give variables for runs in HAAS_JOB_ENV"),
        ("HAAS_ENCODING_LIMIT", "two", "HAAS_ENCODING_LIMIT is 'two': give a whole number, 1 or"),
        ("HAAS_ENCODING_AGAIN", "yes", 'HAAS_ENCODING_AGAIN is \'yes\': give "true" or "false"'),
        ("HAAS_ENCODING_LIMIT", "0", "HAAS_ENCODING_LIMIT is '0': give a whole number, 1 or more"),
    ],
)
def test_what_is_wrong_is_said(
    variable: str, value: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ValueError, match=sentence):
        defaults.from_environment()


def test_variables_of_runs_are_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no text is what our settings read: JSON."""
    libraries = '[{"title": "Films", "kind": "movies", "path": "/films"}]'
    monkeypatch.setenv("HAAS_JOB_ENV", f'{{"HAAS_LIBRARIES": {libraries}, "A": true, "B": "x"}}')
    found = defaults.from_environment()["job_variables"]["env"]
    assert found == {**defaults.ENVIRONMENT, "HAAS_LIBRARIES": libraries, "A": "true", "B": "x"}


def test_the_codes_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    for given, folder in (("~/haas ", Path.home() / "haas"), ("haas", Path.cwd() / "haas")):
        monkeypatch.setenv("HAAS_CODE_DIR", given)
        assert defaults.from_environment()["code"] == str(folder)
    monkeypatch.delenv("HAAS_CODE_DIR")
    assert defaults.from_environment()["code"] == str(Path.cwd())


def test_the_work_pools_name() -> None:
    assert work_pool_name({}) == work_pool_name({"HAAS_WORK_POOL": " "}) == "haas-media"
    assert work_pool_name({"HAAS_WORK_POOL": " films on GPUs "}) == "films on GPUs"
    for name in ("a/b", "50%", "prefect-pool", "Prefect"):
        with pytest.raises(WorkPoolNameError, match=f"is '{name}': give a name without"):
            work_pool_name({"HAAS_WORK_POOL": name})


def test_banned_characters_are_prefects() -> None:
    from prefect.types.names import BANNED_CHARACTERS

    from deployments.work_pool import BANNED

    assert set(BANNED) == set(BANNED_CHARACTERS)


def test_every_place_in_the_file_has_a_value() -> None:
    places = set(re.findall(r"\{\{ haas\.([\w.]+) \}\}", FILE.read_text()))
    values = defaults.from_environment()
    for place in places:
        value: Any = values
        for part in place.split("."):
            value = value[part]
    assert {place.split(".")[0] for place in places} == set(values)


def test_the_file_names_every_variable_with_its_default() -> None:
    head = FILE.read_text().partition("\nname:")[0]
    told = {each.variable: each.default for each in defaults.SCHEDULES.values()} | VARIABLES
    for variable, default in told.items():
        assert re.search(rf"#   {variable} .* {re.escape(default)}$", head, re.MULTILINE), variable
    assert set(re.findall(r"#   (HAAS_\w+)", head)) == set(told)


def test_every_deployment_is_whole() -> None:
    for deployment in yaml.safe_load(FILE.read_text())["deployments"]:
        path, _, flow = deployment["entrypoint"].partition(":")
        assert f"def {flow}(" in (FILE.parent / path).read_text()
        assert deployment["work_pool"]["name"] == f"{{{{ ${VARIABLE} }}}}"
        whole = defaults.from_environment()["encoding"]["tags"]
        tags = whole if deployment["tags"] == "{{ haas.encoding.tags }}" else deployment["tags"]
        assert "haas-media" in tags
        assert len(deployment["description"]) > 80
        for schedule in deployment["schedules"] or ():
            assert schedule["timezone"] == "{{ haas.timezone }}"
            assert schedule["slug"] == deployment["name"]
