"""Why a run went as it did, in sentences for people who do not know Prefect."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from flows import again
from flows.run_history import RunHistory
from haas_media.markdown import escaped
from haas_media.wording import counted, lasted
from haas_otel import ended_by, ids, records
from haas_otel.decision import SECOND
from haas_otel.history import Wait, why_never_began
from haas_otel.server import Server, pages
from haas_otel.span import nanoseconds

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from uuid import UUID

    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun, State, TaskRun

LATE = 60 * SECOND  # a run that waited for longer keeps its story
WORTH_SAYING = SECOND
ARTIFACT = "why"
MOST = 3  # names in a sentence
LIMIT = re.compile(r"([\d.]+) second")
LAST_LINE = re.compile(r"^(?:[\w.]+\.)?(\w+(?:Error|Exception|Exit)\w*: .*)", re.M | re.S)
ORDINALS = {2: "second", 3: "third"}
# What Prefect puts before what somebody, or an error, has said.
PREFIXES = re.compile(
    r"^(Flow run encountered an exception:? ?|Task run encountered an exception:? ?"
    r"|Validation of flow parameters failed with error: \w+: "
    r"|Flow run received invalid parameters: (- )?|Flow run failed due to timeout: ?"
    r"|Flow run was cancelled successfully\.?)"
)


def explain(client: SyncPrefectClient, run: FlowRun) -> list[str]:
    """Return the story of a run: its title, then a sentence or two for each thing to know."""
    return [*_Story(RunHistory(client, run)).lines()]


def explain_ended(client: SyncPrefectClient, tags: Sequence[str]) -> list[UUID]:
    """Keep the story of each run that was late or did not complete, as its artifact; return them.

    Args:
        client: a client of the server.
        tags: one of them is on the runs that are looked at: those that have ended within a day.
    """
    from prefect.client.schemas.actions import ArtifactCreate
    from prefect.client.schemas.filters import ArtifactFilter
    from prefect.client.schemas.objects import TERMINAL_STATES

    runs = Server(client).ended(again.LOOKBACK, tags, TERMINAL_STATES)
    of_runs = {"key": {"any_": [ARTIFACT]}, "flow_run_id": {"any_": [run.id for run in runs]}}
    wanted = ArtifactFilter.model_validate(of_runs)
    artifacts = pages(client.read_artifacts, artifact_filter=wanted) if runs else []
    have, kept = {artifact.flow_run_id for artifact in artifacts}, []
    for run in runs:
        history = RunHistory(client, run) if run.id not in have else None
        if history is None or not _is_worth_keeping(history):
            continue
        title, *lines = _Story(history).lines()
        text = "\n\n".join([f"# {escaped(title)}", *map(escaped, lines)])
        made = ArtifactCreate(key=ARTIFACT, type="markdown", data=text, flow_run_id=run.id)
        made.description = "Why this run went as it did."
        client.create_artifact(made)
        kept.append(run.id)
    return kept


def _is_worth_keeping(history: RunHistory) -> bool:
    """Say whether a run was late by more than a minute or did not complete."""
    state, waits = history.run.state, [each for each in history.waits if each.reason != "retry"]
    is_late = bool(waits) and waits[-1].until - waits[0].since > LATE
    return is_late or state is None or not state.is_completed()


class _Story:
    """The sentences that say what is known of a run."""

    def __init__(self, history: RunHistory) -> None:
        self._history, self._run = history, history.run
        self._by = ended_by.by_states(history.states)
        self._never = why_never_began(history.run)
        self._worker = self._run.labels.get("prefect.worker.name")

    def lines(self) -> Iterator[str]:
        """Yield the title and the sentences."""
        of = f" ({self._history.deployment_name})" if self._history.deployment else ""
        yield f'The run "{self._run.name}"{of}: {self._state()}'
        yield self._origin()
        for wait in self._history.waits:
            if wait.until - wait.since >= WORTH_SAYING:
                yield self._waited(wait)
        if self._run.run_count:
            yield self._ran()
            yield from map(self._task, self._history.task_runs())
        state = self._run.state
        if self._never:
            yield self._never_began()
        elif state is not None and (state.is_final() or state.is_cancelling()):
            yield self._ended(state)
            if other := self._run.labels.get(again.BY):
                yield f"It was started again, as {self._named(other)}."

    def _state(self) -> str:
        state = self._run.state
        if state is None or self._never:
            return "never began"
        if not state.is_final():
            waits = "is being cancelled" if state.is_cancelling() else "waits"
            return "runs" if state.is_running() else waits
        if self._by == "timeout":
            return "failed, as it took too long"
        return "died" if state.is_crashed() else str(state.type.value).lower()

    def _origin(self) -> str:
        first, run = self._history.states[0], self._run
        due = first.state_details.scheduled_time or first.timestamp
        when = f"due on {due:%Y-%m-%d} at {_clock(due)} UTC"
        if other := run.labels.get(again.OF):
            return f"It was {when}, to do again what the system cut off: {self._named(other)}."
        if run.auto_scheduled:
            return f"It was {when}, by its schedule{self._schedule()}."
        caller = str(run.labels.get(ids.TRACEPARENT) or "").split("-")
        if len(caller) == 4 and (name := self._history.name_of(caller[1])):
            return f'The run "{name}" asked for it: it was {when}.'
        by = run.created_by
        if by is not None and by.type == "AUTOMATION":
            return f'The automation "{by.display_value}" asked for it: it was {when}.'
        return f"Somebody asked for it by hand or by a program: it was {when}."

    def _schedule(self) -> str:
        deployment = self._history.deployment
        schedules = deployment.schedules if deployment else []
        active = [each.schedule for each in schedules if each.active]
        cron = getattr(active[0], "cron", None) if len(active) == 1 else None
        return f' ("{cron}", {getattr(active[0], "timezone", None) or "UTC"})' if cron else ""

    def _named(self, id_: object) -> str:
        name = self._history.name_of(id_)
        return f'the run "{name}"' if name else f"the run {id_}"

    def _waited(self, wait: Wait) -> str:
        took, since = lasted(wait.until - wait.since), _clock(wait.since)
        if self._goes_on(wait):
            begin = f"It has been waiting for {took}, since {since}, "
        else:
            begin = f"It waited {took}, from {since} to {_clock(wait.until)}, "
        match wait.reason:
            case "schedule":
                return begin + self._for_a_worker(wait)
            case "worker":
                who = f'The worker "{self._worker}"' if self._worker else "A worker"
                return f"{begin}for its process to start. {who} had taken it."
            case "concurrency_slot":
                return f"{begin}for its turn: {self._limit(wait)}."
        failed = [each for each in self._history.states if _ns(each) == wait.since]
        said = _said(failed[0]) if failed else ""
        return f"{begin}to be tried again after an attempt had failed{said}."

    def _goes_on(self, wait: Wait) -> bool:
        return wait.until == self._history.now

    def _limit(self, wait: Wait) -> str:
        deployment = self._history.deployment
        limit = deployment.global_concurrency_limit if deployment else None
        most = counted(limit.limit, "run") if limit else "So many runs"
        of = self._history.deployment_name or "its kind"
        others = _list(self._history.under_way(wait, in_pool=False)) or "another was"
        return f"at most {most} of {of} may go on at a time, and {others} under way"

    def _for_a_worker(self, wait: Wait) -> str:
        pool, goes_on = self._run.work_pool_name, self._goes_on(wait)
        if pool is None:
            return "for a program to take it: it has no work pool."
        there, found = f'the work pool "{pool}", in which it runs', self._history.pool()
        if found is None:
            return f'for a worker: its work pool "{pool}" is not there any more.'
        if goes_on and found.is_paused:
            return f"because {there}, is paused. Resume it: prefect work-pool resume {pool}"
        present, begun = self._history.workers_during(wait)
        if not present:
            until = f', until "{begun}" was started' if begun else ""
            end = " Start one: haas worker" if goes_on and not begun else ""
            return f"because no worker was there for {there}{until}.{end}"
        most, others = found.concurrency_limit, self._history.under_way(wait, in_pool=True)
        if most and len(others) >= most:
            limit = f"at most {counted(most, 'run')} may go on at a time in {there}"
            return f"for its turn: {limit}, and {_list(others)} under way."
        if wait.until - wait.since > 20 * SECOND and others:
            return f"for a worker that had time: {_list(others)} under way."
        return "for a worker to take it: they look every few seconds."

    def _ran(self) -> str:
        history, run = self._history, self._run
        began = [state.timestamp for state in history.states if state.is_running()]
        since = began[0] if began else run.start_time
        attempts = f", in {run.run_count} attempts" if run.run_count > 1 else ""
        where = f' on the worker "{self._worker}"' if self._worker else ""
        end = _ns(history.states[-1]) if history.is_over else history.now
        took = lasted(end - nanoseconds(since))
        if history.is_over:
            return f"It ran from {_clock(since)} to {_clock(end)}{where}, {took}{attempts}."
        return f"It has been running since {_clock(since)}{where}, for {took}{attempts}."

    def _task(self, task: TaskRun) -> str:
        history, state = self._history, task.state
        name = task.labels.get(records.TASK_NAME) or task.name
        assert state is not None  # noqa: S101 - it began
        end = _ns(history.states[-1]) if history.is_over else history.now
        took = lasted((_ns(state) if state.is_final() else end) - nanoseconds(task.start_time))
        which = ORDINALS.get(task.run_count, f"{task.run_count}th")
        tries = f", at the {which} attempt" if task.run_count > 1 else ""
        if state.is_completed() or state.is_failed():
            late = state.name == "TimedOut"
            how = "failed, as it took too long," if late else state.type.value.lower()
            said = _said(state) if state.is_failed() else ""
            return f'Its task "{name}" {how} after {took}{tries}{said}.'
        how = f"was cut off after {took}" if history.is_over else f"goes on, for {took}"
        return f'Its task "{name}" {how}{tries}.'

    def _never_began(self) -> str:
        last = self._history.states[-1]
        at, moment = _clock(last.timestamp), _ns(last)
        match self._never:
            case "refused_parameters":
                said = f"what it was given was refused at {at}{_said(last)}"
                return f"It never began: {said}. Correct that, and start it again."
            case "limit_reached":
                limit = self._limit(Wait("concurrency_slot", moment - 1, moment))
                return (
                    f"It never began. It was cancelled at {at}, for {limit}. "
                    "Its deployment is set to cancel a second run, not to have it wait."
                )
            case "crashed":
                errors = LAST_LINE.findall(self._history.last_error())
                why = f": {_one_line(errors[-1])}" if errors else _said(last)
                return f"It never began: its process ended at {at} before it could{why}."
        return f"It never began: {self._who()} cancelled it at {at}, while it waited."

    def _ended(self, state: State) -> str:
        at, message = _clock(self._history.states[-1].timestamp), state.message or ""
        if state.is_completed():
            return f"It completed at {at}."
        if self._by == "timeout":
            whose = "one of its tasks" if "TaskRun" in message else "it"
            limit = LIMIT.search(message)
            allowed = f" (at most {float(limit[1]):g} s)" if limit else ""
            return f"It was stopped at {at}: {whose} took longer than allowed{allowed}."
        if state.is_crashed() and "SIGKILL" in message:
            return (
                f"Its process was killed by force at {at}: most often the operating system does "
                "that, when memory runs out; a person can, too."
            )
        if state.is_crashed():
            return f"Its process died at {at}{_said(state)}."
        if state.is_failed():
            return f"It failed at {at}, by an error of its own{_said(state)}."
        asked = [each for each in self._history.states if each.is_cancelling()]
        when = _clock(asked[-1].timestamp) if asked else at
        end = f"{_said(asked[-1])}; it had ended at {at}" if asked and state.is_final() else ""
        return f"{self._who().capitalize()} cancelled it at {when}{end}."

    def _who(self) -> str:
        if self._by == "system":
            return "the system, not a person,"
        return "a person, or a program in somebody's name,"


def _said(state: State) -> str:
    """Return what was said with a state, as the end of a sentence: without what Prefect adds."""
    text = _one_line(state.message or "")
    while (rest := PREFIXES.sub("", text)) != text:
        text = rest
    return f": {text.rstrip('.')}" if text else ""


def _one_line(text: str) -> str:
    return " ".join(text.split())[:500]


def _list(runs: Sequence[FlowRun]) -> str:
    """Return runs by their names and times, with the verb for them; nothing for none."""
    shown = [
        f'"{run.name}" (from {_clock(run.start_time)}'
        + (f" to {_clock(run.end_time)})" if run.end_time else " on)")
        for run in runs[:MOST]
    ]
    if len(runs) > MOST:
        shown.append(f"{len(runs) - MOST} more")
    named = " and ".join(filter(None, [", ".join(shown[:-1]), *shown[-1:]]))
    return f"{named} {'was' if len(runs) == 1 else 'were'}" if runs else ""


def _clock(moment: datetime | int | None) -> str:
    if isinstance(moment, int):
        moment = datetime.fromtimestamp(moment / SECOND, UTC)
    return f"{moment:%H:%M:%S}" if moment else "?"


def _ns(state: State) -> int:
    return nanoseconds(state.timestamp)
