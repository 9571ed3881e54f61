from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import dask.config
import pytest
from tests.e2e.running import Running, running

from headrace import Gateway

USERS = {"ann": "correct horse", "bob": "battery staple"}


@pytest.fixture(scope="session")
def headrace() -> Iterator[Running]:
    """One headrace for all tests that leave it as they found it; ann and bob may log in with passwords."""
    with tempfile.TemporaryDirectory(prefix="hr-e2e-") as name:
        users = Path(name) / "users"
        write_users(users)
        with running(Path(name), "--users-file", str(users), "--one-account") as headrace:
            yield headrace


@pytest.fixture
def gateway(headrace: Running, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    """What `Gateway()` gives beside a running headrace; leaves no cluster."""
    monkeypatch.setenv("HEADRACE_DATA_DIR", str(headrace.data))
    with Gateway() as gateway:
        yield gateway
        gateway.stop_all()


@pytest.fixture(params=["direct", "proxied"])
def way(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each way to a scheduler."""
    with dask.config.set({"headrace.connect": request.param}):
        yield request.param


def write_users(path: Path, users: Mapping[str, str] = USERS) -> None:
    """Writes a users file with these passwords."""
    for user, password in users.items():
        command = [sys.executable, "-m", "headrace_auth", "users", "add", user, "--file", path, "--password-stdin"]
        subprocess.run(command, input=password + "\n", text=True, check=True, capture_output=True)
