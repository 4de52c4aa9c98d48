"""Where spans are kept, asked by their ids: a page for each kind of backend.

A backend is named as ``store``, or as its kind and address: ``jaeger=http://127.0.0.1:16686``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

KINDS = ("jaeger", "zipkin", "tempo")


class Found(NamedTuple):
    """A span as a backend has it: ids in lower-case hex, start in µs since the epoch, ended after.

    ``attributes`` may be text or what they were.
    """

    span_id: str
    start: int
    duration: int
    attributes: Mapping[str, Any]


class Backend(Protocol):
    """A backend that can be asked. ``exporter`` begins the names of exporters to it."""

    exporter: str

    def spans(self, trace_id: str) -> list[Found]:
        """Return all spans of a trace, each as often as it is there; none of an unknown one."""


class BackendError(Exception):
    """A backend cannot be asked. The text says what to give, or what it answered."""


def backend(name: str) -> Backend:
    """Return the backend of this name.

    Raises:
        BackendError: there is none of that kind.
    """
    kind, _, url = name.partition("=")
    if name == "store":
        from flows.backends.store import Store

        return Store()
    if kind not in KINDS or not url.startswith(("http://", "https://")):
        known = ", ".join(f"{each}=URL" for each in KINDS)
        raise BackendError(f"{name!r} is no backend: give store, {known}.")
    found: Backend = getattr(import_module(f"flows.backends.{kind}"), kind.capitalize())(
        url.rstrip("/")
    )
    return found


def get(url: str, **parameters: str) -> Any:
    """Return the JSON at an address; None where there is nothing.

    Raises:
        BackendError: it does not answer, or with something else.
    """
    import httpx

    try:
        answer = httpx.get(url, params=parameters, timeout=30)
        if answer.status_code == 404:
            return None
        return answer.raise_for_status().json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise BackendError(f"{url} cannot be asked: {error}") from error
