"""`haas check` knows each of the mistakes that the operations page names."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from deployments import check_mistakes as mistakes
from deployments.check_deployments import RECONCILER
from deployments.check_prefect import version_finding
from deployments.filesystems import network_filesystem
from tests.deployments.conftest import ROOT, Command, Finished, Line, libraries, line_of, lines
from tests.warm import warm

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prefect.client.orchestration import SyncPrefectClient

    from deployments.stack import Stack

PAGE = ROOT / "docs" / "operations.md"
POOL = "haas-media"
ENCODING = "encoding/on-demand"
NOWHERE = "/nowhere/code"
ELSEWHERE = [{"prefect.deployments.steps.set_working_directory": {"directory": NOWHERE}}]


def test_the_page_has_every_mistake_and_no_other() -> None:
    """Its table says of what, and the sentence, with ``…`` for what differs."""
    rows = re.findall(r"^\| ([^|]+) \| `([✗·]) ([^|]+?)` \|", PAGE.read_text(), re.MULTILINE)
    marks = {"wrong": "✗", "note": "·"}
    known = {
        (marks[each.how], f"{each.what}: {re.split(r'(?<=[.]) ', _plain(each.text))[0]}")
        for each in mistakes.MISTAKES.values()
    }
    assert {(mark, said.replace("\\", "")) for _, mark, said in rows} == known


def _plain(text: str) -> str:
    return re.sub(r"\{\w+(![a-z])?(:\w+)?\}", "…", text).replace("`", "'")


# -- files and folders --------------------------------------------------------------------------


def test_libraries_of_one_folder_and_in_another(haas: Command, tmp_path: Path) -> None:
    every, inner, again = (tmp_path / name for name in ("all", "all/films", "again"))
    inner.mkdir(parents=True)
    again.symlink_to(inner)
    (tmp_path / "data").mkdir()
    folders = libraries(A=inner, B=again, All=every, Apart=tmp_path / "data")
    found = haas.check(HAAS_LIBRARIES=folders)
    wrong = [line for line in found if "there twice" in line.text]
    assert wrong == [
        line_of(mistakes.NESTED_FOLDERS, one="A", other="All", path=inner),
        line_of(mistakes.SAME_FOLDER, one="B", other="A", path=again),
        line_of(mistakes.NESTED_FOLDERS, one="B", other="All", path=again),
    ]


MOUNTS = """\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
60 22 0:50 / /mnt/share rw - nfs4 nas:/volume rw
61 60 254:1 / /mnt/share/local rw - xfs /dev/vdb rw
62 22 0:51 / /mnt/with\\040space rw - cifs //nas/x rw
63 22 0:52 / /mnt/ssh rw - fuse.sshfs nas:/ rw
64 22 0:53 / /mnt/ntfs rw - fuseblk /dev/sdb rw
65 22 0:54 / /mnt/of\N{LINE SEPARATOR}a\rscript\r rw - nfs nas:/other rw
"""
# The kernel of a machine on which everything is on the network.
ON_NFS = """
from pathlib import Path
read = Path.read_bytes
def read_bytes(path):
    mounts = b"22 1 0:50 / / rw - nfs4 nas:/volume rw"
    return mounts if str(path) == "/proc/self/mountinfo" else read(path)
Path.read_bytes = read_bytes
from deployments.cli import main
main(["check"])
"""


def test_filesystems_of_a_network(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    kinds = {
        "/mnt/share/haas": "nfs4",
        "/mnt/share/local/haas": None,
        "/mnt/with space/haas": "cifs",
        "/mnt/ssh": "fuse.sshfs",
        "/mnt/ntfs/x": None,
        "/mnt/of\N{LINE SEPARATOR}a\rscript\r/x": "nfs",
        "/mnt/shared": None,
    }
    assert {path: network_filesystem(Path(path), mounts) for path in kinds} == kinds
    assert network_filesystem(tmp_path) is None, "this machine's own mounts"


def test_sqlite_and_spans_on_a_network(haas: Command, tmp_path: Path) -> None:
    environment = haas.environment | {"HAAS_OTEL_DIR": str(tmp_path / "spans")}
    shown = warm().run("-c", ON_NFS, env=environment, cwd=tmp_path)
    found = lines(Finished(shown.returncode, shown.stdout, shown.stderr))
    catalog = tmp_path / "data" / "catalog.sqlite3"
    assert line_of(mistakes.SQLITE_ON_A_NETWORK, path=catalog, kind="nfs4") in found
    assert line_of(mistakes.SPANS_ON_A_NETWORK, path=tmp_path / "spans", kind="nfs4") in found


def test_a_catalog_of_another_version(haas: Command, tmp_path: Path) -> None:
    from sqlalchemy import make_url, text

    from haas_media.catalog import open_catalog
    from haas_media.catalog.opening import plain_engine

    url = f"sqlite:///{tmp_path / 'catalog.sqlite3'}"
    open_catalog(url).close()
    for version, mistake in {
        "9999": mistakes.NEWER_CATALOG,
        "0001": mistakes.OLDER_CATALOG,
    }.items():
        with plain_engine(make_url(url)).begin() as catalog:
            catalog.execute(text(f"UPDATE alembic_version SET version_num = '{version}'"))
        said = line_of(mistake, url=url, version=version)
        assert said in haas.check(HAAS_DATABASE_URL=url)


def test_looking_at_a_catalog_changes_nothing(haas: Command, tmp_path: Path) -> None:
    empty = tmp_path / "empty.sqlite3"
    empty.write_bytes(b"")
    said = str(haas.check(HAAS_DATABASE_URL=f"sqlite:///{empty}"))
    assert "the first scan makes its tables" in said
    assert empty.read_bytes() == b""


# -- the server ---------------------------------------------------------------------------------


def test_versions_of_prefect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prefect.__version__", "3.9.1")
    servers = {
        "3.8.7": "wrong",
        "3.8.8": "note",
        "3.9.0": "note",
        "3.9.1": "right",
        "3.9.7": "right",
        "3.10.0": "wrong",
        "4.0.0": "wrong",
    }
    found = {server: version_finding("x", server) for server in servers}
    assert {server: each.how for server, each in found.items()} == servers
    assert all(server in each.text for server, each in found.items())


@pytest.fixture
def client(stack: Stack) -> Iterator[SyncPrefectClient]:
    with stack.client() as opened:
        yield opened


@pytest.fixture
def server(haas: Command, stack: Stack) -> Command:
    """The command, led to the server."""
    haas.environment["PREFECT_API_URL"] = stack.address.api
    return haas


@pytest.fixture
def after() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


def test_what_haas_up_brings_up_is_right(
    client: SyncPrefectClient, server: Command, after: contextlib.ExitStack
) -> None:
    """Until somebody switches the reconciler's trigger off."""
    told = {"Prefect", "deployments", "reconciler"}
    found = [line for line in server.check() if line.what in told]
    assert {line.how for line in found} == {"right"}
    assert {line.what for line in found} == {"Prefect", "deployments"}
    reconciler = client.read_deployment_by_name(RECONCILER).id
    [trigger] = client.read_resource_related_automations(f"prefect.deployment.{reconciler}")
    client.pause_automation(trigger.id)  # what the UI's switch does
    after.callback(client.resume_automation, trigger.id)
    assert line_of(mistakes.RECONCILER_UNTRIGGERED, name=RECONCILER) in server.check()


def change(after: contextlib.ExitStack, client: SyncPrefectClient, **values: Any) -> None:
    """Change the deployment of encodings in the server, until afterwards."""
    found = client.read_deployment_by_name(ENCODING)

    def patch(body: dict[str, Any]) -> None:
        client.request("PATCH", f"/deployments/{found.id}", json=body)  # type: ignore[arg-type]

    before: dict[str, Any] = json.loads(found.model_dump_json(include=set(values)))
    after.callback(patch, before)
    patch(values)


def test_what_stops_runs_and_hides_their_ends(
    client: SyncPrefectClient, server: Command, after: contextlib.ExitStack
) -> None:
    from prefect.states import State, StateType

    reconciler = client.read_deployment_by_name(RECONCILER).id
    client.pause_deployment(reconciler)
    after.callback(client.resume_deployment, reconciler)
    queue = client.read_work_queue_by_name("default", work_pool_name=POOL)
    client.update_work_queue(queue.id, is_paused=True)  # so that nobody takes the late run, either
    after.callback(client.update_work_queue, queue.id, is_paused=False)
    late = client.create_flow_run_from_deployment(
        client.read_deployment_by_name("add-to-library/on-demand").id,
        parameters={"kind": "movie", "tmdb_id": 1},
        state=State(type=StateType.SCHEDULED, name="Late"),
    )
    after.callback(client.delete_flow_run, late.id)
    change(after, client, pull_steps=ELSEWHERE)
    found = server.check()
    assert line_of(mistakes.RECONCILER_PAUSED, name=RECONCILER) in found
    assert line_of(mistakes.QUEUE_PAUSED, queue="default", pool=POOL) in found
    # With one, or more, that their schedule has made meanwhile.
    assert any(line_of(mistakes.LATE_RUNS, count=count) in found for count in (1, 2, 3))
    assert line_of(mistakes.CODE_IS_GONE, names=ENCODING, path=NOWHERE) in found


def test_another_work_pool(
    client: SyncPrefectClient, server: Command, after: contextlib.ExitStack
) -> None:
    """One of another kind, with one deployment of ours in it, and one that nobody serves."""
    from prefect.client.schemas.actions import WorkPoolCreate

    client.create_work_pool(WorkPoolCreate(name="whales", type="docker"))
    after.callback(client.delete_work_pool, "whales")
    change(after, client, pull_steps=ELSEWHERE, work_pool_name="whales")
    alone = server.check(HAAS_WORK_POOL="whales")
    mounted = {"env": {"HAAS_DATA_DIR": "/data"}, "volumes": ["/srv/haas:/data"]}
    change(after, client, job_variables=mounted)
    kept = server.check(HAAS_WORK_POOL="whales")
    flow = client.create_flow_from_name("theirs")
    theirs = client.create_deployment(flow, name="idle", work_pool_name="whales")
    after.callback(client.delete_deployment, theirs)
    client.send_worker_heartbeat("whales", "whale", 30)
    served = server.check(HAAS_WORK_POOL="whales")
    missing = server.check(HAAS_WORK_POOL="none")
    wrong = server.check(HAAS_WORK_POOL="a%")

    told = {line.what: line.text for line in alone}
    assert told["work pool"] == "whales (docker)"
    assert told["workers"].endswith("prefect worker start --pool whales")
    assert "metadata-scan/hourly" in told["deployments"]
    assert ENCODING not in told["deployments"]
    assert NOWHERE not in str(alone), "what is in an image is not looked for here"
    assert line_of(mistakes.NO_RECONCILER, name=RECONCILER) in alone
    lost = line_of(mistakes.SPANS_GO_WITH_CONTAINERS, names=ENCODING, path="~/.haas")
    assert lost in alone
    assert "volume" not in str(kept)
    assert line_of(mistakes.NOT_READY, names="theirs/idle", pool="whales") in served
    make = "none is missing. Make it: prefect work-pool create none --type process"
    assert Line("work pool", "wrong", make) in missing
    assert any(line.text.startswith("HAAS_WORK_POOL is 'a%': give") for line in wrong)


def test_several_workers(
    client: SyncPrefectClient, server: Command, after: contextlib.ExitStack
) -> None:
    client.send_worker_heartbeat(POOL, "worker-elsewhere", 30)
    after.callback(client.request, "DELETE", f"/work_pools/{POOL}/workers/worker-elsewhere")
    server.environment.update(
        {"HAAS_TMDB_TOKEN": "x", "HAAS_TMDB_URL": server.environment["PREFECT_API_URL"]}
    )
    found = server.check(HAAS_TMDB_REQUESTS_PER_SECOND="30")
    right = server.check(HAAS_DATABASE_URL="postgresql://x@127.0.0.1:1/x")
    assert line_of(mistakes.TOO_MANY_REQUESTS, count=2, rate=30.0, most=40, share=20) in found
    assert line_of(mistakes.SHARED_SQLITE, count=2) in found
    assert line_of(mistakes.MEMORY_MESSAGING, count=2) in found
    assert "SQLite file" not in str(right)
    assert "TMDb allows" not in str(right)
