"""A collector for the runs of a module, and waiting for spans there."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.receiver import Receiver
from tests.waits import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from tests.e2e.api import Api
    from tests.received import ReceivedSpan
    from tests.receiver import Protocol

SCOPE = "Haas.Media.BackgroundTasks"
PROJECT = Path(__file__).parent / "project"
_DELIVER = """
import os
from datetime import timedelta
from pathlib import Path
import endings  # to call the hooks of its tasks
from prefect.settings import PREFECT_API_URL, temporary_settings
from haas_otel.delivery import deliver_pending, open_disk
from haas_otel.reconciler import settle_here
dead = open_disk(Path(os.environ["HAAS_OTEL_DIR"])).dead()
for api in {record.api for process in dead for record in process.records}:
    with temporary_settings({PREFECT_API_URL: api}):
        settle_here()
deliver_pending(timedelta(seconds=30))
"""


@dataclass(frozen=True)
class Collector:
    """What processes of this environment sent, and the marks that their flows left."""

    receiver: Receiver
    folder: Path
    python: str | Path = sys.executable

    @property
    def environment(self) -> dict[str, str]:
        otel = {"HAAS_OTEL_DIR": str(self.folder / "otel")}
        return {**self.receiver.environment, **otel, "MARKS": str(self.folder)}

    def spans(self, run: UUID) -> list[ReceivedSpan]:
        """The spans of a run's tasks that have arrived, in order of their start."""
        found = [s for s in self._trace(run) if s.scope_name == SCOPE]
        return sorted(found, key=lambda span: span.start_ns)

    def children(self, run: UUID) -> list[ReceivedSpan]:
        return [s for s in self._trace(run) if s.scope_name != SCOPE]

    def _trace(self, run: UUID) -> list[ReceivedSpan]:
        return [s for s in self.receiver.spans if s.trace_id == run.hex]

    def wait_for_spans(self, run: UUID, count: int = 1) -> list[ReceivedSpan]:
        """Return the spans of a run, with the help of one more process if need be.

        A process waits for the collector for 0.6 s at its end, and a hook for the server for 2 s.
        On a busy machine that is too short at times, and what is left on disk is for the next one,
        if there is a next one; of what died within 20 s, for one after that.
        """
        arrived = lambda: len(self.spans(run)) >= count  # noqa: E731
        with suppress(AssertionError):
            wait_until(arrived, timeout=10)

        def arrived_with_help() -> bool:
            if not arrived():
                self.deliver()
            return arrived()

        wait_until(arrived_with_help, interval=5, what=f"{count} spans of {run}")
        found = self.spans(run)
        told = [{"start": span.start_ns, "end": span.end_ns} | span.attributes for span in found]
        assert len(told) == count, told
        return found

    def deliver(self) -> None:
        """Have what waits on disk settled and sent, by one more process."""
        environment = os.environ | self.environment
        subprocess.run([self.python, "-c", _DELIVER], env=environment, cwd=PROJECT, check=True)

    def pid_when_running(self, api: Api, run: UUID) -> int:
        """Wait until a run is in the body of its task, and the server knows it; return its pid."""
        marks = lambda: list(self.folder.rglob(f"{run}.running"))  # noqa: E731
        (mark,) = wait_until(marks, what=f"{run} to be in its task")

        def known() -> bool:
            return any(each.state and each.state.is_running() for each in api.task_runs(run))

        wait_until(known, interval=0.3, what=f"the record that {run} has begun its task")
        return int(mark.read_text())


@contextmanager
def collecting(
    folder: Path, protocol: Protocol = "grpc", python: str | Path = sys.executable
) -> Iterator[Collector]:
    """Receive what processes of a module send."""
    with Receiver().start(protocol) as receiver:
        yield Collector(receiver, folder, python)
