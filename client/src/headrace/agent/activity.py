"""What a scheduler is doing: who is connected, and since when it has been idle."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.internal.v1 import agent_service_pb2 as pb

if TYPE_CHECKING:
    from distributed import Scheduler


def activity_of(scheduler: Scheduler) -> pb.Activity:
    """Returns what the scheduler is doing.

    `check_idle` is Dask's own judgement: it knows of queued tasks, of tasks that no worker can run and of graphs that
    are still being received.
    """
    activity = pb.Activity(clients=sum(_is_user(client) for client in scheduler.client_comms))
    idle_since = scheduler.check_idle()
    if idle_since:
        activity.idle_since.FromMicroseconds(int(idle_since * 1e6))
    return activity


def _is_user(client: str) -> bool:
    """Tasks that use Dask connect as clients too, from their workers."""
    return "-worker-" not in client
