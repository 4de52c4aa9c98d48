"""The files in deployments/observability hang together, and ask for what is really emitted."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deployments" / "observability"
BACKENDS = sorted(path.name for path in FOLDER.iterdir() if path.is_dir())
VARIABLE = re.compile(r"\$\{([A-Z_]+)(?::[-?]([^}]*))?\}")


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def compose(backend: str) -> dict[str, Any]:
    found: dict[str, Any] = read(FOLDER / backend / "compose.yaml")
    return found


def collector(backend: str) -> dict[str, Any]:
    found: dict[str, Any] = read(FOLDER / backend / "collector.yaml")
    return found


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / "grafana" / "dashboard.json").read_text())
    return found


def test_compose_files_keep_to_the_compose_specification() -> None:
    files = [str(FOLDER / backend / "compose.yaml") for backend in BACKENDS]
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*check, *files], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_dashboard_has_nothing_that_grafanas_schema_does_not_know() -> None:
    """What Grafana's own models do not take over is gone when it is written out again."""
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.models.dashboard import Dashboard

    taken = json.loads(json.dumps(Dashboard.from_json(dashboard()), cls=JSONEncoder))
    lost = [path for path, value in leaves(dashboard()) if dict(leaves(taken)).get(path) != value]
    assert lost == []


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value that holds no others, with the way to it."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    for key, each in inner:
        if isinstance(each, dict | list) and each:
            yield from leaves(each, f"{path}/{key}")
        elif each not in ({}, []):
            yield f"{path}/{key}", each


@pytest.mark.parametrize("backend", BACKENDS)
def test_compose_files_are_pinned_local_and_whole(backend: str) -> None:
    file, text = compose(backend), (FOLDER / backend / "compose.yaml").read_text()
    taken, volumes = [], set()
    for service in file["services"].values():
        tag = VARIABLE.sub(lambda found: found[2] or "", service["image"]).rpartition(":")[2]
        assert re.fullmatch(r"v?\d+\.\d+(\.\d+)?", tag), service["image"]
        for port in service.get("ports", []):
            host, outside, _ = VARIABLE.sub(lambda found: found[2] or "", port).split(":")
            assert host == "127.0.0.1"
            taken.append(outside)
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("./"):
                assert (FOLDER / backend / source).is_file(), source
            else:
                volumes.add(source)
        assert set(service.get("depends_on", [])) <= set(file["services"])
    assert len(taken) == len(set(taken))
    assert volumes == set(file.get("volumes", {}))
    head = text.partition("\nname:")[0]
    for name, default in VARIABLE.findall(text):
        assert (f"{name} ({default})" if default.isdigit() else name) in head


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_collector_uses_what_is_defined_and_sends_to_services_of_its_file(backend: str) -> None:
    file, services = collector(backend), compose(backend)["services"]
    pipelines = file["service"]["pipelines"]
    assert set(pipelines) == {"traces", "metrics", "logs"}
    for part in ("receivers", "processors", "exporters"):
        used = {name for pipeline in pipelines.values() for name in pipeline[part]}
        assert used == set(file[part]), part
    for name, exporter in file["exporters"].items():
        endpoint = (exporter or {}).get("endpoint", "").removeprefix("http://")
        if name != "prometheus" and endpoint:
            assert endpoint.split(":")[0] in services
    text = (FOLDER / backend / "collector.yaml").read_text()
    for variable in re.findall(r"\$\{env:(\w+)\}", text):
        assert variable in services["collector"]["environment"]


def test_the_dashboard_and_its_sources_know_each_other() -> None:
    sources = read(FOLDER / "grafana" / "datasources.yaml")["datasources"]
    kinds = {source["uid"]: source["type"] for source in sources}
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        for of in (panel, *panel["targets"]):
            assert kinds[of["datasource"]["uid"]] == of["datasource"]["type"]
    for source in sources:
        host = source["url"].removeprefix("http://").split(":")[0]
        assert host in compose("grafana")["services"]
    linked = re.findall(r"datasourceUid: (\w+)", (FOLDER / "grafana/datasources.yaml").read_text())
    assert set(linked) <= set(kinds)


def test_panels_do_not_overlap() -> None:
    covered: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        at = panel["gridPos"]
        wide, high = range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"])
        cells = set(itertools.product(wide, high))
        assert not cells & covered, panel["title"]
        assert wide.stop <= 24
        covered |= cells
