"""AgentService as agents call it: enrolment, sessions, adaptive scaling, and what follows for their clusters."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial

import grpc
import grpc.aio
import pytest
from google.protobuf.json_format import MessageToDict
from tests.conftest import Eventually
from tests.controller.agents.fake_agents import SchedulerAgent, launch_token, token
from tests.controller.errors_of import fails
from tests.controller.running import DEPLOYMENT, Replica, Site, User
from tests.controller.stubs import agent_service

from headrace.errors import ClusterEnded, InvalidRequest, SessionReplaced, TokenExpired, TokenInvalid, WorkerNotFound
from headrace.internal.v1 import agent_service_pb2 as agent_pb
from headrace.v1 import cluster_pb2
from headrace.v1 import cluster_service_pb2 as pb
from headrace.v1.enums import ExitCause
from headrace_chassis.identity.agent_tokens import AgentTokens
from headrace_chassis.identity.seal import read_deployment_keys
from headrace_controller.backends.process import ProcessSpec
from headrace_controller.parts import reconciling
from headrace_controller.plan import Policy

WORKER = agent_pb.PROCESS_ROLE_WORKER
SCHEDULER = agent_pb.PROCESS_ROLE_SCHEDULER


async def running(site: Site, user: User, size: int = 0) -> tuple[str, SchedulerAgent, ProcessSpec]:
    made = await user.create(worker_groups=[cluster_pb2.WorkerGroup(name="default", size=size)])
    await user.until(made.name, "RUNNING", running=size)
    cluster = made.name.removeprefix("clusters/")
    return made.name, site.agents.schedulers[cluster], site.machine.specs[cluster, "scheduler"]


async def adapt(user: User, name: str, minimum: int, maximum: int) -> None:
    await user.adapt(name, cluster_pb2.AdaptRange(minimum=minimum, maximum=maximum))


async def events(user: User, name: str, kind: cluster_pb2.EventType.ValueType) -> list[str]:
    answer = await user.call("ListClusterEvents", pb.ListClusterEventsRequest(parent=name, page_size=1000))
    return [event.message for event in answer.cluster_events if event.type == kind]


async def test_a_process_receives_all_it_needs(site: Site, ann: User) -> None:
    options = {"worker_threads": 3, "worker_memory": "1 GiB", "worker_lifetime": 60, "environment": {"A": "b"}}
    made = await ann.create(options, worker_groups=[cluster_pb2.WorkerGroup(name="default", size=1)])
    await ann.until(made.name, "RUNNING", running=1)
    cluster = made.name.removeprefix("clusters/")
    enrolled = {name: answer for (of, name), answer in site.agents.enrolled.items() if of == cluster}
    scheduler = enrolled.pop("scheduler")
    [worker] = enrolled.values()
    assert (scheduler.listen_host, scheduler.dashboard_prefix) == ("127.0.0.1", f"/{made.name}")
    assert MessageToDict(scheduler.dask_config)["distributed"]["comm"] == {"require-encryption": True}
    assert (worker.worker_threads, worker.worker_memory_bytes, worker.worker_lifetime_seconds) == (3, 2**30, 60)
    assert worker.scheduler_address == "tls://127.0.0.1:40000"
    assert (dict(worker.environment), dict(scheduler.environment)) == ({"A": "b"}, {"A": "b"})
    assert worker.certificate_pem != scheduler.certificate_pem


def tokens(site: Site) -> AgentTokens:
    return AgentTokens(read_deployment_keys(site.directory / "key"), DEPLOYMENT)


async def test_only_wanted_processes_enrol_each_with_its_own_credential(
    site: Site, ann: User, controller: Replica
) -> None:
    name, _, spec = await running(site, ann, 1)
    cluster = spec.key.cluster
    [worker] = [process for of, process in site.agents.enrolled if of == cluster and process != "scheduler"]
    async with grpc.aio.insecure_channel(controller.endpoint) as channel:
        stub = agent_service(channel)
        for role, process in ((WORKER, "default-9-aaaaaa"), (SCHEDULER, "boss"), (WORKER, "scheduler")):
            credential = token(tokens(site).credential(cluster, process, 60))
            request = agent_pb.EnrollRequest(role=role, process=process)
            await fails(WorkerNotFound, stub.Enroll(request, metadata=credential, timeout=30))
        request = agent_pb.EnrollRequest(role=SCHEDULER, process="scheduler")
        workers = site.agents.credential(site.machine.specs[cluster, worker])
        for metadata in ((), ann.metadata, workers):
            await fails(TokenInvalid, stub.Enroll(request, metadata=metadata, timeout=30))
        renewed = await stub.Enroll(request, metadata=site.agents.credential(spec), timeout=30)
        assert renewed.credential
        assert not renewed.enrolment
        await ann.stop(name)
        await ann.until(name, "STOPPED")
        await fails(ClusterEnded, stub.Enroll(request, metadata=site.agents.credential(spec), timeout=30))


async def test_the_token_of_a_launch_enrols_one_process_once(
    site: Site, ann: User, controller: Replica, eventually: Eventually
) -> None:
    name, agent, spec = await running(site, ann)
    async with grpc.aio.insecure_channel(controller.endpoint) as channel:
        stub = agent_service(channel)

        async def enrol(nonce: str) -> agent_pb.EnrollResponse:
            request = agent_pb.EnrollRequest(role=SCHEDULER, process="scheduler", nonce=nonce)
            return await stub.Enroll(request, metadata=launch_token(spec), timeout=30)

        await fails(InvalidRequest, enrol(""))
        await fails(TokenInvalid, enrol("a thief's"))
        before = site.agents.enrolled[spec.key.cluster, "scheduler"].enrolment
        assert (await enrol("drawn once")).enrolment > before  # whose answer may have been lost
        # Without a request: one that is written as the refusal arrives fails by itself, with another status.
        await fails(TokenInvalid, stub.Session(metadata=launch_token(spec)).read())

    async def is_recorded() -> bool:
        messages = await events(ann, name, cluster_pb2.EVENT_TYPE_ENROLMENT_REFUSED)
        return len(messages) == 1 and "as scheduler with its token" in messages[0]

    await eventually(is_recorded)
    assert agent.ended_with is None


async def test_an_expired_token_of_a_launch_enrols_nothing(site: Site, ann: User, controller: Replica) -> None:
    _, _, spec = await running(site, ann)
    place = spec.key.cluster, "scheduler"
    site.machine.set(replace(site.machine.statuses[place], started=1.0))
    late = token(tokens(site).launch(*place, -1))
    request = agent_pb.EnrollRequest(role=SCHEDULER, process="scheduler", nonce="n")
    async with grpc.aio.insecure_channel(controller.endpoint) as channel:
        await fails(TokenExpired, agent_service(channel).Enroll(request, metadata=late, timeout=30))


async def test_a_session_is_the_schedulers_only(site: Site, ann: User, controller: Replica) -> None:
    _, agent, spec = await running(site, ann, 1)
    [worker] = [process for of, process in site.agents.enrolled if of == spec.key.cluster and process != "scheduler"]
    stolen = site.agents.credential(site.machine.specs[spec.key.cluster, worker])
    async with grpc.aio.insecure_channel(controller.endpoint) as channel:
        await fails(TokenInvalid, agent_service(channel).Session(metadata=stolen).read())
    assert agent.ended_with is None


async def test_a_session_starts_with_a_hello(site: Site, ann: User, controller: Replica) -> None:
    _, _, spec = await running(site, ann)
    change = agent_pb.SessionRequest(sequence=1, change=agent_pb.SchedulerChange())
    async with grpc.aio.insecure_channel(controller.endpoint) as channel:
        for first in ([], [change], [agent_pb.SessionRequest(sequence=1, hello=agent_pb.SchedulerHello())]):
            call = agent_service(channel).Session(iter(first), metadata=site.agents.credential(spec))
            await fails(InvalidRequest, call.read())


async def test_a_newer_session_replaces_an_older_one(site: Site, ann: User, eventually: Eventually) -> None:
    name, old, spec = await running(site, ann, 1)
    new = SchedulerAgent(site.agents, spec)
    new.workers = dict(old.workers)
    site.agents.schedulers[spec.key.cluster] = new
    task = asyncio.create_task(new.run())
    site.agents.tasks[spec.key.cluster, "another"] = task
    await eventually(lambda: old.ended_with is grpc.StatusCode.ABORTED)
    await ann.scale(name, 3)
    await ann.until(name, "RUNNING", running=3)
    assert new.ended_with is None
    new.closing = True


async def test_an_older_session_is_refused(site: Site, ann: User, controller: Replica) -> None:
    _, agent, spec = await running(site, ann)
    hello = agent.hello()
    hello.session = 7
    async with grpc.aio.insecure_channel(controller.endpoint) as channel:
        first = [agent_pb.SessionRequest(sequence=1, hello=hello)]
        call = agent_service(channel).Session(iter(first), metadata=site.agents.credential(spec))
        await fails(SessionReplaced, call.read())
    assert agent.ended_with is None


@pytest.mark.parametrize(
    ("field", "address"),
    [
        ("scheduler_address", "tls://169.254.169.254:80"),
        ("scheduler_address", "tls://10.0.0.1:6379"),
        ("dashboard_address", "metadata.internal:80"),
        ("dashboard_address", "[::ffff:10.0.0.1]:443"),
    ],
)
async def test_an_address_that_is_not_the_schedulers_never_becomes_a_route(
    site: Site, ann: User, controller: Replica, eventually: Eventually, field: str, address: str
) -> None:
    name, agent, spec = await running(site, ann)
    hello = agent.hello()
    setattr(hello, field, address)
    await eventually(lambda: name in site.proxy.routes)
    before = site.proxy.routes[name]
    async with grpc.aio.insecure_channel(controller.endpoint) as channel:
        first = [agent_pb.SessionRequest(sequence=1, hello=hello)]
        call = agent_service(channel).Session(iter(first), metadata=site.agents.credential(spec))
        assert "is not the scheduler's" in str(await fails(InvalidRequest, call.read()))

    async def is_recorded() -> bool:
        refused = await events(ann, name, cluster_pb2.EVENT_TYPE_ADDRESS_REFUSED)
        return len(refused) == 1 and repr(address) in refused[0]

    await eventually(is_recorded)
    connection = await ann.call("ConnectCluster", pb.ConnectClusterRequest(name=name))
    assert (connection.direct_address, agent.ended_with) == (agent.address, None)
    assert site.proxy.routes[name] == before


async def test_adaptive_scaling_gets_what_it_asks_for_within_its_range(
    site: Site, ann: User, eventually: Eventually
) -> None:
    name, agent, _ = await running(site, ann)
    agent.ask_for(9)  # nobody has started adaptive scaling yet
    then = agent_pb.AgentEvent(type=cluster_pb2.EVENT_TYPE_RETIREMENT_DELAYED, message="read after it")
    agent.report(agent_pb.SessionRequest(event=then))
    await eventually(lambda: events(ann, name, then.type))
    await adapt(ann, name, 1, 4)
    etag = (await ann.until(name, "RUNNING", running=1)).etag
    agent.ask_for(3)
    await ann.until(name, "RUNNING", running=3)
    agent.ask_for(100)
    await ann.until(name, "RUNNING", running=4)
    agent.ask_for(0)
    last = await ann.until(name, "RUNNING", running=1)
    assert (last.etag, last.spec.worker_groups[0].size) == (etag, 1)


async def test_agents_receive_ranges_and_what_to_retire(site: Site, ann: User, eventually: Eventually) -> None:
    name, agent, _ = await running(site, ann, 2)
    await adapt(ann, name, 0, 5)
    group = agent_pb.AdaptiveGroup(group="default", minimum=0, maximum=5, desired=2)
    await eventually(lambda: list(agent.instructions.adaptive_groups) == [group])
    await ann.scale(name, 0)
    await ann.until(name, "RUNNING", running=0)
    await eventually(lambda: not agent.instructions.adaptive_groups and not agent.instructions.retire)
    await eventually(lambda: site.machine.running() == ["scheduler"])


async def test_a_request_over_a_limit_gets_a_part_and_is_recorded_once(site: Site, eventually: Eventually) -> None:
    replica = await site.replica(limits={"user": {"workers": 3}})
    carl = await replica.user("carl")
    name, agent, _ = await running(site, carl)
    await adapt(carl, name, 0, 3)
    await running(site, carl, 2)  # another cluster, which leaves room for one worker
    for _ in range(3):
        agent.ask_for(3)
    await carl.until(name, "RUNNING", running=1)

    async def is_recorded() -> bool:
        return bool(await events(carl, name, cluster_pb2.EVENT_TYPE_SCALING_LIMITED))

    await eventually(is_recorded)
    agent.ask_for(3)
    agent.ask_for(0)
    await carl.until(name, "RUNNING", running=0)
    [message] = await events(carl, name, cluster_pb2.EVENT_TYPE_SCALING_LIMITED)
    assert "asked for 3 workers in group 'default' and got 1" in message


async def test_an_agents_events_are_the_clusters(site: Site, ann: User, eventually: Eventually) -> None:
    name, agent, _ = await running(site, ann)
    delayed = cluster_pb2.EVENT_TYPE_RETIREMENT_DELAYED
    agent.report(agent_pb.SessionRequest(event=agent_pb.AgentEvent(type=delayed, message="x" * 5000)))

    async def is_recorded() -> bool:
        return await events(ann, name, delayed) == ["x" * 1024]

    await eventually(is_recorded)


async def test_an_idle_scheduler_ends_its_cluster_as_intended(site: Site, ann: User) -> None:
    name, agent, _ = await running(site, ann, 1)
    agent.close()
    ended = await ann.until(name, "STOPPED")
    assert ended.status.reason == cluster_pb2.END_REASON_IDLE
    assert "idle" in ended.status.message
    assert site.machine.running() == []


async def test_the_loss_of_a_worker_is_one_event_with_its_cost(
    site: Site, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciling, "Policy", partial(Policy, loss_wait=60))  # both sides are heard by then
    ann = await (await site.replica()).user("ann")
    name, agent, spec = await running(site, ann, 1)
    victim = next(worker for worker in site.machine.running() if worker != "scheduler")
    agent.left(victim, tasks_lost=3)
    site.machine.exit(spec.key.cluster, victim, code=-9)

    async def is_recorded() -> bool:
        return bool(await events(ann, name, cluster_pb2.EVENT_TYPE_WORKERS_LOST))

    await eventually(is_recorded)
    [message] = await events(ann, name, cluster_pb2.EVENT_TYPE_WORKERS_LOST)
    assert message.startswith(f"Worker {victim} was lost. Its process was killed by signal 9 (SIGKILL)")
    assert message.endswith("This costs 3 tasks to run again.")


async def test_a_scheduler_that_does_not_notice_a_loss_hears_of_it(
    site: Site, ann: User, eventually: Eventually
) -> None:
    name, agent, spec = await running(site, ann, 2)
    site.agents.notices = False
    victim = next(worker for worker in site.machine.running() if worker != "scheduler")
    site.machine.exit(spec.key.cluster, victim, cause=ExitCause.NODE_LOST)
    await eventually(lambda: victim not in agent.workers)

    async def is_recorded() -> bool:
        return bool(await events(ann, name, cluster_pb2.EVENT_TYPE_WORKERS_LOST))

    await eventually(is_recorded)
    [message] = await events(ann, name, cluster_pb2.EVENT_TYPE_WORKERS_LOST)
    assert message.startswith(f"Worker {victim} was lost. Its process was lost with its node")
    await eventually(lambda: not agent.instructions.ended)
    assert agent.told_ended == {victim}


async def test_a_scheduler_hears_nothing_of_the_end_of_workers_that_it_has_retired(
    site: Site, ann: User, eventually: Eventually
) -> None:
    name, agent, _ = await running(site, ann, 20)
    await ann.scale(name, 0)
    await eventually(lambda: site.machine.running() == ["scheduler"])
    await ann.until(name, "RUNNING", running=0)
    assert not agent.told_ended


async def test_a_scheduler_whose_agent_is_away_is_lost_in_the_end(site: Site) -> None:
    replica = await site.replica(scheduler_lost_seconds=0.5)
    carl = await replica.user("carl")
    name, agent, spec = await running(site, carl, 1)
    agent.closing = True
    site.agents.tasks[spec.key.cluster, "scheduler"].cancel()
    ended = await carl.until(name, "FAILED")
    assert ended.status.reason == cluster_pb2.END_REASON_SCHEDULER_LOST
    assert site.machine.running() == []


@pytest.mark.parametrize(
    ("cause", "reason"),
    [
        (ExitCause.EXITED, cluster_pb2.END_REASON_SCHEDULER_LOST),
        (ExitCause.OUT_OF_MEMORY, cluster_pb2.END_REASON_OUT_OF_MEMORY),
    ],
)
async def test_a_scheduler_that_dies_takes_its_cluster_along(
    site: Site, ann: User, cause: ExitCause, reason: cluster_pb2.EndReason
) -> None:
    name, _, spec = await running(site, ann, 2)
    site.machine.write_log(spec.key.cluster, "scheduler", b"it was the butler\n")
    site.machine.exit(spec.key.cluster, code=-9, cause=cause)
    ended = await ann.until(name, "FAILED")
    assert (ended.status.reason, ended.status.log_tail) == (reason, "it was the butler\n")
    assert site.machine.running() == []


async def test_a_worker_that_dies_is_replaced(site: Site, ann: User, eventually: Eventually) -> None:
    name, _, spec = await running(site, ann, 2)
    victim = next(worker for worker in site.machine.running() if worker != "scheduler")
    site.machine.exit(spec.key.cluster, victim, code=-9)
    await eventually(lambda: len(site.machine.running()) == 3)  # it comes as soon as the loss is noted
    await ann.until(name, "RUNNING", running=2)
    assert victim not in site.machine.running()


async def test_a_start_that_fails_ends_the_cluster_at_once(site: Site, ann: User) -> None:
    site.machine.fails_to_start = "no module named dask\n"
    made = await ann.create()
    ended = await ann.until(made.name, "FAILED")
    assert ended.status.reason == cluster_pb2.END_REASON_BACKEND_ERROR
    assert ended.status.log_tail == "no module named dask\n"
    assert "7" in ended.status.message


async def test_a_failure_of_the_backend_is_an_event_and_is_survived(
    site: Site, ann: User, eventually: Eventually
) -> None:
    site.machine.trouble = "the disk is full"
    made = await ann.create()

    async def is_recorded() -> bool:
        found = await events(ann, made.name, cluster_pb2.EVENT_TYPE_BACKEND_FAILED)
        return found == ["The scheduler cannot be started: the disk is full."]

    await eventually(is_recorded)
    site.machine.trouble = ""
    await ann.until(made.name, "RUNNING")
