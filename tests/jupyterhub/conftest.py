"""A headrace behind a JupyterHub, and what a user outside has."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import dask.config
import pytest
from tests.e2e.conftest import write_users
from tests.e2e.running import Running, running
from tests.jupyterhub.hub import SERVICE, Hub, running_hub

from headrace import Gateway


@pytest.fixture(scope="session")
def headrace() -> Iterator[Running]:
    with tempfile.TemporaryDirectory(prefix="hr-hub-") as name:
        users = Path(name) / "users"
        write_users(users)
        options = ("--users-file", str(users), "--one-account")
        with running(Path(name), *options, environment={"HEADRACE_PROXY_BASE_PATH": SERVICE}) as headrace:
            yield headrace


@pytest.fixture(scope="session")
def hub(headrace: Running) -> Iterator[Hub]:
    with tempfile.TemporaryDirectory(prefix="hr-hub-") as name, running_hub(Path(name), headrace) as hub:
        yield hub


@pytest.fixture
def outside(hub: Hub, headrace: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The configuration of a user outside of the hub: its address, and where schedulers are reached.

    headrace has no authenticator for the hub's tokens yet: the user has a password.
    """
    monkeypatch.setenv("HEADRACE_DATA_DIR", str(tmp_path / "none"))
    settings = {
        "headrace.address": hub.headrace,
        "headrace.proxy-address": f"127.0.0.1:{headrace.port}",
        "headrace.tls.ca-file": str(hub.ca_file),
        "headrace.auth.type": "basic",
        "headrace.auth.kwargs": {"username": "ann", "password": "correct horse"},
        "headrace.connect": "proxied",
    }
    with dask.config.set(settings):
        yield


@pytest.fixture
def gateway(outside: None) -> Iterator[Gateway]:
    with Gateway() as gateway:
        yield gateway
        gateway.stop_all()
