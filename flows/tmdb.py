"""TMDb as runs use it: the token from settings or a Prefect block, each request a span."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from haas_media.providers.tmdb import TmdbClient
    from haas_media.settings import Settings

SECRET_BLOCK = "haas-tmdb-token"  # noqa: S105 - the block's name


@contextlib.contextmanager
def open_tmdb(settings: "Settings") -> Iterator["TmdbClient | None"]:
    """Open a client of TMDb, or None when there is no token."""
    from haas_media.providers.tmdb import TmdbClient

    token = _token(settings)
    if token is None:
        yield None
        return
    import datetime as dt

    with TmdbClient(
        token,
        settings.tmdb.url,
        requests_per_second=settings.tmdb.requests_per_second,
        max_concurrent=settings.tmdb.max_concurrent,
        language=settings.tmdb.language,
        timeout=dt.timedelta(seconds=settings.tmdb.timeout_seconds),
        around=with_spans,
    ) as client:
        yield client


@contextlib.contextmanager
def require_tmdb(settings: "Settings") -> Iterator["TmdbClient"]:
    """Open a client of TMDb.

    Raises:
        SettingsError: there is no token.
    """
    from haas_media.settings import SettingsError

    with open_tmdb(settings) as client:
        if client is None:
            raise SettingsError(
                "This task asks TMDb, and there is no token for it. Set HAAS_TMDB_TOKEN to your "
                f"read access token, or keep it in a Prefect Secret block named {SECRET_BLOCK}."
            )
        yield client


def _token(settings: "Settings") -> str | None:
    if settings.tmdb.token is not None:
        return settings.tmdb.token.get_secret_value()
    from prefect.blocks.system import Secret

    try:
        block: Any = Secret.load(SECRET_BLOCK)
    except ValueError:  # there is no such block
        return None
    return str(block.get()) or None


def with_spans(transport: httpx.BaseTransport) -> httpx.BaseTransport:
    """Wrap a transport so that each request is a child span of the running task.

    It goes around the transport that signs requests, so that no span sees the token.
    """
    from opentelemetry.instrumentation.httpx import SyncOpenTelemetryTransport

    return SyncOpenTelemetryTransport(transport)
