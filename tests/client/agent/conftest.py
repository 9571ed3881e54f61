from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.client.agent.fake_controller import FakeController
from tests.client.agent.running import Cluster, Zygote
from tests.conftest import Eventually


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    zygote = Zygote()
    yield zygote
    zygote.close()


@pytest.fixture
def directory() -> Iterator[Path]:
    """Has a short path, as sockets are created in it."""
    with tempfile.TemporaryDirectory(prefix="hr-agent-", ignore_cleanup_errors=True) as path:
        yield Path(path)


@pytest.fixture
async def controller(directory: Path) -> AsyncIterator[FakeController]:
    controller = FakeController(str(directory / "s"))
    await controller.start()
    yield controller
    await controller.stop()


@pytest.fixture
async def cluster(
    controller: FakeController, zygote: Zygote, directory: Path, eventually: Eventually
) -> AsyncIterator[Cluster]:
    cluster = Cluster(controller, zygote, directory, eventually)
    yield cluster
    await cluster.close()
