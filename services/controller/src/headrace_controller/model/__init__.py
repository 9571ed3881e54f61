"""The controller's values and their rules; no I/O.

A record has parts with one writer each: `spec` (clients, through the API), `targets` (adaptive scaling, through the
replica that holds the agent's session), `report` (that replica) and `status` with `workers` (the replica that holds the
lease of the cluster's shard).
"""

from headrace_controller.model.amounts import Demand, LimitException, Limits, Resources
from headrace_controller.model.cluster import Cluster
from headrace_controller.model.event import Event
from headrace_controller.model.ids import ClusterId, UserId, WorkerId
from headrace_controller.model.queued import Queued
from headrace_controller.model.report import Departure, Report
from headrace_controller.model.spec import DEFAULT_GROUP, AdaptRange, Group, Spec
from headrace_controller.model.states import EndReason, Phase, Severity, WorkerState
from headrace_controller.model.status import Backoff, Condition, Status
from headrace_controller.model.worker import Exit, WorkerRecord

__all__ = [
    "DEFAULT_GROUP",
    "AdaptRange",
    "Backoff",
    "Cluster",
    "ClusterId",
    "Condition",
    "Demand",
    "Departure",
    "EndReason",
    "Event",
    "Exit",
    "Group",
    "LimitException",
    "Limits",
    "Phase",
    "Queued",
    "Report",
    "Resources",
    "Severity",
    "Spec",
    "Status",
    "UserId",
    "WorkerId",
    "WorkerRecord",
    "WorkerState",
]
