"""For how long a process tries to enrol: as long as a controller tells it to try again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.client.agent.running import Cluster

from headrace.agent.channel import ControllerChannel
from headrace.agent.enrollment import NotEnrolled, enroll
from headrace.errors import StoreUnavailable, TooManyRequests

GIVE_UP = 0.3


@pytest.fixture
async def channel(cluster: Cluster) -> AsyncIterator[ControllerChannel]:
    channel = ControllerChannel(cluster.identity("scheduler"))
    yield channel
    await channel.close()


async def test_a_platform_that_is_away_is_waited_for_longer_than_controllers(
    cluster: Cluster, channel: ControllerChannel
) -> None:
    cluster.controller.refusal = StoreUnavailable("the API server does not answer; try again")
    enrolling = asyncio.create_task(enroll(channel, cluster.identity("scheduler"), GIVE_UP))
    began = asyncio.get_running_loop().time()
    await cluster.eventually(lambda: asyncio.get_running_loop().time() > began + 3 * GIVE_UP or enrolling.done())
    assert not enrolling.done()
    cluster.controller.refusal = None
    assert (await enrolling).private_key_pem


async def test_controllers_that_are_away_are_given_up(cluster: Cluster, channel: ControllerChannel) -> None:
    await cluster.controller.stop()
    with pytest.raises(NotEnrolled, match="cannot enrol"):
        await enroll(channel, cluster.identity("scheduler"), GIVE_UP)


async def test_a_controller_that_is_too_busy_is_given_up(cluster: Cluster, channel: ControllerChannel) -> None:
    cluster.controller.refusal = TooManyRequests.of("too many tokens", 0.1)
    with pytest.raises(NotEnrolled, match="too many tokens"):
        await enroll(channel, cluster.identity("scheduler"), GIVE_UP)
