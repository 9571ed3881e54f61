"""What the agent reads from a Dask scheduler."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from distributed.comm.addressing import get_address_host, unparse_host_port
from distributed.core import Status
from distributed.metrics import time

from headrace.agent.adaptive import Load
from headrace.internal.v1 import agent_service_pb2 as pb

if TYPE_CHECKING:
    from distributed import Scheduler
    from distributed.scheduler import WorkerState

# Workers in other states are leaving.
_STAYING = (Status.running, Status.paused, Status.init)


def activity_of(scheduler: Scheduler) -> pb.Activity:
    """Returns the number of clients, and the time since which the scheduler is idle.

    `check_idle` is Dask's own judgement: it knows of queued tasks, of tasks that no worker can run and of graphs that
    are still being received.
    """
    activity = pb.Activity(clients=sum(is_user(client) for client in scheduler.client_comms))
    idle_since = scheduler.check_idle()
    if idle_since:
        activity.idle_since.FromMicroseconds(int(idle_since * 1e6))
    return activity


def to_send(activity: pb.Activity) -> pb.Activity:
    """Returns the activity with the time at which it is sent, by the clock that it was read from."""
    sent = pb.Activity()
    sent.CopyFrom(activity)
    sent.clock.FromMicroseconds(int(time() * 1e6))
    return sent


def is_user(client: str) -> bool:
    """Tasks that use Dask connect as clients too, from their workers."""
    return "-worker-" not in client


def load_of(scheduler: Scheduler) -> Load:
    """Returns the load; cheap enough for once a second with thousands of workers."""
    workers = scheduler.workers.values()
    running = sum(len(worker.processing) for worker in workers)
    return Load(
        target=scheduler.adaptive_target(),
        backlog=running + len(scheduler.queued) + len(scheduler.unrunnable),
        finished=sum(prefix.state_counts["memory"] for prefix in scheduler.task_prefixes.values()),
        workers=len(workers),
        threads=sum(worker.nthreads for worker in workers),
    )


def staying(scheduler: Scheduler, group: str | None = None) -> Iterator[WorkerState]:
    """Yields the workers, of one group or of all, that are not leaving."""
    for worker in scheduler.workers.values():
        if worker.status in _STAYING and (group is None or group_of(worker.name) == group):
            yield worker


def staying_counts(scheduler: Scheduler) -> Counter[str]:
    """Returns by group the number of workers that are not leaving."""
    return Counter(group_of(worker.name) for worker in staying(scheduler))


def group_of(process: object) -> str:
    """Returns the group in the id of a worker, ``{group}-{number}-{random}``; the id is its name in Dask."""
    return str(process).rsplit("-", 2)[0]


def dashboard_address(scheduler: Scheduler) -> str:
    """Returns host and port of the dashboard, or an empty string if there is none."""
    server = scheduler.services.get("dashboard")
    if server is None:
        return ""
    host: str = server.address
    if host in ("", "0.0.0.0", "::"):  # noqa: S104 it listens on all addresses: one is chosen that reaches it
        host = get_address_host(scheduler.address)
    return unparse_host_port(host, server.port)
