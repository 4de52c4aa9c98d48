"""20 requests a second, evenly, whatever the threads and the scheduler do."""

from __future__ import annotations

import heapq
import itertools
import random
import threading
import time
from bisect import bisect_left
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import httpx
import pytest

from haas_media.providers.tmdb.pace import RESERVE, Pace, Sending
from tests.fake_tmdb import FakeTmdb, Fault

if TYPE_CHECKING:
    from contextlib import AbstractContextManager


class Clock:
    """Time that passes only in sleep, which is as late as a busy machine is."""

    def __init__(self, lateness: float = 0.0) -> None:
        self.now = 1000.0
        self._late = random.Random(7)
        self._lateness = lateness

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds + self._late.random() * self._lateness


def run(pace: Pace, clock: Clock, count: int, work: float = 0.0) -> list[float]:
    times = []
    for _ in range(count):
        with pace.turn():
            times.append(clock.now)
            clock.now += work
    return times


def most_in_a_second(times: list[float]) -> int:
    return max(bisect_left(times, start + 1.0) - at for at, start in enumerate(times))


def test_never_more_than_the_limit_in_any_second() -> None:
    for per_second, lateness in itertools.product((1, 2.5, 20, 50), (0.0, 0.004, 0.03, 0.3)):
        clock = Clock(lateness)
        times = run(Pace(per_second, sleep=clock.sleep, clock=clock), clock, 400)
        assert most_in_a_second(times) <= per_second, lateness


def test_keeps_the_rate_though_every_sleep_is_late() -> None:
    for lateness, kept in ((0.0, 0.98), (0.004, 0.97), (0.02, 0.96)):
        clock = Clock(lateness)
        times = run(Pace(20, sleep=clock.sleep, clock=clock), clock, 401)
        assert 400 / (times[-1] - times[0]) >= kept * 20, lateness


class Network(Clock):
    """Requests that take a while to arrive, now and then longer, and answers in any order.

    Args:
        delay: seconds that a request may take longer than the quickest.
        often: the share of requests that do.
    """

    LATENCY = 0.05

    def __init__(self, delay: float, often: float) -> None:
        super().__init__(0.001)
        self.arrived: list[float] = []
        self._delay, self._often = delay, often
        self._answers: list[tuple[float, int, AbstractContextManager[Sending]]] = []

    def send(self, turn: AbstractContextManager[Sending]) -> None:
        sending = turn.__enter__()
        sending.sent()
        late = self._late.random() < self._often
        self.arrived.append(self.now + 0.002 + late * self._late.random() * self._delay)
        answer = self.arrived[-1] + self.LATENCY
        heapq.heappush(self._answers, (answer, len(self.arrived), turn))

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        woken = self.now
        while self._answers and self._answers[0][0] <= woken:
            self.now, _, turn = heapq.heappop(self._answers)
            turn.__exit__(None, None, None)
        self.now = woken


@pytest.mark.parametrize(("delay", "often"), [(0.005, 1.0), (0.02, 1.0), (0.1, 0.05)])
def test_the_server_never_sees_more_in_a_second_though_some_take_longer_to_arrive(
    delay: float, often: float
) -> None:
    network = Network(delay, often)
    pace = Pace(20, sleep=network.sleep, clock=network)
    for _ in range(2000):
        network.send(pace.turn())
    arrived = sorted(network.arrived)
    assert most_in_a_second(arrived) <= 20
    assert 1999 / (arrived[-1] - arrived[0]) >= 0.95 * 20


def test_what_a_slow_answer_costs_is_bounded() -> None:
    """Most of the time it is the server that is slow, not the way to it."""
    network = Network(2.0, 0.3)
    pace = Pace(20, sleep=network.sleep, clock=network)
    for _ in range(400):
        network.send(pace.turn())
    assert 400 / (network.now - 1000.0) >= 0.9 * 20


def test_requests_are_evenly_spaced_not_in_bursts() -> None:
    clock = Clock()
    times = run(Pace(20, sleep=clock.sleep, clock=clock), clock, 100)
    gaps = [b - a for a, b in itertools.pairwise(times)]
    assert min(gaps) == pytest.approx(max(gaps)) == pytest.approx((1 + RESERVE) / 20)


def test_a_pause_is_not_made_up_for_by_a_burst() -> None:
    clock = Clock()
    pace = Pace(20, sleep=clock.sleep, clock=clock)
    run(pace, clock, 30)
    clock.now += 10
    times = run(pace, clock, 40)
    assert sum(t < times[0] + 0.5 for t in times) <= 10


def test_what_counts_is_when_a_request_is_sent_not_when_it_was_let_through() -> None:
    clock = Clock()
    pace = Pace(5, sleep=clock.sleep, clock=clock)
    with pace.turn() as sending:
        # A connection that takes its time, while others go on.
        times = run(pace, clock, 8)
        late = clock.now
        sending.sent()
    times += [late, *run(pace, clock, 20)]
    assert most_in_a_second(sorted(times)) <= 5


def test_nobody_goes_while_all_that_are_allowed_are_about_to_be_sent() -> None:
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        clock.now += seconds
        if len(waited) == 200:
            first.__exit__(None, None, None)

    clock = Clock()
    pace = Pace(1, sleep=sleep, clock=clock)
    first = pace.turn()
    first.__enter__()
    run(pace, clock, 1)
    assert clock.now - 1000.0 > 200 * 0.01 + 1.0


def test_a_slow_rate_is_one_request_in_some_seconds() -> None:
    clock = Clock()
    times = run(Pace(0.5, sleep=clock.sleep, clock=clock), clock, 5)
    assert times[-1] - times[0] == pytest.approx(8 * (1 + RESERVE))


def test_hold_keeps_everybody_back() -> None:
    clock = Clock()
    pace = Pace(20, sleep=clock.sleep, clock=clock)
    run(pace, clock, 1)
    pace.hold(30)
    run(pace, clock, 1)
    assert clock.now == pytest.approx(1030)


def test_whoever_gives_up_lets_the_next_one_in() -> None:
    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    clock = Clock()
    pace = Pace(1, sleep=interrupted, clock=clock)
    run(pace, clock, 1)
    with pytest.raises(KeyboardInterrupt):
        run(pace, clock, 1)
    clock.now += 60
    run(pace, clock, 1)


def test_many_threads_and_their_retries_share_one_pace(tmdb: FakeTmdb, connect) -> None:
    tmdb.catalogue.add_movie(1, "One")
    tmdb.fail(Fault("status", 503), times=20)
    client = connect(requests_per_second=100, max_concurrent=8)
    began = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(client.movie, [1] * 40))
    assert client.requests_made == len(tmdb.requests) == 60
    assert sum(seen.status == 503 for seen in tmdb.requests) == 20
    # Whatever else the machine does can only make it longer.
    assert max(seen.at for seen in tmdb.requests) - began >= 59 / 100


def test_never_more_at_once_than_allowed(tmdb: FakeTmdb, connect) -> None:
    tmdb.catalogue.add_movie(1, "One")
    at_once, most = 0, 0
    counting, all_there = threading.Lock(), threading.Barrier(4)

    class Counted(httpx.HTTPTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            nonlocal at_once, most
            with counting:
                at_once += 1
                most = max(most, at_once)
            # Nobody is done before four are there; a fifth would be seen.
            all_there.wait(60)
            try:
                return super().handle_request(request)
            finally:
                with counting:
                    at_once -= 1

    client = connect(max_concurrent=4, transport=Counted())
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(client.movie, [1] * 16))
    assert most == 4
