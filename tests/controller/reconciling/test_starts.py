"""Starts that fail are told as a condition, and delay nothing but themselves."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.backends.fake_machine import FakeMachine
from tests.conftest import Eventually
from tests.controller.agents.fake_agents import FakeAgents
from tests.controller.running import Site, User

from headrace.v1 import cluster_pb2
from headrace.v1 import cluster_service_pb2 as pb
from headrace.v1.enums import ExitCause
from headrace_controller.backends.base import BackendError
from headrace_controller.backends.process import ProcessSpec

GROUPS = [cluster_pb2.WorkerGroup(name="bad", size=1), cluster_pb2.WorkerGroup(name="good", size=1)]


class PickyMachine(FakeMachine):
    """Refuses some processes."""

    def __init__(self) -> None:
        super().__init__()
        self.refuses: Callable[[ProcessSpec], bool] = lambda _spec: False

    def start(self, spec: ProcessSpec) -> None:
        if self.refuses(spec):
            raise BackendError("there is no room")
        super().start(spec)


@pytest.fixture
def machine(site: Site) -> PickyMachine:
    """The site's machine; asked for before its first controller."""
    made = PickyMachine()
    site.machine, site.agents = made, FakeAgents(made, [])
    return made


@pytest.fixture
async def ann(machine: PickyMachine, site: Site) -> User:
    assert site.machine is machine
    return await (await site.replica()).user("ann")


async def startable(user: User, name: str) -> tuple[bool, str, str] | None:
    """Whether the condition holds, its reason and its message."""
    conditions = (await user.get(name)).status.conditions
    found = next((c for c in conditions if c.type == cluster_pb2.CONDITION_TYPE_STARTABLE), None)
    return found and (found.status == cluster_pb2.CONDITION_STATUS_TRUE, found.reason, found.message)


async def failures(user: User, name: str) -> list[str]:
    """Messages of the events that the backend could not start something."""
    answer = await user.call("ListClusterEvents", pb.ListClusterEventsRequest(parent=name))
    return [event.message for event in answer.cluster_events if event.type == cluster_pb2.EVENT_TYPE_BACKEND_FAILED]


async def test_a_group_that_the_backend_refuses_does_not_keep_others_from_starting(
    machine: PickyMachine, ann: User, eventually: Eventually
) -> None:
    machine.refuses = lambda spec: spec.key.process.startswith("bad-")
    made = await ann.create(worker_groups=GROUPS)
    await ann.until(made.name, "RUNNING", running=1)
    message = "Workers of group bad cannot be started: there is no room."

    async def told() -> bool:
        return await startable(ann, made.name) == (False, "BackendFailed", message)

    await eventually(told)
    assert await failures(ann, made.name) == [message]
    machine.refuses = lambda _spec: False
    await ann.until(made.name, "RUNNING", running=2, within=60)

    async def over() -> bool:
        return await startable(ann, made.name) == (True, "", "")

    await eventually(over)
    assert len(machine.starts) == 3  # nothing was started twice


async def test_a_command_that_cannot_be_executed_is_a_condition_until_a_later_start_succeeds(
    machine: PickyMachine, site: Site, ann: User, eventually: Eventually
) -> None:
    def cannot(spec: ProcessSpec) -> None:
        if spec.key.process.startswith("bad-"):
            machine.exit(spec.key.cluster, spec.key.process, 127, ExitCause.START_FAILED)
        else:
            site.agents.started(spec)

    machine.on_start = cannot
    made = await ann.create(worker_groups=GROUPS)
    await ann.until(made.name, "RUNNING", running=1)

    async def told() -> bool:
        condition = await startable(ann, made.name)
        start = "Workers of group bad fail to start. The last failure: its process could not be started (exit code 127)"
        return condition is not None and condition[:2] == (False, "StartFailed") and condition[2].startswith(start)

    await eventually(told)
    machine.on_start = site.agents.started
    await ann.until(made.name, "RUNNING", running=2, within=60)
    assert await startable(ann, made.name) == (True, "", "")


async def test_a_scheduler_that_the_backend_refuses_is_told_and_tried_again(
    machine: PickyMachine, ann: User, eventually: Eventually
) -> None:
    machine.refuses = lambda _spec: True
    made = await ann.create()
    message = "The scheduler cannot be started: there is no room."

    async def told() -> bool:
        return await startable(ann, made.name) == (False, "BackendFailed", message)

    await eventually(told)
    machine.refuses = lambda _spec: False
    await ann.until(made.name, "RUNNING")
    assert await startable(ann, made.name) == (True, "", "")
    assert await failures(ann, made.name) == [message]
