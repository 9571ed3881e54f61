"""Settings of a service in a directory of its own, and one that runs."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.chassis.running import Running, running_service
from tests.held_port import held_ports

from headrace_chassis.identity.seal import new_deployment_key
from headrace_chassis.settings import ServiceSettings


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory with a name short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="hr-") as name:
        yield Path(name)


@pytest.fixture
def settings(directory: Path) -> ServiceSettings:
    key_file = directory / "keys"
    key_file.write_text(new_deployment_key())
    return ServiceSettings(
        listen=f"unix:{directory}/public.sock",
        internal_listen=f"unix:{directory}/internal.sock",
        deployment_key_file=key_file,
        drain_seconds=60,
    )


@pytest.fixture
def addresses() -> Iterator[list[str]]:
    """Addresses of two ports that nobody else is given."""
    with held_ports(2) as ports:
        yield [f"127.0.0.1:{port}" for port in ports]


@pytest.fixture
async def running(settings: ServiceSettings) -> AsyncIterator[Running]:
    async with running_service(settings) as service:
        yield service
