"""The one decision: row by row, by what no evidence may lead to, and by stories of two machines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prefect.client.schemas.objects import StateType

from haas_otel.decision import (
    GRACE,
    HEARTBEAT,
    SECOND,
    STAMP,
    TABLE,
    AlreadyEnded,
    End,
    Evidence,
    FlowEnd,
    NotYet,
    StillRunning,
    Suspicion,
    decide,
    is_left,
    reason,
    silence,
)
from haas_otel.span import Ending, cancelled, crashed
from tests.chaos import CHAOS
from tests.haas_otel.world import STATES, World

if TYPE_CHECKING:
    from haas_otel.decision import Decision
    from tests.haas_otel.given import MonkeyPatch

SILENCE = 900 * SECOND
NOW = 1_900_000_000 * SECOND
LONG_AGO = NOW - 2 * SILENCE
JUST_NOW = NOW - 5 * SECOND
A_MINUTE_AGO = NOW - 60 * SECOND

DONE = Ending("Completed", NOW)
WRONG = Ending("Failed", NOW - SECOND, "no", "ValueError")
KILLED = FlowEnd("Crashed", LONG_AGO + SECOND, "Process exited with status code: -9.")
CANCELLED = FlowEnd("Cancelled", LONG_AGO + SECOND)
CANCELLING = CANCELLED._replace(final=False)
DEATH = crashed(LONG_AGO + SECOND, KILLED.message)

DEAD = Evidence(now=NOW, process="dead", last_sign=LONG_AGO)
ELSEWHERE = Evidence(now=NOW, last_sign=LONG_AGO, heartbeat=LONG_AGO)
FOUND_SILENT = Suspicion(A_MINUTE_AGO, LONG_AGO, LONG_AGO)
GONE = ELSEWHERE._replace(suspected=FOUND_SILENT)
UNHEARD = ELSEWHERE._replace(heartbeat=0)

# What is known, and what follows; by the row that says so.
CASES: dict[str, list[tuple[str, Evidence, Decision]]] = {
    "another machine spoke for it": [
        (
            "its own process was out of touch, and stays silent",
            Evidence(now=NOW, own=DONE, spoken_for=True),
            AlreadyEnded(),
        ),
        ("so does its machine", DEAD._replace(spoken_for=True, flow=KILLED), AlreadyEnded()),
        ("so does a third", GONE._replace(spoken_for=True), AlreadyEnded()),
    ],
    "its process says so": [
        ("it ended well", Evidence(now=NOW, own=DONE), End(DONE)),
        ("it failed, though cancelled", Evidence(now=NOW, own=WRONG, flow=CANCELLED), End(WRONG)),
        (
            "nobody needs to be asked",
            Evidence(now=NOW, own=DONE, known=False, process="lives"),
            End(DONE),
        ),
    ],
    "its span is on this disk": [
        ("the process died after that", DEAD._replace(written=True), AlreadyEnded()),
        ("a lagging record says Running", GONE._replace(written=True), AlreadyEnded()),
    ],
    "its process lives": [
        (
            "somebody has set its flow run Crashed",
            Evidence(now=NOW, process="lives", flow=KILLED),
            StillRunning(),
        ),
        (
            "it was stopped, and gives no sign",
            GONE._replace(process="lives", flow=CANCELLED),
            StillRunning(),
        ),
        (
            "its record is final, its end is not written",
            Evidence(now=NOW, process="lives", reported=DONE),
            StillRunning(),
        ),
    ],
    "its worker has it in hand": [
        (
            "and is still to say that it was cancelled",
            DEAD._replace(held=True),
            NotYet(NOW + GRACE),
        ),
    ],
    "its process died just now": [
        (
            "its worker is to say how",
            DEAD._replace(last_sign=JUST_NOW),
            NotYet(JUST_NOW + GRACE),
        ),
    ],
    "its process has ended it": [
        ("its last state says so", GONE._replace(reported=DONE), AlreadyEnded()),
        ("its labels do", GONE._replace(ended_there=True), AlreadyEnded()),
        ("nobody needs to be asked", GONE._replace(ended_there=True, known=False), AlreadyEnded()),
    ],
    "Prefect does not answer": [
        ("so nobody knows how it ended", DEAD._replace(known=False), NotYet(NOW + GRACE)),
        ("nor whether it did", GONE._replace(known=False), NotYet(NOW + GRACE)),
    ],
    "its process died after it had ended": [
        (
            "between its state and its span",
            DEAD._replace(reported=DONE, flow=KILLED),
            End(DONE),
        ),
    ],
    "its process died": [
        (
            "and the clock was set back since",
            DEAD._replace(last_sign=NOW + SILENCE, flow=CANCELLED._replace(at=NOW + SILENCE)),
            End(cancelled(NOW + SILENCE)),
        ),
        ("killed, and its worker saw it", DEAD._replace(flow=KILLED), End(DEATH)),
        ("with its worker", DEAD, End(crashed(LONG_AGO, reason(LONG_AGO)))),
        (
            "cancelled, and it had to be killed",
            DEAD._replace(flow=CANCELLING),
            End(cancelled(LONG_AGO + SECOND)),
        ),
        (
            "its flow run's hook asks at once",
            DEAD._replace(last_sign=JUST_NOW, hook=True, held=True, flow=CANCELLING),
            End(cancelled(JUST_NOW)),
        ),
        (
            "its worker saw it long after the last sign",
            DEAD._replace(flow=KILLED._replace(at=NOW)),
            End(crashed(LONG_AGO + STAMP, KILLED.message)),
        ),
        (
            "its flow run was cancelled before the last sign",
            DEAD._replace(flow=CANCELLED._replace(at=LONG_AGO - SILENCE)),
            End(cancelled(LONG_AGO)),
        ),
        ("a task run without a flow", DEAD._replace(flow=None), End(DEAD.death)),
    ],
    "its flow run completed, and has seen it end": [
        (
            "its last states have not arrived",
            GONE._replace(flow=FlowEnd("Completed", LONG_AGO)),
            AlreadyEnded(),
        ),
    ],
    "its machine gave a sign": [
        (
            "however final the record",
            ELSEWHERE._replace(last_sign=JUST_NOW, flow=KILLED),
            NotYet(JUST_NOW + SILENCE),
        ),
        (
            "since it was found silent",
            GONE._replace(last_sign=JUST_NOW),
            NotYet(JUST_NOW + SILENCE),
        ),
    ],
    "it sends no heartbeats, and its flow run goes on": [
        ("it may run for days", UNHEARD._replace(suspected=FOUND_SILENT), StillRunning()),
        ("it is being cancelled", UNHEARD._replace(flow=CANCELLING), StillRunning()),
    ],
    "nobody has found it silent before": [
        ("it is suspected", ELSEWHERE, NotYet(NOW + 2 * HEARTBEAT, suspect=True)),
        (
            "though it sends no heartbeats: its flow run has ended",
            UNHEARD._replace(flow=KILLED),
            NotYet(NOW + 2 * HEARTBEAT, suspect=True),
        ),
        (
            "it gave a sign after it was",
            GONE._replace(last_sign=LONG_AGO + SECOND),
            NotYet(NOW + 2 * HEARTBEAT, suspect=True),
        ),
        (
            "it gave a sign after it was, by a clock that is an hour behind",
            GONE._replace(heartbeat=LONG_AGO - 4 * SILENCE),
            NotYet(NOW + 2 * HEARTBEAT, suspect=True),
        ),
    ],
    "it was found silent a moment ago": [
        (
            "the server may only just be back",
            GONE._replace(suspected=Suspicion(NOW - SECOND, LONG_AGO, LONG_AGO)),
            NotYet(NOW - SECOND + 2 * HEARTBEAT),
        ),
    ],
    "its machine is gone": [
        ("without a word", GONE, End(crashed(LONG_AGO, reason(LONG_AGO)))),
        ("flagged by somebody", GONE._replace(flow=KILLED), End(DEATH)),
        ("cancelled", GONE._replace(flow=CANCELLED), End(cancelled(LONG_AGO + SECOND))),
        (
            "sends no heartbeats, but its flow run has ended",
            UNHEARD._replace(flow=KILLED, suspected=Suspicion(A_MINUTE_AGO, LONG_AGO, 0)),
            End(DEATH),
        ),
        (
            "signs of the next attempt are none of this one's",
            GONE._replace(flow=KILLED._replace(at=LONG_AGO - 9, next_attempt=LONG_AGO - 7)),
            End(crashed(LONG_AGO - 7, KILLED.message)),
        ),
    ],
}


def test_every_row_has_a_case() -> None:
    assert list(CASES) == [row.because for row in TABLE]


@pytest.mark.parametrize(
    ("row", "evidence", "answer"),
    [
        pytest.param(row, evidence, answer, id=f"{row}: {case}")
        for row, cases in CASES.items()
        for case, evidence, answer in cases
    ],
)
def test_row(row: str, evidence: Evidence, answer: Decision) -> None:
    assert next(each.because for each in TABLE if each.applies(evidence)) == row
    assert decide(evidence) == answer


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("", 900), ("60", 60), ("2.5", 2.5), ("0", 1), ("soon", 900), ("inf", 900)],
)
def test_silence_is_one_setting(text: str, seconds: float, monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setenv("HAAS_OTEL_SILENCE_SECONDS", text)
    assert silence() == seconds * SECOND


AFTER = LONG_AGO + STAMP


@pytest.mark.parametrize(
    ("state", "changed", "retried", "left"),
    [
        pytest.param(StateType.RUNNING, LONG_AGO, False, True, id="it ran"),
        pytest.param(StateType.PENDING, LONG_AGO, False, True, id="it had not begun"),
        pytest.param(StateType.RUNNING, AFTER, False, True, id="it began between two stamps"),
        pytest.param(StateType.RUNNING, AFTER + 1, False, False, id="another process has it"),
        pytest.param(StateType.RUNNING, LONG_AGO, True, False, id="another attempt is on"),
        pytest.param(StateType.CANCELLING, LONG_AGO, False, True, id="cancelled, then killed"),
        pytest.param(StateType.CANCELLING, NOW, False, True, id="killed, then cancelled"),
        pytest.param(StateType.CANCELLING, NOW, True, False, id="another attempt is cancelled"),
        pytest.param(StateType.CRASHED, LONG_AGO, False, False, id="its worker has said so"),
        pytest.param(StateType.COMPLETED, LONG_AGO, False, False, id="it has ended"),
        pytest.param(StateType.SCHEDULED, NOW, False, False, id="it waits for another attempt"),
        pytest.param(StateType.PAUSED, LONG_AGO, False, False, id="it is suspended"),
    ],
)
def test_which_flow_runs_a_dead_process_has_left(
    state: StateType, changed: int, retried: bool, left: bool
) -> None:
    assert is_left(state, changed, LONG_AGO, retried=retried) is left


MOMENTS = st.sampled_from(
    [LONG_AGO - SILENCE, LONG_AGO, NOW - SILENCE, A_MINUTE_AGO, NOW - GRACE, JUST_NOW, NOW]
) | st.integers(LONG_AGO, NOW)
ENDINGS = st.none() | st.sampled_from([DONE, WRONG, cancelled(NOW)])
FLOW_ENDS = st.none() | st.builds(
    FlowEnd,
    st.sampled_from(["Completed", "Failed", "Cancelled", "Crashed"]),
    MOMENTS,
    st.sampled_from([None, "killed"]),
    st.booleans(),
    st.none() | MOMENTS,
)
EVIDENCE = st.builds(
    Evidence,
    now=st.just(NOW),
    own=ENDINGS,
    spoken_for=st.booleans(),
    written=st.booleans(),
    process=st.sampled_from([None, "lives", "dead"]),
    last_sign=MOMENTS,
    hook=st.booleans(),
    held=st.booleans(),
    known=st.booleans(),
    reported=ENDINGS,
    ended_there=st.booleans(),
    flow=FLOW_ENDS,
    heartbeat=MOMENTS | st.just(0),
    may_be_unheard=st.booleans(),
    suspected=st.none() | st.builds(Suspicion, MOMENTS, MOMENTS, MOMENTS | st.just(0)),
    silence=st.just(SILENCE),  # else its type gives any now and then
)


@given(EVIDENCE)
def test_what_no_evidence_may_lead_to(evidence: Evidence) -> None:
    answer = decide(evidence)
    if not isinstance(answer, End):
        assert not isinstance(answer, NotYet) or answer.until > NOW
        return
    assert not evidence.spoken_for, "two machines end one span"
    if evidence.own:
        assert answer.ending == evidence.own
        return
    assert not evidence.written, "a span is ended twice"
    assert evidence.known, "a server that does not answer ends something"
    assert evidence.process != "lives", "the span of a living process is ended by another"
    if evidence.process == "dead":
        assert answer.ending in (evidence.reported, evidence.death)
    else:
        assert evidence.now - evidence.last_sign >= evidence.silence, "a record alone ends a span"
        assert evidence.suspected is not None, "nobody has listened"
        assert evidence.now - evidence.suspected.at >= 2 * HEARTBEAT, "nobody has listened"


@given(EVIDENCE, st.integers(0, 10 * SILENCE))
def test_what_is_ended_stays_ended(evidence: Evidence, later: int) -> None:
    answer = decide(evidence)
    after = evidence._replace(now=NOW + later)
    if isinstance(answer, AlreadyEnded):
        assert decide(after) == answer
    elif isinstance(answer, End):
        assert decide(after) == answer, "time alone changes nothing"
        assert decide(after._replace(own=None, written=True)) == AlreadyEnded()
        assert decide(after._replace(spoken_for=True)) == AlreadyEnded()


@given(EVIDENCE.filter(lambda evidence: evidence.process == "dead"), MOMENTS)
def test_a_dead_process_ended_within_five_seconds_of_its_last_sign(
    evidence: Evidence, last_sign: int
) -> None:
    death = evidence._replace(last_sign=last_sign).death
    assert last_sign <= death.at <= last_sign + STAMP
    assert death.status == (
        "Cancelled" if evidence.flow and evidence.flow.how == "Cancelled" else "Failed"
    )


# Stories. The first process is 0; what cannot happen in a world as it is does not.
NUMBERS = st.sampled_from(["0", "1", "2", "3"])
NAMES = st.sampled_from(["A", "B"])
STEPS = st.integers(0, 29).map(str)


def _events(verbs: str, *arguments: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(st.sampled_from(verbs.split()), *arguments).map(" ".join)


# What belongs together is seldom met by chance.
TURNS = st.sampled_from(
    [
        "freeze 0, wait 20m, sweep A",
        "freeze 0, wait 20m, sweep B, thaw 0",
        "off A, wait 20m, sweep B",
        "off A, wait 20m, sweep B, on A",
        "kill 0, wait 2m, off A",
        "kill 0, wait 2m, wait 20m, sweep B",
        "kill 0, notice 0",
        "kill 0, notice 0, off A",
        "cancel 0, kill 0",
        "cancel 0, obey 0",
        "cancel 0, enforce 0",
        "crashed 0, retry 0 B, task 1",
        "kill 0, crashed 0, retry 0 B, task 1, cancel 1",
        "kill 0, notice 0, retry 0 A, task 1",
        "fail 0, retry 0 A, kill 1",
        "slow 0, end 0, kill 0",
        "away, wait 20m, back, sweep B",
        "away, finish 0, wait 2m, back",
        "take A, begin-taken A",
        "take A, begin-taken A, task 1",
        "take A, begin-taken A, nested 1, task 1, kill 1, wait 2m",
        "take A, begin-taken A, task 1, stop 1, wait 2m, notice 1",
        "take A, wait 20m, sweep A",
        "stop 1, let-go 1, wait 2m",
        "stop 1, kill-worker A",
    ]
)
EVENTS = st.one_of(
    TURNS,
    TURNS,
    _events("task task task end kill", NUMBERS),
    _events("start", NAMES, st.sampled_from(["", "", "", "unheard"])),
    _events("wait", st.sampled_from(["20m", "2m", "30s"])),
    _events("pass sweep off on", NAMES),
    _events("freeze thaw slow nested", NUMBERS),
    _events("raise finish fail obey enforce kill-late notice let-go", NUMBERS),
    _events("take begin-taken kill-worker", NAMES),
    _events("stop", NUMBERS, st.sampled_from(["", "obeys"])),
    _events(" ".join(STATES), NUMBERS),
    _events("retry", NUMBERS, NAMES),
    _events("away lose kill-pass", STEPS),
    _events("away back back back"),
    _events("clock", NAMES, st.sampled_from(["0", "30", "-30", "3600", "-3600"])),
)
# Faults that were found, or are easily made.
STORIES = [
    # An attempt was marked as ended by who ended another one, or only a part of it.
    "start A, task 0, off A, crashed 0, retry 0 B, task 1, kill 1, wait 2m, on A",
    "start A, task 0, crashed 0, wait 20m, kill-late 0",
    "start A, task 0, nested 0, task 0, off A, wait 20m, pass B, wait 2m, lose 21, pass B, back",
    # A task run began after its flow run was cancelled.
    "start A, task 0, cancel 0, task 0, off A",
    # It began in a flow run without heartbeats, long after that gave its last sign.
    "start A unheard, crashed 0, wait 14m, task 0, wait 3m, sweep B, end 0",
    # What was ended here was never reported.
    "start A, task 0, slow 0, end 0, kill 0, wait 20m, sweep B",
    "start A, task 0, away, end 0, finish 0, back, wait 20m, sweep B",
    # A clock is an hour from the others.
    "start A, clock B 3600, task 0, sweep B",
    "clock A -3600, start A, task 0, wait 20m, sweep B",
    # Another attempt completed before the machine of the first was missed.
    "start A, task 0, off A, failed 0, retry 0 B, finish 1",
    # A flow run was set Crashed, and looked at, before its process began its first task run.
    "start A, crashed 0, wait 2m, pass B, task 0, off A",
    # The process of an attempt died when another attempt went on elsewhere.
    "start A, crashed 0, retry 0 B, task 1, wait 2m, kill 0, wait 2m",
    # A machine was lost after a task run had ended, before its flow run did.
    "start A, task 0, end 0, off A, wait 20m, sweep B",
    # A clock was set back after its process died.
    "start A, task 0, slow 0, end 0, kill 0, clock A -3600, wait 20m, sweep B",
    # An attempt that was cancelled says nothing of the next one, nor that of the first.
    "start A, task 0, cancelled 0, kill 0, retry 0 A, task 1, kill 1",
    "start A, task 0, crashed 0, kill 0, retry 0 A, task 1, cancel 1, enforce 1",
    # A cancelled flow run was set Crashed.
    "start A unheard, cancel 0, task 0, off A, crashed 0",
    # A worker that lives had it in hand: without a process, after its death, and when the server
    # was slow.
    "take A, wait 20m, sweep A",
    "take A, begin-taken A, nested 0, task 0, kill 0, wait 2m, notice 0",
    "take A, begin-taken A, task 0, stop 0, wait 2m, notice 0",
    # The system stopped it, and the server heard that only: in this attempt, or in one before.
    "take A, begin-taken A, task 0, stop 0, let-go 0, wait 2m",
    "take A, begin-taken A, task 0, stop 0, notice 0, retry 0 A, kill-worker A, wait 2m",
    "take A, begin-taken A, task 0, stop 0, notice 0, retry 0 A, begin-taken A, task 1, kill 1, "
    "kill-worker A, wait 2m",
    # What was nested in what was stopped, or cancelled, is cancelled with it.
    "take A, begin-taken A, nested 0, task 0, stop 0, let-go 0, wait 2m",
    "take A, begin-taken A, nested 0, task 0, cancelled 0, kill 0, let-go 0, wait 2m",
    # It died with one that had no process yet.
    "take A, wait 20m, kill-worker A, wait 20m, sweep A",
]


@pytest.mark.parametrize("story", STORIES)
def test_every_task_run_has_its_one_true_span_in_this_story(story: str) -> None:
    for first in "AB":
        World().tell(story).quiet(first).check()


def test_the_worker_that_saw_a_process_die_is_left_to_say_how() -> None:
    world = World().tell("start A, task 0, kill 0, pass A, notice 0")
    ((_, ending),) = world.tasks[0].told
    assert ending.message == "killed"


@pytest.mark.parametrize("fault", ["away", "lose", "kill-pass"])
@pytest.mark.parametrize(
    "story",
    [
        "start A, task 0, task 0, nested 0, task 0, kill 0, wait 30s, {fault}, pass A, {after}",
        "start A, task 0, nested 0, task 0, off A, wait 20m, pass B, wait 2m, {fault}, pass B",
        "start A, task 0, cancel 0, wait 30s, {fault}, enforce 0, {after}",
    ],
)
def test_a_pass_may_be_broken_off_anywhere(story: str, fault: str) -> None:
    for after in ("back", "back, off A, wait 20m, sweep B"):
        for step in range(40):
            told = story.format(fault=f"{fault} {step}", after=after)
            World().tell(told).quiet("B").check()


@settings(max_examples=10_000 if CHAOS else 500)
@given(st.lists(EVENTS, min_size=2, max_size=30), st.sampled_from("AB"))
def test_every_task_run_has_its_one_true_span(story: list[str], first: str) -> None:
    World().tell(", ".join(["start A, task 0", *story])).quiet(first).check()
