"""Simulated agents: one session for each scheduler that the backend launches; workers join through it."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field

import grpc
import grpc.aio

from headrace.backoff import delays
from headrace.internal.v1 import agent_service_pb2 as pb
from headrace.internal.v1.agent_service_pb2_grpc import AgentServiceStub

Call = grpc.aio.StreamStreamCall

_SCHEDULER = "scheduler"
_CHANNELS = 8
# The real agent gathers reports for as long.
_BATCH_SECONDS = 0.005


@dataclass(frozen=True)
class Launch:
    """A process that the backend launched.

    Attributes
    ----------
    host
        Where it runs; without, the simulation gives it an address and a page that answers.
    """

    cluster: str
    process: str
    token: str
    credential: str
    host: str = ""

    def metadata(self, *, enrolled: bool = True) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Agent {self.credential if enrolled else self.token}"),)


class Agents:
    """All agents of a deployment.

    Attributes
    ----------
    http_port
        At which all schedulers' pages are read, each at its own address.
    present
        While it is not set, no agent opens a session.
    enrol
        Whether processes enrol, as real ones do: the controller issues a certificate for each.
    join
        Whether workers join as soon as they are launched.
    launched
        All launches in their order.
    connected
        Clusters whose session the controller has answered.
    """

    def __init__(self, endpoint: str, http_port: int) -> None:
        self.http_port = http_port
        self.present = asyncio.Event()
        self.present.set()
        self.enrol = False
        self.join = True
        self.launched: list[Launch] = []
        self.connected: set[str] = set()
        self.schedulers: dict[str, SimulatedScheduler] = {}
        options = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_reconnect_backoff_ms", 500))
        self._channels = [grpc.aio.insecure_channel(endpoint, options=options) for _ in range(_CHANNELS)]
        self._tasks: set[asyncio.Task[None]] = set()
        self._running: dict[str, asyncio.Task[None]] = {}
        self._counter = 0
        self._known: set[tuple[str, str]] = set()
        self._news = asyncio.Event()

    async def until(self, predicate: Callable[[], bool]) -> None:
        """Waits until it holds; it may look at `launched` and `connected`."""
        while not predicate():
            self._news.clear()
            await self._news.wait()

    def stub(self) -> AgentServiceStub:
        self._counter += 1
        return AgentServiceStub(self._channels[self._counter % _CHANNELS])

    def launch(self, launch: Launch) -> None:
        if (launch.cluster, launch.process) in self._known:  # a restarted controller may tell of it again
            return
        self._known.add((launch.cluster, launch.process))
        self.launched.append(launch)
        self._news.set()
        if launch.process == _SCHEDULER:
            self.schedulers[launch.cluster] = SimulatedScheduler(launch, self, len(self.schedulers))
            self._running[launch.cluster] = self._spawn(self.schedulers[launch.cluster].run())
        elif self.join:
            self._spawn(self._join(launch))

    def end(self, cluster: str) -> None:
        """Ends the agent of a scheduler whose process was stopped."""
        self._running.pop(cluster).cancel()

    def connect(self, cluster: str) -> None:
        self.connected.add(cluster)
        self._news.set()

    async def _join(self, launch: Launch) -> None:
        if self.enrol:
            await self.enroll(launch, pb.PROCESS_ROLE_WORKER)
        self.schedulers[launch.cluster].joined(launch.process)

    async def enroll(self, launch: Launch, role: pb.ProcessRole.ValueType) -> None:
        request = pb.EnrollRequest(role=role, process=launch.process, nonce="simulated")
        await self.stub().Enroll(request, metadata=launch.metadata(enrolled=False), timeout=60)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for channel in self._channels:
            await channel.close()

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            sys.stderr.write(f"an agent failed: {error!r}\n")


@dataclass
class SimulatedScheduler:
    """A scheduler's agent: holds a session, reports workers, retires what it is instructed to."""

    launch: Launch
    agents: Agents
    number: int
    workers: dict[str, str] = field(default_factory=dict[str, str])
    _joined: dict[str, str] = field(default_factory=dict[str, str])
    _left: list[str] = field(default_factory=list[str])
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        pauses = delays(0.05, 2.0)
        if self.agents.enrol:
            await self.agents.enroll(self.launch, pb.PROCESS_ROLE_SCHEDULER)
        while True:
            await self.agents.present.wait()
            try:
                await self._session()
            except grpc.aio.AioRpcError as error:
                if error.code() in (grpc.StatusCode.ABORTED, grpc.StatusCode.NOT_FOUND):
                    return
            finally:
                self.agents.connected.discard(self.launch.cluster)
            await asyncio.sleep(next(pauses))

    def joined(self, worker: str) -> None:
        self.workers[worker] = self._joined[worker] = f"tls://10.1.{self.number % 256}.1:{len(self.workers)}"
        self._changed.set()

    async def _session(self) -> None:
        call = self.agents.stub().Session(metadata=self.launch.metadata())
        writing = asyncio.create_task(self._write(call))
        try:
            async for response in call:
                self.agents.connect(self.launch.cluster)
                self._apply(response)
        finally:
            writing.cancel()
            call.cancel()
            await asyncio.gather(writing, return_exceptions=True)

    async def _write(self, call: Call) -> None:
        self._joined.clear()
        self._left.clear()
        await call.write(pb.SessionRequest(sequence=1, hello=self._hello()))
        sequence = 1
        while True:
            await self._changed.wait()
            await asyncio.sleep(_BATCH_SECONDS)
            self._changed.clear()
            if self._joined or self._left:
                sequence += 1
                await call.write(pb.SessionRequest(sequence=sequence, change=self._take_change()))

    def _take_change(self) -> pb.SchedulerChange:
        change = pb.SchedulerChange(
            joined=[pb.JoinedWorker(process=process, address=address) for process, address in self._joined.items()],
            left=[pb.LeftWorker(process=process, retired=True) for process in self._left],
        )
        self._joined.clear()
        self._left.clear()
        return change

    def _hello(self) -> pb.SchedulerHello:
        host = f"127.0.{self.number // 250 % 256}.{self.number % 250}"
        hello = pb.SchedulerHello(
            session=time.time_ns(),
            scheduler_address=f"tls://{self.launch.host or host}:40123",
            dashboard_address="" if self.launch.host else f"{host}:{self.agents.http_port}",
            versions={"python": "3.11.7", "dask": "2026.8.0", "distributed": "2026.8.0", "headrace": "0.1.0"},
            workers=[pb.JoinedWorker(process=process, address=address) for process, address in self.workers.items()],
        )
        hello.activity.idle_since.GetCurrentTime()
        return hello

    def _apply(self, response: pb.SessionResponse) -> None:
        for instruction in response.retire:
            mine = [worker for worker in self.workers if worker.startswith(f"{instruction.group}-")]
            for worker in mine[instruction.keep :]:
                del self.workers[worker]
                self._left.append(worker)
                self._changed.set()
