from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Generator

import pytest
from tests.conftest import Eventually
from tests.held_port import held_port

from headrace_chassis import procfs


@pytest.fixture
def sleeper() -> Generator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "1000"], env={"COLOUR": "a=b", "PATH": os.environ["PATH"]})
    yield process
    process.kill()
    process.wait()


def test_a_process_is_described(sleeper: subprocess.Popen[bytes]):
    found = procfs.process(sleeper.pid)
    assert found is not None
    assert (found.pid, found.group, found.session) == (sleeper.pid, os.getpgid(sleeper.pid), os.getsid(sleeper.pid))
    assert abs(found.started - time.time()) < 60
    assert sleeper.pid in [process.pid for process in procfs.processes()]


def test_a_zombie_is_not_alive(sleeper: subprocess.Popen[bytes]):
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    zombie = procfs.process(sleeper.pid)
    assert zombie is not None
    assert not zombie.alive
    assert sleeper.pid not in [process.pid for process in procfs.processes()]


def test_a_process_that_has_ended_is_unknown(sleeper: subprocess.Popen[bytes]):
    sleeper.kill()
    sleeper.wait()
    assert procfs.process(sleeper.pid) is None
    assert procfs.environ(sleeper.pid) == {}
    assert procfs.cpu_seconds(sleeper.pid) == 0


async def test_values_of_the_environment_may_hold_equal_signs(
    sleeper: subprocess.Popen[bytes], eventually: Eventually
) -> None:
    await eventually(lambda: procfs.environ(sleeper.pid))  # a process that is being executed has none
    assert procfs.environ(sleeper.pid)[b"COLOUR"] == b"a=b"


def test_processor_time_is_that_of_the_process():
    assert 0 < procfs.cpu_seconds(os.getpid()) < 3600


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_the_process_that_listens_on_a_port_is_found(family: socket.AddressFamily, host: str):
    with held_port(host) as held:
        port = held.getsockname()[1]
        with socket.create_server((host, port), family=family):
            holder = procfs.port_holder(port)
            assert procfs.port_owner(port) == os.getuid()
        assert holder is not None
        assert holder[0] == os.getpid()
        assert holder[1]
        assert procfs.port_holder(port) is None
        assert procfs.port_owner(port) is None
