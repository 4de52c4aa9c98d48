"""Break the code that each kind of ending relies on, and see its test go red.

    python -m tests.breakages [NUMBER ...]

Each breakage is made in a copy of the repository, where the tests named beside it must then fail.
A breakage whose code is not found, and one that no test notices, ends this with an error.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
ENDINGS = "tests/haas_otel/test_endings.py"
SETTLING = "tests/haas_otel/test_settling.py"
TELLERS = "tests/haas_otel/test_tellers.py"
DECORATORS = "tests/haas_otel/test_decorators.py"


@dataclass(frozen=True, slots=True)
class Breakage:
    """What is promised; the code that keeps it, what it is replaced by; the tests that see it."""

    promise: str
    file: str
    code: str
    broken: str
    tests: str


BREAKAGES = [
    Breakage(
        "returns: Completed",
        "haas_otel/span.py",
        'return Ending("Completed", at)',
        "return cancelled(at)",
        f"{ENDINGS}::test_returned",
    ),
    Breakage(
        "comes from the cache: Completed",
        "haas_otel/span.py",
        "    if state.is_completed():",
        '    if state.name == "Completed":',
        f"{ENDINGS}::test_cached",
    ),
    Breakage(
        "raises: Failed, with the exception",
        "haas_otel/span.py",
        'tags["exception.message"] = ending.message',
        "pass",
        f"{ENDINGS}::test_raised",
    ),
    Breakage(
        "returns a Failed state: Failed",
        "haas_otel/span.py",
        'message or "Run failed."',
        '"Run failed."',
        f"{ENDINGS}::test_failed_state_returned",
    ),
    Breakage(
        "times out: Failed",
        "haas_otel/span.py",
        "    if state.is_failed():",
        '    if state.name == "Failed":',
        f"{ENDINGS}::test_timed_out",
    ),
    Breakage(
        "is retried, then returns: an event for each retry",
        "haas_otel/hooks.py",
        "    span.retrying(running.span, retry)\n",
        "",
        f"{ENDINGS}::test_retried_then_returned",
    ),
    Breakage(
        "retries exhausted: one span",
        "haas_otel/hooks.py",
        "running.attempt = state.id",
        "live[task_run.id] = LiveSpan(span.start(task_run, None), task, task_run, state.id)",
        f"{ENDINGS}::test_retries_exhausted",
    ),
    Breakage(
        "obeys SIGTERM, or Ctrl-C: Cancelled",
        "haas_otel/hooks.py",
        "        _interrupted(running, sys.exception())\n",
        "        pass\n",
        f"{ENDINGS}::test_a_failing_cancellation_hook_is_logged"
        f" {ENDINGS}::test_exit_is_a_failure_of_the_task",
    ),
    Breakage(
        "interrupted while it waits for a retry: Cancelled",
        "haas_otel/hooks.py",
        "state is not None and state.is_final():",
        "state is not None and state.is_completed():",
        f"{ENDINGS}::test_interrupted_while_waiting_for_a_retry",
    ),
    Breakage(
        "has to be SIGKILLed after a cancellation: Cancelled",
        "haas_otel/settling.py",
        "if flow_state.is_cancelling() or flow_state.is_cancelled():",
        "if flow_state.is_cancelling():",
        f"{SETTLING}::test_killed_run_that_was_cancelled",
    ),
    Breakage(
        "SIGKILL of the run's process: Failed, with what the attempts before had told",
        "haas_otel/settling.py",
        "    for retry in learnt.retries:\n        span.retrying(told, retry)\n",
        "",
        f"{SETTLING}::test_killed_run_that_crashed",
    ),
    Breakage(
        "process and worker die together: the reconciler tells it, and marks it as told",
        "haas_otel/reconciler.py",
        "if _is_settled(flow_run) or flow_run.state is None:",
        "if flow_run.state is None:",
        f"{SETTLING}::test_the_reconciler_settles_once_and_marks",
    ),
    Breakage(
        "never started: no span",
        "haas_otel/settling.py",
        " if labels.TASK_TYPE in run.labels and run.start_time]",
        " if True]",
        f"{SETTLING}::test_a_task_run_that_never_started_is_not_settled",
    ),
    Breakage(
        "flow run retried: what its first attempt left is told, with that attempt's end",
        "haas_otel/settling.py",
        "_end_of_attempt(client, flow_run, owner, task_run)",
        "state",
        f"{SETTLING}::test_a_retried_flow_run_settles_what_its_first_attempt_left",
    ),
    Breakage(
        "flow run retried: what is told is not told again",
        "haas_otel/settling.py",
        "    if ledger.has(context.trace_id, context.span_id):",
        "    if False:",
        f"{SETTLING}::test_the_ledger_prevents_a_second_telling",
    ),
    Breakage(
        "what one machine has told no other tells",
        "haas_otel/settling.py",
        "        client.update_flow_run_labels(owner.id, marks)\n",
        "",
        f"{SETTLING}::test_what_one_machine_has_told_no_other_tells",
    ),
    Breakage(
        "nested flow runs are settled with the outermost",
        "haas_otel/settling.py",
        "        yield from nested\n",
        "",
        f"{SETTLING}::test_killed_run_that_crashed",
    ),
    Breakage(
        "without a flow: as above",
        "haas_otel/ids.py",
        "return (flow_run_id or task_run_id).int",
        "return flow_run_id.int",
        f"{ENDINGS}::test_without_a_flow",
    ),
    Breakage(
        "on_cancellation hooks are called, once, by the run's own process",
        "haas_otel/hooks.py",
        "    # Leaves with the state that follows: whoever reads the run knows it is told.\n",
        "    return\n",
        f"{ENDINGS}::test_interrupted",
    ),
    Breakage(
        "on_cancellation hooks are called by the process that settles",
        "haas_otel/settling.py",
        "        hooks.call_cancellation_hooks(task, task_run)\n",
        "        pass\n",
        f"{SETTLING}::test_cancellation_hooks_are_called_by_the_process_that_settles",
    ),
    Breakage(
        "the span is current while the body runs",
        "haas_otel/hooks.py",
        "    token = context.attach(trace.set_span_in_context(running.span))",
        "    token = context.attach(context.get_current())",
        f"{ENDINGS}::test_returned {ENDINGS}::test_mapped",
    ),
    Breakage(
        "the caller's trace is taken from the flow run's label",
        "haas_otel/span.py",
        "own[labels.TRACEPARENT] = str(caller)",
        "pass",
        f"{DECORATORS}::test_the_callers_trace_is_taken_from_the_flow_runs_label",
    ),
    Breakage(
        "what a process has told it knows, though the server does not yet",
        "haas_otel/settling.py",
        "    if task_run.id in hooks.told:\n        return True\n",
        "",
        f"{SETTLING}::test_a_record_that_lags_behind_is_not_told_again",
    ),
    Breakage(
        "returns a Cancelled state: told at once, though Prefect calls no hook",
        "haas_otel/hooks.py",
        "            _stopped(running, span.ending_of(result))\n",
        "            pass\n",
        f"{ENDINGS}::test_cancelled_state_returned",
    ),
    Breakage(
        "SIGKILL while it waits for a retry: told, with that retry",
        "haas_otel/hooks.py",
        "    labels.write_learnt(\n",
        "    (\n",
        f"{TELLERS}::test_killed_while_it_waits_for_a_retry",
    ),
    Breakage(
        "flow run retried: what is told and no longer kept is not told again",
        "haas_otel/settling.py",
        "    return shown is not None and not ledger.remembers(span.nanoseconds(shown))",
        "    return False",
        f"{TELLERS}::test_what_the_ledger_has_removed_is_not_told_again",
    ),
    Breakage(
        "cancelled or crashed by others: told all the same",
        "haas_otel/settling.py",
        "        task_run.state.is_completed() or task_run.state.is_failed()\n",
        "        task_run.state.is_final()\n",
        f"{TELLERS}::test_an_end_that_others_gave_a_task_run_does_not_show_that_it_is_told",
    ),
    Breakage(
        "what a flow run's own process ends late is marked for others",
        "haas_otel/settling.py",
        "            _mark_told(client, flow_run, ended)\n",
        "            pass\n",
        f"{TELLERS}::test_what_the_hook_of_an_ending_flow_run_tells_is_marked",
    ),
    Breakage(
        "what is told and gets no state is marked for others",
        "haas_otel/hooks.py",
        "            _mark_on_the_flow_run(running.task_run)\n",
        "            pass\n",
        f"{TELLERS}::test_what_is_left_without_a_state_is_marked",
    ),
    Breakage(
        "the server goes away in the middle of a settling: told once, by who comes next",
        "haas_otel/settling.py",
        "        client.update_flow_run_labels(owner.id, marks)\n",
        "        with span.never_failing():\n"
        "            client.update_flow_run_labels(owner.id, marks)\n",
        f"{TELLERS}::test_marks_that_cannot_be_put_on_leave_the_span_to_who_comes_next",
    ),
    Breakage(
        "marked by a process that died before it told: told",
        "haas_otel/settling.py",
        "    return (marked or _returned(task_run)) and _shared_ledger(task_run, owner) is None",
        "    return marked or (_returned(task_run) and _shared_ledger(task_run, owner) is None)",
        f"{TELLERS}::test_a_mark_without_its_span_is_made_good_by_the_ledger",
    ),
    Breakage(
        "marked since Prefect read the flow run for its hook: not told again",
        "haas_otel/settling.py",
        "                known = client.read_flow_run(flow_run.id)\n",
        "                known = flow_run\n",
        f"{TELLERS}::test_a_hook_sees_what_was_marked_since_its_flow_run_was_read",
    ),
    Breakage(
        "a late hook leaves the flow run's next attempt alone",
        "haas_otel/settling.py",
        " or task_run.flow_run_run_count > owner.run_count:",
        ":",
        f"{TELLERS}::test_a_late_hook_leaves_the_next_attempt_alone",
    ),
    Breakage(
        "without a ledger, late records are waited for",
        "haas_otel/settling.py",
        "        if wait_for_records:\n",
        "        if False:\n",
        f"{TELLERS}::test_a_record_that_comes_while_the_hook_waits_is_believed",
    ),
    Breakage(
        "flow run retried: what its first attempt's nested flow runs left is told",
        "haas_otel/settling.py",
        "if owner is not flow_run or _is_earlier(run, owner)]",
        "if _is_earlier(run, owner)]",
        f"{TELLERS}::test_a_retried_flow_run_settles_what_its_nested_ones_left",
    ),
    Breakage(
        "paused, resumed, then cancelled: Cancelled",
        "haas_otel/settling.py",
        "        if state.is_final() or state.is_cancelling() or",
        "        if state.is_paused() or",
        f"{TELLERS}::test_a_pause_does_not_end_an_attempt",
    ),
    Breakage(
        "no growth of the registry",
        "haas_otel/hooks.py",
        "    if live.pop(task_run.id, None) is not None:",
        "    if live.get(task_run.id) is not None:",
        "tests/haas_otel/test_many.py",
    ),
]


def main() -> None:
    """Make each breakage, or those whose numbers are given, and print who noticed."""
    chosen = [int(number) for number in sys.argv[1:]] or range(1, len(BREAKAGES) + 1)
    unnoticed = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "broken"
        hidden = shutil.ignore_patterns(".*", "__pycache__")
        shutil.copytree(ROOT, copy, ignore=hidden)
        for number in chosen:
            failed = _try(copy, BREAKAGES[number - 1])
            unnoticed += not failed
            verdict = f"red: {failed} failed" if failed else "NOT NOTICED"
            print(f"{number:3} {BREAKAGES[number - 1].promise}: {verdict}", flush=True)
    if unnoticed:
        sys.exit(f"{unnoticed} not noticed by any test")


def _try(copy: Path, breakage: Breakage) -> int:
    file = copy / breakage.file
    whole = file.read_text()
    if whole.count(breakage.code) != 1:
        sys.exit(f"{breakage.file} does not have this code once:\n{breakage.code}")
    file.write_text(whole.replace(breakage.code, breakage.broken))
    try:
        ended = subprocess.run(
            [
                sys.executable,
                "-m",
                "pytest",
                "-q",
                "-p",
                "no:cacheprovider",
                *breakage.tests.split(),
            ],
            cwd=copy,
            env={**os.environ, "PYTHONPATH": str(copy)},
            check=False,
            capture_output=True,
            text=True,
        )
    finally:
        file.write_text(whole)
    if ended.returncode not in (0, 1):  # neither green nor red: the tests could not be run
        sys.exit(ended.stdout + ended.stderr)
    return sum(line.startswith("FAILED") for line in ended.stdout.splitlines())


if __name__ == "__main__":
    main()
