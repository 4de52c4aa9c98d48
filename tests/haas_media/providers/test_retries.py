"""What is tried again, how often, and when the client stops trying."""

from __future__ import annotations

import datetime as dt
import sys
import threading
import time
from email.utils import format_datetime

import pytest

from haas_media.providers.records import Gone, ProviderRefused, ProviderUnreachable, UnusableRecord
from haas_media.providers.tmdb import Outage, RetryPolicy
from haas_media.providers.tmdb.answers import Answer, TryAgain, read_answer
from haas_media.providers.tmdb.retries import read_retry_after
from tests.fake_tmdb import FakeTmdb, Fault

from .conftest import V3_KEY

RECOVERABLE = {
    "500": Fault("status", 500),
    "502": Fault("status", 502),
    "503": Fault("status", 503),
    "504": Fault("status", 504),
    "429 without a time": Fault("status", 429),
    "429 with seconds": Fault("status", 429, {"Retry-After": "0"}),
    "429 with nonsense": Fault("status", 429, {"Retry-After": "soon"}),
    "connection reset": Fault("reset"),
    "JSON cut off": Fault("truncate"),
    "a log-in page": Fault("garbage"),
}


@pytest.fixture(autouse=True)
def _one_movie(tmdb: FakeTmdb) -> None:
    tmdb.catalogue.add_movie(1, "One")


@pytest.mark.parametrize("fault", RECOVERABLE.values(), ids=RECOVERABLE)
def test_is_tried_again_until_it_succeeds_but_only_six_times(
    tmdb: FakeTmdb, connect, fault: Fault
) -> None:
    client = connect()
    tmdb.fail(fault, times=6)
    assert client.movie(1).title == "One"
    assert len(tmdb.requests) == 7
    tmdb.fail(fault, times=None)
    with pytest.raises(ProviderUnreachable, match=r"^TMDb cannot be reached: [^;]+$"):
        client.movie(1)
    assert len(tmdb.requests) == 14


def test_a_closed_port_is_unreachable_and_fine_again_when_it_is_back(
    tmdb: FakeTmdb, connect
) -> None:
    client = connect()
    client.movie(1)
    tmdb.down()
    with pytest.raises(ProviderUnreachable):
        client.movie(1)
    tmdb.up()
    assert client.movie(1).title == "One"


def test_a_stalled_answer_is_cut_off(tmdb: FakeTmdb, connect) -> None:
    tmdb.fail(Fault("stall", seconds=3600))
    assert connect(timeout=dt.timedelta(seconds=0.5)).movie(1).title == "One"


def test_an_answer_that_trickles_is_cut_off(tmdb: FakeTmdb, connect) -> None:
    tmdb.fail(Fault("trickle", seconds=0.5))  # for several minutes
    policy = RetryPolicy(first_wait=dt.timedelta(0, 0.01), attempt_limit=dt.timedelta(0, 0.4))
    assert connect(retries=policy).movie(1).title == "One"


def test_retry_after_is_honoured_by_every_thread(tmdb: FakeTmdb, connect) -> None:
    tmdb.fail(Fault("status", 429, {"Retry-After": "1"}))
    client = connect()
    threads = [threading.Thread(target=client.movie, args=(1,)) for _ in range(2)]
    threads[0].start()
    while not (tmdb.requests and is_waiting(threads[0])):
        time.sleep(0.005)
    threads[1].start()
    for thread in threads:
        thread.join()
    first, *later = sorted(seen.at for seen in tmdb.requests)
    assert len(later) == 2
    assert all(at - first >= 1.0 for at in later)


@pytest.mark.parametrize("asked", ["0", "Wed, 21 Oct 2015 07:28:00 GMT"])
def test_to_be_asked_for_no_pause_makes_no_burst(tmdb: FakeTmdb, connect, asked: str) -> None:
    tmdb.fail(Fault("status", 429, {"Retry-After": asked}))
    connect(retries=RetryPolicy(first_wait=dt.timedelta(seconds=1))).movie(1)
    first, second = (seen.at for seen in tmdb.requests)
    assert second - first >= 0.5


def is_waiting(thread: threading.Thread) -> bool:
    frame = sys._current_frames().get(thread.ident or 0)
    return frame is not None and frame.f_code is threading.Condition.wait.__code__


def test_nobody_waits_for_an_hour(tmdb: FakeTmdb, connect) -> None:
    date = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
    for client, asked in enumerate(("3600", format_datetime(date, usegmt=True)), 1):
        tmdb.fail(Fault("status", 429, {"Retry-After": asked}))
        impatient = connect()
        with pytest.raises(ProviderUnreachable, match=r"asks to wait 3[56]\d\d s"):
            impatient.movie(1)
        with pytest.raises(ProviderUnreachable):
            impatient.movie(1)
        assert len(tmdb.requests) == client, "TMDb asked to be left alone"


RETRY_AFTER = {
    "0": 0,
    "7": 7,
    " 7 ": 7,
    "Wed, 21 Oct 2015 07:28:10 GMT": 10,
    "Wed, 21 Oct 2015 07:00:00 GMT": 0,
    "Wed, 21 Oct 2015 07:28:10": 10,
    "-3": None,
    "1.5": None,
    "": None,
    "soon": None,
    "²": None,
    None: None,
}


def test_reading_retry_after() -> None:
    now = dt.datetime(2015, 10, 21, 7, 28, tzinfo=dt.UTC)
    assert {value: read_retry_after(value, now) for value in RETRY_AFTER} == RETRY_AFTER


def test_pauses_grow_and_are_bounded_and_differ() -> None:
    policy = RetryPolicy()
    for retry, longest in enumerate([0.5, 1, 2, 4, 8, 8, 8]):
        waits = {policy.wait(retry) for _ in range(50)}
        assert len(waits) > 1
        assert longest / 2 <= min(waits) <= max(waits) <= longest


# -- what is not tried again -------------------------------------------------------------------


def test_401_fails_at_once_and_says_what_to_set(tmdb: FakeTmdb, connect) -> None:
    tmdb.token = "another"
    client = connect(V3_KEY)
    for _ in range(2):
        with pytest.raises(ProviderRefused, match=r"401, “Invalid API key.*HAAS_TMDB_TOKEN"):
            client.movie(1)
    assert len(tmdb.requests) == 1, "nothing is asked any more once the token is refused"


def test_a_suspended_key_is_refused(tmdb: FakeTmdb, connect) -> None:
    tmdb.fail(Fault("status", 403))
    with pytest.raises(ProviderRefused, match="Suspended"):
        connect().movie(1)


def test_404_is_gone(tmdb: FakeTmdb, connect) -> None:
    with pytest.raises(Gone, match="TMDb has no movie/2"):
        connect().movie(2)
    assert len(tmdb.requests) == 1


@pytest.mark.parametrize("body", [b"", b"{}", b'{"success": false}', b'{"status_message": "No."}'])
def test_a_bare_404_of_a_proxy_is_gone_too(body: bytes) -> None:
    with pytest.raises(Gone, match="TMDb has no movie/2"):
        read_answer(Answer(404, body), "/movie/2")


@pytest.mark.parametrize("body", [b'{"detail": "Not Found"}', b"<h1>Not Found</h1>", b"[]"])
@pytest.mark.parametrize("status", [302, 400, 403, 404, 407, 451])
def test_what_something_else_answers_is_said_of_no_record(status: int, body: bytes) -> None:
    # A refresh must not take its whole library for gone, or for current, for a wrong address.
    with pytest.raises(TryAgain, match=f"{status} without its message.*HAAS_TMDB_URL"):
        read_answer(Answer(status, body), "/movie/2")


def test_a_404_with_an_odd_code_concerns_that_request_only() -> None:
    with pytest.raises(UnusableRecord, match="404"):
        read_answer(Answer(404, b'{"status_code": [34]}'), "/movie/2")


def test_another_refusal_concerns_that_request_only(tmdb: FakeTmdb, connect) -> None:
    tmdb.fail(Fault("status", 422))
    client = connect()
    with pytest.raises(UnusableRecord, match="422"):
        client.movie(1)
    assert client.movie(1).title == "One"


# -- outages -----------------------------------------------------------------------------------


def test_a_long_outage_makes_calls_fail_at_once_and_ends_by_itself(tmdb: FakeTmdb, connect) -> None:
    now = 100.0
    outage = Outage(dt.timedelta(seconds=60), dt.timedelta(seconds=15), clock=lambda: now)
    client = connect(outage=outage)

    def asked(calls: int) -> int:
        tmdb.forget()
        for _ in range(calls):
            with pytest.raises(ProviderUnreachable):
                client.movie(1)
        return len(tmdb.requests)

    tmdb.down(Fault("reset"))
    assert asked(2) == 14
    now += 59
    assert asked(2) == 14
    now += 2
    assert outage.lasts == 61
    assert asked(1000) == 1, "thousands of titles are put off, while hardly anything is sent"
    now += 15
    assert asked(1000) == 1
    tmdb.up()
    assert asked(1) == 0
    now += 15
    assert client.movie(1).title == client.movie(1).title == "One"
    assert outage.lasts is None


def test_one_title_that_never_works_is_no_outage(tmdb: FakeTmdb, connect) -> None:
    tmdb.catalogue.add_movie(2, "Two")
    tmdb.fail(Fault("status", 500), path="/movie/2", times=None)
    client = connect(outage=Outage(patience=dt.timedelta(0)))
    for _ in range(3):
        with pytest.raises(ProviderUnreachable):
            client.movie(2)
        # The call that is let through to see whether TMDb is back ends the outage.
        assert client.movie(1).title == "One"


def test_close_wakes_whoever_waits(tmdb: FakeTmdb, connect) -> None:
    tmdb.down(Fault("status", 503, {"Retry-After": "60"}))
    client = connect(retries=RetryPolicy())
    failures: list[BaseException] = []

    def work() -> None:
        try:
            client.movie(1)
        except ProviderUnreachable as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    while not tmdb.requests:
        time.sleep(0.01)
    client.close()
    thread.join(30)
    assert not thread.is_alive()
    assert len(failures) == 1
    with pytest.raises(ProviderUnreachable, match="closed"):
        client.movie(1)
