"""The one decision: how a task run ended, by what is known of it.

Prefect's record is a rumour: it says Crashed of a run that works, because the server was away,
because somebody clicked, because a machine was frozen. So the process itself is asked first, then
the disk of its machine with the kernel's lock of the process, and only then the record, for
machines that are gone. Whoever may end a span gathers evidence and acts on the answer; nobody
decides by itself.
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

SECOND = 1_000_000_000
STAMP = 5 * SECOND  # so often a process with a live run stamps its lock file
# So long the worker that saw a process die is left to say how, and its hooks to end the spans.
GRACE = 20 * SECOND
HEARTBEAT = 30 * SECOND


def silence() -> int:
    """Return after how many ns without a sign a machine counts as gone: 15 minutes.

    ``HAAS_OTEL_SILENCE_SECONDS`` changes it.
    """
    text = environ.get("HAAS_OTEL_SILENCE_SECONDS", "")
    try:
        return int(max(1.0, float(text)) * SECOND)
    except ValueError:
        return 900 * SECOND


class FlowEnd(NamedTuple):
    """How Prefect says that an attempt of a flow run ended; moments in ns since the epoch.

    Only a Crashed one says when and how its process died: another went on without a process of
    its pool.
    """

    cancelled: bool
    at: int
    message: str | None
    final: bool = True
    next_attempt: int | None = None  # when it began
    crashed: bool = True


class Suspicion(NamedTuple):
    """When a machine was found silent, and its last signs then; in ns since the epoch."""

    at: int
    last_sign: int
    heartbeat: int

    def to_label(self) -> str:
        """Return it as the value of a label."""
        return " ".join(map(str, self))

    @classmethod
    def from_label(cls, text: object) -> Suspicion | None:
        """Return what a label says; None where it says nothing of the kind."""
        parts = str(text).split()
        return cls(*map(int, parts)) if len(parts) == 3 and all(map(str.isdigit, parts)) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is known of a started task run. Moments are in ns since the epoch.

    Attributes:
        now: when this was gathered.
        own: how it ended, as this process saw it end here.
        spoken_for: another machine has ended its span.
        written: its span is on this machine's disk.
        process: by the kernel's lock, of a start record on this disk; None without one.
        last_sign: the process's last stamp; of another machine's, the newest heartbeat or event.
        hook: it is Prefect's own hook that asks, after the end of the process.
        known: Prefect has answered.
        reported: the end that its own process reported to Prefect.
        ended_there: its process has ended the span, or lived to see its flow run end.
        flow: how its flow run ended; None while that goes on.
        heartbeat: the newest that its flow run has sent; 0 if it sends none.
        may_be_unheard: a process that lives need not send any.
        suspected: that another pass found it silent.
        silence: how long a machine that lives may send nothing.
    """

    now: int
    own: Ending | None = None
    spoken_for: bool = False
    written: bool = False
    process: Literal["lives", "dead"] | None = None
    last_sign: int = 0
    hook: bool = False
    known: bool = True
    reported: Ending | None = None
    ended_there: bool = False
    flow: FlowEnd | None = None
    heartbeat: int = 0
    may_be_unheard: bool = True
    suspected: Suspicion | None = None
    silence: int = 900 * SECOND

    @property
    def quiet_for(self) -> int:
        """How long there was no sign."""
        return self.now - self.last_sign

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
        if flow is None or not (flow.cancelled or flow.crashed):
            return crashed(last_sign, reason(last_sign))
        if self.process is None and flow.next_attempt is not None:
            last_sign = min(last_sign, flow.next_attempt)  # later ones are those of another process
        at = min(max(flow.at, last_sign), last_sign + STAMP)
        return cancelled(at) if flow.cancelled else crashed(at, flow.message)


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
    applies: Callable[[Evidence], bool]
    then: Callable[[Evidence], Decision]


# The first row that applies decides.
TABLE = (
    # Two machines never tell one run: who was out of touch for too long stays silent.
    Row("another machine spoke for it", lambda e: e.spoken_for, lambda _: AlreadyEnded()),
    # The process itself.
    Row("its process says so", lambda e: e.own is not None, lambda e: End(_ending(e.own))),
    # Its machine.
    Row("its span is on this disk", lambda e: e.written, lambda _: AlreadyEnded()),
    Row("its process lives", lambda e: e.process == "lives", lambda _: StillRunning()),
    Row(
        "its process died just now",
        lambda e: e.process == "dead" and not e.hook and is_just_now(e.last_sign, e.now),
        lambda e: NotYet(e.last_sign + GRACE),
    ),
    Row("Prefect does not answer", lambda e: not e.known, lambda e: NotYet(e.now + GRACE)),
    Row(
        "its process died after it had ended",
        lambda e: e.process == "dead" and e.reported is not None,
        lambda e: End(_ending(e.reported)),
    ),
    Row("its process died", lambda e: e.process == "dead", lambda e: End(e.death)),
    # Another machine, if that is gone.
    Row(
        "its process has ended it",
        lambda e: e.ended_there or e.reported is not None,
        lambda _: AlreadyEnded(),
    ),
    Row(
        "its machine gave a sign",
        lambda e: e.quiet_for < e.silence,
        lambda e: NotYet(e.last_sign + e.silence),
    ),
    Row(
        "it sends no heartbeats, and its flow run goes on",
        lambda e: e.may_be_unheard and not e.heartbeat and (e.flow is None or not e.flow.final),
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


def reason(last_sign: int) -> str:
    """Return what is said of a run whose process died unseen."""
    moment = datetime.fromtimestamp(last_sign // SECOND, UTC)
    return f"The run's process died: its last sign of life was at {moment:%Y-%m-%d %H:%M:%S} UTC."


def is_left(state: StateType, changed: int, last_sign: int, *, retried: bool) -> bool:
    """Say whether a flow run is left in a state that only its dead process could have ended.

    Args:
        state: the flow run's state.
        changed: since when, in ns since the epoch.
        last_sign: the process's.
        retried: another attempt has begun since the one that went on in the process.
    """
    if retried:  # elsewhere, even while the process lived
        return False
    if state is StateType.CANCELLING:  # somebody wants it ended, before or after the death
        return True
    # Pending or Running since the death, it has another process.
    return state in (StateType.PENDING, StateType.RUNNING) and changed <= last_sign + STAMP


def _ending(ending: Ending | None) -> Ending:
    assert ending is not None  # noqa: S101 - the row has seen it
    return ending
