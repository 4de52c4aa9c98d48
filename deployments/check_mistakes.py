"""The mistakes of running Haas Media that ``haas check`` knows, each with what to do.

``docs/operations.md`` has a table of them; a test holds the two together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Finding:
    """A line of the check: of what, how it is, in a sentence."""

    what: str
    how: Literal["right", "note", "wrong"]
    text: str


@dataclass(frozen=True, slots=True)
class Mistake:
    """A mistake: of what, how bad it is, and the sentence, with ``{}`` for what differs."""

    what: str
    how: Literal["note", "wrong"]
    text: str

    def found(self, **values: object) -> Finding:
        """Return the finding, with the values put into the sentence."""
        return Finding(self.what, self.how, self.text.format(**values))


SAME_FOLDER = Mistake(
    "library",
    "wrong",
    "{one} and {other} are the same folder, {path}: each film would be there twice. Remove one.",
)
NESTED_FOLDERS = Mistake(
    "library",
    "wrong",
    "{one} lies inside {other}, {path}: its files would be there twice. Move one of them.",
)
SQLITE_ON_A_NETWORK = Mistake(
    "database",
    "wrong",
    "{path} is SQLite on a network filesystem ({kind}), whose locks cannot be relied on. "
    "Set HAAS_DATABASE_URL to PostgreSQL, or HAAS_DATA_DIR to a local disk.",
)
NEWER_CATALOG = Mistake(
    "database",
    "wrong",
    "{url} was made by a newer version ({version}) of this program. Upgrade haas-media here.",
)
OLDER_CATALOG = Mistake(
    "database",
    "note",
    "{url} is of an older version ({version}); the next run migrates it. Back it up first.",
)
SPANS_GO_WITH_CONTAINERS = Mistake(
    "spans",
    "wrong",
    "{names}: no volume is mounted at {path} in their containers, so that spans go with these. "
    'Give one in HAAS_JOB_VARIABLES: "volumes": ["/srv/haas:{path}"].',
)
SPANS_ON_A_NETWORK = Mistake(
    "spans",
    "wrong",
    "{path} is on a network filesystem ({kind}), whose locks cannot be relied on. "
    "Set HAAS_OTEL_DIR to a local disk of this machine.",
)
SHARED_SQLITE = Mistake(
    "database",
    "note",
    "{count} workers are online and the catalog is a SQLite file: right only while all of them are "
    "on this machine. Else set HAAS_DATABASE_URL to PostgreSQL, for each of them.",
)
TOO_MANY_REQUESTS = Mistake(
    "TMDb",
    "note",
    "{count} workers at {rate:g} requests a second for each run can exceed what TMDb allows, "
    "about {most}. Set HAAS_TMDB_REQUESTS_PER_SECOND to {share} for each of them.",
)
UNTRIED_VERSION = Mistake(
    "Prefect",
    "wrong",
    "{url} runs Prefect {theirs}; this is {ours}, tried with servers of {oldest} to {newest}. "
    "Give the server one of these.",
)
OTHER_VERSION = Mistake(
    "Prefect",
    "note",
    "{url} runs Prefect {theirs}, this is {ours}: tried together. At the next upgrade, "
    "the server goes first.",
)
MEMORY_MESSAGING = Mistake(
    "Prefect",
    "note",
    "{count} workers are online and the server keeps its events in its own memory: right for one "
    "server process. For more, give it PostgreSQL and Redis.",
)
MEMORY_LEASES = Mistake(
    "Prefect",
    "wrong",
    "The server keeps leases in its own memory: a restart of it ends the runs of {names}. "
    "Set PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE={storage} for it.",
)
NO_RECONCILER = Mistake(
    "reconciler",
    "wrong",
    "{name} is not deployed: spans of runs that died with their worker are never told. "
    "Run `prefect deploy --all`.",
)
RECONCILER_PAUSED = Mistake(
    "reconciler",
    "wrong",
    "No schedule of {name} is active: spans of runs that died with their worker wait for ever. "
    "Switch it on in the UI, or set HAAS_RECONCILE_SCHEDULE and run `prefect deploy --all`.",
)
RECONCILER_UNTRIGGERED = Mistake(
    "reconciler",
    "note",
    "No automation runs {name} when runs crash: their spans are told within the hour. "
    "Switch it on in the UI, under Automations, or run `prefect deploy --all`.",
)
NOT_DEPLOYED = Mistake(
    "deployments",
    "wrong",
    "{names}: in prefect.yaml and not on the server. Run `prefect deploy --all`.",
)
NOT_READY = Mistake(
    "deployments",
    "wrong",
    "{names}: not ready, so that runs of it wait. "
    "Start a worker that serves its queue: `prefect worker start --pool {pool}`.",
)
CODE_IS_GONE = Mistake(
    "deployments",
    "wrong",
    "{names}: the code's folder {path} is not on this machine, so that runs fail here. "
    "Run `prefect deploy --all` where the code is, or set HAAS_CODE_DIR for it.",
)
QUEUE_PAUSED = Mistake(
    "work pool",
    "wrong",
    "The queue {queue!r} is paused: no run of it starts. "
    "`prefect work-queue resume {queue} --pool {pool}`",
)
LATE_RUNS = Mistake(
    "workers",
    "note",
    "{count} runs are late. Start another worker, or raise the limit that holds them back.",
)

MISTAKES = {name: value for name, value in sorted(globals().items()) if isinstance(value, Mistake)}
