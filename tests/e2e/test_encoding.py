"""Encodings run by a real worker, cancelled and killed at random instants."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import imageio_ffmpeg
import psutil
import pytest
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

from tests.e2e.delivery import wait_until_delivered
from tests.e2e.prefect_processes import run_process, wait_until
from tests.e2e.test_endings import SCOPE
from tests.receiver import Receiver

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from tests.e2e.api import Api
    from tests.received import ReceivedSpan

ROOT = Path(__file__).parent.parent.parent
POOL = "encodings"
PRECIOUS = b"the only copy of something"
INSTANTS = int(os.environ.get("HAAS_INTERRUPTIONS", "3"))
AT_ONCE = 2  # each of them could use every core


@dataclass
class Studio:
    """A library with one long clip, and a deployment that encodes in it."""

    api: Api
    receiver: Receiver
    films: Path
    deployment: UUID
    environment: dict[str, str]

    def encode(self, output: str, **parameters: Any) -> UUID:
        return self.api.run(
            self.deployment,
            parameters={
                "source": str(self.films / "long.mkv"),
                "output": str(self.films / output),
                **parameters,
            },
            environment=self.environment,
        )

    def spans(self, run: UUID) -> list[ReceivedSpan]:
        mine = [s for s in self.receiver.spans if s.trace_id == run.hex]
        return [s for s in mine if s.scope_name == SCOPE]

    def wait_for_spans(self, run: UUID, count: int) -> list[ReceivedSpan]:
        arrived = lambda: len(self.spans(run)) >= count  # noqa: E731
        wait_until_delivered(arrived, self.environment, what=f"{count} spans of {run}")
        return self.spans(run)


@pytest.fixture(scope="module")
def studio(prefect: Any, api: Api, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    films = tmp_path_factory.mktemp("films")
    subprocess.run(
        [
            imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error",
            "-f", "lavfi", "-i", "testsrc2=size=1280x720:rate=25",
            "-f", "lavfi", "-i", "sine=440",
            "-t", "90", "-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac",
            str(films / "long.mkv"),
        ],
        check=True,
    )  # fmt: skip
    api.make_pool(POOL)
    prefect.start_worker("encoder", POOL)
    wait_until(lambda: "Worker 'encoder' started" in prefect.log("encoder"), timeout=60)
    with Receiver().start("grpc") as receiver:
        deployment = api.deploy(ROOT, "flows/encoding.py:encoding_flow", POOL, "encodings")
        environment = {
            **receiver.environment,
            "HAAS_LIBRARIES": json.dumps(
                [{"title": "Films", "kind": "movies", "path": str(films)}]
            ),
            "HAAS_DATA_DIR": str(tmp_path_factory.mktemp("data")),
            "HAAS_OTEL_DIR": str(tmp_path_factory.mktemp("otel")),
        }
        yield Studio(api, receiver, films, deployment, environment)


def encoders(output: Path) -> list[psutil.Process]:
    """Return the live ffmpeg processes that write for an output, known by its partial."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            words = process.cmdline()
            if "ffmpeg" in Path(words[0] if words else "").name and any(
                f".{output.stem}." in word and "haas-partial" in word for word in words
            ):
                found.append(process)
    return found


def is_whole(output: Path) -> bool:
    """Say whether an output is all of the film, in the format that was asked for."""
    try:
        with av.open(str(output)) as container:
            return container.duration is not None and container.duration > 89_000_000
    except av.FFmpegError:
        return False


def _lives(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def interrupt(studio: Studio, how: str, number: int, after: float) -> dict[str, Any]:
    """Start an encoding over an existing file, interrupt it, and tell what was seen."""
    output = studio.films / f"{how}-{number}.mkv"
    output.write_bytes(PRECIOUS)
    run = studio.encode(output.name, resolution="480p")
    wait_until(lambda: run_process(str(run)), timeout=240, interval=0.2, what="the process")
    began = time.monotonic()
    # Count from when there is something to interrupt, mostly; at times before.
    while not encoders(output) and time.monotonic() - began < 60 * (number % 4 != 0):
        time.sleep(0.2)
    time.sleep(after)
    # Known beforehand: a search through all processes takes as long as what is measured.
    process, ffmpegs = run_process(str(run)), encoders(output)
    acted = time.monotonic()
    if how == "cancelled":
        studio.api.cancel(run)
    elif process is not None:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)
    while process is not None and _lives(process) and time.monotonic() - acted < 60:
        time.sleep(0.02)
    ended = time.monotonic()
    while any(map(_lives, ffmpegs)) and time.monotonic() - ended < 10:
        time.sleep(0.02)
    gone = time.monotonic()
    flow_run = studio.api.wait_for_end(run)
    return {
        "run": run,
        "output": output,
        "state": flow_run.state_name,
        "encoding": bool(ffmpegs),
        "outlived_by": gone - ended,
        "after_signal": gone - acted,
    }


@pytest.mark.timeout(1500)
@pytest.mark.parametrize(("how", "status"), [("cancelled", "Cancelled"), ("killed", "Failed")])
def test_interrupted_at_random_instants(studio: Studio, how: str, status: str) -> None:
    chance = random.Random(7)
    instants = [chance.uniform(0, 3) for _ in range(INSTANTS)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        seen = list(pool.map(lambda n: interrupt(studio, how, n, instants[n]), range(INSTANTS)))
    interrupted = [each for each in seen if each["state"] in ("Cancelled", "Crashed")]
    assert len(interrupted) >= INSTANTS // 3
    for each in seen:
        # Its process was gone: ffmpeg must be too, within a second.
        assert each["outlived_by"] < 1.0, each
        started = [r for r in studio.api.task_runs(each["run"]) if r.start_time]
        spans = studio.wait_for_spans(each["run"], len(started))
        assert len(spans) == len(started), each
        if each in interrupted:
            ended_as = [span.attributes["task.status"] for span in spans]
            if is_whole(each["output"]):  # it had its name already: too late for a cancel
                assert ended_as == ["Completed"] or (how == "killed" and ended_as == ["Failed"])
            else:
                assert each["output"].read_bytes() == PRECIOUS
                assert ended_as == [status] * len(started)
        for span in spans:
            if how == "cancelled" and each["encoding"]:
                assert 0 <= span.attributes["media.encoding.progress"] <= 100
    told = [s for each in interrupted for s in studio.spans(each["run"])]
    assert told
    assert {s.name for s in told} == {"BackgroundTask.EncodingTask"}
    _next_run_leaves_no_partial(studio)


def _next_run_leaves_no_partial(studio: Studio) -> None:
    (studio.films / "next.mkv").unlink(missing_ok=True)
    run = studio.encode("next.mkv", video_codec="copy")
    assert studio.api.wait_for_end(run).state_name == "Completed"
    left = [path.name for path in studio.films.iterdir() if "haas-" in path.name]
    assert left == []


def test_progress_is_seen_and_never_goes_backwards(studio: Studio) -> None:
    run = studio.encode("watched.mkv", resolution="480p", crf=30)
    seen: list[float] = []

    def watch() -> bool:
        artifacts = studio.api.client.read_artifacts(
            artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run]))
        )
        seen.extend(float(a.data) for a in artifacts if a.type == "progress")  # type: ignore[arg-type]
        state = studio.api.flow_run(run).state
        return state is not None and state.is_final()

    wait_until(watch, timeout=200, interval=0.3)
    assert seen == sorted(seen)
    assert seen[-1] == 100.0
    assert len(set(seen)) > 2, seen
    output = studio.films / "watched.mkv"
    assert output.stat().st_size > 0
    (span,) = studio.wait_for_spans(run, 1)
    assert span.attributes["task.status"] == "Completed"
    assert span.attributes["media.encoding.progress"] == 100.0


def test_a_source_that_is_not_there_fails_the_task_with_a_sentence(studio: Studio) -> None:
    run = studio.encode("none.mkv", source=str(studio.films / "missing.mkv"))
    assert studio.api.wait_for_end(run).state_name == "Failed"
    (span,) = studio.wait_for_spans(run, 1)
    assert span.attributes["exception.type"].endswith("EncodingError")
    assert "missing.mkv" in span.status_description
