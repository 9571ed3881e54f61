"""What to do about a cluster, decided from its record and what is seen of it; no I/O, no clock, no chance."""

from headrace_controller.plan.decision import (
    Action,
    Decision,
    FetchLogTail,
    NewWorkerId,
    Policy,
    Seen,
    StartProcesses,
    StopAll,
    StopProcesses,
    Trouble,
)
from headrace_controller.plan.planning import plan

__all__ = [
    "Action",
    "Decision",
    "FetchLogTail",
    "NewWorkerId",
    "Policy",
    "Seen",
    "StartProcesses",
    "StopAll",
    "StopProcesses",
    "Trouble",
    "plan",
]
