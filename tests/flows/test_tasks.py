"""Each media task from its flow: run name, report, counts on its span, what it refuses."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from deployments.waterfall import render_json
from flows.events import WRITTEN
from haas_media.encoding import find_ffmpeg
from tests.fake_tmdb import Catalogue, FakeTmdb
from tests.waits import wait_until
from tests.warm import warm

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.flows.conftest import Flows, Ran

pytestmark = pytest.mark.e2e

TOKEN = "eyJhbGciOi.a-token-that-nobody-must-see.xyz"


@pytest.fixture
def tmdb(flows: Flows) -> Iterator[FakeTmdb]:
    catalogue = Catalogue()
    catalogue.add_movie(603, "The Matrix", "1999-03-31", cast=[(5, "Somebody", "Herself")])
    with FakeTmdb(catalogue, token=TOKEN) as fake:
        flows.environment["HAAS_TMDB_URL"] = fake.url
        flows.environment["HAAS_TMDB_TOKEN"] = TOKEN
        yield fake


@pytest.fixture
def films(flows: Flows, tmp_path: Path) -> Path:
    root = tmp_path / "films"
    for name in ("Heat (1995)/Heat.mkv", "Heat (1995)/Heat-trailer.mkv", "8f3a9c2e71d04b55.mkv"):
        make_clip(root / name)
    flows.environment["HAAS_LIBRARIES"] = json.dumps(
        [{"title": "Films", "kind": "movies", "path": str(root)}]
    )
    return root


def make_clip(path: Path, seconds: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = f"testsrc2=size=320x180:rate=10:duration={seconds}"
    argv = [find_ffmpeg(), "-loglevel", "error", "-f", "lavfi", "-i", picture, f"file:{path}"]
    subprocess.run(argv, check=True)
    return path


def counts(ran: Ran) -> dict[str, Any]:
    prefix = "media."
    return {
        key.removeprefix(prefix): value
        for key, value in ran.task.attributes.items()
        if key.startswith(prefix)
    }


def story(ran: Ran) -> list[str]:
    return [event.name for event in ran.task.events]


def holds(flows: Flows) -> dict[str, int]:
    """Return how much the catalog holds."""
    from sqlalchemy import func, select

    from haas_media.catalog import open_catalog
    from haas_media.catalog.models import Credit, Movie, Person, Show

    url = f"sqlite:///{flows.environment['HAAS_DATA_DIR']}/catalog.sqlite3"
    with open_catalog(url) as catalog, catalog.reading() as session:
        return {
            model.__tablename__: session.scalar(select(func.count()).select_from(model)) or 0
            for model in (Movie, Show, Person, Credit)
        }


def test_scan_once_again_and_offline(flows: Flows, films: Path) -> None:
    ran = flows("metadata_scan")
    assert ran.run.state_name == "Completed"
    assert ran.run.name == "scan of all libraries"
    assert ran.task.name == "BackgroundTask.MetadataScanTask"
    assert ran.task.attributes["task.name"] == "Metadata library scan"
    told = counts(ran)
    assert (told["found"], told["new"], told["matched"], told["unmatched"]) == (3, 3, 1, 1)
    assert (told["removed"], told["requests"]) == (0, 0)
    assert float(str(ran.artifacts["metadata-scan-progress"].data)) == 100
    [row] = json.loads(str(ran.artifacts["metadata-scan-counts"].data))
    assert row["library"] == "Films"
    assert "8f3a9c2e71d04b55" in str(ran.artifacts["metadata-scan-report"].data)
    assert f"Scanning Films (movies): {films}" in ran.output

    again = counts(flows("metadata_scan", library="Films"))
    assert (again["found"], again["unchanged"], again["parsed"], again["probed"]) == (3, 3, 0, 0)

    trace = "0af7651916cd43dd8448eb211c80319c"
    paths = [str(films / "Heat (1995)"), "/elsewhere/Ran.mkv"]
    caller = f"00-{trace}-00f067aa0ba902b7-01"
    part = flows("metadata_scan", paths=paths, traceparent=caller, event="0d3c 2026-01-02")
    assert part.run.name == "scan of 2 paths"
    assert counts(part)["found"] == 2
    assert (part.task.trace_id, part.task.parent_id) == (trace, "00f067aa0ba902b7")
    assert part.run.labels["__OTEL_TRACEPARENT"] == caller  # by which others find its trace
    assert "/events/event/2026-01-02/0d3c" in part.output
    assert "WARNING" in part.output
    assert "/elsewhere/Ran.mkv is in no library." in part.output

    films.rename(films.with_name("away"))
    offline = flows("metadata_scan")
    assert offline.run.state_name == "Completed"
    assert "Films is offline" in offline.output
    assert counts(offline)["offline_libraries"] == 1
    assert holds(flows)["movies"] == 1


def test_scan_of_an_unknown_library_fails_the_task_itself(flows: Flows, films: Path) -> None:
    ran = flows("metadata_scan", library="Opera")
    assert ran.run.state_name == "Failed"
    assert ran.run.name == "scan of Opera"
    assert ran.task.task_status == "Failed"
    assert ran.task.attributes["exception.type"] == "haas_media.settings.SettingsError"
    assert ran.task.attributes["exception.message"] == (
        "There is no library 'Opera' in the settings. Known: 'Films'."
    )


def test_scan_without_any_library_says_so(flows: Flows) -> None:
    ran = flows("metadata_scan")
    assert ran.run.state_name == "Completed"
    assert "There is nothing to scan: the settings name no library." in ran.output


def test_scan_asks_tmdb_and_each_request_is_a_child_span(
    flows: Flows, films: Path, tmdb: FakeTmdb
) -> None:
    make_clip(films / "The Matrix (1999)" / "The Matrix.mkv")
    ran = flows("metadata_scan")
    assert ran.run.state_name == "Completed"
    requests = [span for span in ran.spans if not span.is_task]
    assert len(requests) == counts(ran)["requests"] == len(tmdb.requests) > 0
    assert {span.parent_id for span in requests} == {ran.task.span_id}
    told = render_json(ran.spans) + ran.output
    assert TOKEN not in told
    assert "api_key" not in told


def test_scan_with_a_refused_token_says_what_to_set(
    flows: Flows, films: Path, tmdb: FakeTmdb
) -> None:
    flows.environment["HAAS_TMDB_TOKEN"] = "wrong-and-secret"
    ran = flows("metadata_scan")
    assert ran.run.state_name == "Failed"
    assert "HAAS_TMDB_TOKEN" in ran.task.attributes["exception.message"]
    assert "wrong-and-secret" not in ran.output + render_json([ran.task])


def test_add_refresh_remove_and_clean_up(flows: Flows, tmdb: FakeTmdb) -> None:
    matrix = {"kind": "movie", "tmdb_id": 603}
    added = flows("add_to_library", **matrix)
    assert added.run.state_name == "Completed"
    assert added.run.name == "add movie 603"
    assert added.task.task_type == "AddToLibraryTask"
    assert counts(added)["new"] == 1
    assert holds(flows) == {"movies": 1, "shows": 0, "people": 1, "credits": 1}
    assert counts(flows("add_to_library", **matrix))["new"] == 0

    refreshed = flows("metadata_refresh", tv_shows=False, people=False, changed_only=False)
    assert refreshed.run.state_name == "Completed"
    assert refreshed.run.name == "refresh of all movies"
    assert refreshed.task.task_type == "MetadataRefreshTask"
    assert counts(refreshed)["refreshed"] == 1

    removed = flows("remove_from_library", **matrix)
    assert removed.run.state_name == "Completed"
    assert removed.run.name == "remove movie 603"
    assert removed.task.task_type == "RemoveFromLibraryTask"
    assert counts(removed)["people"] == 1
    assert "person-cleanup/nightly is not deployed, so its 1 person stays until" in removed.output
    assert holds(flows) == {"movies": 0, "shows": 0, "people": 1, "credits": 0}

    cleaned = flows("person_cleanup", person_ids=[5, 6])
    assert cleaned.run.name == "cleanup of 2 people"
    assert cleaned.task.task_type == "PersonCleanupTask"
    assert counts(cleaned) == {"checked": 1, "deleted": 1, "kept": 0}
    assert holds(flows)["people"] == 0


def test_add_of_an_unknown_id_leaves_nothing(flows: Flows, tmdb: FakeTmdb) -> None:
    ran = flows("add_to_library", kind="tv", tmdb_id=1_999_999_999)
    assert ran.task.task_status == "Failed"
    assert ran.task.attributes["exception.message"].startswith("TMDb has no show 1999999999.")
    assert story(ran) == ["task.started", "task.failed"], "another attempt would change nothing"
    assert holds(flows) == {"movies": 0, "shows": 0, "people": 0, "credits": 0}


def test_add_without_a_token_says_what_to_set(flows: Flows) -> None:
    ran = flows("add_to_library", kind="movie", tmdb_id=603)
    assert ran.task.task_status == "Failed"
    assert "Set HAAS_TMDB_TOKEN" in ran.task.attributes["exception.message"]


def test_the_token_can_be_a_secret_block(flows: Flows, tmdb: FakeTmdb) -> None:
    del flows.environment["HAAS_TMDB_TOKEN"]
    secret = "from prefect.blocks.system import Secret; Secret"
    save = f"{secret}(value={TOKEN!r}).save('haas-tmdb-token')"
    here = {"env": flows.environment, "cwd": flows.telemetry.parent}
    assert warm().run("-c", save, **here).returncode == 0
    ran = flows("add_to_library", kind="movie", tmdb_id=603)
    assert warm().run("-c", f"{secret}.delete('haas-tmdb-token')", **here).returncode == 0
    assert ran.run.state_name == "Completed"


def test_what_cannot_name_a_title_starts_no_task(flows: Flows) -> None:
    for wrong in ({"kind": "opera"}, {"tmdb_id": 0}, {"tmdb_id": "603"}):
        ran = flows("add_to_library", **({"kind": "movie", "tmdb_id": 603} | wrong))
        assert ran.run.state_name == "Failed", wrong
        assert ran.spans == [], wrong


def test_refresh_of_nothing_is_refused(flows: Flows, tmdb: FakeTmdb) -> None:
    ran = flows("metadata_refresh", movies=False, tv_shows=False, people=False)
    assert ran.run.state_name == "Failed"
    assert "Tick at least one of movies, shows and people." in str(ran.run.state.message)
    assert ran.spans == []


def test_remove_of_what_is_not_there(flows: Flows) -> None:
    ran = flows("remove_from_library", kind="tv", tmdb_id=7)
    assert ran.task.task_status == "Failed"
    assert ran.task.attributes["exception.type"] == "haas_media.library.TitleUnknown"


def test_a_catalog_that_does_not_answer_is_tried_again(flows: Flows) -> None:
    flows.environment["HAAS_DATABASE_URL"] = "postgresql://nobody@127.0.0.1:1/none"
    ran = flows("person_cleanup")
    assert ran.run.state is not None
    assert "cannot be opened" in str(ran.run.state.message)
    assert story(ran) == ["task.started", "task.retrying", "task.retrying", "task.failed"]


def test_cleanup_of_everybody(flows: Flows) -> None:
    ran = flows("person_cleanup")
    assert ran.run.name == "cleanup of everybody"
    assert counts(ran) == {"checked": 0, "deleted": 0, "kept": 0}


def test_encoding(flows: Flows, films: Path) -> None:
    source, output = films / "Heat (1995)" / "Heat.mkv", films / "Heat (1995)" / "Heat.hevc.mkv"
    ran = flows("encoding", source=str(source), output=str(output), video_codec="hevc")
    assert ran.run.state_name == "Completed"
    assert ran.run.name == "encode to HEVC: Heat.mkv"
    assert ran.task.task_type == "EncodingTask"
    assert output.exists()
    assert counts(ran)["encoding.progress"] == 100
    assert float(str(ran.artifacts["encoding-progress"].data)) == 100
    assert "video hevc" in str(ran.artifacts["encoding-report"].data)
    caller = f"00-{ran.task.trace_id}-{ran.task.span_id}"
    # Sampled; newer OpenTelemetry says, too, that the trace id is random.
    callers = (f"{caller}-01", f"{caller}-03")
    told = [{"library": "Films", "paths": [str(output)], "traceparent": each} for each in callers]
    wait_until(lambda: any(each["payload"] in told for each in flows.server.events(WRITTEN)))


def test_encoding_of_named_streams(flows: Flows, films: Path) -> None:
    heat, trailer = films / "Heat (1995)" / "Heat.mkv", films / "Heat (1995)" / "Heat-trailer.mkv"
    streams = [{"input": str(each), "index": 0} for each in (heat, trailer)]
    ran = flows("encoding", streams=streams, output=str(films / "both.mkv"), video_codec="copy")
    assert ran.run.state_name == "Completed"
    assert ran.run.name == "copy: 2 files"
    assert counts(ran)["video"] == 2


def test_encoding_of_a_missing_file_fails_the_task_itself(flows: Flows, films: Path) -> None:
    ran = flows("encoding", source=str(films / "gone.mkv"), output=str(films / "new.mkv"))
    assert ran.task.task_status == "Failed"
    assert ran.task.attributes["exception.type"].endswith("EncodingError")
    assert "gone.mkv" in ran.task.attributes["exception.message"]
    assert counts(ran)["encoding.progress"] == 0


def test_encoding_that_ends_early_says_how_far_it_got(
    flows: Flows, films: Path, tmp_path: Path
) -> None:
    halfway = (
        "[ $2 = -encoders ] && exec {0} $@; printf 'out_time_us=500000\\nprogress=continue\\n'"
    )
    program = tmp_path / "ffmpeg"
    program.write_text(f"#!/bin/sh\n{halfway.format(find_ffmpeg())}; sleep 4; exit 3\n")
    program.chmod(0o755)
    flows.environment["HAAS_FFMPEG"] = str(program)
    ran = flows("encoding", source=str(films / "Heat (1995)/Heat.mkv"), output=str(films / "x.mkv"))
    assert ran.task.task_status == "Failed"
    assert counts(ran)["encoding.progress"] == 49.5
    assert "It got to 49.5 %, encoding." in ran.output


def test_encoding_that_makes_no_sense_starts_no_task(flows: Flows) -> None:
    for wrong, sentence in (
        ({"crf": 20, "video_bitrate": "4M"}, "Give either crf or video_bitrate, not both."),
        ({"source": None}, "Give either a source or a list of streams"),
        ({"video_codec": "h264", "crf": 60}, "crf for H.264 is from 0 to 51, not 60."),
        ({"video_codec": "divx"}, "Input should be 'h264', 'hevc', 'av1', 'vp9' or 'copy'"),
    ):
        ran = flows("encoding", **({"source": "a.mkv", "output": "b.mkv"} | wrong))
        assert ran.run.state_name == "Failed"
        assert sentence in str(ran.run.state.message)
        assert ran.spans == []
