"""Whether the backends that the variables choose take spans, asked of real local servers."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from deployments.collector import CollectorError, endpoint, send_nothing
from tests.backends import environment_of_zipkin, zipkin
from tests.receiver import Receiver

if TYPE_CHECKING:
    from collections.abc import Callable

AZURE = "azure_monitor_opentelemetry_exporter"


@pytest.fixture
def choose(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Set these variables and no others of telemetry."""

    def choose(**variables: str) -> None:
        for name in list(os.environ):
            if name.startswith(("OTEL_", "APPLICATIONINSIGHTS_")):
                monkeypatch.delenv(name)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return choose


def test_nothing_chosen_is_nowhere(choose: Callable[..., None]) -> None:
    choose()
    assert endpoint() is None
    choose(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1", OTEL_TRACES_EXPORTER="none")
    assert endpoint() is None
    send_nothing()


def test_zipkin_is_asked_beside_a_collector(choose: Callable[..., None]) -> None:
    with zipkin() as server, Receiver().start("http/protobuf") as receiver:
        variables = {**receiver.environment, **environment_of_zipkin(server)}
        choose(**{**variables, "OTEL_TRACES_EXPORTER": "otlp,zipkin_json"})
        assert endpoint() == f"{receiver.endpoint}, {server.address}/api/v2/spans"
        send_nothing()
        assert server.taken == [[]]

        server.go_down()
        with pytest.raises(CollectorError, match="zipkin_json"):
            send_nothing()


def test_azure_without_a_key_says_what_to_set(choose: Callable[..., None]) -> None:
    choose(OTEL_TRACES_EXPORTER=AZURE)
    assert endpoint() == AZURE
    with pytest.raises(CollectorError, match="APPLICATIONINSIGHTS_CONNECTION_STRING is not set"):
        send_nothing()
    choose(OTEL_TRACES_EXPORTER=AZURE, APPLICATIONINSIGHTS_CONNECTION_STRING="words")
    with pytest.raises(CollectorError, match="onnection string"):
        send_nothing()
    choose(
        OTEL_TRACES_EXPORTER=AZURE,
        APPLICATIONINSIGHTS_CONNECTION_STRING="InstrumentationKey=0b1e5c0e-1234-4abc-8def-5ec2e7000001",
    )
    send_nothing()


def test_what_has_no_address_is_not_asked(choose: Callable[..., None]) -> None:
    choose(OTEL_TRACES_EXPORTER="console")
    assert endpoint() == "console"
    send_nothing()
