"""A whole deployment whose clusters are measured: all of their schedulers show what a test wants."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from tests.conftest import Eventually
from tests.controller.running import Replica, Site
from tests.controller.signals.pages import text
from tests.controller.user import User

from headrace.internal.v1 import agent_service_pb2 as agents_pb
from headrace.v1 import cluster_pb2, culling_service_pb2
from headrace.v1 import cluster_service_pb2 as pb

EVERYBODY = culling_service_pb2.ListCullingRequest(filter=pb.ClusterFilter(owner="users/-"))


@dataclass
class MeasuredSite:
    """Time since which the schedulers are idle (None: they work), and what liars show, by cluster."""

    site: Site
    policy: Path
    idle_since: float | None = field(default_factory=time.time)
    liars: dict[str, dict[str, float]] = field(default_factory=dict[str, dict[str, float]])

    async def replica(self, name: str = "a", **changes: Any) -> Replica:
        """Start a controller that measures often."""
        signals = {"interval_seconds": 0.2, "stale_seconds": 1, **changes.pop("signals", {})}
        return await self.site.replica(name, **{"policy_file": self.policy, "signals": signals, **changes})

    def work(self) -> None:
        """Let the schedulers have work; their agents report it at once."""
        self.idle_since = None
        self._report(agents_pb.Activity())

    def rest(self) -> None:
        """Let them become idle."""
        self.idle_since = time.time()
        self._report(self.activity())

    def activity(self) -> agents_pb.Activity:
        """What agents report."""
        since = Timestamp()
        since.FromNanoseconds(int((self.idle_since or 0) * 1e9))
        return agents_pb.Activity(idle_since=since)

    def _report(self, activity: agents_pb.Activity) -> None:
        self.site.agents.activity = activity
        for agent in self.site.agents.schedulers.values():
            agent.report(agents_pb.SessionRequest(change=agents_pb.SchedulerChange(activity=activity)))

    def page(self, request: str) -> str:
        """What the scheduler shows whose key a request has."""
        idle = 0 if self.idle_since is None else time.time() - self.idle_since
        enrolled = self.site.agents.enrolled.items()
        asked = next((cluster for (cluster, _), one in enrolled if one.metrics_key and one.metrics_key in request), "")
        return text({"idle_seconds": idle, "inactive_seconds": idle, **self.liars.get(asked, {})})


@asynccontextmanager
async def measured_site(site: Site, policy: Path) -> AsyncGenerator[MeasuredSite]:
    """Serve the pages."""
    made = MeasuredSite(site, policy)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while request := await reader.readuntil(b"\r\n\r\n"):
                body = made.page(request.decode()).encode()
                head = f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n\r\n"
                writer.write(head.encode() + body)
                await writer.drain()
        except (OSError, EOFError):
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        site.agents.dashboard_address = "{}:{}".format(*server.sockets[0].getsockname())
        site.agents.activity = made.activity()
        yield made


async def cullings(admin: User) -> list[culling_service_pb2.Culling]:
    """What would happen to all clusters."""
    return list((await admin.ask_culling("ListCulling", EVERYBODY)).cullings)


async def known(admin: User, eventually: Eventually) -> culling_service_pb2.Culling:
    """What happens to the one cluster, as soon as it is known when."""
    found: list[culling_service_pb2.Culling] = []

    async def is_known() -> bool:
        found[:] = [one for one in await cullings(admin) if one.HasField("act_time")]
        return bool(found)

    await eventually(is_known)
    [culling] = found
    return culling


async def due(admin: User, eventually: Eventually) -> float:
    """When the one cluster is culled, as soon as that is known."""
    return (await known(admin, eventually)).act_time.ToNanoseconds() / 1e9


async def happened(user: User, cluster: str) -> list[str]:
    """The types of the events of a cluster that are about culling or its end."""
    answer = await user.call("ListClusterEvents", pb.ListClusterEventsRequest(parent=cluster))
    types = [cluster_pb2.EventType.Name(event.type).removeprefix("EVENT_TYPE_") for event in answer.cluster_events]
    return [name for name in types if name.startswith("CULL") or name == "STOPPING"]
