"""The way to TMDb: credentials are added at its innermost point, so that nothing else sees them."""

from __future__ import annotations

import re
import urllib.request
from urllib.parse import urlsplit

import httpx

_V3_KEY = re.compile(r"[0-9a-f]{32}", re.IGNORECASE)
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


class Credentials:
    """A v4 bearer token or a v3 key, told apart by shape; never shows itself.

    Args:
        token: as copied from TMDb's settings; blanks and quotes around it (``docker --env-file``
            keeps these) and a leading ``Bearer`` do not matter.

    Raises:
        ValueError: it is empty, or holds what no token holds. The text does not repeat it.
    """

    def __init__(self, token: str) -> None:
        token = re.sub(r"^bearer(\s+|$)", "", token.strip("\"' \t\r\n"), flags=re.IGNORECASE)
        if not token:
            raise ValueError("The TMDb token is empty: set HAAS_TMDB_TOKEN, or leave it out")
        if not re.fullmatch(r"[!-~]+", token):
            raise ValueError(
                "The TMDb token holds blanks or other characters that no token has: "
                "copy it again into HAAS_TMDB_TOKEN"
            )
        self._secret = token
        self.is_v3_key = bool(_V3_KEY.fullmatch(token))

    def __repr__(self) -> str:
        return f"Credentials({'v3 key' if self.is_v3_key else 'v4 token'})"

    def sign(self, request: httpx.Request) -> httpx.Request:
        """Return a copy of the request that carries the credentials."""
        url, headers = request.url, request.headers.copy()
        if self.is_v3_key:
            url = url.copy_merge_params({"api_key": self._secret})
        else:
            headers["Authorization"] = f"Bearer {self._secret}"
        return httpx.Request(
            request.method,
            url,
            headers=headers,
            stream=request.stream,
            extensions=request.extensions,
        )

    def hide(self, text: str) -> str:
        """Return the text without the secret, should a server have echoed it."""
        return text.replace(self._secret, "***")


class SigningTransport(httpx.BaseTransport):
    """Add the credentials right before the request leaves.

    httpx logs each request with its URL and tracing layers record it; both see the request as it
    was before this transport, so a v3 key, which TMDb takes in the query only, is in neither.
    """

    def __init__(self, credentials: Credentials, inner: httpx.BaseTransport) -> None:
        self._credentials = credentials
        self._inner = inner

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a signed copy of the request."""
        return self._inner.handle_request(self._credentials.sign(request))

    def close(self) -> None:
        """Close the connections."""
        self._inner.close()


def direct_transport(url: str, connections: int) -> httpx.HTTPTransport:
    """Return a transport that goes where the environment's proxy variables say.

    httpx reads these variables only when it makes the transport itself.
    """
    return httpx.HTTPTransport(
        proxy=_proxy_for(url),
        limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
    )


def _proxy_for(url: str) -> str | None:
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host in _LOOPBACK or urllib.request.proxy_bypass(host):
        return None
    proxies = urllib.request.getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy:
        return None
    return proxy if "://" in proxy else f"http://{proxy}"
