"""Short names for what fixtures give."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun

Client = SyncPrefectClient
Kill = Callable[[str], FlowRun]
LogCapture = pytest.LogCaptureFixture
MakeLine = Callable[..., str]
MakeSpan = Callable[..., ReadableSpan]
MonkeyPatch = pytest.MonkeyPatch
Warnings = Callable[[], list[str]]
