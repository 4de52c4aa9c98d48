"""The local stack: what it brings up, what it leaves behind, how it ends."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from prefect.states import Cancelling

from deployments.claim import address_of
from deployments.process import Child
from deployments.runs import progress_of, trigger
from deployments.samples import make_long_film
from deployments.server import answers, free_port, home_of
from deployments.stack import Stack, StackError
from haas_media.encoding import find_ffmpeg
from haas_otel.delivery import open_disk
from tests.deployments.conftest import ROOT, clean_environment
from tests.http_server import HttpServer, Reply
from tests.parts import require
from tests.waits import PATIENCE, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prefect.client.schemas.objects import FlowRun

    from deployments.samples import SampleLibrary
    from tests.faulty_port import FaultyPort

pytestmark = pytest.mark.e2e


def alive(pid: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


@contextlib.contextmanager
def workers_frozen(stack: Stack) -> Iterator[None]:
    """Have no worker of this stack take a run meanwhile, so that another's gets it."""
    for child in stack.workers.values():
        os.kill(child.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for child in stack.workers.values():
            os.kill(child.pid, signal.SIGCONT)


def test_all_state_is_in_the_data_directory(stack: Stack) -> None:
    made = {path.name for path in stack.data_dir.iterdir()}
    assert {"prefect", "logs", "stack.lock"} <= made
    assert (stack.data_dir / "prefect" / "prefect.db").exists()


def test_a_second_stack_is_refused_the_data_directory(stack: Stack) -> None:
    second = Stack(stack.data_dir, port=0)
    with pytest.raises(StackError, match=f"already up at {stack.address.ui} with"):
        second.claim()


def test_the_address_is_found_in_the_data_directory_while_it_is_up(
    stack: Stack, tmp_path: Path
) -> None:
    assert address_of(stack.data_dir) == stack.address.api
    assert address_of(tmp_path) is None
    (tmp_path / "stack.lock").write_text("http://127.0.0.1:1")  # of one that was killed
    assert address_of(tmp_path) is None


def test_a_work_pool_of_another_type_is_refused(stack: Stack, tmp_path: Path) -> None:
    from prefect.client.schemas.actions import WorkPoolCreate

    with stack.client() as client:
        client.create_work_pool(WorkPoolCreate(name="containers", type="docker"))
    environment = {"HAAS_WORK_POOL": "containers"}
    with pytest.raises(StackError, match="is of type docker"):
        Stack(tmp_path, api_url=stack.address.api, environment=environment).create_work_pool()


def test_a_port_in_use_is_not_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert free_port(port) != port


def test_a_port_that_is_taken_meanwhile_is_left_to_who_has_it(
    fresh: Stack, other_server: FaultyPort
) -> None:
    """The other server answers there: it must not be taken for one's own."""
    assert home_of(f"http://127.0.0.1:{other_server.port}/api") == Path("/elsewhere")
    assert fresh.address.ui != f"http://127.0.0.1:{other_server.port}"
    assert home_of(fresh.address.api) == fresh.data_dir / "prefect"
    fresh.check()


def test_a_busy_server_is_not_taken_for_none() -> None:
    """Else `haas up` would start one of its own beside it."""

    def after_a_while(*_: object) -> Reply:
        time.sleep(3)
        return Reply(200, b"true")

    with contextlib.closing(HttpServer(after_a_while)) as busy:
        assert answers(f"http://127.0.0.1:{busy.port}/api")


def test_a_server_that_does_not_start_shows_the_end_of_its_log(tmp_path: Path) -> None:
    broken = {"PREFECT_SERVER_API_PORT": "none", "PREFECT_API_DATABASE_TIMEOUT": "never"}
    environment = clean_environment(tmp_path / "prefect") | broken
    with (
        pytest.raises(StackError, match=r"The Prefect server ended with exit code \d+.") as failed,
        Stack(tmp_path, port=0, environment=environment) as stack,
    ):
        stack.start_server()
    assert "The end of " in str(failed.value)
    assert "valid" in str(failed.value)


def test_a_worker_that_died_is_noticed(stack: Stack) -> None:
    child = stack.start_worker("short-lived")
    child.kill()
    with pytest.raises(StackError, match="The worker ended with exit code -9"):
        stack.check()
    del stack.workers["short-lived"]
    stack.check()


def test_closing_cancels_what_runs_and_leaves_a_given_server_running(
    stack: Stack, samples: SampleLibrary, tmp_path: Path
) -> None:
    """A worker alone would kill its runs, and leave them shown as running for ever."""
    film = tmp_path / "ten minutes.mkv"
    make_long_film(find_ffmpeg(), film)
    slow = {
        "source": str(film),
        "output": str(samples.films / "slow.mkv"),
        "video_codec": "av1",
        "resolution": "720p",
        "crf": 10,
    }
    environment = clean_environment(tmp_path / "prefect")
    with (
        workers_frozen(stack),
        Stack(
            tmp_path,
            api_url=stack.address.api,
            environment=environment,
            worker_environment=stack._worker_environment,
        ) as second,
    ):
        second.start_server()
        assert second.server is None
        second.create_work_pool()
        second.start_worker("second")
        second.wait_for_workers()
        assert "second" in stack.online()
        with second.client() as client:
            run = trigger(client, "encoding/on-demand", slow)
            wait_until(lambda: progress_of(client, run.id), what="progress")
            pid = int(str(client.read_flow_run(run.id).infrastructure_pid))
            assert alive(pid)
    with stack.client() as client:
        assert client.read_flow_run(run.id).state_name == "Cancelled"
    assert not alive(pid)
    assert [path.name for path in samples.films.iterdir() if "slow" in path.name] == []


def test_a_child_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    require("Linux", sys.platform == "linux", "only it tells a child of its parent's death")
    script = (
        "import os, pathlib, sys, time\n"
        "from deployments.process import Child\n"
        "here = pathlib.Path(sys.argv[1])\n"
        "child = Child('sleeper', ['sleep', '900'], dict(os.environ), here / 'log')\n"
        "(here / 'pid').write_text(str(child.pid))\n"
        "time.sleep(900)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], cwd=ROOT)
    file = tmp_path / "pid"
    pid = int(wait_until(lambda: file.exists() and file.read_text(), what="the child"))
    assert alive(pid)
    parent.kill()
    parent.wait()
    wait_until(lambda: not alive(pid), what="its end")


def test_a_child_heeds_sigint_though_its_parent_ignores_it(tmp_path: Path) -> None:
    """A shell starts background jobs so; Prefect's worker turns SIGTERM into SIGINT."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        child = Child("sleeper", ["sleep", "60"], dict(os.environ), tmp_path / "log")
    finally:
        signal.signal(signal.SIGINT, before)
    os.kill(child.pid, signal.SIGINT)
    assert child.wait(PATIENCE) == -signal.SIGINT


def test_a_child_that_does_not_obey_is_killed(tmp_path: Path) -> None:
    deaf = (
        "import signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('deaf', flush=True)\n"
        "time.sleep(60)\n"
    )
    child = Child("deaf", [sys.executable, "-c", deaf], dict(os.environ), tmp_path / "log")
    wait_until(lambda: child.tail() == "deaf", what="its word")
    child.stop(seconds=0.5)
    assert child.returncode == -signal.SIGKILL


def test_a_tail_is_of_this_process_only(tmp_path: Path) -> None:
    for text in ("first", "second"):
        child = Child("echo", ["echo", text], dict(os.environ), tmp_path / "log")
        assert child.wait(PATIENCE) == 0
    assert child.tail() == "second"
    assert (tmp_path / "log").read_text() == "first\nsecond\n"


@contextlib.contextmanager
def haas_up(folder: Path, api_url: str | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Start ``haas up`` and wait until it is up; what it says is in the file ``out``.

    As a shell does it in the background: it is to ignore SIGINT.
    """
    environment = clean_environment(folder / "prefect")
    environment |= {"HAAS_DATA_DIR": str(folder / "data"), "PYTHONPATH": str(ROOT)}
    if api_url is not None:  # a server that is there: it is used, and not ended
        environment["PREFECT_API_URL"] = api_url
    shown = folder / "out"
    with shown.open("wb") as out:
        command = subprocess.Popen(
            [sys.executable, "-m", "deployments.cli", "up", "--port", "0"],
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=environment,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
        )
    try:
        is_up = lambda: "Press Ctrl-C" in shown.read_text() or command.poll() is not None  # noqa: E731
        wait_until(is_up, timeout=3 * PATIENCE, what="server, deployments and worker")
        assert command.poll() is None, shown.read_text()
        yield command
    finally:
        command.kill()
        command.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_haas_up_ends_all_of_it(stack: Stack, tmp_path: Path, number: int) -> None:
    given = number == signal.SIGINT
    with haas_up(tmp_path, stack.address.api if given else None) as command:
        children = descendants(command.pid)
        assert len(children) >= (1 if given else 2)
        command.send_signal(number)
        code = command.wait(PATIENCE)
    shown = (tmp_path / "out").read_text()
    assert code == 0, shown
    assert "runs, worker and server have ended" in shown
    assert "Traceback" not in shown
    wait_until(lambda: not any(map(alive, children)), what="the end of all")
    assert answers(stack.address.api)


def test_what_a_worker_had_taken_that_lost_power_is_settled_by_the_next_haas_up(
    stack: Stack, tmp_path: Path
) -> None:
    """Of runs that have not begun, nothing tells but the record of their worker."""
    slow = [{"prefect.deployments.steps.run_shell_script": {"script": "sleep 900"}}]
    with workers_frozen(stack), stack.client() as client:
        deployment = client.create_deployment(
            client.create_flow_from_name("begins late"),
            name="it",
            work_pool_name=stack.work_pool,
            entrypoint="late.py:begins_late",
            pull_steps=slow,
        )
        try:
            with haas_up(tmp_path, stack.address.api) as command:
                left, unwanted = (
                    client.create_flow_run_from_deployment(deployment).id for _ in range(2)
                )

                def runs() -> list[FlowRun]:
                    return [client.read_flow_run(run) for run in (left, unwanted)]

                def both_are_taken() -> bool:
                    return all("prefect.worker.name" in run.labels for run in runs())

                wait_until(both_are_taken, what="both runs to be taken")
                everything = [command.pid, *descendants(command.pid)]
                for number in (signal.SIGSTOP, signal.SIGKILL):  # at once: nobody does any more
                    for pid in everything:
                        with contextlib.suppress(ProcessLookupError):  # it has just ended
                            os.kill(pid, number)
            client.set_flow_run_state(unwanted, Cancelling())
            with haas_up(tmp_path, stack.address.api) as command:
                ends = ["Crashed", "Cancelled"]
                wait_until(lambda: [run.state_name for run in runs()] == ends, what=f"{ends}")
                # One of the runs may have had its process already, which left a record, too.
                disk = open_disk(tmp_path / "data" / "telemetry")
                wait_until(lambda: not disk.lost(), what="nothing to be left")
                command.terminate()
                assert command.wait(PATIENCE) == 0
            messages = [run.state.message for run in runs()]
        finally:
            client.delete_deployment(deployment)
    assert all("its last sign of life was" in each for each in messages)


def descendants(pid: int) -> list[int]:
    return [child.pid for child in psutil.Process(pid).children(recursive=True)]
