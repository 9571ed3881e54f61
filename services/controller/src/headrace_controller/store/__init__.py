"""The store, in Redis: records of clusters, their events and routes, and the usage of limits."""

from headrace_controller.store.store import Store
from headrace_controller.store.values import (
    DEPLOYMENT,
    Acknowledgement,
    Change,
    ChangeKind,
    Fence,
    FencedOff,
    GroupGrowth,
    Growth,
    QueueRules,
    RecordUnreadable,
    RouteLogEntry,
    StoredCluster,
    Topic,
    Unreadable,
    reaches,
)

__all__ = [
    "DEPLOYMENT",
    "Acknowledgement",
    "Change",
    "ChangeKind",
    "Fence",
    "FencedOff",
    "GroupGrowth",
    "Growth",
    "QueueRules",
    "RecordUnreadable",
    "RouteLogEntry",
    "Store",
    "StoredCluster",
    "Topic",
    "Unreadable",
    "reaches",
]
