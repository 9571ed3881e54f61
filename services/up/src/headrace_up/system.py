"""The running system: what is started in which order, and how it is stopped."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headrace._target.local_gateway import FILE_NAME, LocalGateway
from headrace.private_files import write_private
from headrace_backend_local.account_rule import AccountRule
from headrace_up import log_file
from headrace_up.console import Console
from headrace_up.envoy import bootstrap_file, envoy_check_part, envoy_part, remove_shared_memory
from headrace_up.errors import CannotRun
from headrace_up.layout import Layout
from headrace_up.maintenance import Maintenance
from headrace_up.options import UpOptions
from headrace_up.port import hold_port
from headrace_up.process import Part
from headrace_up.process_tags import kill_all, tagged_environment, tagged_processes
from headrace_up.services import bootstrap_part, load_services, service_parts
from headrace_up.supervisor import Supervisor
from headrace_up.valkey import valkey_part
from headrace_up.zygote import zygote_part

if TYPE_CHECKING:  # cryptography is imported later
    from headrace_up.credentials import Credentials

# Together with the sweep at the end these stay below the three seconds that Ctrl-C may take.
CLUSTERS_SECONDS = 1.2
SERVICE_SECONDS = 0.8
ONCE_SECONDS = 15.0


@dataclass(frozen=True)
class Parts:
    """What makes the parts. Tests replace some of it."""

    zygote: Callable[[Layout, UpOptions], Part | None] = zygote_part
    load: Callable[[], None] = load_services
    services: Callable[[Layout, UpOptions, int, Credentials], Sequence[Part]] = service_parts
    bootstrap: Callable[[Layout, int, Credentials], Part] = bootstrap_part
    envoy: Callable[[Layout, int], Part] = envoy_part
    envoy_check: Callable[[Layout], Part] = envoy_check_part


class System:
    """All processes of one `headrace up`."""

    def __init__(self, options: UpOptions, layout: Layout, console: Console, version: str, parts: Parts) -> None:
        self._options = options
        self._layout = layout
        self._console = console
        self._version = version
        self._parts = parts
        self._supervisor = Supervisor(layout, console)
        self._gateway: LocalGateway | None = None
        self._found_clusters = False
        self._keep_clusters = options.keep_clusters
        self.envoy_restart_requested = asyncio.Event()

    async def run(self) -> None:
        """Start everything and keep it running; raise GaveUp or CannotRun if it cannot be started.

        Runs until cancelled.
        """
        self._found_clusters = bool(tagged_processes(self._layout.data))
        self._remove_gateway_file()
        with await hold_port(self._options.port, self._layout.data) as held:
            await self._run(held.getsockname()[1])

    async def _run(self, port: int) -> None:
        # These two start while this process imports the services, and whatever is imported within functions.
        if zygote := self._parts.zygote(self._layout, self._options):
            self._supervisor.launch(zygote)
        self._supervisor.start([valkey_part(self._layout, tagged_environment(self._layout.data))])
        self._parts.load()
        from headrace_up.credentials import account_user, ensure_credentials

        credentials = ensure_credentials(self._layout, account_user())
        if self._options.accounts is not AccountRule.NONE:
            credentials.certificate.ca.chmod(0o644)  # other users check the server with it
        await self._supervisor.ready()
        self._supervisor.start(self._parts.services(self._layout, self._options, port, credentials))
        await self._write_bootstrap(port, credentials)
        self._supervisor.start([self._parts.envoy(self._layout, port)])
        await self._supervisor.ready()
        self._gateway = self._write_gateway_file(port, credentials)
        self._greet(self._gateway.address)
        async with asyncio.TaskGroup() as group:
            group.create_task(Maintenance(self._layout, self._console).run())
            group.create_task(self._restart_envoy_on_request(port, credentials))

    async def stop(self, *, requested: bool) -> None:
        """Stop clusters, services with Envoy, and Valkey, in this order; kill those that do not end in time.

        Only a person's request ends clusters: those of a system that failed compute on, and the next one adopts them.
        """
        self._keep_clusters |= not requested and (self._found_clusters or self._gateway is not None)
        self._remove_gateway_file()
        services = [name for name in self._supervisor.children if name != "valkey"]
        try:
            if self._gateway and not self._keep_clusters:
                await self._stop_clusters(self._gateway.token)
        finally:  # whatever fails, such as a data directory that was removed: nothing may be left running
            await self._supervisor.stop(services, SERVICE_SECONDS)
            await self._supervisor.stop(["valkey"], SERVICE_SECONDS)
            self._sweep()

    def kill(self) -> None:
        """Kill everything, now, as a person requests."""
        self._remove_gateway_file()
        self._supervisor.kill()
        self._sweep()

    async def _stop_clusters(self, token: str) -> None:
        def main() -> None:
            from headrace_up.stop_clusters import stop_clusters

            stop_clusters(self._layout, token, CLUSTERS_SECONDS)

        part = Part(name="stop-clusters", main=main, environment=tagged_environment(self._layout.data))
        await self._supervisor.run_once(part, CLUSTERS_SECONDS)

    async def _write_bootstrap(self, port: int, credentials: Credentials) -> None:
        await self._configure(self._parts.bootstrap(self._layout, port, credentials))

    async def _configure(self, part: Part) -> None:
        if await self._supervisor.run_once(part, ONCE_SECONDS) != 0:
            log = self._supervisor.log(part)
            raise CannotRun(f"Envoy cannot be configured:\n{log_file.tail(log) or f'see {log}'}")

    async def _restart_envoy_on_request(self, port: int, credentials: Credentials) -> None:
        while True:
            await self.envoy_restart_requested.wait()
            self.envoy_restart_requested.clear()
            try:
                await self._restart_envoy(port, credentials)
            except (CannotRun, OSError) as error:
                self._console.warn(f"envoy runs on as it is: {error}")

    async def _restart_envoy(self, port: int, credentials: Credentials) -> None:
        """Have a new Envoy take over, with the settings and the program of now, if it accepts them."""
        file = bootstrap_file(self._layout)
        before = file.read_text()
        try:
            await self._write_bootstrap(port, credentials)
            await self._configure(self._parts.envoy_check(self._layout))
        except BaseException:
            write_private(file, before)  # Envoy may have to be started again, after its death
            raise
        if await self._supervisor.replace("envoy"):
            from headrace_proxy.app import REDIAL_SIGNAL  # the services are imported after the start

            self._supervisor.children["proxy"].send_signal(REDIAL_SIGNAL)

    def _write_gateway_file(self, port: int, credentials: Credentials) -> LocalGateway:
        gateway = LocalGateway(
            address=f"https://127.0.0.1:{port}",
            ca_file=str(credentials.certificate.ca),
            token=credentials.token.secret,
            user=credentials.token.user,
            pid=os.getpid(),
            version=self._version,
        )
        gateway.write(self._layout.data)
        return gateway

    def _remove_gateway_file(self) -> None:
        with suppress(OSError):  # whatever has become of the directory: what runs has to be stopped
            (self._layout.data / FILE_NAME).unlink()

    def _greet(self, address: str) -> None:
        info = self._console.info
        info(f"headrace is ready after {self._console.elapsed():.1f} s.")
        info()
        info(f"  address  {address}")
        info(f"  data     {self._layout.data}")
        info()
        info("In Python on this machine:")
        info()
        info("  from headrace import Gateway")
        info("  cluster = Gateway().new_cluster()")
        info("  client = cluster.get_client()")
        info()
        clusters = "; clusters keep running." if self._options.keep_clusters else " and all clusters."
        info(f"Ctrl-C stops headrace{clusters}")
        if self._options.development:
            self._console.warn("DEVELOPMENT MODE: anyone on this machine can log in under any name without a password")
        if not (self._options.development or self._options.users_file):
            return
        info(f"Other users log in with: headrace login {address} --ca-file {self._layout.tls / 'ca.pem'}")
        if self._options.accounts is AccountRule.NONE:
            self._console.warn(
                "ONE ACCOUNT: clusters of all users run as your operating-system account; "
                "the code of each can read and change all that you can, headrace's keys included"
            )

    def _sweep(self) -> None:
        """Kill the processes of clusters that are left, unless clusters are kept; remove what Envoy leaves."""
        remove_shared_memory(self._layout)
        if self._keep_clusters:
            if not self._options.keep_clusters:
                self._console.warn("clusters that were running compute on; the next `headrace up` adopts them")
            return
        if left := kill_all(lambda: tagged_processes(self._layout.data)):
            self._console.warn(f"these processes cannot be killed: {', '.join(map(str, left))}")
        # The agents of clusters that are kept find the next controller in it; without any it has no use.
        shutil.rmtree(self._layout.sockets, ignore_errors=True)
