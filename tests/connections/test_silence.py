"""Minutes without a word from one side, and then all is there: the network, the user, the scheduler, Envoy."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.connections.namespace import namespace
from tests.connections.users import computing
from tests.e2e.running import Running, running

SILENCE = 120
SLEEP = 300
STOP = 60


@pytest.fixture
def headrace() -> Iterator[Running]:
    with tempfile.TemporaryDirectory(prefix="hr-silence-") as name, running(Path(name)) as headrace:
        yield headrace


@pytest.mark.timeout(SLEEP + 200)
def test_all_results_are_there_after_minutes_of_silence(headrace: Running) -> None:
    """At the same time, so that all of it takes no longer than the longest. Only root can silence a network."""
    tests = [_sleeping_user, _stopped_server, *([_silent_network] if os.getuid() == 0 else [])]
    with ThreadPoolExecutor() as pool:
        began = [pool.submit(test, headrace) for test in tests]
        for seconds in [seconds for one in began for seconds in one.result()]:
            print(f"a short call took {seconds:.2f} s after the end of the silence")


def _silent_network(headrace: Running) -> list[float]:
    with namespace(headrace.port) as net, computing(headrace, 3_000, 0.05, within=net.command) as user:
        net.silence()
        time.sleep(SILENCE)
        net.speak()
        return [user.check()]


def _sleeping_user(headrace: Running) -> list[float]:
    with computing(headrace, 1_000, 0.05) as user:
        _stop(user.pid, SLEEP)
        return [user.check()]


def _stopped_server(headrace: Running) -> list[float]:
    with computing(headrace, 3_000, 0.05) as user:
        _stop(user.scheduler, STOP)
        after_scheduler = user.check()
        # The silence of the network is over.
        time.sleep(SILENCE - STOP)
        _stop(headrace.find("envoy").pid, STOP)
        return [after_scheduler, user.check()]


def _stop(pid: int, seconds: float) -> None:
    os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(seconds)
    finally:
        os.kill(pid, signal.SIGCONT)
