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
MEMBER = {"olga": "staple horse"}
POLICY = "roles: {operators: {physics: [users/bob]}}"


@pytest.fixture(scope="session")
def headrace() -> Iterator[Running]:
    """One headrace for all tests that leave it as they found it.

    Ann, bob and olga may log in with passwords; olga is in the group that bob operates.
    """
    with tempfile.TemporaryDirectory(prefix="hr-e2e-") as name:
        users, policy = Path(name) / "users", Path(name) / "policy.yaml"
        write_users(users)
        write_users(users, MEMBER, "--group", "physics")
        policy.write_text(POLICY)
        options = ("--users-file", str(users), "--one-account", "--policy", str(policy))
        with running(Path(name), *options) as headrace:
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


def write_users(path: Path, users: Mapping[str, str] = USERS, *options: str) -> None:
    """Adds users with these passwords to a users file."""
    for user, password in users.items():
        arguments = ["users", "add", user, "--file", path, "--password-stdin", *options]
        command = [sys.executable, "-m", "headrace_auth", *arguments]
        subprocess.run(command, input=password + "\n", text=True, check=True, capture_output=True)
