"""The compose file is whole, and says the same as what it has to agree with.

`tests/e2e/test_machines.py` runs its commands; no Docker engine is needed for either.
"""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest
import yaml

from tests.e2e.machines import COMPOSE, ROOT, VARIABLE, compose_file

FILE = COMPOSE / "compose.yaml"
GIVEN = {"POSTGRES_PASSWORD": "x", "LIBRARIES": "/media"}
# Handed on by their own name, without ${...}.
HANDED_ON = {"PREFECT_API_AUTH_STRING", "PREFECT_SERVER_API_AUTH_STRING"}


def services() -> dict[str, Any]:
    found: dict[str, Any] = compose_file(GIVEN)["services"]
    return found


def variables() -> set[str]:
    return {found["name"] for found in VARIABLE.finditer(FILE.read_text()) if found["name"]}


def test_what_has_no_default_has_to_be_given() -> None:
    for name in GIVEN:
        with pytest.raises(KeyError, match=name):
            compose_file({key: value for key, value in GIVEN.items() if key != name})


def test_the_example_has_every_variable_and_no_other() -> None:
    text = (COMPOSE / ".env.example").read_text()
    named = set(re.findall(r"^#?([A-Z_]+)=", text, re.MULTILINE))
    unusual = {"HAAS_VERSION", "POSTGRES_VERSION", "REDIS_VERSION"}
    assert named == (variables() | HANDED_ON) - unusual - {"HAAS_TMDB_URL"}


@pytest.mark.parametrize("name", list(services()))
def test_a_service_waits_for_services_that_are_there(name: str) -> None:
    for needed, how in services()[name].get("depends_on", {}).items():
        other = services()[needed]
        condition = how["condition"]
        assert condition in ("service_healthy", "service_completed_successfully")
        if condition == "service_healthy":
            assert "healthcheck" in other
        else:
            assert other["restart"] == "no"


@pytest.mark.parametrize("name", list(services()))
def test_ports_are_open_to_this_machine_only(name: str) -> None:
    for port in services()[name].get("ports", []):
        assert port.startswith("127.0.0.1:")


def test_volumes_are_declared_or_files_beside_it() -> None:
    declared = set(yaml.safe_load(FILE.read_text())["volumes"])
    for service in services().values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in declared or source == "/media" or (COMPOSE / source).is_file()


def test_server_and_background_services_agree() -> None:
    found = services()
    server = found["server"]["environment"]
    background = found["background"]["environment"]
    assert {**server, **background} == server
    assert found["migrate"]["environment"] == background
    assert server["PREFECT_SERVER_DATABASE_CONNECTION_URL"].startswith("postgresql+asyncpg://")
    assert "--no-services" in found["server"]["command"]


def test_no_setting_is_unknown_to_prefect() -> None:
    from prefect.settings import get_current_settings
    from prefect.settings.legacy import _get_settings_fields

    known = set(_get_settings_fields(type(get_current_settings())))
    for service in services().values():
        for name in service.get("environment", {}):
            if name.startswith("PREFECT_") and not name.startswith("PREFECT_REDIS_"):
                assert name in known, name


def test_the_image_has_what_the_package_is_made_of() -> None:
    text = (COMPOSE / "Dockerfile").read_text()
    copied = re.findall(r"^COPY (.+) \S+$", text, re.MULTILINE)
    sources = [source for line in copied for source in line.split()]
    assert all((ROOT / source).exists() for source in sources)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert set(packages) <= set(sources)
    let_in = (COMPOSE / "Dockerfile.dockerignore").read_text().splitlines()
    assert {f"!{source}" for source in sources} <= set(let_in)


def test_versions_are_pinned() -> None:
    for name in ("postgres", "redis"):
        assert re.fullmatch(r"\d+\.\d+(\.\d+)?", services()[name]["image"].partition(":")[2])
