"""The pages say what the code does: links, parameters, settings, counts, names, messages."""

from __future__ import annotations

import ast
import itertools
import json
import re
import shlex
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

import deployments.defaults as defaults
from deployments import work_pool
from haas_media.encoding.containers import BY_SUFFIX
from haas_media.encoding.request import BITRATE_RANGE, CRF_RANGE, DEFAULT_CRF
from haas_media.settings import Settings
from haas_media.settings_sources import _variables

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    [ROOT / "README.md", ROOT / "haas_otel" / "README.md", *(ROOT / "docs").rglob("*.md")]
)
TASK_PAGES = sorted((ROOT / "docs" / "tasks").glob("*.md"))
ROOMS = ("haas_otel", "haas_media", "flows", "deployments")
VARIABLE = re.compile(r"\bHAAS_[A-Z]+(?:_[A-Z]+)*(?![\w*])")
# What the pages call a value that is not there.
NONE, REQUIRED = "none", "required"

Table = list[dict[str, str]]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


each_page = pytest.mark.parametrize("page", PAGES, ids=name_of)
each_task_page = pytest.mark.parametrize("page", TASK_PAGES, ids=lambda page: page.stem)


# Reading pages


@cache
def prose(page: Path) -> str:
    """Return a page without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str) -> list[str]:
    pattern = rf"^```{language}\n(.*?)^```$"
    return re.findall(pattern, page.read_text(), flags=re.MULTILINE | re.DOTALL)


def cells(line: str) -> list[str]:
    inner = re.split(r"(?<!\\)\|", line.strip().removeprefix("|").removesuffix("|"))
    return [cell.strip().replace("\\|", "|") for cell in inner]


def tables(page: Path, first: str) -> list[Table]:
    """Return the tables of a page whose first column has this head."""
    found = []
    for block in re.findall(r"(?:^\|.*\n?)+", prose(page), flags=re.MULTILINE):
        head, _, *rows = [cells(line) for line in block.splitlines()]
        if head[0] == first:
            found.append([dict(zip(head, row, strict=True)) for row in rows])
    return found


def table(page: Path, first: str) -> Table:
    (only,) = tables(page, first)
    return only


def quoted(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def bare(text: str) -> str:
    (only,) = quoted(text)
    return only


def anchors(page: Path) -> set[str]:
    """Return what headings are known by: lower case, dashes for spaces, no punctuation."""
    headings = re.findall(r"^#+ +(.+?) *$", prose(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in headings}


def commands(page: Path) -> list[list[str]]:
    """Return what is typed into a shell to run a deployment."""
    found = []
    for line in "\n".join(blocks(page, "sh")).replace("\\\n", " ").splitlines():
        words = shlex.split(line.partition("prefect deployment run ")[2], comments=True)
        if words and not line.startswith("#"):
            found.append(words)
    return found


# Reading the code


@cache
def flows() -> dict[str, Any]:
    """Return the flow of each deployment in prefect.yaml, by ``flow/deployment``."""
    from prefect.flows import load_flow_from_entrypoint

    found = {}
    for each in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]:
        file, name = each["entrypoint"].split(":")
        flow = load_flow_from_entrypoint(f"{ROOT / file}:{name}")
        found[f"{flow.name}/{each['name']}"] = flow
    return found


def deployment_of(page: Path) -> str:
    return next(name for name in flows() if name.split("/")[0] == page.stem)


def sources() -> list[Path]:
    return [file for room in ROOMS for file in sorted((ROOT / room).rglob("*.py"))]


@cache
def sentences() -> tuple[str, ...]:
    """Return every text in the code, with NUL for what is filled in when it runs."""
    found = []
    for file in sources():
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(re.sub(r"%(?:\.\d+)?[sdfr]", "\0", node.value))
            elif isinstance(node, ast.JoinedStr):
                parts = (
                    part.value if isinstance(part, ast.Constant) else "\0" for part in node.values
                )
                found.append("".join(map(str, parts)))
    return tuple(found)


@cache
def variables() -> frozenset[str]:
    """Return every ``HAAS_`` variable that something reads: code, compose files, tests."""
    read = set(_variables())
    for room in ROOMS:
        for file in (ROOT / room).rglob("*"):
            if file.suffix in {".py", ".yaml", ".yml", ".toml", ".sh", ".env"} and file.is_file():
                read |= set(VARIABLE.findall(file.read_text()))
    for file in (ROOT / "tests").rglob("*.py"):
        read |= set(re.findall(r'environ(?:\.get\(|\[)"(HAAS_[A-Z_]+)"', file.read_text()))
    return frozenset(read)


def reports() -> dict[str, Any]:
    """Return a report of each task, empty as it may be."""
    from datetime import timedelta

    from haas_media.encoding.report import EncodeReport
    from haas_media.library.add import AddReport
    from haas_media.library.cleanup import CleanupReport
    from haas_media.library.refresh import KindReport, RefreshReport
    from haas_media.library.remove import RemoveReport
    from haas_media.scan import ScanReport

    no_time = timedelta(0)
    return {
        "metadata-scan": ScanReport(),
        "add-to-library": AddReport("movie", 1, "", None, new=True),
        "remove-from-library": RemoveReport("movie", 1, "", None, ()),
        "metadata-refresh": RefreshReport(
            (KindReport("movie"), KindReport("tv"), KindReport("person"))
        ),
        "person-cleanup": CleanupReport(),
        "encoding": EncodeReport(Path("x.mkv"), 0, no_time, (), (), None, None, no_time, ()),
    }


# Every page


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert broken == []


@each_page
def test_variables_are_read_by_something(page: Path) -> None:
    assert set(VARIABLE.findall(page.read_text())) - variables() == set()


@each_page
def test_deployments_are_those_of_prefect_yaml(page: Path) -> None:
    flow_names = {name.split("/")[0] for name in flows()}
    pattern = rf"(?<![\w./-])(?:{'|'.join(sorted(flow_names))})/[\w-]+"
    named = set(re.findall(pattern, page.read_text()))
    named |= {words[0] for words in commands(page)}
    assert named - set(flows()) == set()


@each_page
def test_commands_give_parameters_that_there_are(page: Path) -> None:
    for name, *options in commands(page):
        given = set()
        for option, value in itertools.pairwise(options):
            if option == "-p":
                given.add(value.partition("=")[0])
            elif option == "--params":
                given |= set(json.loads(value))
        assert given - set(flows()[name].parameters.properties) == set(), name


@each_page
def test_python_is_python(page: Path) -> None:
    for block in blocks(page, "python"):
        ast.parse(block)


@each_page
def test_messages_are_the_codes(page: Path) -> None:
    """In tables headed ``message``, with … for what is filled in when it runs."""
    unknown = []
    for row in (row for each in tables(page, "message") for row in each):
        message = bare(row["message"])
        parts = [re.escape(part) for part in message.split("…")]
        pattern = re.compile(r"[^\n]*?".join(parts), re.DOTALL)
        if not any(pattern.fullmatch(text) or pattern.search(text) for text in sentences()):
            unknown.append(message)
    assert unknown == []


def test_every_page_is_in_the_index() -> None:
    index = ROOT / "docs" / "README.md"
    listed = {
        (index.parent / target.partition("#")[0]).resolve()
        for target in re.findall(r"\]\(([^)\s]+)\)", prose(index))
    }
    assert set(PAGES) - listed - {index, ROOT / "README.md"} == set()


# Settings


def test_every_setting_is_told_and_no_other() -> None:
    told = {
        bare(row["variable"]): bare(row["key"]) for row in table(ROOT / "docs" / "README.md", "key")
    }
    assert told == {variable: ".".join(key) for variable, (key, _) in _variables().items()}


def test_the_defaults_of_settings_are_the_codes() -> None:
    computed = {"data_dir", "database_url", "ffmpeg"}  # not what the model says, but made of it
    for row in table(ROOT / "docs" / "README.md", "key"):
        key = bare(row["key"])
        if key in computed:
            continue
        value: Any = Settings()
        for part in key.split("."):
            value = getattr(value, part)
        shown = json.dumps(value if not isinstance(value, tuple) else list(value))
        told = row["default"] if value is None else bare(row["default"])
        assert told == (NONE if value is None else shown.strip('"')), key


def test_keys_of_haas_toml_are_settings() -> None:
    """Wherever a page shows a settings file, and not one of another program."""
    shown = [tomllib.loads(block) for page in PAGES for block in blocks(page, "toml")]
    ours = [block for block in shown if block.keys() & Settings.model_fields.keys()]
    assert ours
    for block in ours:
        Settings.model_validate(block)


def test_what_deploying_reads_is_told_with_its_defaults() -> None:
    rows = table(ROOT / "docs" / "README.md", "deploy variable")
    told = {bare(row["deploy variable"]): row["default"] for row in rows}
    schedules = {each.variable: f"`{each.default}`" for each in defaults.SCHEDULES.values()}
    assert schedules.items() <= told.items()
    assert told[work_pool.VARIABLE] == f"`{work_pool.DEFAULT}`"
    others = {defaults.TIMEZONE, defaults.CODE_DIR, defaults.AUDIT_BACKEND}
    others |= {defaults.ENCODING_LIMIT, defaults.ENCODING_AGAIN}
    others |= {defaults.JOB_VARIABLES, defaults.JOB_ENV, work_pool.VARIABLE}
    assert set(told) == {*schedules, *others}


# The page of each task


def test_every_deployment_has_a_page_and_no_other() -> None:
    assert {page.stem for page in TASK_PAGES} == {name.split("/")[0] for name in flows()}


def test_the_index_names_the_deployment_of_each_page() -> None:
    rows = table(ROOT / "docs" / "README.md", "deployment")
    told = {bare(row["deployment"]): re.findall(r"\(tasks/(.+)\.md\)", row["page"]) for row in rows}
    assert told == {name: [name.split("/")[0]] for name in flows()}


@each_task_page
def test_parameters_are_the_forms(page: Path) -> None:
    schema = flows()[deployment_of(page)].parameters
    told = {
        bare(row["parameter"]): (row["in the form"], row["default"])
        for row in table(page, "parameter")
    }
    in_the_code = {}
    for name, field in schema.properties.items():
        default = json.dumps(field.get("default")).strip('"')
        shown = NONE if field.get("default") is None else f"`{default}`"
        in_the_code[name] = (field["title"], REQUIRED if name in schema.required else shown)
    assert told == in_the_code


@each_task_page
def test_choices_are_the_forms(page: Path) -> None:
    schema = flows()[deployment_of(page)].parameters
    for row in table(page, "parameter"):
        choices = schema.properties[bare(row["parameter"])].get("enum")
        if choices:
            assert quoted(row["type"]) == choices, row["parameter"]


@each_task_page
def test_a_page_runs_its_deployment_from_shell_and_python(page: Path) -> None:
    name = deployment_of(page)
    assert name in {words[0] for words in commands(page)}
    python = "\n".join(blocks(page, "python"))
    calls = [node for node in ast.walk(ast.parse(python)) if isinstance(node, ast.Call)]
    (call,) = [call for call in calls if ast.unparse(call.func) == "run_deployment"]
    assert ast.literal_eval(call.args[0]) == name
    (parameters,) = [each.value for each in call.keywords if each.arg == "parameters"]
    assert isinstance(parameters, ast.Dict)
    given = {ast.literal_eval(key) for key in parameters.keys if key is not None}
    assert given <= set(flows()[name].parameters.properties)


@pytest.mark.parametrize("task", reports())
def test_counts_are_those_of_the_report(task: str) -> None:
    """They follow ``media.<count>`` and a colon."""
    text = " ".join(prose(ROOT / "docs" / "tasks" / f"{task}.md").split())
    listed = re.search(r"[Aa]s `media\.<count>`: ((?:`\w+` ?)+)", text)
    assert listed is not None
    assert sorted(quoted(listed[1])) == sorted(reports()[task].counts())


@each_task_page
def test_artifacts_are_those_of_the_task(page: Path) -> None:
    code = (ROOT / "flows" / f"{page.stem.replace('-', '_')}.py").read_text()
    made = set(re.findall(r'ProgressArtifact\("([\w-]+)"', code))
    for key in re.findall(r'publish\(report, "([\w-]+)"', code):
        made |= {f"{key}-counts", f"{key}-report"}
    told = set(re.findall(rf"`({page.stem}-(?:progress|counts|report))`", page.read_text()))
    assert told == made


def test_names_are_taken_for_what_the_page_says() -> None:
    for kind in ("movies", "tv"):
        rows = [
            (bare(row["path below the library"]), bare(row["taken for"]))
            for row in table(ROOT / "docs" / "tasks" / "metadata-scan.md", "kind")
            if bare(row["kind"]) == kind
        ]
        said = subprocess.run(
            [sys.executable, "-m", "deployments.cli", "names", "--kind", kind],
            cwd=ROOT,
            input="\n".join(path for path, _ in rows),
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()
        assert list(zip(said[::2], map(str.strip, said[1::2]), strict=True)) == rows


def test_qualities_are_the_encoders() -> None:
    told = {
        bare(row["codec"]): (row["`crf`"], row["without `crf` and bitrate"], row["bitrate"])
        for row in table(ROOT / "docs" / "encoding-losses.md", "codec")
    }
    assert told == {
        codec: (
            "{}–{}".format(*CRF_RANGE[codec]),
            str(DEFAULT_CRF[codec]),
            f"{low // 1000}k–{high // 1_000_000}M",
        )
        for codec, (low, high) in BITRATE_RANGE.items()
    }


def test_endings_are_the_containers() -> None:
    told = {}
    for row in table(ROOT / "docs" / "tasks" / "encoding.md", "ending"):
        for ending in quoted(row["ending"]):
            told[ending] = (row["container"], quoted(row["video codecs"]))
    assert told == {
        ending: (container.name, [codec for codec in CRF_RANGE if codec in container.video])
        for ending, container in BY_SUFFIX.items()
    }


# The page on haas_otel


def test_the_files_of_haas_otel_are_all_told() -> None:
    page = ROOT / "haas_otel" / "README.md"
    told = [bare(row["file of `haas_otel`"]) for row in table(page, "file of `haas_otel`")]
    there = {file.name for file in (ROOT / "haas_otel").glob("*.py")} - {"__init__.py"}
    assert sorted(told) == sorted([*there, "delivery/"])


def test_every_key_of_haas_otel_is_told_and_no_other() -> None:
    page = ROOT / "haas_otel" / "README.md"
    heads = ["attribute of a span", "event", "metric", "attribute of a log line", "log event"]
    heads += ["attribute of the resource", "label of a run, in Prefect"]
    rows = [row for head in heads for row in table(page, head)]
    told = {key for row in rows for column in [*row][:-1] for key in quoted(row[column])}
    # What Prefect adds to its log lines is Prefect's.
    told = {key.partition(".<")[0] for key in told if "." in key}
    prefixes = "task|prefect|exception|haas_otel|background_task|process|code|cpu|service|telemetry"
    key = re.compile(rf"({prefixes})(\.\w+)+\.?")
    emitted = set()
    for file in sorted((ROOT / "haas_otel").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            for given in _names_given_to(node):
                emitted |= {given} if key.fullmatch(given) else set()
    endings = {f"task.{status}" for status in ("completed", "failed", "cancelled")}
    assert told == {key.removesuffix(".") for key in emitted} | endings


def _names_given_to(node: ast.AST) -> list[str]:
    """What a dict, an item, a constant, or the SDK is given as a name."""
    if isinstance(node, ast.Dict):
        given: list[Any] = node.keys
    elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store):
        given = [node.slice]
    elif isinstance(node, ast.Assign):
        given = [node.value]
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        is_one = node.func.attr.startswith(("create_", "add_event", "set_attribute"))
        given = node.args[:1] if is_one else []
    else:
        given = []
    return [str(x.value) for x in given if isinstance(x, ast.Constant)]


def test_what_haas_otel_is_asked_for_is_public() -> None:
    import importlib

    page = ROOT / "haas_otel" / "README.md"
    asked = [
        (node.module, alias.name)
        for block in blocks(page, "python")
        for node in ast.walk(ast.parse(block))
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("haas_otel")
        for alias in node.names
    ]
    assert asked
    for module, name in asked:
        assert name in importlib.import_module(str(module)).__all__
