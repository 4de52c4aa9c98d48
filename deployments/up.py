"""``haas up``: the local stack, until Ctrl-C."""

from __future__ import annotations

import contextlib
import json
import os
import time
from typing import TYPE_CHECKING

from deployments.server import configured, failure, unusable
from deployments.stack import Stack
from deployments.terminal import Terminal, addresses, stop_signals

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from haas_media.settings import Settings

WATCH_SECONDS = 1.0


def up(
    settings: Settings, config: Path | None, port: int, terminal: Terminal, drain: float = 0
) -> None:
    """Bring the stack up and keep it up until Ctrl-C or SIGTERM.

    Args:
        settings: says where state goes.
        config: the settings file that the worker's runs are to read, if there is one.
        port: the port of the Prefect server, if one has to be started.
        terminal: where to tell of it.
        drain: how many seconds runs may go on at the end.

    Raises:
        StackError: something did not start or died.
    """
    terminal.title("Haas Media")
    stack = Stack(
        settings.data_dir,
        port=port,
        api_url=configured_server(terminal),
        worker_environment=same_settings(settings, config),
        drain=drain,
    )
    with stop_signals() as received, stopping(stack, terminal, received):
        bring_up(stack, terminal)
        stack.start_watch()
        for sentence in stack.put_up_automations():
            terminal.indented(sentence)
        terminal.say()
        terminal.say(
            addresses(
                {
                    "Prefect UI": stack.address.ui,
                    "Prefect API": stack.address.api,
                    "State and logs": str(stack.data_dir),
                    "Libraries": _libraries(settings),
                    "Deployments": "\n".join(stack.deployments()),
                }
            )
        )
        terminal.say("\n Press Ctrl-C to stop.")
        watch(stack)


def same_settings(settings: Settings, config: Path | None) -> dict[str, str]:
    """Return the variables with which runs, which start elsewhere, read these very settings.

    Args:
        settings: as read here.
        config: the file that they were read from; with none, runs are to read none either.
    """
    variables = {"HAAS_CONFIG": str(config.absolute()) if config else os.devnull}
    if os.environ.get("HAAS_LIBRARIES"):  # its relative paths start here
        variables["HAAS_LIBRARIES"] = json.dumps(
            [library.model_dump(mode="json") for library in settings.libraries]
        )
    if os.environ.get("HAAS_ENCODING_ROOTS"):
        variables["HAAS_ENCODING_ROOTS"] = json.dumps(
            [str(root) for root in settings.encoding.roots]
        )
    if os.environ.get("HAAS_DATABASE_URL"):
        variables["HAAS_DATABASE_URL"] = settings.database_url
    if os.environ.get("HAAS_FFMPEG") and settings.ffmpeg:
        variables["HAAS_FFMPEG"] = settings.ffmpeg
    return variables


def configured_server(terminal: Terminal) -> str | None:
    """Return the address in ``PREFECT_API_URL``, or in Prefect's profile, if a server answers.

    If none does, that is said: another is started, and it may not be what was wanted.
    """
    address = configured()
    if address and (error := failure(address)):
        terminal.say(f" {unusable(address, error)} Another server is started here.\n")
        return None
    return address or None


def bring_up(stack: Stack, terminal: Terminal) -> None:
    """Start the stack step by step, with a line for each.

    Raises:
        StackError: a step failed.
    """
    with terminal.step("Prefect server") as step:
        given = stack.start_server()
        step.done(given.ui + _taken(stack))
    with terminal.step("Work pool") as step:
        stack.create_work_pool()
        step.done(f"{stack.work_pool} (process)")
    stack.start_worker()
    with terminal.step("Deployments") as step:
        step.done(f"{len(stack.deploy())} of prefect.yaml")
    with terminal.step("Worker") as step:
        stack.wait_for_workers()
        step.done(", ".join(stack.workers) + " is online")


def watch(stack: Stack) -> None:
    """Wait for Ctrl-C, and for the death of a process of the stack.

    Raises:
        StackError: a process died.
    """
    try:
        while True:
            stack.check()
            time.sleep(WATCH_SECONDS)
    except KeyboardInterrupt:
        return


@contextlib.contextmanager
def stopping(stack: Stack, terminal: Terminal, received: Sequence[int]) -> Iterator[Stack]:
    """Claim a stack and stop it at the end, however that comes, with a line that says so.

    The worker gets the first signal that this process has received, if it has.
    """
    stack.claim()
    try:
        yield stack
    finally:
        try:
            terminal.say()
            with terminal.step("Stopping") as step:
                stack.close(*received[:1])
                step.done("runs, worker and server have ended")
        finally:  # the terminal may be closed, or who read the pipe be gone
            stack.close(*received[:1])


def _taken(stack: Stack) -> str:
    if stack.server is None:
        return " (already running)"
    wanted = stack.wanted_port
    taken = wanted and not stack.address.ui.endswith(f":{wanted}")
    return f" (port {wanted} is in use)" if taken else ""


def _libraries(settings: Settings) -> str:
    titles = ", ".join(library.title for library in settings.libraries)
    return titles or "none yet: add [[libraries]] tables to haas.toml"
