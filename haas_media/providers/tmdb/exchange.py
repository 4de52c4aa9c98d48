"""One request and its answer: paced, signed, retried."""

from __future__ import annotations

import datetime as dt
import itertools
import threading
import time
from typing import TYPE_CHECKING, Any

import httpx

from haas_media.providers.records import ProviderError, ProviderRefused, ProviderUnreachable
from haas_media.providers.tmdb.answers import Answer, TryAgain, read_answer
from haas_media.providers.tmdb.pace import Pace
from haas_media.providers.tmdb.retries import Outage, RetryPolicy
from haas_media.providers.tmdb.transport import Credentials, SigningTransport, direct_transport

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Self

    from haas_media.providers.tmdb.pace import Sending

TMDB_URL = "https://api.themoviedb.org/3"


class Exchange:
    """Sends requests to TMDb and returns the JSON objects that it answers with.

    The token shows nowhere: not in ``repr``, errors, logs, nor in what ``around`` sees.

    Args:
        token: v4 read access token or v3 key, told apart by shape.
        url: of the API, with its version; a proxy or a local server in place of TMDb's own.
        requests_per_second: never exceeded in any second by this client, retries included.
        max_concurrent: requests under way at once.
        language: of titles and texts (``de-DE``); TMDb's default is ``en-US``.
        timeout: how long a connection, or the next byte of an answer, may take.
        transport: carries the requests, signed already; by default the network.
        around: wraps the transport that signs, for a layer that observes requests and must not
            see the credentials, such as a tracing transport.
        retries: how often and when a request is tried again.
        outage: when to stop trying.

    Raises:
        ValueError: the token cannot be one.
    """

    def __init__(
        self,
        token: str,
        url: str = TMDB_URL,
        *,
        requests_per_second: float = 20,
        max_concurrent: int = 4,
        language: str | None = None,
        timeout: dt.timedelta = dt.timedelta(seconds=15),
        transport: httpx.BaseTransport | None = None,
        around: Callable[[httpx.BaseTransport], httpx.BaseTransport] | None = None,
        retries: RetryPolicy | None = None,
        outage: Outage | None = None,
    ) -> None:
        self._language = {"language": language} if language else {}
        self._url = url
        self._credentials = Credentials(token)
        signing: httpx.BaseTransport = SigningTransport(
            self._credentials, transport or direct_transport(self._url, max_concurrent)
        )
        self._http = httpx.Client(
            base_url=self._url,
            transport=around(signing) if around else signing,
            timeout=timeout.total_seconds(),
            headers={"Accept": "application/json", "User-Agent": "haas-media"},
        )
        self._retries = retries or RetryPolicy()
        self._outage = outage or Outage()
        self._slots = threading.BoundedSemaphore(max_concurrent)
        self._closed = threading.Event()
        self._pace = Pace(requests_per_second, sleep=self._sleep)
        self._numbers = itertools.count(1)
        self._refusal: str | None = None
        self._made = 0

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._url!r}, {self._credentials})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def requests_made(self) -> int:
        """Requests sent so far, retries included."""
        return self._made

    def close(self) -> None:
        """Close the connections; calls that wait in other threads end with an error."""
        self._closed.set()
        self._http.close()

    def _get(self, path: str, query: Mapping[str, str]) -> Mapping[str, Any]:
        """Return what TMDb answers, trying again while that can help.

        Args:
            query: everything but the credentials.

        Raises:
            ProviderUnreachable: no usable answer in spite of retries.
            ProviderRefused: the token is not accepted; no further request is sent.
            Gone: there is no such record.
            UnusableRecord: TMDb refuses this request only.
        """
        if self._refusal:
            raise ProviderRefused(self._refusal)
        if not self._outage.admits():
            raise ProviderUnreachable("TMDb has not answered for a while")
        for retry in itertools.count():
            try:
                return self._answered(path, query)
            except TryAgain as again:
                self._outage.failed()
                self._give_up_or_wait(again, retry)
        raise AssertionError("count() has no end")

    def _answered(self, path: str, query: Mapping[str, str]) -> Mapping[str, Any]:
        answer = self._send(path, query)
        try:
            fields = read_answer(answer, path, self._credentials.hide)
        except ProviderRefused as refused:
            self._refusal = str(refused)
            raise
        except ProviderError:
            self._outage.succeeded()
            raise
        self._outage.succeeded()
        return fields

    def _send(self, path: str, query: Mapping[str, str]) -> Answer:
        # The turn is taken last, so that it is used at once.
        with self._slots, self._pace.turn() as sending:
            if self._closed.is_set():
                raise ProviderUnreachable("The TMDb client is closed")
            self._made = next(self._numbers)
            try:
                return self._receive(path, query, sending)
            except httpx.TimeoutException as error:
                raise TryAgain("it does not answer in time") from error
            except (httpx.TransportError, httpx.DecodingError) as error:
                raise TryAgain(str(error).strip() or type(error).__name__) from error

    def _receive(self, path: str, query: Mapping[str, str], sending: Sending) -> Answer:
        def trace(event: str, _: object) -> None:
            if event.endswith(".send_request_headers.complete"):
                sending.sent()
            elif event.endswith(".receive_response_headers.complete"):
                sending.answered()

        deadline = time.monotonic() + self._retries.attempt_limit.total_seconds()
        with self._http.stream(
            "GET", path, params=dict(query), extensions={"trace": trace}
        ) as response:
            body = bytearray()
            for chunk in response.iter_bytes():
                body += chunk
                if time.monotonic() > deadline:
                    raise TryAgain("its answer trickles")
            return Answer(response.status_code, bytes(body), response.headers.get("Retry-After"))

    def _give_up_or_wait(self, again: TryAgain, retry: int) -> None:
        """Wait before the next attempt.

        Raises:
            ProviderUnreachable: there is to be none.
        """
        longest = self._retries.longest_retry_after.total_seconds()
        if again.after is not None and again.after > longest:
            self._outage.lasts_for(again.after)
            raise ProviderUnreachable(f"TMDb asks to wait {again.after:.0f} s") from again
        if retry >= self._retries.retries or self._outage.lasts is not None:
            reason = self._credentials.hide(str(again))
            raise ProviderUnreachable(f"TMDb cannot be reached: {reason}") from again
        if again.throttled and again.after:
            # It is the account that is throttled, not this one request.
            self._pace.hold(again.after)
        # A time of none, or one that is past by our clock, is no leave to ask at once.
        self._sleep(max(again.after or 0.0, self._retries.wait(retry)))

    def _sleep(self, seconds: float) -> None:
        if self._closed.wait(seconds):
            raise ProviderUnreachable("The TMDb client was closed while it waited")
