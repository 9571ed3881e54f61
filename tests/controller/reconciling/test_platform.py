"""A platform that lets processes wait, refuses them and ends them: what users see of it, by the API."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.backends.fake_machine import FakeMachine
from tests.conftest import Eventually
from tests.controller.agents.fake_agents import FakeAgents
from tests.controller.replaced import replace_file
from tests.controller.running import Site
from tests.controller.user import User

from headrace.v1 import cluster_pb2, options_service_pb2
from headrace.v1 import cluster_service_pb2 as pb
from headrace.v1.enums import ExitCause, WaitReason
from headrace_controller.backends.process import SCHEDULER, Role


@pytest.fixture
def machine(site: Site) -> FakeMachine:
    """The site's machine; asked for before its first controller."""
    made = FakeMachine()
    site.machine, site.agents = made, FakeAgents(made, [])
    return made


@pytest.fixture
async def ann(machine: FakeMachine, site: Site) -> User:
    assert site.machine is machine
    return await (await site.replica()).user("ann")


async def events(user: User, name: str) -> list[cluster_pb2.ClusterEvent]:
    answer = await user.call("ListClusterEvents", pb.ListClusterEventsRequest(parent=name))
    return list(answer.cluster_events)


async def workers(user: User, name: str) -> list[cluster_pb2.Worker]:
    return list((await user.call("ListWorkers", pb.ListWorkersRequest(parent=name))).workers)


async def told(user: User, name: str, kind: cluster_pb2.EventType.ValueType) -> list[tuple[int, int]]:
    """Wait reason and exit cause of the events of a type."""
    return [(event.wait_reason, event.exit_cause) for event in await events(user, name) if event.type == kind]


@pytest.mark.parametrize("cause", [ExitCause.IMAGE_UNAVAILABLE, ExitCause.REFUSED, ExitCause.QUOTA_EXCEEDED])
async def test_a_scheduler_that_is_refused_fails_its_cluster(machine: FakeMachine, ann: User, cause: ExitCause) -> None:
    machine.never_takes = lambda _spec: cause
    made = await ann.create()
    failed = await ann.until(made.name, "FAILED")
    assert failed.status.reason == cluster_pb2.EndReason.Value(f"END_REASON_{cause}")
    assert failed.status.message.startswith(
        f"The scheduler cannot be started: the machine takes no scheduler: {cause.lower()}. "
    )
    number = cluster_pb2.ExitCause.Value(f"EXIT_CAUSE_{cause}")
    assert await told(ann, made.name, cluster_pb2.EVENT_TYPE_FAILING) == [(0, number)]
    assert machine.starts == []


async def test_workers_that_are_refused_fail_a_cluster_without_others(machine: FakeMachine, ann: User) -> None:
    machine.never_takes = lambda spec: ExitCause.QUOTA_EXCEEDED if spec.role is Role.WORKER else None
    made = await ann.create(worker_groups=[cluster_pb2.WorkerGroup(name="default", size=3)])
    failed = await ann.until(made.name, "FAILED")
    assert failed.status.reason == cluster_pb2.END_REASON_WORKERS_FAILED
    assert "the machine takes no worker: quota_exceeded" in failed.status.message
    assert {worker.exit.cause for worker in await workers(ann, made.name)} == {cluster_pb2.EXIT_CAUSE_QUOTA_EXCEEDED}


async def test_a_wait_is_told_with_its_reason_until_it_is_over(
    machine: FakeMachine, ann: User, eventually: Eventually
) -> None:
    machine.waits = lambda _spec: WaitReason.NODE_COMING
    made = await ann.create(worker_groups=[cluster_pb2.WorkerGroup(name="default", size=2)])
    cluster = made.name.removeprefix("clusters/")

    async def scheduler_waits() -> bool:
        message = (await ann.get(made.name)).status.message
        return (
            message.startswith("The scheduler waits for a node that is being added since ") and "0/3 nodes" in message
        )

    await eventually(scheduler_waits)
    waiting = (cluster_pb2.WAIT_REASON_NODE_COMING, 0)
    assert await told(ann, made.name, cluster_pb2.EVENT_TYPE_WAITING) == [waiting]
    machine.let_run(cluster)
    await ann.until(made.name, "RUNNING")

    async def workers_wait() -> bool:
        found = await workers(ann, made.name)
        return [worker.wait_reason for worker in found] == [cluster_pb2.WAIT_REASON_NODE_COMING] * 2

    await eventually(workers_wait)
    assert await told(ann, made.name, cluster_pb2.EVENT_TYPE_WAITING) == [waiting, waiting]
    for worker in await workers(ann, made.name):
        machine.let_run(cluster, worker.name.rpartition("/")[2])
    await ann.until(made.name, "RUNNING", running=2)
    assert {worker.wait_reason for worker in await workers(ann, made.name)} == {0}


async def test_a_worker_that_is_evicted_is_replaced_before_it_is_gone(
    machine: FakeMachine, ann: User, eventually: Eventually
) -> None:
    made = await ann.create(worker_groups=[cluster_pb2.WorkerGroup(name="default", size=1)])
    cluster = made.name.removeprefix("clusters/")
    await ann.until(made.name, "RUNNING", running=1)
    [first] = await workers(ann, made.name)
    process = first.name.rpartition("/")[2]
    machine.announce_end(cluster, process, ExitCause.EVICTED)

    async def replaced() -> bool:
        [old, *new] = await workers(ann, made.name)
        leaving = (old.state, old.leaving) == (cluster_pb2.WORKER_STATE_RETIRING, cluster_pb2.EXIT_CAUSE_EVICTED)
        return leaving and [worker.state for worker in new] == [cluster_pb2.WORKER_STATE_RUNNING]

    await eventually(replaced)
    assert machine.runs(cluster, process)
    evicted = (0, cluster_pb2.EXIT_CAUSE_EVICTED)
    assert await told(ann, made.name, cluster_pb2.EVENT_TYPE_WORKERS_LEAVING) == [evicted]
    machine.exit(cluster, process, 143, ExitCause.EVICTED)

    async def lost() -> bool:
        return await told(ann, made.name, cluster_pb2.EVENT_TYPE_WORKERS_LOST) == [evicted]

    await eventually(lost)
    old, new = await workers(ann, made.name)
    assert (old.exit.cause, old.leaving, new.state) == (
        cluster_pb2.EXIT_CAUSE_EVICTED,
        0,
        cluster_pb2.WORKER_STATE_RUNNING,
    )


async def test_a_scheduler_that_is_preempted_ends_its_cluster_with_the_reason(
    machine: FakeMachine, ann: User, eventually: Eventually
) -> None:
    made = await ann.create()
    cluster = made.name.removeprefix("clusters/")
    await ann.until(made.name, "RUNNING")
    machine.announce_end(cluster, SCHEDULER, ExitCause.PREEMPTED)

    async def announced() -> bool:
        preempted = (0, cluster_pb2.EXIT_CAUSE_PREEMPTED)
        return await told(ann, made.name, cluster_pb2.EVENT_TYPE_SCHEDULER_LEAVING) == [preempted]

    await eventually(announced)
    machine.exit(cluster, SCHEDULER, 0, ExitCause.PREEMPTED)
    failed = await ann.until(made.name, "FAILED")
    assert failed.status.reason == cluster_pb2.END_REASON_PREEMPTED


async def test_a_platform_that_is_away_is_told_and_puts_the_start_off_until_it_is_back(
    machine: FakeMachine, site: Site, eventually: Eventually
) -> None:
    site.agents.automatic = False
    ann = await (await site.replica(start_timeout_seconds=3)).user("ann")
    made = await ann.create()
    await eventually(lambda: machine.starts)
    machine.contact.failed("it does not answer")

    async def is_told() -> bool:
        message = (await ann.get(made.name)).status.message
        return "Nothing is heard of it since " in message and ": it does not answer. It is waited for until " in message

    await eventually(is_told)
    assert await told(ann, made.name, cluster_pb2.EVENT_TYPE_WAITING) == [(cluster_pb2.WAIT_REASON_PLATFORM_AWAY, 0)]
    machine.contact.answered()
    failed = await ann.until(made.name, "FAILED")
    assert failed.status.reason == cluster_pb2.END_REASON_START_TIMEOUT


async def test_a_cluster_whose_profile_goes_before_its_launch_starts_as_it_was_created(
    machine: FakeMachine, site: Site, tmp_path: Path, eventually: Eventually
) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text("profiles: {small: {}, large: {options: {worker_cores: {default: 2}}}}")
    ann = await (await site.replica(policy_file=file)).user("ann")
    machine.trouble, machine.trouble_wait = "it does not answer", WaitReason.PLATFORM_AWAY
    made = await ann.create(profile="large", worker_groups=[cluster_pb2.WorkerGroup(name="default", size=1)])

    async def is_tried() -> bool:
        return "It is tried again until " in (await ann.get(made.name)).status.message

    await eventually(is_tried)
    replace_file(file, "profiles: {small: {}}")

    async def is_gone() -> bool:
        listed = await ann.ask_options("ListProfiles", options_service_pb2.ListProfilesRequest())
        return [profile.key for profile in listed.profiles] == ["small"]

    await eventually(is_gone)
    machine.trouble = ""
    await ann.until(made.name, "RUNNING", running=1)
    worker = next(spec for spec in machine.specs.values() if spec.role is Role.WORKER)
    assert worker.resources.cores == 2
