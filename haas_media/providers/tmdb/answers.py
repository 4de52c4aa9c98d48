"""Sort TMDb's answers: usable, worth another try, gone, refused."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from haas_media.providers.records import Gone, ProviderRefused, UnusableRecord
from haas_media.providers.tmdb.retries import read_retry_after

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# TMDb's own codes, https://developer.themoviedb.org/docs/errors
_NOT_FOUND = (6, 34, 37)
_MESSAGE = {"status_code", "status_message", "success"}
_REFUSED = {401, 403}
_AGAIN = {408, 420, 425, 429}
_NOT_TMDB = "what answers is not TMDb ({} without its message): see HAAS_TMDB_URL"


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete HTTP answer; the body is decoded from its transfer encoding."""

    status: int
    body: bytes
    retry_after: str | None = None


class TryAgain(Exception):
    """No usable answer, but another attempt may get one.

    Args:
        reason: what happened, as a part of a sentence.
        after: seconds that the server asks to wait, when it does.
        throttled: the server asks all callers to slow down.
    """

    def __init__(self, reason: str, *, after: float | None = None, throttled: bool = False) -> None:
        super().__init__(reason)
        self.after = after
        self.throttled = throttled


def read_answer(answer: Answer, path: str, hide: Callable[[str], str] = str) -> Mapping[str, Any]:
    """Return the JSON object of a good answer.

    Args:
        hide: takes out of a message what a server may have echoed.

    Raises:
        TryAgain: the server is overloaded or broken, or the body is not whole.
        Gone: TMDb has no such record.
        ProviderRefused: TMDb does not accept the credentials.
        UnusableRecord: any other refusal, which concerns this request only.
    """
    if answer.status in _AGAIN or answer.status >= 500:
        raise TryAgain(
            f"it answers {answer.status}",
            after=read_retry_after(answer.retry_after),
            throttled=answer.status == 429,
        )
    fields = _decode(answer)
    if answer.status in _REFUSED:
        if answer.status == 403 and _MESSAGE.isdisjoint(fields or ()):
            raise TryAgain(_NOT_TMDB.format(403))
        raise ProviderRefused(
            f"TMDb refuses the token ({answer.status}{_message(fields, hide)}). Set "
            "HAAS_TMDB_TOKEN to the API Read Access Token or the API Key of your account "
            "(https://www.themoviedb.org/settings/api)"
        )
    if not 200 <= answer.status < 300:
        if not _may_be_tmdbs(answer, fields):
            raise TryAgain(_NOT_TMDB.format(answer.status))
        if answer.status == 404 and (fields or {}).get("status_code", 34) in _NOT_FOUND:
            raise Gone(f"TMDb has no {path.lstrip('/')} (any more)")
        raise UnusableRecord(f"TMDb answers {answer.status}{_message(fields, hide)} to {path}")
    if fields is None:
        raise TryAgain("its answer is not complete JSON")
    return fields


def _may_be_tmdbs(answer: Answer, fields: Mapping[str, Any] | None) -> bool:
    """Say whether nothing shows that it is another server's, as a page or other words do."""
    if 300 <= answer.status < 400:  # to a page to log in at, or to where an API is by now
        return False
    if fields:
        return not _MESSAGE.isdisjoint(fields)
    return fields is not None or not answer.body.strip()


def _decode(answer: Answer) -> Mapping[str, Any] | None:
    try:
        fields = json.loads(answer.body)
    except (ValueError, RecursionError):
        return None
    return fields if isinstance(fields, dict) else None


def _message(fields: Mapping[str, Any] | None, hide: Callable[[str], str]) -> str:
    message = (fields or {}).get("status_message")
    return f", “{hide(message).strip()[:200]}”" if isinstance(message, str) else ""
