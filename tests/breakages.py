"""Break the code that each promise relies on, and see its test go red.

    python -m tests.breakages [NUMBER ... | WORD ...]

The promises are in ``breakages.txt``. Each breakage is made in a copy of the repository, where one
of the tests named beside it must then fail. One that no test notices ends this with an error; so
does, before anything is tried, one whose code is not found once or whose test does not exist.
"""

from __future__ import annotations

import ast
import os
import shutil
import signal
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from queue import SimpleQueue

from tests.warm import Warm

ROOT = Path(__file__).parents[1]
LIST = Path(__file__).with_suffix(".txt")
AT_ONCE = 2
DATA = {"HAAS_TEST_DATA": str(ROOT.parent / "shared")}  # a copy lies elsewhere
# What a copy's tests import, but for what is broken, is imported once; then pytest is forked.
MODULES = [
    "pytest",
    "hypothesis",
    "prefect.main",
    "prefect.flow_engine",
    "prefect.task_engine",
    "opentelemetry.sdk._configuration",
    "opentelemetry.exporter.otlp.proto.grpc.trace_exporter",
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "sqlalchemy.orm",
    "alembic.command",
    "guessit",
    "av",
]
PYTEST = """
import sys
del sys.modules["tests"]
import pytest
sys.exit(pytest.main(sys.argv[1:]))
"""
# A test that does not notice at once may wait for what never comes.
SECONDS_FOR_A_TEST, SECONDS = 120, 300


@dataclass(frozen=True, slots=True)
class Breakage:
    """What is promised; the code that keeps it, what it is replaced by; the tests that see it."""

    number: int
    promise: str
    file: str
    tests: tuple[str, ...]
    code: str
    broken: str


def read(text: str) -> list[Breakage]:
    """Return the breakages of a list: a promise, a file and its tests, then a patch."""
    blocks = [block.splitlines() for block in text.split("\n\n") if not block.startswith("#")]
    return [
        Breakage(
            number,
            promise,
            file_and_tests.split()[0],
            tuple(file_and_tests.split()[1:]),
            "\n".join(line[2:] for line in patch if line.startswith("- ")),
            "\n".join(line[2:] for line in patch if line.startswith("+ ")),
        )
        for number, (promise, file_and_tests, *patch) in enumerate(blocks, 1)
    ]


def problems(breakages: list[Breakage]) -> list[str]:
    """Return what does not fit the code and the tests as they are, a sentence for each."""
    found = []
    for each in breakages:
        path = ROOT / each.file
        times = path.read_text().count(each.code) if path.exists() else 0
        if times != 1:
            found.append(f"{each.number} {each.promise}: its code is {times} times in {each.file}")
        found += [
            f"{each.number} {each.promise}: there is no {test}"
            for test in each.tests
            if not _exists(*test.split("::"))
        ]
        if not each.tests:
            found.append(f"{each.number} {each.promise}: no test is named")
    return found


@cache
def _tests_in(file: str) -> frozenset[str]:
    path = ROOT / file
    body = ast.parse(path.read_text()).body if path.exists() else []
    return frozenset(
        each.name for each in body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
    )


def _exists(file: str, test: str = "") -> bool:
    return test in _tests_in(file) if test else (ROOT / file).exists()


def main() -> None:
    """Make each breakage, or those that are chosen, and print who noticed."""
    breakages = read(LIST.read_text())
    if wrong := problems(breakages):
        sys.exit("\n".join(wrong))
    chosen = _chosen(breakages, sys.argv[1:])
    unnoticed, warm = 0, Warm(*MODULES)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(AT_ONCE) as threads:
        copies: SimpleQueue[Path] = SimpleQueue()
        for number in range(AT_ONCE):
            copies.put(_copy(Path(folder) / f"copy{number}"))
        tried = {threads.submit(_try, warm, copies, each): each for each in chosen}
        for done in as_completed(tried):
            each, verdict = tried[done], done.result()
            unnoticed += not verdict.startswith("red")
            print(f"{each.number:3} {each.promise}: {verdict}", flush=True)
    warm.close()
    if unnoticed:
        sys.exit(f"{unnoticed} of {len(chosen)} not noticed by any test")


def _chosen(breakages: list[Breakage], asked: list[str]) -> list[Breakage]:
    numbers = {int(each) for each in asked if each.isdecimal()}
    words = [each.lower() for each in asked if not each.isdecimal()]
    chosen = [
        each
        for each in breakages
        if not asked
        or each.number in numbers
        or any(word in f"{each.promise} {each.file}".lower() for word in words)
    ]
    return chosen or sys.exit(f"no promise has {' or '.join(asked)}")


def _copy(folder: Path) -> Path:
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(".*", "__pycache__"))
    return folder


def _try(warm: Warm, copies: SimpleQueue[Path], breakage: Breakage) -> str:
    copy = copies.get()
    file = copy / breakage.file
    whole = file.read_text()
    file.write_text(whole.replace(breakage.code, breakage.broken))
    try:
        return _verdict(warm, copy, breakage.tests)
    finally:
        file.write_text(whole)
        copies.put(copy)


def _verdict(warm: Warm, copy: Path, tests: tuple[str, ...]) -> str:
    """Run the tests and say how they ended; only what begins with "red" is right."""
    options = ["-q", "-x", "-n0", f"--timeout={SECONDS_FOR_A_TEST}"]
    # What the tests keep from one run to the next serves these runs as well.
    options += ["-o", f"cache_dir={ROOT / '.pytest_cache' / 'breakages'}"]
    with tempfile.TemporaryFile("w+") as out:
        program = warm.start(
            "-c",
            PYTEST,
            *options,
            *tests,
            env={**DATA, **os.environ, "PYTHONPATH": str(copy)},
            cwd=copy,
            files=(out, out, out),
        )
        try:
            code = program.wait(SECONDS)
        except TimeoutError:
            program.send_signal(signal.SIGKILL)
            return "red: no end"
        out.seek(0)
        told = out.read()
    failed = [line for line in told.splitlines() if line.startswith("FAILED")]
    if failed:
        return "red: " + failed[0].partition("::")[2][:80]
    return "NOT NOTICED" if code == 0 else f"THE TESTS DO NOT RUN\n{told[-3000:]}"


if __name__ == "__main__":
    main()
