"""Prefect servers: their addresses, telling one from another, and clients of them."""

from __future__ import annotations

import contextlib
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deployments.claim import address_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prefect.client.orchestration import SyncPrefectClient

HOST = "127.0.0.1"
ANSWER_SECONDS = 10.0  # that a busy one is given
# A server that keeps leases in its memory ends, when it is restarted, the runs that hold one.
LEASE_STORAGE = "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE"
KEPT_LEASES = "prefect.server.concurrency.lease_storage.filesystem"


class ServerError(Exception):
    """There is no server to ask, or it refuses. The text says what to do."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a Prefect server is: its API and its UI."""

    api: str

    @property
    def ui(self) -> str:
        """The address for a browser."""
        return self.api.removesuffix("/").removesuffix("/api")

    @property
    def pages(self) -> str:
        """What the path of a page goes behind: without /v2 it opens in Prefect's old UI."""
        return f"{self.ui}/v2"


def free_port(wanted: int) -> int:
    """Return ``wanted`` if it can be listened on, else any free port."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind((HOST, port))
                found: int = probe.getsockname()[1]
                return found
    raise OSError("no free port was found on this machine")


def failure(api_url: str) -> Exception | None:
    """Return what is in the way of asking a Prefect server at this address; None if nothing is.

    It is asked by Prefect's own client: with the certificate, headers and password that are set.
    """
    import httpx
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

    once = temporary_settings({PREFECT_API_URL: api_url, PREFECT_CLIENT_MAX_RETRIES: 0})
    try:
        with once, get_client({"timeout": ANSWER_SECONDS}, sync_client=True) as client:
            client.request("GET", "/health").json()
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        return error
    return None


def answers(api_url: str) -> bool:
    """Say whether a Prefect server answers at this address."""
    return failure(api_url) is None


def unusable(api_url: str, error: Exception | None = None) -> str:
    """Say what is wrong with a server that was asked, or with its address, and what to do."""
    status = getattr(getattr(error, "response", None), "status_code", 0)
    address = "PREFECT_API_URL, which ends in /api"
    if isinstance(error, ValueError):
        return f"{api_url} is no API of a Prefect server. Correct {address}."
    if "CERTIFICATE" in str(error):
        return f"{api_url} has a certificate that is not trusted. Set PREFECT_API_SSL_CERT_FILE."
    if not status:
        return f"{api_url} does not answer. Start it, or correct {address}."
    if status >= 500:
        return f"{api_url} answers with {status}. Look at the server's log."
    return f"{api_url} answers with {status}. Correct {address}, or PREFECT_API_AUTH_STRING."


def home_of(api_url: str) -> Path | None:
    """Return the home of the server that answers at this address: tells one from another."""
    import httpx

    try:
        settings = httpx.get(f"{api_url.rstrip('/')}/admin/settings", timeout=ANSWER_SECONDS).json()
    except (httpx.HTTPError, ValueError):
        return None
    home = settings.get("home") if isinstance(settings, dict) else None
    return Path(str(home)) if home else None


def configured() -> str | None:
    """Return the address in ``PREFECT_API_URL``, or in Prefect's profile."""
    from prefect.settings import PREFECT_API_URL

    address: str | None = PREFECT_API_URL.value()
    return address


def require_configured() -> None:
    """Refuse to go on without a Prefect server: a client would start one of its own.

    Raises:
        ServerError: none is set.
    """
    if not configured():
        raise ServerError("No server is set: let PREFECT_API_URL lead to one.")


@contextlib.contextmanager
def client_of(api_url: str) -> Iterator[SyncPrefectClient]:
    """Open a client of a server.

    Raises:
        ServerError: it does not answer, or refuses what it is asked.
    """
    from httpx import HTTPError
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings

    try:
        with temporary_settings({PREFECT_API_URL: api_url}), get_client(sync_client=True) as client:
            yield client
    except HTTPError as error:
        raise ServerError(unusable(api_url, error)) from error


@contextlib.contextmanager
def connected(data_dir: Path | None) -> Iterator[tuple[str, SyncPrefectClient]]:
    """Open a client of the server that is set, or up on this machine; say where that is.

    Args:
        data_dir: where a stack of ``haas up`` would have left its address.

    Raises:
        ServerError: no server is set, or it does not answer, or refuses.
    """
    api_url = configured() or (address_of(data_dir) if data_dir else None)
    if api_url is None:
        raise ServerError(
            "No server is set. Start one with `haas up`, or let PREFECT_API_URL lead to one."
        )
    if error := failure(api_url):
        raise ServerError(unusable(api_url, error)) from error
    with client_of(api_url) as client:
        yield api_url, client
