"""Chaos, planned from a seed: what is done to each run, and when, and what must be true after."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun, TaskRun

Deed = Literal[
    "nothing",
    "cancel",
    "terminate",
    "kill",
    "click",
    "freeze",
    "stop the worker",
    "kill the container",
    "cut the power",
    "kill the machine",
]
DEEDS: tuple[Deed, ...] = get_args(Deed)
# What takes other runs along, and has to be noticed by its silence.
SELDOM = ("cut the power", "kill the machine")


@dataclass(frozen=True)
class Plan:
    """What is done to one run, ``after`` seconds from when the server says that it runs.

    A click sets its state in the UI while it works. A worker is stopped by SIGTERM. A container
    that is killed takes along all that its worker runs, and another comes up on its disk; of a
    machine that is killed nothing is left. The power is cut for the server and both machines.
    """

    number: int
    deed: Deed
    after: float
    worker: Literal["one", "two"]


def plans(seed: int, runs: int, longest: float) -> list[Plan]:
    """Return a plan for each run: every deed about equally often, in random order, repeatable."""
    chance = random.Random(seed)
    most = len(DEEDS)
    deeds: list[Deed] = []
    for n in range(runs):
        deed = DEEDS[n % most]
        deeds.append("kill" if deed in SELDOM and (n // most) % 2 else deed)
    chance.shuffle(deeds)
    deeds.sort(key=lambda deed: deed != "kill the machine")  # first, to be noticed meanwhile
    workers: list[Literal["one", "two"]] = [chance.choice(("one", "two")) for _ in deeds]
    return [
        Plan(n, deed, chance.uniform(0, longest), "two" if deed == "kill the machine" else worker)
        for n, (deed, worker) in enumerate(zip(deeds, workers, strict=True))
    ]


def right_statuses(flow_run: FlowRun, task_run: TaskRun, *, during_outage: bool) -> set[str]:
    """Return what the one span of a started task run may say, by what the server knows.

    Args:
        flow_run: the run as the server knows it at the end.
        task_run: its task run as the server knows it at the end.
        during_outage: the run's last states may have been lost with the server's connection: then
            its process knew better than the server.
    """
    state = task_run.state
    assert state is not None
    if state.is_completed():
        return {"Completed"}
    if state.is_failed():
        return {"Failed"}
    if state.is_crashed() or state.is_cancelled():
        return {"Cancelled"}  # the process lived to see itself interrupted
    # Running for ever: killed. Or it ended, and its last record died with the process.
    assert flow_run.state is not None
    told = {"Cancelled"} if flow_run.state.is_cancelled() else {"Failed"}
    return told | ({"Completed", "Failed", "Cancelled"} if during_outage else set())
