"""The one decision: how a task run ended, by what is known of it.

Prefect's record is a rumour: it says Crashed of a run that works, because the server was away,
because somebody clicked, because a machine was frozen. So the process itself is asked first, then
the disk of its machine with the kernel's lock of the process, and only then the record, for
machines that are gone. Whoever may end a span gathers evidence and acts on the answer; nobody
decides by itself. All moments and lengths of time are in ns, moments since the epoch.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from os import environ
from typing import TYPE_CHECKING, Literal, NamedTuple

from prefect.client.schemas.objects import StateType

from haas_otel.span import Ending, cancelled, crashed

if TYPE_CHECKING:
    from collections.abc import Callable

    from haas_otel.ended_by import By

SECOND = 1_000_000_000
STAMP = 5 * SECOND  # so often a process with a live run stamps its lock file
# So long the worker that saw a process die is left to say how, and its hooks to end the spans.
GRACE = 20 * SECOND
HEARTBEAT = 30 * SECOND


def silence() -> int:
    """Return after how long without a sign a machine counts as gone: 15 minutes.

    ``HAAS_OTEL_SILENCE_SECONDS`` changes it.
    """
    try:
        return int(max(1.0, float(environ.get("HAAS_OTEL_SILENCE_SECONDS", ""))) * SECOND)
    except (ValueError, OverflowError):
        return 900 * SECOND


class FlowEnd(NamedTuple):
    """How Prefect says that an attempt of a flow run ended, and when the next one began."""

    how: Literal["Completed", "Failed", "Cancelled", "Crashed"]
    at: int
    message: str | None = None
    final: bool = True
    next_attempt: int | None = None
    by: By = "user"  # who cancelled it


class Suspicion(NamedTuple):
    """When a machine was found silent, and its last signs then."""

    at: int
    last_sign: int
    heartbeat: int


class Evidence(NamedTuple):
    """What is known of a started task run."""

    now: int  # when this was gathered
    own: Ending | None = None  # how it ended, as this process saw it end here
    spoken_for: bool = False  # another machine has ended its span
    written: bool = False  # its span is on this machine's disk
    # By the kernel's lock, of a start record on this disk; None without one.
    process: Literal["lives", "dead"] | None = None
    last_sign: int = 0  # the process's last stamp; another machine's newest heartbeat or event
    hook: bool = False  # it is Prefect's own hook that asks, after the end of the process
    held: bool = False  # the worker of its flow run lives, and is not done with that
    known: bool = True  # Prefect has answered
    reported: Ending | None = None  # the end that its own process reported to Prefect
    ended_there: bool = False  # its process has ended the span
    flow: FlowEnd | None = None  # how its flow run ended; None while that goes on
    heartbeat: int = 0  # the newest that its flow run has sent; 0 if it sends none
    may_be_unheard: bool = True  # a process that lives need not send any
    suspected: Suspicion | None = None  # that another pass found it silent
    silence: int = 900 * SECOND  # how long a machine that lives may send nothing

    @property
    def is_suspected(self) -> bool:
        """Whether it was found silent before, and has given no sign since.

        Told by the signs themselves: its clock may be an hour from the one of who listens.
        """
        before = self.suspected
        return (
            before is not None
            and before.last_sign >= self.last_sign
            and before.heartbeat == self.heartbeat
        )

    @property
    def suspected_until(self) -> int:
        """Until when it has time to give a sign."""
        return (self.suspected.at if self.suspected else self.now) + 2 * HEARTBEAT

    @property
    def death(self) -> Ending:
        """The end of a process that died: when its worker saw it, else its last sign of life."""
        flow, last_sign = self.flow, self.last_sign
        # Of a process that died only these two tell: else another went on without it.
        if flow is None or flow.how not in ("Cancelled", "Crashed"):
            return crashed(last_sign, reason(last_sign))
        if self.process is None and flow.next_attempt is not None:
            last_sign = min(last_sign, flow.next_attempt)  # later ones are those of another process
        at = min(max(flow.at, last_sign), last_sign + STAMP)
        return cancelled(at, flow.by) if flow.how == "Cancelled" else crashed(at, flow.message)


@dataclass(frozen=True, slots=True)
class End:
    """End its span so."""

    ending: Ending


@dataclass(frozen=True, slots=True)
class AlreadyEnded:
    """Its span is ended by somebody else: leave it alone."""


@dataclass(frozen=True, slots=True)
class StillRunning:
    """It goes on: whatever a record says."""


@dataclass(frozen=True, slots=True)
class NotYet:
    """It cannot be said before this moment; ``suspect`` it, for the next pass to know."""

    until: int
    suspect: bool = False


Decision = End | AlreadyEnded | StillRunning | NotYet


class Row(NamedTuple):
    """A row of the table: when it applies, and what follows."""

    because: str
    applies: Callable[[Evidence], object]
    then: Callable[[Evidence], Decision]


# The first row that applies decides.
TABLE = (
    # Two machines never tell one run: who was out of touch for too long stays silent.
    Row("another machine spoke for it", lambda e: e.spoken_for, lambda _: AlreadyEnded()),
    # The process itself.
    Row("its process says so", lambda e: e.own, lambda e: _end(e.own)),
    # Its machine.
    Row("its span is on this disk", lambda e: e.written, lambda _: AlreadyEnded()),
    Row("its process lives", lambda e: e.process == "lives", lambda _: StillRunning()),
    Row(
        "its worker has it in hand",
        lambda e: e.process == "dead" and not e.hook and e.held,
        lambda e: NotYet(e.now + GRACE),
    ),
    Row(
        "its process died just now",
        lambda e: e.process == "dead" and not e.hook and is_just_now(e.last_sign, e.now),
        lambda e: NotYet(e.last_sign + GRACE),
    ),
    Row(
        "its process has ended it",
        lambda e: e.process is None and (e.ended_there or e.reported),
        lambda _: AlreadyEnded(),
    ),
    Row("Prefect does not answer", lambda e: not e.known, lambda e: NotYet(e.now + GRACE)),
    Row(
        "its process died after it had ended",
        lambda e: e.process == "dead" and e.reported,
        lambda e: _end(e.reported),
    ),
    Row("its process died", lambda e: e.process == "dead", lambda e: End(e.death)),
    # Another machine, if that is gone.
    Row(
        "its flow run completed, and has seen it end",
        lambda e: e.flow and e.flow.how == "Completed",
        lambda _: AlreadyEnded(),
    ),
    Row(
        "its machine gave a sign",
        lambda e: e.now - e.last_sign < e.silence,
        lambda e: NotYet(e.last_sign + e.silence),
    ),
    Row(
        "it sends no heartbeats, and its flow run goes on",
        lambda e: e.may_be_unheard and not e.heartbeat and not (e.flow and e.flow.final),
        lambda _: StillRunning(),
    ),
    Row(
        "nobody has found it silent before",
        lambda e: not e.is_suspected,
        lambda e: NotYet(e.now + 2 * HEARTBEAT, suspect=True),
    ),
    Row(
        "it was found silent a moment ago",
        lambda e: e.now < e.suspected_until,
        lambda e: NotYet(e.suspected_until),
    ),
    Row("its machine is gone", lambda _: True, lambda e: End(e.death)),
)


def decide(evidence: Evidence) -> Decision:
    """Return what follows from the evidence."""
    return next(row.then(evidence) for row in TABLE if row.applies(evidence))


def is_just_now(last_sign: int, now: int) -> bool:
    """Say whether a process that is dead may have died just now.

    A sign far ahead of now is from before the clock was set back: it is not waited for.
    """
    return abs(now - last_sign) < GRACE


def is_left(state: StateType, changed: int, last_sign: int, *, retried: bool) -> bool:
    """Say whether a flow run is left in a state that only its dead process could have ended.

    ``changed`` says since when, ``last_sign`` is the process's; ``retried`` where another attempt
    has begun since: elsewhere, even while the process lived.
    """
    # Somebody wants it ended, before or after the death. Pending or Running since the death, it
    # has another process.
    since_before = state in (StateType.PENDING, StateType.RUNNING) and changed <= last_sign + STAMP
    return not retried and (state is StateType.CANCELLING or since_before)


def reason(last_sign: int) -> str:
    """Return what is said of a run whose process died unseen."""
    moment = datetime.fromtimestamp(last_sign // SECOND, UTC)
    return f"The run's process died: its last sign of life was at {moment:%Y-%m-%d %H:%M:%S} UTC."


def _end(ending: Ending | None) -> End:
    assert ending is not None  # noqa: S101 - the row has seen it
    return End(ending)
