"""A server, a worker, a receiver and two machines: folders of start records, of one host."""

from __future__ import annotations

import os
import re
import signal
import tempfile
import time
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import psutil

from tests.e2e.api import Api
from tests.e2e.delivery import PROJECT, SCOPE
from tests.e2e.prefect_processes import PrefectProcesses
from tests.faulty_port import FaultyPort
from tests.receiver import Receiver
from tests.waits import wait_until
from tests.warm import warm

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from tests.received import ReceivedSpan
    from tests.warm import Program

SECOND = 1_000_000_000  # ns
GRACE = 21  # seconds after which what died just now may be settled by anybody
HEARTBEAT = 30  # seconds, the least that Prefect allows
FILE = "working.py"
_DELIVER = """
from datetime import timedelta
from haas_otel.delivery import deliver_pending
deliver_pending(timedelta(seconds=30))
"""
_PASS = f"""
from haas_otel import reconcile
done = reconcile()
{_DELIVER}
for kind in ("flow_runs", "task_runs", "suspected"):
    print(*getattr(done, kind))
"""


def ends_with_its_process(span: ReceivedSpan, killed: int) -> bool:
    """Whether a span ends at the last sign of life of a process, which was dead at ``killed``.

    It gives one each five seconds; the later, the busier the machine is.
    """
    return killed - 30 * SECOND < span.end_ns <= killed + SECOND


@dataclass(frozen=True)
class Pass:
    """What a pass of the reconciler did."""

    flow_runs: set[UUID]
    task_runs: set[UUID]
    suspected: set[UUID]


@dataclass
class Site:
    """Where runs of ``project/working.py`` go on and are disputed.

    ``silence`` is in seconds.
    """

    folder: Path
    prefect: PrefectProcesses
    receiver: Receiver
    silence: float
    api: Api = field(init=False)
    terminals: list[Program] = field(default_factory=list)
    marks: dict[UUID, Path] = field(default_factory=dict)  # of runs in terminals

    def __post_init__(self) -> None:
        self.api = Api(self.prefect.api_url)

    def machine(self, name: str, **more: str) -> dict[str, str]:
        """Return the environment of processes on a machine."""
        return {
            **self.prefect.environment,
            **self.receiver.environment,
            "HAAS_OTEL_DIR": str(self.folder / name),
            "HAAS_OTEL_SILENCE_SECONDS": str(self.silence),
            "MARKS": str(self.folder),
            **more,
        }

    def start_worker(self, name: str, **more: str) -> None:
        """Start a plain worker of Prefect's for a machine, and for the pool of that name."""
        self.api.make_pool(name)
        self.prefect.start_worker(name, name, environment=self.machine(name, **more))

    def start_our_worker(
        self, name: str, *options: str, pool: str | None = None, machine: str | None = None
    ) -> subprocess.Popen[bytes]:
        """Start `haas worker` for a machine and a pool, by default both of that name."""
        pool = pool or name
        self.api.make_pool(pool)
        environment = self.machine(machine or pool)
        return self.prefect.start_our_worker(name, pool, *options, environment=environment)

    def run(self, machine: str, function: str, *tags: str, **parameters: object) -> UUID:
        """Have a machine's worker run a flow of a deployment with these tags."""
        name = "-".join([machine, *tags])
        deployment = self.api.deploy(PROJECT, f"{FILE}:{function}", machine, name, [*tags])
        return self.api.run(deployment, parameters=parameters)

    def start(self, machine: str, *argv: object, **more: str) -> tuple[Program, UUID]:
        """Run a flow in a terminal on a machine; return when it is in the body of its task."""
        marks = Path(tempfile.mkdtemp(dir=self.folder))
        environment = self.machine(machine, **{"MARKS": str(marks), **more})
        with (marks / "log").open("w+") as file:
            program = warm().start(
                str(PROJECT / FILE),
                *map(str, argv),
                env=environment,
                cwd=PROJECT,
                files=(file, file, file),
            )
        self.terminals.append(program)
        found = lambda: list(marks.glob("*.running"))  # noqa: E731
        (mark,) = wait_until(found, what=f"{argv} to be in its task")
        run = UUID(mark.stem)
        self.marks[run] = marks
        return program, run

    def pid(self, run: UUID, reached: str = "running") -> int:
        """Wait until a run has reached a place, and return the process that was there."""
        mark = self._mark(run, reached)
        wait_until(mark.exists, what=f"{run} to be {reached}")
        return int(mark.read_text())

    def in_task(self, run: UUID) -> int:
        """Wait until a run is in its task, and the server knows it; return its process."""
        pid = self.pid(run)

        def known() -> bool:
            return any(task.state and task.state.is_running() for task in self.api.task_runs(run))

        wait_until(known, interval=0.3, what=f"the record that {run} has begun its task")
        return pid

    def tell(self, run: UUID, mark: str = "end") -> int:
        """Have a run go on to its end; return when, in ns since the epoch."""
        at = time.time_ns()
        self._mark(run, mark).touch()
        return at

    def _mark(self, run: UUID, name: str) -> Path:
        return self.marks.get(run, self.folder) / f"{run}.{name}"

    def marked_at(self, run: UUID, reached: str) -> int:
        """Wait until a run has reached a place, and return when that was, in ns."""
        self.pid(run, reached)
        return self._mark(run, reached).stat().st_mtime_ns

    def reconcile(self, machine: str, **more: str) -> Pass:
        """Reconcile once, in a process on a machine of its own or on one of these."""
        done = warm().run("-c", _PASS, env=self.machine(machine, **more), cwd=self.folder)
        assert done.returncode == 0, done.stderr
        lines = done.stdout.splitlines()[-3:]  # there is a word of Prefect's before it at times
        return Pass(*({UUID(each) for each in line.split()} for line in lines))

    def deliver(self, machine: str) -> None:
        """Be the next process on a machine: what a busy one had no time for goes out."""
        done = warm().run("-c", _DELIVER, env=self.machine(machine), cwd=self.folder)
        assert done.returncode == 0, done.stderr

    def spans(self, run: UUID) -> list[ReceivedSpan]:
        """The spans of a flow run's tasks, or a task run's, that came, each as often as it did."""
        ours = [span for span in self.receiver.spans if span.scope_name == SCOPE]
        found = [s for s in ours if run.hex == s.trace_id or str(run) == s.attributes["task.id"]]
        return sorted(found, key=lambda span: span.start_ns)

    def wait_for_spans(self, run: UUID, count: int = 1) -> list[ReceivedSpan]:
        """Wait for the spans of a run; more than so many are a failure."""
        arrived = lambda: len(self.spans(run)) >= count  # noqa: E731
        wait_until(arrived, what=f"{count} spans of {run}")
        return self.spans(run)

    def ended_twice(self) -> set[str]:
        """Return the ids of spans that arrived twice, when every machine has reconciled again."""
        time.sleep(GRACE)
        machines = [file.parent.name for file in self.folder.glob("*/machine-id")]
        assert machines
        for machine in machines:
            self.reconcile(machine)
        found = Counter(s.span_id for s in self.receiver.spans if s.scope_name == SCOPE)
        return {span_id for span_id, times in found.items() if times > 1}

    @contextmanager
    def stopped(self, *pids: int) -> Iterator[None]:
        """Freeze processes meanwhile."""
        try:
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            yield
        finally:
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def cut_power(self, worker: str, *pids: int) -> int:
        """SIGKILL a worker, all that it runs and these; return when all were dead, in ns."""
        process = self.prefect.workers[worker]
        family = {member.pid for member in psutil.Process(process.pid).children(recursive=True)}
        self.prefect.kill_worker(worker)
        for pid in family | set(pids):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return time.time_ns()

    def stop(self) -> None:
        """End all that is left."""
        for program in self.terminals:
            with suppress(ProcessLookupError):
                program.send_signal(signal.SIGKILL)
        self.prefect.stop()


class Requests:
    """The requests that pass through a port to a server, in order, ids left out."""

    _LINE = re.compile(rb"(GET|POST|PUT|PATCH|DELETE) (/api/\S*) HTTP/1[.]1\r\n")
    _ID = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}")

    def __init__(self, port: int) -> None:
        self.seen: list[str] = []
        self._port = FaultyPort(port, 0, self._watch)
        self.url = f"http://127.0.0.1:{self._port.port}/api"
        self.stop = self._port.stop

    def _watch(self, piece: bytes) -> None:
        for method, path in self._LINE.findall(piece):
            self.seen.append(f"{method.decode()} {self._ID.sub('ID', path.decode())}")


@contextmanager
def site(folder: Path, silence: float) -> Iterator[Site]:
    """Start a server and a receiver."""
    extra = {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT)}
    with Receiver().start("grpc") as receiver:
        made = Site(folder, PrefectProcesses(folder / "home", extra=extra), receiver, silence)
        try:
            made.prefect.start_server()
            yield made
        finally:
            made.stop()
