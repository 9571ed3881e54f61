"""A cluster under test: a fake controller, processes forked by a real zygote, real Dask."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import distributed
from distributed.security import Security
from tests.client.agent import tasks
from tests.client.agent.fake_controller import TOKEN, FakeController
from tests.conftest import Eventually

from headrace.agent.identity import Identity


class Zygote:
    """The zygote's process; one for all tests of a run."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("zygote.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])},
        )
        self._started: queue.Queue[int] = queue.Queue()
        self.codes: dict[int, int] = {}
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._started.get(timeout=60)

    def start(self, environment: Mapping[str, str], log: Path, *, standby: bool = False) -> int:
        return self._ask({"environment": dict(environment), "log": str(log), "standby": standby})

    def fork_server(self) -> int:
        """Returns the first of its children, which the kernel lists in the order of their birth."""
        pid = self._process.pid
        children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        return next(child for child in children if b"zygote.py" in Path(f"/proc/{child}/cmdline").read_bytes())

    def repair(self) -> int:
        """Has it start another fork server; returns its pid."""
        return self._ask({"repair": True})

    def close(self) -> None:
        """Ends it, and all processes that it has forked."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)
        self._reader.join(60)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _ask(self, request: Mapping[str, object]) -> int:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()
        return self._started.get(timeout=60)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            message = json.loads(line)
            if "code" in message:
                self.codes[message["pid"]] = message["code"]
            else:
                pid = message.get("pid", 0)
                self.codes.pop(pid, None)  # of an earlier process, whose number the kernel has given again
                self._started.put(pid)


@dataclass
class Agent:
    """A process of a cluster."""

    process: str
    pid: int
    log_file: Path
    codes: Mapping[int, int]

    @property
    def code(self) -> int | None:
        return self.codes.get(self.pid)

    @property
    def log(self) -> str:
        return self.log_file.read_text() if self.log_file.exists() else ""

    def kill(self, number: int = signal.SIGKILL) -> None:
        os.kill(self.pid, number)


@dataclass
class Cluster:
    """Starts processes and waits for their reports."""

    controller: FakeController
    zygote: Zygote
    directory: Path
    eventually: Eventually
    started: list[Agent] = field(default_factory=list[Agent])
    environment: dict[str, str] = field(default_factory=dict[str, str])  # of all processes that are started from now on
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def identity(self, process: str) -> Identity:
        return Identity(
            deployment="test",
            cluster="c1",
            process=process,
            role="scheduler" if process == "scheduler" else "worker",
            generation=1,
            endpoint=self.controller.endpoint,
            token=TOKEN,
        )

    def start(self, process: str, *, standby: bool = False) -> Agent:
        log = self.directory / f"{process}.log"
        pid = self.zygote.start(self.environment | self.identity(process).to_environment(), log, standby=standby)
        agent = Agent(process, pid, log, self.zygote.codes)
        self.started.append(agent)
        return agent

    async def start_scheduler(self, *, standby: bool = False) -> Agent:
        agent = self.start("scheduler", standby=standby)
        await self.eventually(lambda: self.controller.state.hellos or agent.code is not None, within=60)
        assert self.controller.state.hellos, agent.log
        return agent

    async def start_workers(self, count: int = 1, group: str = "default") -> list[Agent]:
        agents = [self.start(f"{group}-{next(self._numbers)}-abc234") for _ in range(count)]
        await self.eventually(lambda: all(a.process in self.controller.state.workers for a in agents), within=60)
        return agents

    @property
    def scheduler_address(self) -> str:
        return self.controller.state.hellos[-1].scheduler_address

    def security(self) -> Security:
        leaf = self.controller.authority.issue("client", timedelta(hours=1))
        return Security(
            require_encryption=True,
            tls_ca_file=self.controller.authority.cert_pem.decode(),
            tls_client_cert=leaf.cert_pem.decode(),
            tls_client_key=leaf.key_pem.decode(),
        )

    def connect(self) -> Any:
        """An asynchronous client; Dask's types do not distinguish it from a synchronous one."""
        return distributed.Client(
            self.scheduler_address, security=self.security(), asynchronous=True, set_as_default=False
        )

    async def settled(self) -> None:
        """Waits until nannies know that their workers have started, which they check at intervals."""
        async with self.connect() as client:
            await self.eventually(lambda: self._nannies_run(client))

    async def _nannies_run(self, client: Any) -> bool:
        statuses = await client.run(tasks.nanny_status, nanny=True)
        return set(statuses.values()) == {"running"}

    async def close(self) -> None:
        """Kills the process groups that are left."""
        for agent in self.started:
            if agent.code is None:
                for kill in (os.killpg, os.kill):  # one that was just started may not have its own group yet
                    with contextlib.suppress(ProcessLookupError):  # one that was just killed, and is not reported yet
                        kill(agent.pid, signal.SIGKILL)
        await self.eventually(lambda: all(agent.code is not None for agent in self.started))
