"""Serve the local TMDb until Ctrl-C."""

from __future__ import annotations

import argparse
import contextlib
import threading

from tests.fake_tmdb import Catalogue, FakeTmdb, Recorded, recorded_directory

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--port", type=int, default=8088)
parser.add_argument("--movies", type=int, default=2000)
parser.add_argument("--shows", type=int, default=200)
parser.add_argument("--latency", type=float, default=0.05, help="seconds before each answer")
options = parser.parse_args()
directory = recorded_directory()
with FakeTmdb(
    Catalogue(options.movies, options.shows, quirks=True),
    recorded=Recorded(directory) if directory else None,
    latency=options.latency,
    port=options.port,
) as tmdb:
    print(f"HAAS_TMDB_URL={tmdb.url} HAAS_TMDB_TOKEN=any", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        threading.Event().wait()
