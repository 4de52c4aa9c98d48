"""A cancel that comes when an output has taken its name has come too late for the task."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING

import av
import pytest

from flows.point_of_no_return import pass_point_of_no_return, point_of_no_return
from haas_otel.delivery.store import TraceStore
from tests.flows.test_tasks import make_clip
from tests.warm import warm

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import FrameType

    from tests.flows.conftest import Flows


class Interrupted(BaseException):
    pass


@pytest.fixture(autouse=True)
def _interruptible() -> Iterator[None]:
    def interrupt(number: int, frame: FrameType | None) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGTERM, interrupt)
    yield
    assert signal.getsignal(signal.SIGTERM) is interrupt, "the handler was put back"
    signal.signal(signal.SIGTERM, before)


def work(done: list[str], number: signal.Signals, *, passes: bool) -> None:
    with point_of_no_return():
        if passes:
            pass_point_of_no_return()
        signal.raise_signal(number)
        done.append("the rest")
    done.append("what follows")


def test_before_it_a_signal_interrupts_at_once() -> None:
    done: list[str] = []
    with pytest.raises(Interrupted):
        work(done, signal.SIGTERM, passes=False)
    assert done == []


@pytest.mark.parametrize(
    ("number", "interruption"),
    [(signal.SIGTERM, Interrupted), (signal.SIGINT, KeyboardInterrupt)],
)
def test_after_it_a_signal_waits_for_the_end_of_the_block(
    number: signal.Signals, interruption: type[BaseException]
) -> None:
    done: list[str] = []
    with pytest.raises(interruption):
        work(done, number, passes=True)
    assert done == ["the rest"]


def test_without_a_signal_nothing_is_left_of_it() -> None:
    with point_of_no_return():
        pass_point_of_no_return()
    with pytest.raises(Interrupted):
        signal.raise_signal(signal.SIGTERM)


def test_without_a_block_it_is_passed_without_effect() -> None:
    pass_point_of_no_return()
    with pytest.raises(Interrupted):
        signal.raise_signal(signal.SIGTERM)


def test_in_a_thread_there_is_nothing_to_hold_back() -> None:
    failed = []

    def pass_it() -> None:
        try:
            with point_of_no_return():
                pass_point_of_no_return()
        except ValueError as error:
            failed.append(error)

    thread = threading.Thread(target=pass_it)
    thread.start()
    thread.join()
    assert failed == []


INTERRUPTED_WHILE_IT_IS_RENAMED = """
import os, signal, sys
from flows.encoding import encoding_flow

replace = os.replace

def replace_and_be_cancelled(source, target):
    replace(source, target)
    if "haas-partial" in str(source):
        os.kill(os.getpid(), signal.SIGTERM)

os.replace = replace_and_be_cancelled
encoding_flow(source=sys.argv[1], output=sys.argv[2], video_codec="copy")
print("went on")
"""


@pytest.mark.e2e
def test_an_encoding_that_is_cancelled_when_its_output_is_there(
    flows: Flows, tmp_path: Path
) -> None:
    source, output = make_clip(tmp_path / "films" / "source.mkv"), tmp_path / "films" / "output.mkv"
    output.write_bytes(b"what was there before")
    libraries = f'[{{"title": "Films", "kind": "movies", "path": "{source.parent}"}}]'
    ended = warm().run(
        *("-c", INTERRUPTED_WHILE_IT_IS_RENAMED, str(source), str(output)),
        env=flows.environment | {"HAAS_LIBRARIES": libraries},
        cwd=tmp_path,
    )
    assert ended.returncode == -signal.SIGTERM, ended.stderr
    assert "went on" not in ended.stdout
    with av.open(str(output)) as container:
        assert container.duration > 900_000
    (span,) = TraceStore(flows.telemetry).tasks(limit=10)
    assert span.task_status == "Completed"
    assert span.attributes["media.encoding.progress"] == 100
