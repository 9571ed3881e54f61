"""A fake headrace with real gRPC, TLS and Dask, and Gateways of both faces for it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Literal

import dask.config
import pytest
from tests.client.envoy_before import EnvoyBefore, envoy_before
from tests.client.fake_headrace import FakeHeadrace

from headrace import Gateway, TokenAuth
from headrace._wire import tokens

AsyncGateway = Gateway[Literal[True]]


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeHeadrace]:
    fake = FakeHeadrace(tmp_path)
    try:
        yield fake
    finally:
        fake.close()


@pytest.fixture(scope="session")
def one_envoy() -> Iterator[EnvoyBefore]:
    """One Envoy for all tests with an address that has a path."""
    directory = Path(tempfile.mkdtemp(prefix="hrw-"))
    try:
        with envoy_before(directory) as envoy:
            yield envoy
    finally:
        shutil.rmtree(directory)


@pytest.fixture
def envoy(one_envoy: EnvoyBefore, fake: FakeHeadrace) -> EnvoyBefore:
    """An Envoy before the fake, at an address with a path."""
    one_envoy.stand_before(fake)
    return one_envoy


@pytest.fixture(autouse=True)
def _no_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing of the machine that the tests run on plays a part."""
    monkeypatch.setenv("HEADRACE_DATA_DIR", str(tmp_path / "none"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    tokens.clear()
    with dask.config.set({"distributed.comm.timeouts.connect": "30s"}):
        yield


@pytest.fixture
def configured(fake: FakeHeadrace) -> Iterator[None]:
    """Dask's configuration says where the fake headrace is."""
    settings = {
        "headrace.address": fake.address,
        "headrace.proxy-address": fake.proxy.port,
        "headrace.tls.ca-file": str(fake.ca_file),
        "headrace.auth.type": "token",
        "headrace.auth.kwargs": {"token": "ann-secret"},
    }
    with dask.config.set(settings):
        yield


@pytest.fixture
def gateway(configured: None) -> Iterator[Gateway]:
    with Gateway() as gateway:
        yield gateway


@pytest.fixture
async def agateway(configured: None) -> AsyncIterator[AsyncGateway]:
    async with Gateway(asynchronous=True) as gateway:
        yield gateway


@pytest.fixture
def bob(fake: FakeHeadrace, configured: None) -> Iterator[Gateway]:
    with Gateway(auth=TokenAuth("bob-secret")) as gateway:
        yield gateway
