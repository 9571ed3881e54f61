"""Agents without Dask: for each process that the fake machine starts, one that enrols and reports over real gRPC.

The real AgentService checks what they send; the real agent meets the real controller in `tests/e2e`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import grpc
import grpc.aio
from tests.backends.fake_machine import FakeMachine
from tests.controller.stubs import agent_service

from headrace.internal.v1 import agent_service_pb2 as pb
from headrace.v1 import cluster_pb2
from headrace_controller.backends.process import SCHEDULER, ProcessKey, ProcessSpec, Role


@dataclass
class FakeAgents:
    """Starts an agent for each process; `endpoints` may be changed when controllers move."""

    machine: FakeMachine
    endpoints: list[str]
    automatic: bool = True
    notices: bool = True  # whether a scheduler notices by itself that a worker's process has ended
    dashboard_address: str = "127.0.0.1:8787"
    activity: pb.Activity = field(default_factory=pb.Activity)
    schedulers: dict[str, SchedulerAgent] = field(default_factory=dict[str, "SchedulerAgent"])
    enrolled: dict[tuple[str, str], pb.EnrollResponse] = field(default_factory=dict[tuple[str, str], pb.EnrollResponse])
    tasks: dict[tuple[str, str], asyncio.Task[None]] = field(
        default_factory=dict[tuple[str, str], "asyncio.Task[None]"]
    )

    sessions: int = 0

    def __post_init__(self) -> None:
        self.machine.on_start = self.started
        self.machine.on_exit = self.exited

    def started(self, spec: ProcessSpec) -> None:
        if self.automatic:
            run = self._scheduler if spec.role is Role.SCHEDULER else self._worker
            self.tasks[spec.key.cluster, spec.key.process] = asyncio.create_task(run(spec))

    def exited(self, key: ProcessKey) -> None:
        scheduler = self.schedulers.get(key.cluster)
        if scheduler and key.process == SCHEDULER:
            scheduler.closing = True
        if task := self.tasks.pop((key.cluster, key.process), None):
            task.cancel()
        if scheduler and self.notices:
            scheduler.left(key.process)

    async def close(self) -> None:
        tasks = list(self.tasks.values())
        for scheduler in self.schedulers.values():
            scheduler.closing = True
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def endpoint(self) -> str:
        """Where the first controller listens, as soon as there is one."""
        while not self.endpoints:  # noqa: ASYNC110 a plain list, which tests change
            await asyncio.sleep(0.01)
        return self.endpoints[0]

    async def enrol(self, spec: ProcessSpec) -> pb.EnrollResponse:
        role = pb.PROCESS_ROLE_SCHEDULER if spec.role is Role.SCHEDULER else pb.PROCESS_ROLE_WORKER
        request = pb.EnrollRequest(role=role, process=spec.key.process, nonce="drawn once")
        while True:
            try:
                async with grpc.aio.insecure_channel(await self.endpoint()) as channel:
                    stub = agent_service(channel)
                    answer = await stub.Enroll(request, metadata=launch_token(spec), timeout=60, wait_for_ready=True)
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
            else:
                self.enrolled[spec.key.cluster, spec.key.process] = answer
                return answer

    def credential(self, spec: ProcessSpec) -> tuple[tuple[str, str], ...]:
        """What a process sends once it has enrolled."""
        return token(self.enrolled[spec.key.cluster, spec.key.process].credential)

    def number_session(self, spec: ProcessSpec) -> int:
        """The number of the next session of a scheduler."""
        self.sessions += 1
        return (self.enrolled[spec.key.cluster, SCHEDULER].enrolment << 32) + self.sessions

    async def _scheduler(self, spec: ProcessSpec) -> None:
        await self.enrol(spec)
        scheduler = self.schedulers[spec.key.cluster] = SchedulerAgent(self, spec)
        await scheduler.run()

    async def _worker(self, spec: ProcessSpec) -> None:
        answer = await self.enrol(spec)
        assert answer.scheduler_address == self.schedulers[spec.key.cluster].address
        self.schedulers[spec.key.cluster].joined(spec.key.process)


def launch_token(spec: ProcessSpec) -> tuple[tuple[str, str], ...]:
    return token(spec.agent_token)


def token(text: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Agent {text}"),)


class SchedulerAgent:
    """Holds a session, opens another one when it breaks, and retires workers as instructed."""

    def __init__(self, agents: FakeAgents, spec: ProcessSpec) -> None:
        self._agents = agents
        self._spec = spec
        self.address = f"tls://127.0.0.1:{40000 + len(agents.schedulers)}"
        self.workers: dict[str, str] = {}
        self.instructions = pb.SessionResponse()
        self.sessions = 0
        self.redials = 0
        self.told_ended: set[str] = set()
        self.ended_with: grpc.StatusCode | None = None
        self.closing = False
        self._outbox: asyncio.Queue[pb.SessionRequest] = asyncio.Queue()

    def joined(self, worker: str) -> None:
        self.workers[worker] = f"tls://127.0.0.1:{50000 + len(self.workers)}"
        change = pb.SchedulerChange(joined=[pb.JoinedWorker(process=worker, address=self.workers[worker])])
        self.report(pb.SessionRequest(change=change))

    def left(self, worker: str, tasks_lost: int = 0) -> None:
        if self.workers.pop(worker, None):
            change = pb.SchedulerChange(left=[pb.LeftWorker(process=worker, tasks_lost=tasks_lost)])
            self.report(pb.SessionRequest(change=change))

    def report(self, request: pb.SessionRequest) -> None:
        self._outbox.put_nowait(request)

    def ask_for(self, size: int, group: str = "default") -> None:
        self.report(pb.SessionRequest(scale_request=pb.ScaleRequest(group=group, size=size)))

    def close(self, reason: cluster_pb2.EndReason.ValueType = cluster_pb2.END_REASON_IDLE) -> None:
        """Reports that the scheduler ends by itself; its session is the last one."""
        self.closing = True
        self.report(pb.SessionRequest(closing=pb.SchedulerClosing(reason=reason)))

    async def run(self) -> None:
        while self.ended_with not in {grpc.StatusCode.ABORTED, grpc.StatusCode.NOT_FOUND}:
            try:
                await self._session()
            except grpc.aio.AioRpcError as error:
                self.ended_with = error.code()
            if self.closing:
                return  # also when the task was cancelled, which gRPC turns into an error
            await asyncio.sleep(0.05)

    async def _session(self) -> None:
        self.sessions += 1
        async with grpc.aio.insecure_channel(await self._agents.endpoint()) as channel:
            stub = agent_service(channel)
            call = stub.Session(self._requests(), metadata=self._agents.credential(self._spec))
            async for instructions in call:
                self._follow(instructions)

    async def _requests(self) -> AsyncIterator[pb.SessionRequest]:
        self._outbox = asyncio.Queue()
        yield pb.SessionRequest(sequence=1, hello=self.hello())
        sequence = 1
        while True:
            request = await self._outbox.get()
            sequence += 1
            request.sequence = sequence
            yield request
            if request.HasField("closing"):
                return

    def hello(self) -> pb.SchedulerHello:
        return pb.SchedulerHello(
            session=self._agents.number_session(self._spec),
            scheduler_address=self.address,
            dashboard_address=self._agents.dashboard_address,
            activity=self._agents.activity,
            removes_ended=True,
            versions={"distributed": "fake"},
            workers=[pb.JoinedWorker(process=worker, address=address) for worker, address in self.workers.items()],
        )

    def _follow(self, instructions: pb.SessionResponse) -> None:
        self.instructions = instructions
        self.redials += instructions.redial
        for worker in instructions.ended:
            self.told_ended.add(worker.process)
            assert self.workers.get(worker.process) in {None, worker.address}
            self.left(worker.process, tasks_lost=1)
        for instruction in instructions.retire:
            mine = [worker for worker in self.workers if worker.startswith(f"{instruction.group}-")]
            retired = mine[instruction.keep :]
            for worker in retired:
                self.workers.pop(worker)
            if retired:
                left = [pb.LeftWorker(process=worker, retired=True) for worker in retired]
                self.report(pb.SessionRequest(change=pb.SchedulerChange(left=left)))
