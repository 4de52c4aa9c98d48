"""The command line: ``haas``.

A command loads what it needs when it runs, so that ``haas --help`` is quick.
"""

from __future__ import annotations

import codecs
import os
import sys
from json import dumps as json_of
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, CycloptsError, Parameter
from cyclopts.validators import Number

if TYPE_CHECKING:
    from haas_media.settings import Settings

# Exceptions whose text is a sentence for people.
SENTENCES = frozenset(
    {
        "haas_media.settings.SettingsError",
        "haas_media.library.prune.PruneError",
        "haas_media.catalog.CatalogError",
        "haas_media.encoding.errors.EncodingError",
        "haas_media.providers.records.ProviderError",
        "deployments.stack.StackError",
        "deployments.worker.WorkerError",
        "deployments.samples.SampleError",
        "deployments.demo.DemoError",
        "deployments.traces.TracesError",
        "deployments.webhooks.WebhookError",
        "deployments.work_pool.WorkPoolNameError",
        "deployments.server.ServerError",
        "flows.run_history.RunNotFound",
        "flows.backends.BackendError",
        "haas_otel.delivery.store.TraceNotFound",
        "haas_otel.delivery.store.AmbiguousTrace",
        "haas_otel.delivery.index.IndexUnusable",
    }
)
TRACEBACK = "HAAS_TRACEBACK"
LIKENESS = dict(zip("✓✗█│├└─", "+x#||`-", strict=True))

app = App(
    name="haas",
    help="A media library's background work on Prefect, with OpenTelemetry spans that are true.",
    version_flags=["--version"],
    help_epilogue=(
        "Settings come from haas.toml in the current folder, or the file that HAAS_CONFIG names; "
        "each can also be a HAAS_... environment variable, which wins."
    ),
)

ConfigFile = Annotated[
    Path | None,
    Parameter(name=["--config", "-c"], help="Settings file in place of the usual one."),
]
Drain = Annotated[
    float,
    Parameter(
        validator=Number(gte=0),
        help="Seconds that runs may go on at a stop, before they are cancelled.",
    ),
]
Port = Annotated[
    int,
    Parameter(
        validator=Number(gte=0, lte=65535),
        help="Port of the Prefect server; another free one if it is in use.",
    ),
]
Json = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON.")]


@app.command
def up(
    *,
    port: Port = 4200,
    drain: Drain = 0,
    config: ConfigFile = None,
) -> None:
    """Run everything: a Prefect server, the work pool, every deployment, a worker.

    A server that PREFECT_API_URL leads to is used instead of starting one. State lives in the data
    directory. Ctrl-C ends all of it; runs under way are cancelled.
    """
    from deployments.terminal import Terminal
    from deployments.up import up as run
    from haas_media.settings_sources import config_file

    settings = _settings(config)
    run(settings, config_file(config), port, Terminal(), drain)


@app.command
def worker(
    *,
    name: Annotated[str | None, Parameter(help="Its name, unique on the server.")] = None,
    pool: Annotated[
        str | None, Parameter(help="The work pool; by default that of HAAS_WORK_POOL.")
    ] = None,
    limit: Annotated[
        int | None, Parameter(validator=Number(gte=1), help="Runs at a time, at most.")
    ] = None,
    drain: Drain = 0,
    config: ConfigFile = None,
) -> None:
    """Run Prefect's process worker, with a stop that its runs hear of.

    At SIGTERM or Ctrl-C it takes no new run. What has not ended after --drain seconds is cancelled;
    a second signal does that at once. After a SIGTERM, scans and the like are started again by the
    next worker, once.
    """
    from haas_media.settings_sources import config_file, telemetry_dir

    settings = _settings(config)
    os.environ["HAAS_OTEL_DIR"] = str(telemetry_dir(settings.data_dir))
    if file := config_file(config):
        os.environ["HAAS_CONFIG"] = str(file.absolute())
    from deployments.work_pool import work_pool_name
    from deployments.worker import start

    start(name, pool or work_pool_name(), limit=limit, drain=drain)


@app.command
def execute() -> None:
    """Execute the flow run of a container: the command for the job variables of a work pool.

    As `prefect flow-run execute` does; but when the container is stopped the run is cancelled in
    order.
    """
    import asyncio

    from deployments.worker import execute as run

    asyncio.run(run())


@app.command
def demo(
    *,
    port: Port = 4200,
    directory: Annotated[Path, Parameter(help="Where the demo keeps everything.")] = Path(
        ".haas/demo"
    ),
) -> None:
    """Show it all: make a sample library, bring the stack up, run its tasks, show their traces.

    On a terminal everything stays up until Ctrl-C, to be looked at in the Prefect UI.
    """
    from deployments.demo import demo as run
    from deployments.terminal import Terminal

    run(directory, port, Terminal())


@app.command
def watch(
    *,
    listen: Annotated[
        str | None,
        Parameter(help="Take webhooks, too: ADDRESS:PORT, such as 127.0.0.1:8770."),
    ] = None,
    config: ConfigFile = None,
) -> None:
    """Have what changes in the libraries scanned at once.

    It sees files that are added, changed, moved or removed, waits until they are whole, and hands
    their paths to the Prefect server as an event. Webhooks of Sonarr, Radarr and others are taken
    with --listen; from elsewhere than this machine they need HAAS_WATCH_PASSWORD.
    """
    from deployments.watch import run

    run(_settings(config), listen)


@app.command
def notify(
    paths: Annotated[list[Path] | None, Parameter(help="Files or folders that changed.")] = None,
    /,
    *,
    config: ConfigFile = None,
) -> None:
    """Say that files or folders of a library have changed, so that they are scanned.

    Without a path it reads what Sonarr and Radarr hand to a custom script.
    """
    from deployments.webhooks import notify as run

    for sentence in run(_settings(config), [str(path) for path in paths or ()]):
        print(sentence)


@app.command
def names(
    *,
    kind: Annotated[
        Literal["movies", "tv"], Parameter(help="What the library holds, which decides doubts.")
    ],
    json: Annotated[Json, Parameter(help="Print JSON lines, one for each path.")] = False,
    null: Annotated[
        bool, Parameter(name=["--null", "-0"], negative="", help="Paths end with NUL, not newline.")
    ] = False,
) -> None:
    """Read paths on standard input; print what each is taken for.

    Paths start at a library's root, so that folders tell too:
    cd /media/films; find . -name '*.mkv' | haas names --kind movies
    """
    from deployments.listing import print_names

    print_names(kind, as_json=json, separator=b"\0" if null else b"\n")


@app.command
def library(
    *,
    unmatched: Annotated[
        bool, Parameter(negative="", help="Only the files that were not identified, with reasons.")
    ] = False,
    prune: Annotated[
        bool,
        Parameter(
            negative="",
            help="What no scan takes off the record: libraries that left the settings, titles "
            "without files that only a scan has made. Reported, and removed only with --yes.",
        ),
    ] = False,
    yes: Annotated[bool, Parameter(negative="", help="Remove what --prune reports.")] = False,
    gone_for_good: Annotated[
        list[str] | None,
        Parameter(
            negative="",
            help="With --prune: what it lists as out of reach, and whose files do not come back.",
        ),
    ] = None,
    json: Json = False,
    config: ConfigFile = None,
) -> None:
    """Print what the catalog holds, or what can be pruned from it.

    No file on disk is ever touched.
    """
    from deployments.listing import print_library, print_prunable

    if not prune and (yes or gone_for_good):
        sys.exit("haas: --yes and --gone-for-good go with --prune.")
    if prune:
        print_prunable(
            _settings(config), remove=yes, gone_for_good=gone_for_good or [], as_json=json
        )
    else:
        print_library(_settings(config), unmatched=unmatched, as_json=json)


@app.command
def traces(
    trace_id: Annotated[str | None, Parameter(help="Show this trace as a waterfall.")] = None,
    /,
    *,
    failed: Annotated[bool, Parameter(negative="", help="Only failed tasks.")] = False,
    slower_than: Annotated[
        str | None, Parameter(help="Only tasks slower than this: 500ms, 90s, 5m, 2h.")
    ] = None,
    type: Annotated[  # noqa: A002 - the option's name
        str | None, Parameter(help="Only tasks of this type, such as MetadataScanTask.")
    ] = None,
    running: Annotated[
        bool, Parameter(negative="", help="What runs now on this machine, and what was killed.")
    ] = False,
    follow: Annotated[
        bool, Parameter(negative="", help="What begins and ends on this machine, until Ctrl-C.")
    ] = False,
    limit: Annotated[
        int,
        Parameter(validator=Number(gte=1, lt=1 << 63), help="At most this many, newest first."),
    ] = 50,
    json: Json = False,
    config: ConfigFile = None,
) -> None:
    """List the tasks in the local trace store, or show one trace.

    The store is kept where no collector is configured through OTEL_... variables.
    """
    from deployments.traces import (
        TracesError,
        print_running,
        print_tasks,
        print_trace,
    )
    from haas_media.settings_sources import telemetry_dir

    directory = telemetry_dir(_settings(config).data_dir)
    if follow and (failed or running or slower_than or json or trace_id is not None):
        raise TracesError("--follow goes with --type alone.")
    if running and (failed or trace_id is not None):
        raise TracesError("--running goes with --type and --slower-than: what runs has not failed.")
    if follow:
        from deployments.following import follow as run

        run(directory, type)
    elif trace_id is not None:
        print_trace(directory, trace_id, as_json=json)
    elif running:
        print_running(directory, slower_than=slower_than, task_type=type, as_json=json)
    else:
        print_tasks(
            directory,
            failed=failed,
            slower_than=slower_than,
            task_type=type,
            limit=limit,
            as_json=json,
        )


@app.command
def why(
    run: Annotated[str, Parameter(help="The run's name, id or page; or a task run's id.")],
    /,
    *,
    config: ConfigFile = None,
) -> None:
    """Say of a run when it was due, what it waited for, what it did, how it ended and who ended it.

    Below it is its trace, if it is in the local trace store.
    """
    from deployments.why import print_why

    print_why(_settings(config), run)


@app.command
def audit(
    *,
    since: Annotated[str, Parameter(help="How long ago the oldest run began: 6h, 1d, 7d.")] = "1d",
    backend: Annotated[
        str, Parameter(help="store, or jaeger=URL, zipkin=URL, tempo=URL of its API.")
    ] = "store",
    repair: Annotated[
        bool, Parameter(negative="", help="Send again what is missing there and kept here.")
    ] = False,
    config: ConfigFile = None,
) -> None:
    """Say which task runs have no span in a backend, two, or one that tells another ending.

    Every run counts that Prefect knows to have started, that the sampler takes, and that ended more
    than five minutes ago. The exit code is 1 if anything is wrong; what waits on this machine's
    disk is listed apart, and is not.
    """
    from deployments.audit import run_audit
    from deployments.traces import parse_duration

    right = run_audit(_settings(config), backend, parse_duration(since), repair=repair)
    sys.exit(0 if right else 1)


@app.command
def check(*, config: ConfigFile = None) -> None:
    """Say what is wrong: settings, folders, database, ffmpeg, TMDb, collector, Prefect.

    One line each; the exit code is 1 if anything is wrong.
    """
    from deployments.check import check as run

    if config is not None:
        os.environ["HAAS_CONFIG"] = str(config.absolute())
    sys.exit(0 if run() else 1)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line: the entry point of ``haas``."""
    os.environ.setdefault("DO_NOT_TRACK", "1")  # else Prefect sends usage data, and says so here
    codecs.register_error("spelt", _spelt)
    if sys.stdout is None:  # closed by who started this
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115
    sys.stdout.reconfigure(errors="spelt")  # type: ignore[union-attr]
    try:
        app(arguments)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # `haas names | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except CycloptsError:
        raise
    except Exception as error:
        if os.environ.get(TRACEBACK):
            raise
        print(f"haas: {_sentence(error)}", file=sys.stderr)
        sys.exit(1)


def _spelt(error: Any) -> tuple[str, int]:
    """Have a mark's likeness, or JSON's escape, stand for what an encoding does not have."""
    text = error.object[error.start : error.end]
    return "".join(LIKENESS.get(each) or json_of(each)[1:-1] for each in text), error.end


def _sentence(error: Exception) -> str:
    names = {f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__}
    if names & SENTENCES:
        return str(error)
    if isinstance(error, OSError) and error.filename:  # no right, no room, no folder
        return f"{error.filename}: {error.strerror}."
    return (
        f"an unforeseen error: {type(error).__name__}: {error}\n"
        f"Set {TRACEBACK}=1 to see where it comes from."
    )


def _settings(config: Path | None) -> Settings:
    from haas_media.settings_sources import load_settings, misspelt_variables

    for warning in misspelt_variables():
        print(f"haas: {warning}", file=sys.stderr)
    return load_settings(config)


if __name__ == "__main__":
    main()
