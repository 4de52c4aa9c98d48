"""``haas worker``: Prefect's process worker, with a stop that its runs hear of.

Prefect's own kills its runs when it is stopped, without a word to the server. This one takes no
new run from then on, lets what is under way end for a while, and then has Prefect cancel the rest:
each run gets its signal, ends as Cancelled with what it had, and tells its spans itself. While it
works it settles what died on this machine, and has what the system cut off run again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from abc import ABC
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import UUID

import httpx
import prefect.cli.flow_run
import prefect.workers.process
from prefect.client.orchestration import get_client
from prefect.events import emit_event
from prefect.runner._flow_run_executor import FlowRunExecutorContext
from prefect.settings import PREFECT_API_URL, get_current_settings
from prefect.workers.process import ProcessWorker

from deployments.server import require_configured, unusable
from deployments.work_pool import create_work_pool
from flows import again
from haas_otel import records

if TYPE_CHECKING:
    from collections.abc import Callable

    from prefect.client.schemas.objects import FlowRun
    from prefect.runner._flow_run_executor import FlowRunExecutor

LOGGER = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
ANSWER_SECONDS = 5.0  # that a server is given to say how a run is; it is stopped all the same
STOP_SECONDS = 40.0  # Prefect kills a run that does not obey after 30
AGAIN_SECONDS = 10.0
SERVER_SECONDS = 5.0  # until a server that did not answer at the start is asked again
ALIVE_TURNS = 3  # of these: as often as a worker's sign of life, which makes no event
EVERY = 0.2
SEND = """
from datetime import timedelta
from haas_otel.delivery import deliver_pending
from haas_otel.reconciler import settle_here
settle_here()
deliver_pending(timedelta(minutes=1))
"""


class WorkerError(Exception):
    """The worker cannot be started. The text says why, and what to do."""


class Execution(FlowRunExecutorContext):
    """Prefect's execution of a flow run, which can be told to cancel it by who started it.

    Prefect's cancels what the server tells it to, by an event that does not come while the server
    is away, as in an upgrade. What is used here of it is private.
    """

    under_way: ClassVar[dict[UUID, Execution]] = {}

    def create_executor(self, flow_run: FlowRun, *args: Any, **options: Any) -> FlowRunExecutor:
        """Create what executes a flow run, and be found by it."""
        self.flow_run = flow_run
        self.under_way[flow_run.id] = self
        self.call_after_exit(lambda: self.under_way.pop(flow_run.id, None))
        self.call_after_exit(_note(records.HELD(flow_run.id), flow_run.id))
        return super().create_executor(flow_run, *args, **options)

    @property
    def has_process(self) -> bool:
        """Whether there is a process to be stopped."""
        return self.process_manager.get(self.flow_run.id) is not None

    async def stop(self, *, by_system: bool, who: str) -> None:
        """Have the run cancelled: it gets the signal with what it means, and ends as Cancelled."""
        found = self.flow_run
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                found = await self.client.read_flow_run(found.id)
                if found.state and (found.state.is_final() or found.state.is_cancelling()):
                    return  # it has ended, or somebody wants it ended
                if by_system:
                    labels = records.stopped_by(who, found)
                    await self.client.update_flow_run_labels(found.id, labels)
        except Exception:  # noqa: BLE001 - a server that is away: the run hears of it all the same
            logging.getLogger(__name__).warning("The server does not say how %s is.", found.name)
        if by_system:
            # On disk, for as long as its process lives: the server may be away.
            self.call_after_exit(_note(records.STOP(found.id), found.id))
        why = f"{who} was stopped{' by the system' if by_system else ''}."
        cancelling = partial(self._cancellation_manager.cancel, found, state_msg=why)
        with contextlib.suppress(RuntimeError):  # it has just ended
            self._cancellation_task_group.start_soon(cancelling)


# Where Prefect makes one.
prefect.workers.process.FlowRunExecutorContext = Execution  # type: ignore[attr-defined]
prefect.cli.flow_run.FlowRunExecutorContext = Execution  # type: ignore[attr-defined]


class Worker(ProcessWorker, ABC):  # ABC: so that Prefect does not take it for another type
    """Prefect's process worker, which can be told to take no further run."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.stopping = False
        self.in_hand: dict[UUID, Callable[[], None]] = {}  # the runs that it took

    async def get_and_submit_flow_runs(self) -> list[FlowRun]:
        """Take what is due, unless the worker is stopping."""
        return [] if self.stopping else await super().get_and_submit_flow_runs()

    # Two private methods of Prefect's: by the first it takes a run, by the second it is done.

    async def _propose_pending_state(self, flow_run: FlowRun) -> bool:
        if self.stopping:  # it was asked for before that: another worker takes it
            return False
        self.in_hand[flow_run.id] = _note(records.HELD(flow_run.id), flow_run.id)
        return await super()._propose_pending_state(flow_run)

    def _release_limit_slot(self, flow_run_id: UUID) -> None:
        if let_go := self.in_hand.pop(flow_run_id, None):
            let_go()
        super()._release_limit_slot(flow_run_id)

    def tell_alive(self) -> None:
        """Emit the event whose absence says that this machine is gone."""
        emit_event("haas.worker.alive", resource=self._event_resource())  # type: ignore[no-untyped-call]

    async def stop(self, number: int, drain: float, skip: asyncio.Event) -> None:
        """Let go of every run: those that end by themselves in ``drain`` seconds, then the others.

        Args:
            number: the signal that says so: SIGTERM is the system's, any other a person's.
            drain: how long runs may go on, in seconds.
            skip: is set when that is to be cut short.
        """
        self.stopping = True
        self._logger.info("Stopping: no new run is taken. Under way: %d", len(self.in_hand))
        await self._empty(drain, skip)
        by_system, who = number == signal.SIGTERM, f"The worker {self.name}"
        told: set[UUID] = set()
        deadline = time.monotonic() + STOP_SECONDS
        while self.in_hand and time.monotonic() < deadline:
            # One that it took just now has its process a little later.
            now = {run for run, each in Execution.under_way.items() if each.has_process} - told
            told |= now
            stops = (Execution.under_way[run].stop(by_system=by_system, who=who) for run in now)
            await asyncio.gather(asyncio.sleep(EVERY), *stops)
        if self.in_hand:
            self._logger.warning("Killed, as it did not end: %s", ", ".join(map(str, self.in_hand)))

    async def _empty(self, seconds: float, skip: asyncio.Event) -> None:
        deadline = time.monotonic() + seconds
        while self.in_hand and time.monotonic() < deadline and not skip.is_set():
            await asyncio.sleep(EVERY)


def start(name: str | None, pool: str, *, limit: int | None, drain: float) -> None:
    """Run a worker until a signal, and end its runs in order.

    Args:
        name: its name; unique on the server. By default Prefect makes one.
        pool: the work pool, which is made, for processes, if need be.
        limit: how many runs it has at a time at most.
        drain: how many seconds its runs may go on when it is stopped.

    Raises:
        ServerError: no server is set.
        WorkerError: it refuses, or the pool is of another type.
    """
    require_configured()
    while (kind := _type_of(pool)) is None:
        time.sleep(SERVER_SECONDS)
    if kind != "process":
        raise WorkerError(
            f"The work pool {pool} is of type {kind}, and this worker is for processes: "
            f"prefect worker start --pool {pool}"
        )
    worker = Worker(name=name, work_pool_name=pool, limit=limit)
    # As long as its record is there this process settles what died on this machine.
    end = _note(f"worker {worker.name}")
    try:
        asyncio.run(_serve(worker, drain))
    finally:
        end()


def _type_of(pool: str) -> str | None:
    """Return the type of a work pool, made if need be; None while the server does not answer.

    A machine that comes up may have its worker before its server, or a server that goes down again.
    """
    try:
        with get_client(sync_client=True) as client:
            return create_work_pool(client, pool)
    except httpx.HTTPError as error:
        text = unusable(PREFECT_API_URL.value(), error)
        if isinstance(error, httpx.HTTPStatusError) and not error.response.is_server_error:
            raise WorkerError(text) from error
        LOGGER.warning("%s Asked again in %d s.", text, SERVER_SECONDS)
    return None


async def execute() -> None:
    """Execute the flow run of this container, and have it cancelled on SIGTERM.

    As ``prefect flow-run execute``, which as a container's first process does not hear of a stop.

    Raises:
        WorkerError: the environment names no flow run.
    """
    from prefect.cli.flow_run import execute as run

    own = os.environ.get("PREFECT__FLOW_RUN_ID")
    if not own:
        raise WorkerError("This is the command of a work pool's containers: no flow run is named.")
    told: list[asyncio.Task[None]] = []

    async def stop(number: int) -> None:
        while not any(each.has_process for each in Execution.under_way.values()):
            await asyncio.sleep(EVERY)
        (execution,) = Execution.under_way.values()
        await execution.stop(by_system=number == signal.SIGTERM, who="The container")

    for number in SIGNALS:
        _on_signal(number, lambda number=number: told.append(asyncio.create_task(stop(number))))
    await run(UUID(own))


async def _serve(worker: Worker, drain: float) -> None:
    received: list[int] = []
    first, second = asyncio.Event(), asyncio.Event()

    def receive(number: int) -> None:
        (second if first.is_set() else first).set()
        received.append(number)

    for number in SIGNALS:
        _on_signal(number, lambda number=number: receive(number))
    working = asyncio.create_task(worker.start())
    house = asyncio.gather(_keep_house(worker), _send_from_before())
    stop = asyncio.create_task(first.wait())
    await asyncio.wait([working, stop], return_when=asyncio.FIRST_COMPLETED)
    if not working.done():
        await worker.stop(received[0], drain, second)
        working.cancel()
    house.cancel()
    stop.cancel()
    await asyncio.gather(house, return_exceptions=True)  # else asyncio logs how it ended
    with contextlib.suppress(asyncio.CancelledError):
        await working
    await asyncio.to_thread(_run_again)


def _on_signal(number: int, call: Any) -> None:
    if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # by `nohup`
        asyncio.get_running_loop().add_signal_handler(number, call)


async def _keep_house(worker: Worker) -> None:
    for turn in count():
        if turn % ALIVE_TURNS == 0:
            worker.tell_alive()
        await asyncio.to_thread(_run_again)
        await asyncio.sleep(AGAIN_SECONDS)


async def _send_from_before() -> None:
    """Send what waits where spans were kept before they were in the data directory."""
    before = Path(get_current_settings().home) / "haas_otel"
    folder, waits = before / "journal", False
    if str(before) != os.environ.get("HAAS_OTEL_DIR"):
        with contextlib.suppress(OSError):  # it is not there, or another user's
            waits = any(folder.iterdir())
    if waits:
        environment = {**os.environ, "HAAS_OTEL_DIR": str(before)}
        sending = await asyncio.create_subprocess_exec(sys.executable, "-c", SEND, env=environment)
        await sending.wait()


def _run_again() -> None:
    """Look at what was cut off; what the server does not answer now, the next look finds."""
    try:
        with get_client(sync_client=True) as client:
            again.run_again(client)
    except httpx.TransportError as error:
        LOGGER.debug("what was cut off cannot be looked at now: %s", error)
    except Exception:
        LOGGER.warning("what was cut off does not run again", exc_info=True)


def _note(key: str, flow_run_id: UUID | None = None) -> Callable[[], None]:
    """Leave a start record of this worker, or of a run that it took; return what ends it.

    Should all of it die, whoever is next knows whose runs: before that nobody ends them.
    """
    disk = records.disk()
    if disk is None:
        return lambda: None
    disk.begin(key, records.of_flow(flow_run_id, time.time_ns()))
    return lambda: disk.end(key)
