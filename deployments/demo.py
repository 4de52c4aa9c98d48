"""``haas demo``: a sample library, the whole stack, tasks run through deployments, their traces."""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markdown import Markdown
from rich.markup import escape
from rich.padding import Padding
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from deployments.defaults import NO_SCHEDULES
from deployments.process import wait_until
from deployments.reports import prose_of, table_of
from deployments.runs import artifacts, follow, queued_by, trigger
from deployments.sample_credits import TO_REMOVE, store_sample_credits
from deployments.samples import make_long_film, make_samples
from deployments.stack import Stack
from deployments.terminal import Terminal, addresses, stop_signals
from deployments.up import bring_up, stopping, watch

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

    from deployments.samples import SampleLibrary

RUN_SECONDS = 300.0
TRACE_SECONDS = 60.0
QUEUE_SECONDS = 120.0
LONG_FILM = "films/Carnival of Souls (1962)/Carnival.of.Souls.1962.mkv"
# The only settings of ours that the demo takes from its surrounding: it asks nobody outside.
KEPT_VARIABLES = ("HAAS_FFMPEG", "HAAS_TRACE_URL", "HAAS_OTEL_DIR")


class DemoError(Exception):
    """A run of the demo did not complete. The text says which, and where to look."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One run of the demo.

    Args:
        heading: what it is for.
        deployment: what is run, as ``flow/deployment``.
        parameters: with what.
        queues: the deployment of which the run starts another run, if it does.
    """

    heading: str
    deployment: str
    parameters: dict[str, Any] = field(default_factory=dict)
    queues: str | None = None


def stages(library: SampleLibrary) -> list[Stage]:
    """Return the runs of the demo, in order."""
    bunny = library.films / "Big Buck Bunny (2008)"
    return [
        Stage("Scan the library", "metadata-scan/hourly"),
        Stage(
            "Encode a film",
            "encoding/on-demand",
            {
                "source": str(bunny / "Big.Buck.Bunny.2008.720p.mkv"),
                "output": str(bunny / "Big.Buck.Bunny.2008.480p.mkv"),
                "video_codec": "hevc",
                "resolution": "480p",
            },
            queues="metadata-scan/on-event",  # of what it wrote
        ),
        Stage(
            "Remove a film, and clean up after it",
            "remove-from-library/on-demand",
            {"kind": "movie", "tmdb_id": TO_REMOVE},
            queues="person-cleanup/nightly",
        ),
    ]


def demo(directory: Path, port: int, terminal: Terminal) -> None:
    """Show everything once; on a terminal, keep it up until Ctrl-C.

    Args:
        directory: where the demo keeps everything.
        port: the port of its Prefect server.
        terminal: where to show it.

    Raises:
        DemoError: a run did not complete.
        SampleError: the sample library could not be made.
        StackError: something did not start.
    """
    home = directory.absolute()
    terminal.title("Haas Media: demo")
    with stop_signals() as received:
        library = _sample_library(home, terminal)
        config = _write_config(home, library)
        _sample_credits(home, terminal)
        stack = Stack(
            home,
            port=port,
            environment=_environment(),
            worker_environment={"HAAS_CONFIG": str(config)},
        )
        with stopping(stack, terminal, received):
            bring_up(stack, terminal)
            for stage in stages(library):
                _show(stack, stage, terminal)
            _say_where(stack, config, terminal)
            if terminal.interactive:
                _say_what_to_cancel(stack, library, terminal)
                terminal.say("\n Press Ctrl-C to stop.")
                watch(stack)


def _environment() -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("HAAS_") or name in KEPT_VARIABLES
    }
    # No scheduled run comes in between, so that each run of the demo is one that it shows.
    return kept | NO_SCHEDULES


def _sample_library(home: Path, terminal: Terminal) -> SampleLibrary:
    with terminal.step("Sample library") as step:
        clips = 0

        def count(done: int, _of: int) -> None:
            nonlocal clips
            clips = done

        library = make_samples(home / "library", _ffmpeg(), count)
        step.done(f"{clips} clips in {_relative(library.root)}")
    return library


def _write_config(home: Path, library: SampleLibrary) -> Path:
    """Write the demo's settings, as an example of a real ``haas.toml``."""
    file = home / "haas.toml"
    tables = "".join(
        f'\n[[libraries]]\ntitle = "{each["title"]}"\nkind = "{each["kind"]}"\n'
        f'path = "{Path(each["path"]).relative_to(home)}"\n'
        for each in library.libraries()
    )
    file.write_text(f'# The settings of the demo.\ndata_dir = "."\n{tables}', encoding="utf-8")
    return file


def _sample_credits(home: Path, terminal: Terminal) -> None:
    from haas_media.catalog import open_catalog
    from haas_media.settings import Settings

    catalog_url = Settings(data_dir=home).database_url
    with terminal.step("Sample credits") as step, open_catalog(catalog_url) as catalog:
        people = store_sample_credits(catalog)
        step.done(f"{people} people of two films, as TMDb would tell them")


def _show(stack: Stack, stage: Stage, terminal: Terminal) -> None:
    terminal.title(stage.heading)
    with stack.client() as client:
        run = trigger(client, stage.deployment, stage.parameters)
        if stage.queues:  # it goes on in the same trace, which is shown when both are in it
            _show_run(stack, run, terminal, trace=False)
            run = _queued_by(client, run, stage.queues)
        _show_run(stack, run, terminal)


def _queued_by(client: SyncPrefectClient, run: FlowRun, deployment: str) -> FlowRun:
    # An event is some seconds on its way.
    wait_until(lambda: queued_by(client, run, deployment) is not None, QUEUE_SECONDS)
    if found := queued_by(client, run, deployment):
        return found
    raise DemoError(f"{run.name} has started no run of {deployment}.")


def _show_run(stack: Stack, run: FlowRun, terminal: Terminal, *, trace: bool = True) -> None:
    ended = _follow(stack, run, terminal)
    link = f"{stack.address.pages}/runs/flow-run/{run.id}"
    state = ended.state
    if state is None or not state.is_completed():
        reason = state.message if state else ""
        raise DemoError(f"{ended.name}: {ended.state_name}. {reason}\nSee {link}")
    with stack.client() as client:
        report = artifacts(client, run.id)
    for each in report:
        if each.type == "markdown" and each.key != "trace":
            terminal.say(Padding(Markdown(prose_of(str(each.data))), (0, 3)))
    for each in report:
        if each.type == "table":
            terminal.say(Padding(table_of(json.loads(str(each.data))), (1, 3), expand=False))
    if trace:
        _show_trace(stack, ended, terminal)
    terminal.say(addresses({"In the Prefect UI": link}))
    terminal.say()


def _follow(stack: Stack, run: FlowRun, terminal: Terminal) -> FlowRun:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f} %  {task.fields[state]}"),
        TimeElapsedColumn(),
    )
    shown = terminal.interactive
    with (
        Progress(*columns, console=terminal.console, transient=True, disable=not shown) as bars,
        stack.client() as client,
    ):
        bar = bars.add_task(run.name, total=100, state="Scheduled")

        def show(now: FlowRun, percent: float) -> None:
            stack.check()
            state = now.state_name or ""
            bars.update(bar, description=escape(now.name), completed=percent, state=state)

        ended = follow(client, run.id, show, RUN_SECONDS)
    seconds = ended.total_run_time.total_seconds()
    mark = "[green]✓[/]" if ended.state_name == "Completed" else "[red]✗[/]"
    terminal.say(f" {mark} {escape(ended.name)}  {ended.state_name} [dim]in {seconds:.1f} s[/]\n")
    return ended


def _show_trace(stack: Stack, run: FlowRun, terminal: Terminal) -> None:
    from deployments.collector import endpoint
    from deployments.traces import waterfall
    from haas_otel.delivery.store import TraceStore

    if sent := endpoint():
        terminal.say(f"   The trace went to {sent}.\n")
        return
    store, found = TraceStore(stack.traces), list[Any]()

    def arrived() -> bool:
        # Not by whom the server says that it was called by: a busy one may not have that.
        for span in store.tasks():
            if span.attributes.get("prefect.flow_run.id") == str(run.id):
                found[:] = store.trace(span.trace_id)
                return True
        return False

    if wait_until(arrived, TRACE_SECONDS):
        terminal.indented(waterfall(found, terminal.console.width - 4))
        terminal.say()


def _say_where(stack: Stack, config: Path, terminal: Terminal) -> None:
    command = f"HAAS_CONFIG={_relative(config)} {_haas()}"
    terminal.title("Look around")
    terminal.say(
        addresses(
            {
                "Prefect UI": stack.address.ui,
                "Every trace": f"{command} traces",
                "The catalog": f"{command} library",
            }
        )
    )


def _say_what_to_cancel(stack: Stack, library: SampleLibrary, terminal: Terminal) -> None:
    """Say what to fill in, to see a run of some minutes and to cancel it."""
    film = library.root / LONG_FILM
    make_long_film(_ffmpeg(), film)
    with stack.client() as client:
        encoding = client.read_deployment_by_name("encoding/on-demand")
    terminal.title("Try it: cancel a run")
    terminal.say(
        addresses(
            {
                "Its form": f"{stack.address.pages}/deployments/deployment/{encoding.id}/run",
                "Source": str(film),
                "Output": str(film.with_suffix(".hevc.mkv")),
                "Video codec": "hevc",
                "How": "docs/first-steps.md",
            }
        )
    )


def _ffmpeg() -> Path:
    from haas_media.encoding import find_ffmpeg

    return find_ffmpeg(os.environ.get("HAAS_FFMPEG"))


def _haas() -> str:
    """Return how this command is called here: by its name if that finds it."""
    own = Path(sys.executable).with_name("haas")
    found = shutil.which("haas")
    return "haas" if (found and Path(found) == own) or not own.exists() else _relative(own)


def _relative(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
