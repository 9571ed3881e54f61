"""The local backend does what every backend with processes must, and says more where all are on one machine."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator

import pytest
from tests.backends.contract import MakeBackend
from tests.backends.local.conftest import Site
from tests.backends.local.opened import opened
from tests.backends.process_contract import ProcessContract
from tests.backends.processes import spec, text, until_exited, until_running, until_written
from tests.backends.programs import NO_SUCH_COMMAND, Program
from tests.held_port import held_ports

from headrace_controller.backends.base import AddressRefused, Backend
from headrace_controller.backends.process import SCHEDULER


class TestLocalBackend(ProcessContract):
    @pytest.fixture
    def make_backend(self, site: Site) -> MakeBackend:
        return site.backend

    @pytest.fixture
    async def patient(self, site: Site) -> AsyncIterator[Backend]:
        async with opened(site.backend(agent="patient_agent")) as backend:
            yield backend

    async def test_a_command_that_does_not_exist_is_reported_with_its_search_path(
        self, backend: Backend, cluster: str
    ) -> None:
        await backend.start([spec(cluster, SCHEDULER, [NO_SUCH_COMMAND], environment={"PATH": "/nowhere:/bin"})])
        assert "/nowhere:/bin" in (await until_exited(backend, cluster)).message
        assert NO_SUCH_COMMAND in await text(backend, cluster)

    async def test_both_outputs_are_in_the_log_in_their_order(self, backend: Backend, cluster: str) -> None:
        await backend.start([spec(cluster, SCHEDULER, ["sh", "-c", "echo tries; echo fails >&2; echo ends"])])
        await until_exited(backend, cluster)
        assert await text(backend, cluster) == "tries\nfails\nends\n"

    async def test_an_address_is_refused_for_what_listens_there(self, backend: Backend, cluster: str) -> None:
        await backend.start([spec(cluster, SCHEDULER), spec(cluster, "w-1", Program(listens=True))])
        await until_running(backend, cluster)
        await until_written(backend, cluster, "\n", "w-1")
        theirs = (await text(backend, cluster, "w-1")).strip()
        with pytest.raises(AddressRefused, match="something else"):
            await backend.check_address(cluster, SCHEDULER, theirs)
        with (
            socket.create_server(("127.0.0.1", 0)) as service,
            pytest.raises(AddressRefused, match="something else"),
        ):
            await backend.check_address(cluster, SCHEDULER, f"127.0.0.1:{service.getsockname()[1]}")
        with held_ports(1) as (free,), pytest.raises(AddressRefused, match="nothing listens"):
            await backend.check_address(cluster, SCHEDULER, f"127.0.0.1:{free}")
