"""Imports go one way, and what is heavy is imported only where it is used."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import haas_otel

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
ROOMS = {"haas_otel", "haas_media", "flows", "deployments", "tests", "benchmarks"}

# What a room may not import, at any depth of its code.
FORBIDDEN = {
    "haas_otel": ROOMS - {"haas_otel"},
    "haas_media": (ROOMS - {"haas_media"}) | {"prefect", "opentelemetry"},
    "flows": {"deployments", "tests", "benchmarks"},
    "deployments": {"tests", "benchmarks"},
}

# What costs too much to be imported with a room: found in modules, imported where used.
HEAVY = {"av", "guessit", "sqlalchemy", "alembic", "opentelemetry.exporter", "grpc", "httpx_sse"}
HEAVY |= {"haas_otel.delivery.setup"}


def imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("room", FORBIDDEN)
def test_arrows_go_one_way(room: str) -> None:
    files = list((ROOT / room).rglob("*.py"))
    assert files
    crossed = {
        f"{file.relative_to(ROOT)} imports {name}"
        for file in files
        for name in imports(file)
        if name.split(".")[0] in FORBIDDEN[room]
    }
    assert crossed == set()


def test_the_core_does_not_import_delivery() -> None:
    core = [file for file in (ROOT / "haas_otel").glob("*.py") if file.name != "__init__.py"]
    crossed = {file.name for file in core for name in imports(file) if "haas_otel.delivery" in name}
    assert crossed == set()


def test_the_public_face_is_small_and_sorted() -> None:
    assert len(haas_otel.__all__) <= 8
    assert sorted(haas_otel.__all__) == haas_otel.__all__


def test_importing_is_light() -> None:
    """Prefect itself brings some of these in; no module of ours may bring in more."""
    modules = [
        "haas_otel",
        "haas_media",
        "flows",
        "haas_media.identification",
        "haas_media.settings",
        "haas_media.settings_sources",
    ]
    modules += [f"flows.{file.stem}" for file in sorted((ROOT / "flows").glob("[a-z]*.py"))]
    script = (
        "import importlib, sys, prefect, prefect.flows, prefect.tasks\n"
        "for module in sys.argv[1:]:\n"
        "    before = set(sys.modules)\n"
        "    importlib.import_module(module)\n"
        "    print(module, *sorted(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *modules], cwd=ROOT, capture_output=True, text=True
    )
    brought = {module: set(names) for module, *names in map(str.split, done.stdout.splitlines())}
    assert list(brought) == modules, done.stderr
    heavy = {module: names & HEAVY for module, names in brought.items()}
    assert {module: names for module, names in heavy.items() if names} == {}
