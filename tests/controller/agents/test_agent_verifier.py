"""Whose token an agent sent: one of this deployment, or one of the platform that runs the process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace

import grpc.aio
import pytest
from tests.backends.fake_platform import AttestingBackend, FakePlatform
from tests.backends.processes import spec
from tests.conftest import Eventually
from tests.controller.agents.fake_agents import token
from tests.controller.errors_of import fails
from tests.controller.running import Replica, Site, User
from tests.controller.stubs import agent_service
from typing_extensions import override

from headrace.errors import StoreUnavailable, TokenExpired, TokenInvalid
from headrace.internal.v1 import agent_service_pb2 as pb
from headrace.v1 import cluster_pb2
from headrace.v1 import cluster_service_pb2 as clusters_pb
from headrace.v1.enums import WaitReason
from headrace_chassis.identity.agent_tokens import AgentTokens
from headrace_chassis.identity.caller import AgentCaller
from headrace_chassis.server import App
from headrace_controller.agents.agent_verifier import AgentVerifier
from headrace_controller.app import build_with
from headrace_controller.backends.process import ProcessState
from headrace_controller.backends.router import BackendRouter
from headrace_controller.config import Settings

NOW = 10_000.0
TOKENS = AgentTokens([bytes(32)], "test", clock=lambda: NOW)


@pytest.fixture
def platform() -> FakePlatform:
    return FakePlatform()


@pytest.fixture
async def router(platform: FakePlatform, site: Site) -> AsyncIterator[BackendRouter]:
    backends = {
        "plain": AttestingBackend(site.machine, FakePlatform()),
        "pods": AttestingBackend(site.machine, platform),
    }
    router = BackendRouter(backends, lambda _cluster: None)
    await router.open()
    yield router
    await router.close()


@pytest.fixture
def verifier(router: BackendRouter) -> AgentVerifier:
    return AgentVerifier(TOKENS, router, launch_seconds=60, clock=lambda: NOW)


async def test_tokens_of_the_deployment_never_reach_the_platform(
    verifier: AgentVerifier, platform: FakePlatform
) -> None:
    assert await verifier.verify(TOKENS.credential("c1", "scheduler", 60)) == AgentCaller("c1", "scheduler")
    for text in ("", "x", "no.token", "a.b.c.d", "." * 100_000):
        with pytest.raises(TokenInvalid):
            await verifier.verify(text)
    assert platform.asked == []


async def test_a_token_of_the_platform_names_its_process(verifier: AgentVerifier, platform: FakePlatform) -> None:
    found = await verifier.verify(platform.issue("c1", "w-1", launch="uid-1", launched=NOW))
    assert found == AgentCaller("c1", "w-1", "uid-1")
    with pytest.raises(TokenInvalid, match="did not issue"):
        await verifier.verify("header.forged.signature")


async def test_a_token_of_the_platform_enrols_soon_after_the_launch_only(
    verifier: AgentVerifier, platform: FakePlatform
) -> None:
    with pytest.raises(TokenExpired, match="more than 60 s ago"):
        await verifier.verify(platform.issue("c1", "w-1", launched=NOW - 60))
    in_standby = platform.issue("", "", launch="uid-1", launched=NOW - 6000)
    assert await verifier.verify(in_standby) == AgentCaller("", "", "uid-1")


@pytest.mark.parametrize("launched", [NOW - 61, NOW - 6000])
async def test_a_process_that_waited_for_room_enrols_soon_after_its_start(
    verifier: AgentVerifier, site: Site, launched: float
) -> None:
    """With the token of its launch, which has expired meanwhile."""
    issued = AgentTokens([bytes(32)], "test", clock=lambda: launched).launch("c1", "w-1", 60)
    site.machine.waits = lambda _spec: WaitReason.UNSCHEDULABLE
    with pytest.raises(TokenExpired):
        await verifier.verify(issued)  # of a process that nobody knows
    site.machine.start(spec("c1", "w-1"))
    with pytest.raises(StoreUnavailable, match="not known to run yet; try again"):
        await verifier.verify(issued)
    site.machine.let_run("c1", "w-1")
    running = site.machine.statuses["c1", "w-1"]
    site.machine.set(replace(running, started=NOW - 59))
    assert await verifier.verify(issued) == TOKENS.owner(issued)
    site.machine.trouble = "it is away"
    with pytest.raises(StoreUnavailable, match="it is away; try again"):
        await verifier.verify(issued)
    site.machine.trouble = ""
    site.machine.set(replace(running, started=NOW - 60))
    with pytest.raises(TokenExpired):
        await verifier.verify(issued)
    site.machine.set(replace(running, started=NOW, state=ProcessState.EXITED))
    with pytest.raises(TokenExpired):
        await verifier.verify(issued)


async def test_a_credential_that_has_expired_is_good_for_nothing(verifier: AgentVerifier, site: Site) -> None:
    issued = AgentTokens([bytes(32)], "test", clock=lambda: NOW - 60).credential("c1", "w-1", 60)
    site.machine.start(spec("c1", "w-1"))
    site.machine.set(replace(site.machine.statuses["c1", "w-1"], started=NOW))
    with pytest.raises(TokenExpired):
        await verifier.verify(issued)


async def test_a_giant_token_is_refused_before_anybody_reads_it(
    verifier: AgentVerifier, platform: FakePlatform
) -> None:
    with pytest.raises(TokenInvalid, match="8192 characters"):
        await verifier.verify(f"a.{'b' * 10_000}.c")
    assert platform.asked == []


async def test_a_platform_that_is_away_refuses_nobody(verifier: AgentVerifier, platform: FakePlatform) -> None:
    issued = platform.issue("c1", "w-1", launched=NOW)
    platform.away = True
    with pytest.raises(StoreUnavailable, match="the platform is away; try again"):
        await verifier.verify(issued)  # though the other backend has refused it
    platform.away = False
    assert await verifier.verify(issued)


async def test_a_backend_without_a_platform_takes_no_such_token(site: Site) -> None:
    plain = Replica(site.settings("b"), site.machine)
    await plain.start()
    try:
        async with grpc.aio.insecure_channel(plain.endpoint) as channel:
            request = pb.EnrollRequest(role=pb.PROCESS_ROLE_SCHEDULER, process="scheduler", nonce="n")
            await fails(TokenInvalid, agent_service(channel).Enroll(request, metadata=token("a.b.c"), timeout=30))
    finally:
        await plain.stop()


class OnPlatform(Replica):
    """A controller whose backend verifies tokens of a platform."""

    platform: FakePlatform

    @override
    async def _build(self, settings: Settings, stack: AsyncExitStack) -> App:
        plain = await super()._build(settings, stack)
        attesting = await build_with(settings, stack, AttestingBackend(self.machine, self.platform))
        return replace(attesting, verifier=plain.verifier)


@pytest.fixture
async def controller(site: Site, platform: FakePlatform) -> Replica:
    """Agents do nothing by themselves."""
    site.agents.automatic = False
    made = OnPlatform(site.settings("a"), site.machine)
    made.platform = platform
    await made.start()
    site.replicas.append(made)
    return made


async def launched(site: Site, user: User, eventually: Eventually) -> str:
    made = await user.create()
    cluster = made.name.removeprefix("clusters/")
    await eventually(lambda: "scheduler" in site.machine.names(cluster))
    return cluster


async def test_a_process_enrols_once_with_the_token_of_its_platform(
    site: Site, ann: User, controller: Replica, platform: FakePlatform, eventually: Eventually
) -> None:
    cluster = await launched(site, ann, eventually)
    issued = platform.issue(cluster, "scheduler", launch="uid-1")
    renewed = platform.issue(cluster, "scheduler", launch="uid-1")  # as platforms do while a process runs
    async with grpc.aio.insecure_channel(controller.endpoint) as channel:
        stub = agent_service(channel)

        async def enrol(text: str, nonce: str) -> pb.EnrollResponse:
            request = pb.EnrollRequest(role=pb.PROCESS_ROLE_SCHEDULER, process="scheduler", nonce=nonce)
            return await stub.Enroll(request, metadata=token(text), timeout=30)

        answer = await enrol(issued, "drawn once")
        assert answer.credential
        assert (await enrol(renewed, "drawn once")).enrolment > answer.enrolment  # the answer may have been lost
        await fails(TokenInvalid, enrol(issued, "of the user's code"))
        await fails(TokenInvalid, enrol(renewed, "of the user's code"))
        # Nothing is sent: gRPC reports its own failure to send, not the refusal, if that comes first.
        await fails(TokenInvalid, stub.Session(metadata=token(issued)).read())
        restarted = platform.issue(cluster, "scheduler", launch="uid-2")
        assert (await enrol(restarted, "of another process")).credential

    async def is_recorded() -> bool:
        request = clusters_pb.ListClusterEventsRequest(parent=f"clusters/{cluster}", page_size=1000)
        answer = await ann.call("ListClusterEvents", request)
        return any(event.type == cluster_pb2.EVENT_TYPE_ENROLMENT_REFUSED for event in answer.cluster_events)

    await eventually(is_recorded)


async def test_a_token_enrols_the_process_that_it_was_issued_to_and_no_other(
    site: Site, ann: User, controller: Replica, platform: FakePlatform, eventually: Eventually
) -> None:
    cluster = await launched(site, ann, eventually)
    async with grpc.aio.insecure_channel(controller.endpoint) as channel:
        request = pb.EnrollRequest(role=pb.PROCESS_ROLE_SCHEDULER, process="scheduler", nonce="n")

        async def enrol(text: str) -> pb.EnrollResponse:
            return await agent_service(channel).Enroll(request, metadata=token(text), timeout=30)

        await fails(TokenInvalid, enrol(platform.issue(cluster, "w-1")))
        await fails(StoreUnavailable, enrol(platform.issue("", "")))
        platform.away = True
        await fails(StoreUnavailable, enrol(platform.issue(cluster, "scheduler")))
