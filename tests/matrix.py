"""Run the tests of haas_otel with the oldest and the newest of what its distribution takes.

    python -m tests.matrix [--short] [CELL ...]

A cell, such as ``oldest-3.11``, is an environment of its own in ``.matrix``: a Python, and the
versions of a file of ``requirements``. The project that imports nothing of ours has the same.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).parents[1]
VERSIONS = {"oldest": "requirements/oldest.txt", "newest": "requirements/dev.txt"}
CELLS = ["oldest-3.11", "oldest-3.13", "newest-3.11", "newest-3.12", "newest-3.13"]
E2E = "tests/e2e/test_elsewhere.py"
WHOLE = ["tests/haas_otel", E2E]
SHORT = [
    *(f"tests/haas_otel/test_{name}.py" for name in ("decorators", "endings", "instrumentor")),
    *(f"tests/haas_otel/delivery/test_{name}.py" for name in ("delivery", "setup", "codec")),
    E2E,
    # Of the two ways the one that most projects take.
    *("-k", "not no-line"),
]
# Azure and Zipkin exporters ask for a newer OpenTelemetry; private names are those of the newest.
LEFT_OUT = {
    "oldest": [
        "--ignore=tests/haas_otel/delivery/test_backends.py",
        "--ignore=tests/haas_otel/test_private_names.py",
    ]
}


def interpreter(version: str) -> str | None:
    """Return the path of a Python; None where this machine has none."""
    ask = [f"python{version}", "-c", "import sys; print(sys.executable)"]
    with suppress(FileNotFoundError):
        # Where pyenv keeps several, it wants to be told which.
        found = subprocess.run(
            ask, env=os.environ | {"PYENV_VERSION": version}, capture_output=True, text=True
        )
        return found.stdout.strip() or None
    return None


def run(cell: str, tests: list[str]) -> str:
    """Make the environment of a cell, and run tests in it; say how that went."""
    name, _, version = cell.partition("-")
    made_by = interpreter(version)
    if made_by is None:
        return f"not run: this machine has no Python {version}"
    folder = ROOT / ".matrix" / cell
    python = str(folder / "bin" / "python")
    if not Path(python).exists():
        subprocess.run([made_by, "-m", "venv", folder], check=True)
    install = [python, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-deps"]
    pinned = [*install, "--require-hashes", "-r", VERSIONS[name]]
    subprocess.run(pinned, cwd=ROOT, check=True)
    ours = [*install, "--no-build-isolation", "-e", "./haas_otel"]
    subprocess.run(ours, cwd=ROOT, check=True)
    options = ["-q", "-n", "auto", "-o", f"cache_dir={folder / 'cache'}", *LEFT_OUT.get(name, [])]
    done = subprocess.run(
        [python, "-m", "pytest", *options, *tests],
        cwd=ROOT,
        env=os.environ | {"PREFECT_HOME": str(folder / "prefect")},
    )
    return "failed" if done.returncode else "passed"


def main(arguments: list[str]) -> int:
    """Run the cells that are named, or all; in short with ``--short``."""
    tests = SHORT if "--short" in arguments else WHOLE
    cells = [each for each in arguments if each != "--short"] or CELLS
    said = {}
    for cell in cells:
        print(f"== {cell}", flush=True)
        said[cell] = run(cell, tests)
    print(*(f"{cell}: {how}" for cell, how in said.items()), sep="\n")
    return int("failed" in said.values())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
