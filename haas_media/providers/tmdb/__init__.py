"""A thin, typed TMDb client: paced, retried, and tolerant of what TMDb really answers."""

from haas_media.providers.tmdb.client import TmdbClient
from haas_media.providers.tmdb.retries import Outage, RetryPolicy

__all__ = ["Outage", "RetryPolicy", "TmdbClient"]
