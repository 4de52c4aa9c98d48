"""What has changed and waits for its scan: on disk until a run of the server has looked at it."""

from __future__ import annotations

import json
import logging
import os
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from flows.events import CHANGED, SCAN, emit, fold
from haas_media.places import Places
from haas_media.wording import counted, shown_path

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun, State

    from haas_media.settings import Settings

log = logging.getLogger("haas.watch")

FILE = "watch.json"  # in the data directory
ASK_SECONDS = 1.0
NO_RUN_SECONDS = 45.0  # after which an event has come to nothing
MAX_DEATHS = 3  # of runs, one after the other: a file may kill whoever opens it
MAX_PAUSE_SECONDS = 15.0
_PENDING = timedelta(minutes=2)
_CLOCKS = timedelta(minutes=5)  # that two machines' clocks may be apart


class Handover:
    """Paths on their way to a scan.

    They wait; then they are sent as an event, one for each library at a time; then their run is
    followed until it ends. What died goes out again, and so does an event of which no run came.

    Args:
        settings: which libraries there are, and where the file is.
    """

    def __init__(self, settings: Settings) -> None:
        self._places = Places(settings.libraries)
        self._file = settings.data_dir / FILE
        self._resting: list[str] = []
        self._waiting: dict[str, str | None] = {}
        self._sent: dict[str, dict[str, Any]] = {}
        if self._file.exists():
            self._load()
        self._died: dict[str, int] = {}
        self._kept, self._unwritten = "", False
        self._since = self._asked = 0.0
        self._pause = ASK_SECONDS

    def _load(self) -> None:
        try:
            kept = json.loads(self._file.read_bytes())
            self._waiting = dict(kept["waiting"]) | dict.fromkeys(kept["resting"])
            self._sent = dict(kept["sent"])
        except (ValueError, KeyError, TypeError) as error:
            log.warning("%s cannot be read, and is begun anew: %s", self._file, error)

    def add(self, path: str, traceparent: str | None = None) -> None:
        """Take a path that is whole. Paths in no library are left out."""
        if not self._waiting:
            self._since = time.monotonic()
        self._waiting[path] = self._waiting.get(path) or traceparent

    def waited(self) -> float:
        """Return for how many seconds something has waited to be sent."""
        return time.monotonic() - self._since if self._waiting else 0.0

    def remember(self, resting: Iterable[str]) -> None:
        """Keep everything on disk, with what is not yet whole; a disk may be full."""
        self._resting = list(resting)
        text = json.dumps(
            {"waiting": self._waiting, "resting": self._resting, "sent": self._sent},
            ensure_ascii=True,
        )
        if text == self._kept:
            return
        try:
            self._write(text)
        except OSError as error:
            if not self._unwritten:
                log.warning("%s cannot be written, see to its disk: %s", self._file, error)
            self._unwritten = True
        else:
            self._kept, self._unwritten = text, False

    def _write(self, text: str) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        new = self._file.with_suffix(".new")
        with new.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._file)

    def step(self) -> None:
        """See what became of what was sent, and send what waits; a server may be away."""
        now = time.monotonic()
        if not (self._waiting or self._sent) or now - self._asked < self._pause:
            return
        self._asked = now
        pause, self._pause = self._pause, ASK_SECONDS
        from prefect.client.orchestration import get_client

        try:
            with get_client(sync_client=True) as client:
                for library in list(self._sent):
                    self._follow(client, library)
                self._send(client)
        except Exception as error:  # noqa: BLE001 - whatever it says, this goes on
            if pause == ASK_SECONDS:
                log.warning("The Prefect server does not take events yet: %s", error)
            self._pause = min(2 * pause, MAX_PAUSE_SECONDS)
        self.remember(self._resting)

    def _send(self, client: SyncPrefectClient) -> None:
        found, outside = self._places.share(self._waiting)
        for path in outside:
            log.warning("%s is in no library.", shown_path(path))
            del self._waiting[path]
        for library, paths in found.items():
            if library in self._sent:
                continue
            traceparents = filter(None, (self._waiting.pop(path) for path in paths))
            sent: dict[str, Any] = {
                "paths": fold(paths),
                "traceparent": next(traceparents, None),
                "at": datetime.now(UTC).isoformat(),
                "event": str(uuid4()),
            }
            # On disk before it goes out: sent twice rather than never.
            self._sent[library] = sent
            self.remember(self._resting)
            try:
                emit(client, CHANGED, library, **{key: sent[key] for key in sent if key != "at"})
            except Exception:
                self._put_back(library)
                raise
            log.info("%s: %s changed", library, counted(len(paths), "path has", "paths have"))

    def _follow(self, client: SyncPrefectClient, library: str) -> None:
        sent = self._sent[library]
        run = _run_of(client, sent)
        if run is not None:
            state = run.state
            if state is None or not (state.is_final() or _is_stuck(state)):
                return
            died = not state.is_final() or state.is_crashed()
            self._died[library] = self._died.get(library, 0) + 1 if died else 0
            if died and self._died[library] < MAX_DEATHS:
                log.warning("%s: run %s has died; its paths go out again", library, run.name)
                self._put_back(library)
                return
            if not state.is_completed():
                log.warning(
                    "%s: run %s ended as %s; its paths are left to the next full scan",
                    library,
                    run.name,
                    state.name,
                )
            del self._sent[library]
        elif datetime.now(UTC) - _at(sent) > timedelta(seconds=NO_RUN_SECONDS):
            log.warning(
                "%s: no run came of the event, and it goes out again. "
                "Is %s deployed, and its trigger active?",
                library,
                SCAN,
            )
            self._put_back(library)
            self._pause = MAX_PAUSE_SECONDS

    def _put_back(self, library: str) -> None:
        sent = self._sent.pop(library)
        for path in sent["paths"]:
            self.add(path, sent["traceparent"])


def _is_stuck(state: State) -> bool:
    """Tell whether a run was taken by a worker that died before it began; nobody ends it."""
    return state.is_pending() and datetime.now(UTC) - state.timestamp > _PENDING


def _at(sent: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(sent["at"])


def _run_of(client: SyncPrefectClient, sent: dict[str, Any]) -> FlowRun | None:
    """Return the latest run that was made for what was sent, if there is one yet."""
    from prefect.client.schemas import filters
    from prefect.client.schemas.sorting import FlowRunSort

    flow, _, deployment = SCAN.partition("/")
    since = {"expected_start_time": {"after_": _at(sent) - _CLOCKS}}
    runs = client.read_flow_runs(
        flow_filter=filters.FlowFilter.model_validate({"name": {"any_": [flow]}}),
        deployment_filter=filters.DeploymentFilter.model_validate({"name": {"any_": [deployment]}}),
        flow_run_filter=filters.FlowRunFilter.model_validate(since),
        sort=FlowRunSort.EXPECTED_START_TIME_DESC,
        limit=50,
    )
    of = sent["event"]
    return next((run for run in runs if str(run.parameters.get("event")).startswith(of)), None)
