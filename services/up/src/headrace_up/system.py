"""The running system: what is started in which order, and how it is stopped."""

from __future__ import annotations

import asyncio
import getpass
import os
import shutil
from collections.abc import Callable, Sequence

from headrace._target.local_gateway import LocalGateway
from headrace_up import log_file, marks, pid_files
from headrace_up.child import Child, ChildSpec
from headrace_up.console import Console
from headrace_up.deployment_secrets import ensure_bootstrap_token, ensure_deployment_key
from headrace_up.layout import Layout
from headrace_up.options import UpOptions
from headrace_up.port import free_port
from headrace_up.server_certificate import ensure_server_certificate
from headrace_up.services import Files, base_environment, service_specs
from headrace_up.stop_clusters import stop_clusters
from headrace_up.supervisor import Supervisor
from headrace_up.valkey import valkey_spec

MakeSpecs = Callable[[Layout, UpOptions, int, Files], Sequence[ChildSpec]]

# Together with the sweep at the end these stay below the three seconds that Ctrl-C may take.
CLUSTERS_WITHIN = 1.2
SERVICE_WITHIN = 0.8
LOOK_AT_LOGS_SECONDS = 30.0


class System:
    """All processes of one embedded headrace."""

    def __init__(
        self,
        options: UpOptions,
        layout: Layout,
        console: Console,
        version: str,
        make_specs: MakeSpecs = service_specs,
    ) -> None:
        self.address = ""
        self._options = options
        self._layout = layout
        self._console = console
        self._version = version
        self._make_specs = make_specs
        self._supervisor = Supervisor(console)
        self._gateway: LocalGateway | None = None

    async def run(self, *, after_crash: bool) -> None:
        """Starts everything and keeps it running; ends only by cancellation, or with GaveUp or CannotRun."""
        if after_crash:
            await asyncio.to_thread(self._clear_leftovers)
        port = free_port(self._options.port)
        self.address = f"https://127.0.0.1:{port}"
        _, (files, self._gateway) = await asyncio.gather(
            self._start([valkey_spec(self._layout, base_environment(self._layout))]),
            asyncio.to_thread(self._make_files),
        )
        await self._start(self._make_specs(self._layout, self._options, port, files))
        self._gateway.write(self._layout.data)
        self._greet()
        await asyncio.gather(self._supervisor.watch(), self._cut_logs())

    async def _start(self, specs: Sequence[ChildSpec]) -> None:
        children = [Child(spec, self._layout) for spec in specs]
        for child in children:
            log_file.rotate(child.log)
        await self._supervisor.start(children)

    def _clear_leftovers(self) -> None:
        """Ends services that a killed `headrace up` has left; its clusters go on and are adopted."""
        self._forget_gateway()
        left = pid_files.end_remembered(self._layout.processes)
        self._kill_envoys()
        if left:
            self._console.say(f"  ended what an earlier run had left behind: {', '.join(left)}")

    def _make_files(self) -> tuple[Files, LocalGateway]:
        user = getpass.getuser()
        token_file, token = ensure_bootstrap_token(self._layout.secrets, user)
        certificate = ensure_server_certificate(self._layout.tls)
        gateway = LocalGateway(
            address=self.address,
            ca_file=str(certificate.ca),
            token=token.secret,
            user=user,
            pid=os.getpid(),
            version=self._version,
        )
        return Files(ensure_deployment_key(self._layout.secrets), token_file, certificate), gateway

    def _greet(self) -> None:
        say = self._console.say
        say(f"headrace is ready after {self._console.elapsed():.1f} s.")
        say()
        say(f"  address  {self.address}")
        say(f"  data     {self._layout.data}")
        say()
        say("In Python on this machine:")
        say()
        say("  from headrace import Gateway")
        say("  cluster = Gateway().new_cluster()")
        say("  client = cluster.get_client()")
        say()
        say("Ctrl-C stops headrace" + ("; clusters run on." if self._options.keep_clusters else " and all clusters."))
        if self._options.development:
            self._console.warn("DEVELOPMENT MODE: anybody on this machine can log in as anybody, without a password")

    async def _cut_logs(self) -> None:
        while True:
            await asyncio.sleep(LOOK_AT_LOGS_SECONDS)
            await asyncio.to_thread(log_file.cut_grown, [child.log for child in self._supervisor.children.values()])

    async def stop(self) -> None:
        """Ends clusters, services, Envoy and Valkey, in this order; what will not go is killed."""
        self._forget_gateway()
        if self._gateway and "controller" in self._supervisor.children and not self._options.keep_clusters:
            await asyncio.to_thread(stop_clusters, self._layout, self._gateway.token, CLUSTERS_WITHIN)
        await self._supervisor.stop([name for name in self._supervisor.children if name != "valkey"], SERVICE_WITHIN)
        await self._supervisor.stop(["valkey"], SERVICE_WITHIN)
        await asyncio.to_thread(self._sweep)

    def kill(self) -> None:
        """Kills everything, now."""
        self._forget_gateway()
        self._supervisor.kill()
        self._sweep()

    def _sweep(self) -> None:
        """Kills what has lost its parent; clusters only if they are not to be kept."""
        self._kill_envoys()
        if self._options.keep_clusters:
            return
        if left := marks.kill_all(lambda: marks.marked_processes(self._layout.data)):
            self._console.warn(f"these processes would not end: {', '.join(map(str, left))}")
        # Agents that run on find the next start's controller in it; without any it is rubbish.
        shutil.rmtree(self._layout.sockets, ignore_errors=True)

    def _kill_envoys(self) -> None:
        marks.kill_all(lambda: marks.envoys(self._layout.proxy))

    def _forget_gateway(self) -> None:
        (self._layout.data / "gateway.json").unlink(missing_ok=True)
