"""`haas check` knows each of the mistakes that the operations page names."""

from __future__ import annotations

import contextlib
import json
import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from deployments import check_mistakes as mistakes
from deployments.check_catalog import finding_for
from deployments.check_deployments import FILE, RECONCILER, _flow_name
from deployments.check_prefect import version_finding
from deployments.filesystems import network_filesystem
from deployments.zombies import NAME, flag_zombies
from tests.deployments.conftest import ROOT, Command

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from uuid import UUID

    from prefect.client.orchestration import SyncPrefectClient

    from deployments.stack import Stack

PAGE = ROOT / "docs" / "operations.md"


def sentences(command: Command, **environment: str) -> list[str]:
    """Return every line of the check, without its mark."""
    shown = command("check", environment=environment)
    assert "Traceback" not in shown.err + shown.out
    return [line.strip()[2:] for line in shown.out.splitlines()]


def line_of(mistake: mistakes.Mistake, **values: object) -> str:
    return f"{mistake.what:<12} {mistake.text.format(**values)}"


@pytest.fixture
def client(stack: Stack) -> Iterator[SyncPrefectClient]:
    with stack.client() as opened:
        yield opened


@pytest.fixture
def server(stack: Stack) -> str:
    return stack.address.api


def deployment(client: SyncPrefectClient, name: str) -> UUID:
    return client.read_deployment_by_name(name).id


# -- the page -----------------------------------------------------------------------------------


def table() -> list[tuple[str, str]]:
    """Return the page's table: what the check says of, and the sentence, ``…`` for what differs."""
    rows = re.findall(r"^\| ([^|]+) \| `([✗·]) ([^|]+?)` \|", PAGE.read_text(), re.MULTILINE)
    return [(mark, said.replace("\\", "")) for _, mark, said in rows]


def test_the_page_has_every_mistake_and_no_other() -> None:
    marks = {"wrong": "✗", "note": "·"}
    known = {
        (marks[each.how], f"{each.what}: {re.split(r'(?<=[.]) ', _plain(each.text))[0]}")
        for each in mistakes.MISTAKES.values()
    }
    assert set(table()) == known


def _plain(text: str) -> str:
    return re.sub(r"\{\w+(![a-z])?(:\w+)?\}", "…", text).replace("`", "'")


# -- files and folders --------------------------------------------------------------------------


def libraries(**paths: Path) -> str:
    return json.dumps(
        [{"title": title, "kind": "movies", "path": str(path)} for title, path in paths.items()]
    )


def test_two_libraries_of_one_folder(haas: Command, tmp_path: Path) -> None:
    films = tmp_path / "films"
    films.mkdir()
    (tmp_path / "again").symlink_to(films)
    said = sentences(haas, HAAS_LIBRARIES=libraries(A=films, B=tmp_path / "again"))
    wrong = line_of(mistakes.SAME_FOLDER, one="B", other="A", path=tmp_path / "again")
    assert said.count(wrong) == 1


def test_a_library_in_another(haas: Command, tmp_path: Path) -> None:
    inner = tmp_path / "all" / "films"
    inner.mkdir(parents=True)
    said = sentences(haas, HAAS_LIBRARIES=libraries(All=tmp_path / "all", Films=inner))
    assert line_of(mistakes.NESTED_FOLDERS, one="Films", other="All", path=inner) in said
    apart = sentences(haas, HAAS_LIBRARIES=libraries(A=inner, B=tmp_path / "data"))
    assert not any("inside" in line for line in apart)


MOUNTS = """\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
60 22 0:50 / /mnt/share rw - nfs4 nas:/volume rw
61 60 254:1 / /mnt/share/local rw - xfs /dev/vdb rw
62 22 0:51 / /mnt/with\\040space rw - cifs //nas/x rw
63 22 0:52 / /mnt/ssh rw - fuse.sshfs nas:/ rw
64 22 0:53 / /mnt/ntfs rw - fuseblk /dev/sdb rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/mnt/share/haas", "nfs4"),
        ("/mnt/share/local/haas", None),
        ("/mnt/with space/haas", "cifs"),
        ("/mnt/ssh", "fuse.sshfs"),
        ("/mnt/ntfs/x", None),
        ("/mnt/shared", None),
    ],
)
def test_filesystems_of_a_network(tmp_path: Path, path: str, kind: str | None) -> None:
    from pathlib import Path

    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    assert network_filesystem(Path(path), mounts) == kind


def test_this_machines_own_mounts_are_understood(tmp_path: Path) -> None:
    assert network_filesystem(tmp_path) is None


def test_sqlite_and_spans_on_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from deployments import check, check_catalog
    from haas_media.settings import Settings

    for module in (check, check_catalog):
        monkeypatch.setattr(module, "network_filesystem", lambda _path: "nfs4")
    monkeypatch.setenv("HAAS_OTEL_DIR", str(tmp_path))
    catalog = check_catalog.catalog_finding(f"sqlite:///{tmp_path}/catalog.sqlite3")
    assert catalog == mistakes.SQLITE_ON_A_NETWORK.found(
        path=tmp_path / "catalog.sqlite3", kind="nfs4"
    )
    spans = list(check._span_directory(Settings(data_dir=tmp_path)))
    assert spans == [mistakes.SPANS_ON_A_NETWORK.found(path=tmp_path, kind="nfs4")]


# -- the catalog --------------------------------------------------------------------------------


def test_a_catalog_of_another_version(haas: Command, tmp_path: Path) -> None:
    from sqlalchemy import text

    from haas_media.catalog import open_catalog

    url = f"sqlite:///{tmp_path / 'catalog.sqlite3'}"
    with open_catalog(url) as catalog, catalog.session() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    newer = line_of(mistakes.NEWER_CATALOG, url=url, version="9999")
    assert newer in sentences(haas, HAAS_DATABASE_URL=url)
    assert finding_for("it", "0000", ["0000", "0001"]) == mistakes.OLDER_CATALOG.found(
        url="it", version="0000"
    )


def test_looking_at_a_catalog_changes_nothing(haas: Command, tmp_path: Path) -> None:
    empty = tmp_path / "empty.sqlite3"
    empty.write_bytes(b"")
    said = sentences(haas, HAAS_DATABASE_URL=f"sqlite:///{empty}")
    assert any("the first scan makes its tables" in line for line in said)
    assert empty.read_bytes() == b""


# -- the server ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("server", "how"),
    [
        ("3.8.7", "wrong"),
        ("3.8.8", "note"),
        ("3.9.0", "note"),
        ("3.9.1", "right"),
        ("3.9.7", "right"),
        ("3.10.0", "wrong"),
        ("4.0.0", "wrong"),
    ],
)
def test_versions_of_prefect(server: str, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prefect.__version__", "3.9.1")
    found = version_finding("x", server)
    assert found.how == how
    assert server in found.text


def test_a_missing_and_a_stopped_automation(
    haas: Command, client: SyncPrefectClient, server: str
) -> None:
    [automation] = client.read_automations_by_name(NAME)
    client.pause_automation(automation.id)
    off = sentences(haas, PREFECT_API_URL=server)
    client.resume_automation(automation.id)  # what the UI's switch does
    right = sentences(haas, PREFECT_API_URL=server)
    client.delete_automation(automation.id)
    gone = sentences(haas, PREFECT_API_URL=server)
    flag_zombies(client)
    assert line_of(mistakes.ZOMBIE_AUTOMATION_OFF, name=NAME) in off
    assert line_of(mistakes.NO_ZOMBIE_AUTOMATION) in gone
    assert [line for line in right if line.startswith("zombies")] == []


def test_the_reconcilers_schedule(haas: Command, client: SyncPrefectClient, server: str) -> None:
    reconciler = deployment(client, RECONCILER)
    client.pause_deployment(reconciler)
    with contextlib.ExitStack() as after:
        after.callback(client.resume_deployment, reconciler)
        said = sentences(haas, PREFECT_API_URL=server)
    assert line_of(mistakes.RECONCILER_PAUSED, name=RECONCILER) in said


def test_a_paused_queue(haas: Command, client: SyncPrefectClient, server: str) -> None:
    queue = client.read_work_queue_by_name("default", work_pool_name="haas-media")
    client.update_work_queue(queue.id, is_paused=True)
    with contextlib.ExitStack() as after:
        after.callback(client.update_work_queue, queue.id, is_paused=False)
        said = sentences(haas, PREFECT_API_URL=server)
    assert line_of(mistakes.QUEUE_PAUSED, queue="default", pool="haas-media") in said


def changed(
    client: SyncPrefectClient, name: str, change: Callable[[dict[str, Any]], None]
) -> contextlib.ExitStack:
    """Change a deployment in the server; the stack that is returned changes it back."""
    found = client.read_deployment_by_name(name)
    before = {"pull_steps": found.pull_steps, "job_variables": found.job_variables}
    after: dict[str, Any] = json.loads(json.dumps(before))
    change(after)
    back = contextlib.ExitStack()

    def patch(body: dict[str, Any]) -> None:
        client.request("PATCH", f"/deployments/{found.id}", json=body)

    back.callback(patch, before)
    patch(after)
    return back


def test_code_that_is_gone(haas: Command, client: SyncPrefectClient, server: str) -> None:
    name = "encoding/on-demand"
    step = {"prefect.deployments.steps.set_working_directory": {"directory": "/nowhere/code"}}
    with changed(client, name, lambda body: body.update(pull_steps=[step])):
        said = sentences(haas, PREFECT_API_URL=server)
    assert line_of(mistakes.CODE_IS_GONE, names=name, path="/nowhere/code") in said


def test_another_work_pool(haas: Command, client: SyncPrefectClient, server: str) -> None:
    """What is in an image is not looked for here."""
    from prefect.client.schemas.actions import WorkPoolCreate

    client.create_work_pool(WorkPoolCreate(name="whales", type="docker"))
    name = "encoding/on-demand"
    step = {"prefect.deployments.steps.set_working_directory": {"directory": "/nowhere/code"}}
    with contextlib.ExitStack() as after:
        after.callback(client.delete_work_pool, "whales")
        after.enter_context(changed(client, name, lambda body: body.update(pull_steps=[step])))
        after.callback(_move, client, name, "haas-media")
        _move(client, name, "whales")
        said = sentences(haas, PREFECT_API_URL=server, HAAS_WORK_POOL="whales")
        missing = sentences(haas, PREFECT_API_URL=server, HAAS_WORK_POOL="none")
        wrong = sentences(haas, PREFECT_API_URL=server, HAAS_WORK_POOL="a%")
    told = dict(re.split(r"  +", line, maxsplit=1) for line in said)
    assert told["work pool"] == "whales (docker)"
    assert "/nowhere/code" not in told["deployments"]
    assert told["workers"].endswith("prefect worker start --pool whales")
    make = "none is missing. Make it: prefect work-pool create none --type process"
    assert f"{'work pool':<12} {make}" in missing
    assert any(line.startswith("work pool    HAAS_WORK_POOL is 'a%': give") for line in wrong)


def _move(client: SyncPrefectClient, name: str, pool: str) -> None:
    found = client.read_deployment_by_name(name)
    client.request("PATCH", f"/deployments/{found.id}", json={"work_pool_name": pool})  # type: ignore[arg-type]


def test_a_deployment_without_heartbeats(
    haas: Command, client: SyncPrefectClient, server: str
) -> None:
    name = "encoding/on-demand"
    with changed(client, name, lambda body: body.update(job_variables={"env": {}})):
        said = sentences(haas, PREFECT_API_URL=server)
    assert line_of(mistakes.NO_HEARTBEATS, names=name) in said


def test_deployments_that_are_missing(stack: Stack, haas: Command, tmp_path: Path) -> None:
    """A work pool with a deployment of somebody else's: ours are named."""
    from deployments.check_deployments import deployment_findings

    with stack.client() as client:
        pool = client.read_work_pool("haas-media")
        found = [client.read_deployment_by_name("encoding/on-demand")]
        original = client.read_deployments
        client.read_deployments = lambda **_: found  # type: ignore[method-assign,assignment]
        try:
            said = list(deployment_findings(client, pool, working=True))
        finally:
            client.read_deployments = original  # type: ignore[method-assign]
    named = [each.text for each in said if each.what == "deployments"]
    assert len(named) == 1
    assert "metadata-scan/hourly" in named[0]
    assert "encoding/on-demand" not in named[0]
    assert mistakes.NO_RECONCILER.found(name=RECONCILER) in said


def test_names_are_those_that_prefect_deploys() -> None:
    from prefect.flows import load_flow_from_entrypoint

    for each in yaml.safe_load(FILE.read_text())["deployments"]:
        flow = load_flow_from_entrypoint(str(ROOT / each["entrypoint"]))
        assert _flow_name(each["entrypoint"]) == flow.name


def test_a_deployment_that_is_not_ready(client: SyncPrefectClient) -> None:
    from prefect.client.schemas.objects import DeploymentStatus

    from deployments.check_deployments import _not_ready

    found = client.read_deployment_by_name("encoding/on-demand")
    idle = found.model_copy(update={"status": DeploymentStatus.NOT_READY})
    ready = found.model_copy(update={"status": DeploymentStatus.READY})
    pool = client.read_work_pool("haas-media")
    wrong = mistakes.NOT_READY.found(names="a/b", pool="haas-media")
    assert list(_not_ready({"a/b": idle, "c/d": ready}, pool)) == [wrong]


def test_several_workers(haas: Command, client: SyncPrefectClient, server: str) -> None:
    client.send_worker_heartbeat("haas-media", "worker-elsewhere", 30)
    with contextlib.ExitStack() as after:
        after.callback(client.request, "DELETE", "/work_pools/haas-media/workers/worker-elsewhere")
        elsewhere = {"HAAS_DATABASE_URL": "postgresql://x@127.0.0.1:1/x"}
        tmdb = {"HAAS_TMDB_TOKEN": "x", "HAAS_TMDB_URL": server}
        rate = {"HAAS_TMDB_REQUESTS_PER_SECOND": "30"}
        said = sentences(haas, PREFECT_API_URL=server, **tmdb, **rate)
        right = sentences(haas, PREFECT_API_URL=server, **tmdb, **elsewhere)
    asked = line_of(mistakes.TOO_MANY_REQUESTS, count=2, rate=30.0, most=40, share=20)
    assert asked in said
    assert line_of(mistakes.SHARED_SQLITE, count=2) in said
    assert line_of(mistakes.MEMORY_MESSAGING, count=2) in said
    assert not any("SQLite file" in line or "TMDb allows" in line for line in right)


def test_late_runs(haas: Command, client: SyncPrefectClient, server: str) -> None:
    from prefect.states import State, StateType

    queue = client.read_work_queue_by_name("default", work_pool_name="haas-media")
    client.update_work_queue(queue.id, is_paused=True)  # nobody is to take it meanwhile
    run = client.create_flow_run_from_deployment(
        deployment(client, "add-to-library/on-demand"),
        parameters={"kind": "movie", "tmdb_id": 1},
        state=State(type=StateType.SCHEDULED, name="Late"),
    )
    with contextlib.ExitStack() as after:
        after.callback(client.update_work_queue, queue.id, is_paused=False)
        after.callback(client.delete_flow_run, run.id)
        said = sentences(haas, PREFECT_API_URL=server)
    assert line_of(mistakes.LATE_RUNS, count=1) in said
