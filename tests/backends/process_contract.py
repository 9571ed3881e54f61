"""What a backend with real processes must do besides: their environment, their output, all their children."""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import cast

import pytest
from tests.backends.contract import BackendContract
from tests.backends.processes import promised, spec, text, until_exited, until_running, until_written
from tests.backends.programs import Program

from headrace_controller.backends.base import AddressRefused, Attests, Backend
from headrace_controller.backends.process import SCHEDULER


class ProcessContract(BackendContract):
    """The contract, and tests of what only processes have."""

    async def test_the_log_goes_on_when_a_process_is_started_again(self, backend: Backend, cluster: str) -> None:
        await backend.start([spec(cluster, SCHEDULER, Program(writes="first\n", code=0))])
        await until_exited(backend, cluster)
        await backend.start([spec(cluster, SCHEDULER, Program(writes="second\n"))])
        await until_written(backend, cluster, "second")
        assert await text(backend, cluster) == ("first\n" if backend.capabilities.logs_go_on else "") + "second\n"

    async def test_both_outputs_are_in_the_log(self, backend: Backend, cluster: str) -> None:
        await backend.start([spec(cluster, SCHEDULER, ["sh", "-c", "echo tries; echo fails >&2; echo ends"])])
        await until_exited(backend, cluster)
        lines = (await text(backend, cluster)).splitlines()
        assert sorted(lines) == ["ends", "fails", "tries"]
        assert lines.index("tries") < lines.index("ends")

    async def test_the_process_gets_environment_and_identity_and_can_prove_it(
        self, backend: Backend, cluster: str
    ) -> None:
        script = (
            "import os, time; from headrace.agent.identity import Identity;"
            "print(Identity.from_environment(os.environ).token);"
            "print({k: v for k, v in os.environ.items() if k[0] in 'HC'}, flush=True); time.sleep(1000)"
        )
        command = [sys.executable, "-c", script]
        await backend.start([spec(cluster, "w-1", command, environment={"COLOUR": "blue", "CITY": "Bonn"})])
        await until_written(backend, cluster, "}\n", "w-1")
        token, seen = (await text(backend, cluster, "w-1")).splitlines()
        for name, value in {
            "HEADRACE_CLUSTER": cluster,
            "HEADRACE_PROCESS": "w-1",
            "HEADRACE_ROLE": "worker",
            "HEADRACE_GENERATION": "3",
            "HEADRACE_AGENT_ENDPOINT": backend.network(cluster, "w-1").agent_endpoint,
            "COLOUR": "blue",
            "CITY": "Bonn",
        }.items():
            assert f"'{name}': '{value}'" in seen
        if isinstance(backend, Attests):
            attested = await cast("Attests", backend).attest(token)
            assert (attested.cluster, attested.process) == (cluster, "w-1")
        else:
            assert token == "token"

    @pytest.mark.parametrize("prefix", ["", "setsid "], ids=["in its group", "in a session of its own"])
    async def test_stopping_kills_what_the_process_has_started(
        self, backend: Backend, cluster: str, prefix: str
    ) -> None:
        beat = "trap '' TERM; echo up; while :; do echo beat; sleep 0.01; done"
        await backend.start([spec(cluster, SCHEDULER, ["sh", "-c", f'{prefix}sh -c "$0" & wait', beat])])
        await until_running(backend, cluster)
        await until_written(backend, cluster, "beat")
        await backend.stop(cluster)
        after = await text(backend, cluster)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await until_written(backend, cluster, after + "beat")

    async def test_what_a_process_leaves_behind_is_killed_when_it_ends_by_itself(
        self, backend: Backend, cluster: str
    ) -> None:
        beat = "while :; do echo beat; sleep 0.01; done"
        await backend.start([spec(cluster, SCHEDULER, ["sh", "-c", 'sh -c "$0" & sleep 0.1', beat])])
        await until_exited(backend, cluster)

        async def silent() -> bool:
            before = await text(backend, cluster)
            await asyncio.sleep(0.1)
            return await text(backend, cluster) == before

        async with promised(0):
            while not await silent():
                continue

    async def test_an_address_of_another_process_is_refused(self, backend: Backend, cluster: str) -> None:
        await backend.start([spec(cluster, SCHEDULER), spec(cluster, "w-1", Program(listens=True))])
        for process in (SCHEDULER, "w-1"):
            await until_running(backend, cluster, process)
        await until_written(backend, cluster, "\n", "w-1")
        theirs = (await text(backend, cluster, "w-1")).strip()
        await backend.check_address(cluster, "w-1", theirs)
        with pytest.raises(AddressRefused):
            await backend.check_address(cluster, SCHEDULER, theirs)
        with socket.create_server(("127.0.0.1", 0)) as service, pytest.raises(AddressRefused):
            await backend.check_address(cluster, SCHEDULER, f"127.0.0.1:{service.getsockname()[1]}")
