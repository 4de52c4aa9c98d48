"""Where the system watches no more folders, or the disk is away, a watch says so and goes on."""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import pytest
import watchfiles

from deployments import watch as watching
from deployments.handover import Handover
from deployments.watch import Notice
from haas_media.settings import Library, Settings
from tests.waits import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

real = watchfiles.watch


@pytest.fixture
def limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def watch(*paths: str, **options: Any) -> Any:
        if not (options["force_polling"] or options["ignore_permission_denied"]):
            raise OSError("OS file watch limit reached.")
        return real(*paths, **options)

    (tmp_path / "films").mkdir()
    monkeypatch.setattr(watchfiles, "watch", watch)


@pytest.fixture
def flooded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the system tell of so many changes that it may have dropped some."""
    (tmp_path / "films").mkdir()

    def changes(root: str, stop: threading.Event, **_: Any) -> Iterator[set[Any]]:
        yield set()
        yield {(watchfiles.Change.added, f"{root}/{number}.mkv") for number in range(5_000)}
        while not stop.wait(0.1):
            yield set()

    monkeypatch.setattr(watching, "_changes", changes)


@pytest.fixture
def see(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], str]]:
    """Watch a folder of films; what is returned waits for the next path that is noticed."""
    monkeypatch.setattr(watching, "POLL_SECONDS", 0.1)
    monkeypatch.setattr(watching, "RETRY_SECONDS", 0.1)
    films = Library(title="Films", kind="movies", path=tmp_path / "films")
    stop, notices = threading.Event(), SimpleQueue[Notice]()
    thread = threading.Thread(target=watching._see, args=(films, notices, stop))

    thread.start()
    yield lambda: notices.get(timeout=60).path
    stop.set()
    thread.join(30)
    assert not thread.is_alive()


@pytest.mark.usefixtures("limited")
def test_above_the_systems_limit_it_looks_now_and_then(
    see: Callable[[], str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    films = tmp_path / "films"
    assert see() == str(films)
    (films / "Heat (1995).mkv").touch()
    wait_until(lambda: see() == str(films / "Heat (1995).mkv"))
    assert "sudo sysctl fs.inotify.max_user_watches" in caplog.text


def test_a_disk_that_is_away_is_waited_for(
    see: Callable[[], str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    films = tmp_path / "films"
    wait_until(lambda: "Films cannot be watched until it is back" in caplog.text)
    films.mkdir()
    assert see() == str(films)
    films.rename(tmp_path / "away")
    films.mkdir()
    (films / "Heat (1995).mkv").touch()
    wait_until(lambda: see() == str(films))  # looked at as a whole
    assert caplog.text.count("cannot be watched") == 1


@pytest.mark.usefixtures("flooded")
def test_a_flood_of_changes_has_all_looked_at(see: Callable[[], str], tmp_path: Path) -> None:
    films = str(tmp_path / "films")
    assert see() == films
    assert films not in [see() for _ in range(5_000)]
    assert see() == films


def test_what_cannot_be_kept_on_disk_is_said_once_and_kept_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    handover = Handover(Settings(data_dir=tmp_path))
    (tmp_path / "watch.new").mkdir()  # as good as a full disk
    for _ in range(2):
        handover.remember(["/films/Heat (1995).mkv"])
    assert caplog.text.count("cannot be written") == 1
    (tmp_path / "watch.new").rmdir()
    handover.remember(["/films/Heat (1995).mkv"])
    assert "Heat" in (tmp_path / "watch.json").read_text()
