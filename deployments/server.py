"""Prefect servers on this machine: their addresses, and telling one from another."""

from __future__ import annotations

import contextlib
import socket
from dataclasses import dataclass
from pathlib import Path

HOST = "127.0.0.1"
ANSWER_SECONDS = 10.0  # that a busy one is given
# A server that keeps leases in its memory ends, when it is restarted, the runs that hold one.
LEASE_STORAGE = "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE"
KEPT_LEASES = "prefect.server.concurrency.lease_storage.filesystem"


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
