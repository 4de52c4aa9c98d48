"""A thin, typed TMDb client: paced, retried, and tolerant of what TMDb really answers."""

from haas_media.tmdb.client import TmdbClient
from haas_media.tmdb.outage import Outage
from haas_media.tmdb.retries import RetryPolicy

__all__ = ["Outage", "RetryPolicy", "TmdbClient"]
