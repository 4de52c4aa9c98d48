"""Encodings run by a real worker, cancelled and killed at random instants."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import imageio_ffmpeg
import psutil
import pytest
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

from tests.chaos import CHAOS
from tests.e2e.conftest import POOL
from tests.waits import wait_until

if TYPE_CHECKING:
    from uuid import UUID

    from tests.e2e.api import Api
    from tests.e2e.delivery import Collector

pytestmark = pytest.mark.timeout(1500)

ROOT = Path(__file__).parent.parent.parent
PRECIOUS = b"the only copy of something"
INSTANTS = 20 if CHAOS else 1
AT_ONCE = 2  # each of them could use every core


@dataclass(frozen=True)
class Studio:
    """A library with a clip, and with a film that takes an encoder many minutes."""

    api: Api
    films: Path
    deployment: UUID
    environment: dict[str, str]

    def encode(self, output: str, *, source: str, **parameters: Any) -> UUID:
        given = {"source": str(self.films / source), "output": str(self.films / output)}
        return self.api.run(
            self.deployment, parameters=given | parameters, environment=self.environment
        )


@pytest.fixture(scope="module")
def studio(api: Api, collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> Studio:
    films = tmp_path_factory.mktemp("films")
    made = (
        "-f lavfi -i testsrc2=size=1280x720:rate=25 -f lavfi -i sine=440"
        " -t 45 -c:v libx264 -preset ultrafast -c:a aac clip.mkv"
    )
    looped = "-stream_loop 19 -i clip.mkv -c copy long.mkv"
    for arguments in (made, looped):
        program = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *arguments.split()]
        subprocess.run(program, cwd=films, check=True)
    deployment = api.deploy(ROOT, "flows/encoding.py:encoding_flow", POOL, "encodings")
    environment = {
        **collector.environment,
        "HAAS_LIBRARIES": json.dumps([{"title": "Films", "kind": "movies", "path": str(films)}]),
        "HAAS_DATA_DIR": str(tmp_path_factory.mktemp("data")),
    }
    return Studio(api, films, deployment, environment)


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


def _lives(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


@dataclass(frozen=True)
class Interrupted:
    """An encoding over an existing file that was interrupted."""

    how: str
    run: UUID
    output: Path
    was_encoding: bool


def interrupt(studio: Studio, how: str, number: int, after: float) -> Interrupted:
    output = studio.films / f"{how}-{number}.mkv"
    output.write_bytes(PRECIOUS)
    run = studio.encode(output.name, source="long.mkv", video_codec="av1")
    started = lambda: studio.api.process(run)  # noqa: E731
    process = wait_until(started, interval=0.3, what="a process")
    # Count from when there is something to interrupt, mostly; at times before.
    if number % 4 != 0:
        wait_until(lambda: encoders(output), interval=0.2, what="an encoder")
    time.sleep(after)
    ffmpegs = encoders(output)
    if how == "cancelled":
        studio.api.cancel(run)
    else:
        process.send_signal(signal.SIGKILL)
    wait_until(lambda: not _lives(process), what="the end of the process")
    # By itself ffmpeg would go on for minutes.
    wait_until(lambda: not any(map(_lives, ffmpegs)), what="the end of ffmpeg")
    return Interrupted(how, run, output, was_encoding=bool(ffmpegs))


def test_interrupted_at_random_instants(studio: Studio, api: Api, collector: Collector) -> None:
    chance = random.Random(7)
    cases = [(n, how) for n in range(1, INSTANTS + 1) for how in ("cancelled", "killed")]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        begun = [pool.submit(interrupt, studio, how, n, chance.uniform(0, 3)) for n, how in cases]
        seen = [future.result() for future in begun]
    for each in seen:
        cancelled = each.how == "cancelled"
        ended = api.wait_for_end(each.run)
        assert ended.state_name == ("Cancelled" if cancelled else "Crashed"), each
        assert each.output.read_bytes() == PRECIOUS, each
        started = [r for r in api.task_runs(each.run) if r.start_time]
        assert len(started) == 1 or not each.was_encoding, each
        for span in collector.wait_for_spans(each.run, len(started)):
            assert span.name == "BackgroundTask.EncodingTask"
            assert span.attributes["task.status"] == ("Cancelled" if cancelled else "Failed"), each
            if cancelled and each.was_encoding:
                assert 0 <= span.attributes["media.encoding.progress"] <= 100
    assert any(each.was_encoding for each in seen)


def test_the_next_run_clears_up_and_its_progress_never_goes_backwards(
    studio: Studio, api: Api, collector: Collector
) -> None:
    run = studio.encode("watched.mkv", source="clip.mkv", resolution="480p", crf=30)
    seen: list[float] = []

    def watch() -> bool:
        state = api.flow_run(run).state  # first: what is seen then is all of it
        artifacts = api.client.read_artifacts(
            artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run]))
        )
        seen.extend(float(a.data) for a in artifacts if a.type == "progress")  # type: ignore[arg-type]
        return state is not None and state.is_final()

    wait_until(watch, interval=0.3)
    assert seen == sorted(seen)
    assert seen[-1] == 100.0
    assert len(set(seen)) > 2, seen
    assert (studio.films / "watched.mkv").stat().st_size > 0
    assert [path.name for path in studio.films.iterdir() if "haas-" in path.name] == []
    (span,) = collector.wait_for_spans(run)
    assert span.attributes["task.status"] == "Completed"
    assert span.attributes["media.encoding.progress"] == 100.0
