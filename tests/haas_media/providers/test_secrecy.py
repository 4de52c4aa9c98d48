"""The token shows nowhere but in what TMDb receives."""

from __future__ import annotations

import logging
import traceback

import pytest
from opentelemetry.instrumentation.httpx import SyncOpenTelemetryTransport
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from haas_media.providers.records import Gone, ProviderRefused, ProviderUnreachable, UnusableRecord
from haas_media.providers.tmdb import TmdbClient
from tests.fake_tmdb import FakeTmdb, Fault, connected

from .conftest import V3_KEY, V4_TOKEN

TOKENS = pytest.mark.parametrize("token", [V3_KEY, V4_TOKEN], ids=["v3 key", "v4 token"])


def test_a_v3_key_goes_into_the_query(tmdb: FakeTmdb, connect) -> None:
    tmdb.catalogue.add_movie(1, "One")
    connect(V3_KEY).movie(1)
    assert (tmdb.requests[0].api_key, tmdb.requests[0].bearer) == (V3_KEY, None)
    assert tmdb.requests[0].query == {"append_to_response": "credits"}


@pytest.mark.parametrize("given", [V4_TOKEN, f"  Bearer {V4_TOKEN}\n", f'"{V4_TOKEN}"'])
def test_a_v4_token_goes_into_the_header(tmdb: FakeTmdb, connect, given: str) -> None:
    tmdb.catalogue.add_movie(1, "One")
    connect(given).movie(1)
    assert (tmdb.requests[0].api_key, tmdb.requests[0].bearer) == (None, V4_TOKEN)


@TOKENS
def test_not_in_logs_repr_errors_or_tracebacks(
    tmdb: FakeTmdb, connect, token: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    tmdb.catalogue.add_movie(1, "One")
    client = connect(token)
    client.movie(1)
    shown = [repr(client), str(client)]
    tmdb.fail(Fault("reset"), "/movie/1", times=7)
    for call, expected in (
        (lambda: client.movie(2), Gone),
        (lambda: client.movie(1), ProviderUnreachable),
    ):
        with pytest.raises(expected) as caught:
            call()
        shown += [str(caught.value), "".join(traceback.format_exception(caught.value))]
    tmdb.token = "another"
    with pytest.raises(ProviderRefused) as refused:
        client.movie(1)
    shown += ["".join(traceback.format_exception(refused.value))]
    assert "HTTP Request: GET" in caplog.text, "httpx logged the requests"
    assert token not in caplog.text
    assert not [text for text in shown if token in text]


@TOKENS
def test_not_in_any_span_of_a_tracing_layer_around(
    tmdb: FakeTmdb, connect, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_CLIENT_REQUEST", ".*")
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tmdb.catalogue.add_movie(1, "One")
    client = connect(
        token, around=lambda inner: SyncOpenTelemetryTransport(inner, tracer_provider=provider)
    )
    client.movie(1)
    (span,) = exporter.get_finished_spans()
    attributes = dict(span.attributes or {})
    assert any("/3/movie/1" in str(value) for value in attributes.values())
    assert token not in span.to_json()


@TOKENS
@pytest.mark.parametrize("status", [400, 401, 404])
@pytest.mark.parametrize("before", [0, 180], ids=["whole", "cut"])
def test_a_server_that_echoes_the_token_does_not_make_it_public(
    tmdb: FakeTmdb, connect, token: str, status: int, before: int
) -> None:
    tmdb.answer = lambda path, query: (  # type: ignore[method-assign]
        status,
        {"status_code": 7, "status_message": f"{'-' * before} {token} is not valid"},
    )
    with pytest.raises((ProviderRefused, UnusableRecord)) as caught:
        connect(token).movie(1)
    assert token[:10] not in "".join(traceback.format_exception(caught.value))


def test_what_is_no_token_is_refused_without_repeating_it() -> None:
    for bad in ("", "   ", "two words", "line\nbreak", "Ключ", "a\x00b", "Bearer "):
        with pytest.raises(ValueError, match="HAAS_TMDB_TOKEN") as caught:
            TmdbClient(bad)
        if bad.strip() and bad != "Bearer ":
            assert bad not in str(caught.value)


def test_redirects_are_not_followed_with_the_token(connect, tmdb: FakeTmdb) -> None:
    tmdb.fail(Fault("status", 302, {"Location": "http://127.0.0.1:9/"}), times=None)
    with pytest.raises(ProviderUnreachable, match=r"302 without its message.*HAAS_TMDB_URL"):
        connect().movie(1)


def test_a_proxy_of_the_environment_is_used(
    tmdb: FakeTmdb, connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("no_proxy", "NO_PROXY", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    tmdb.catalogue.add_movie(1, "One")
    elsewhere = "http://127.0.0.2:1/3"  # where nobody answers but a proxy
    monkeypatch.setenv("http_proxy", f"127.0.0.1:{tmdb.port}")
    with TmdbClient(V3_KEY, elsewhere) as client:
        assert client.movie(1).title == "One"
    monkeypatch.setenv("no_proxy", "127.0.0.2")
    with connected(elsewhere) as client, pytest.raises(ProviderUnreachable):
        client.movie(1)
    monkeypatch.setenv("http_proxy", "127.0.0.2:1")
    monkeypatch.delenv("no_proxy")
    assert connect().movie(1).title == "One", "this machine is reached without a proxy"
