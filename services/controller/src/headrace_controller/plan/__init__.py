"""Decides what to do about a cluster, from its record and what is seen of it; no I/O, no clock, no randomness."""

from headrace_controller.plan.causes import calls_for_plan
from headrace_controller.plan.decision import (
    Action,
    Decision,
    FetchLogTail,
    NewWorkerId,
    Place,
    Policy,
    RouteState,
    ScaleToZero,
    Seen,
    StartError,
    StartProcesses,
    StopAll,
    StopProcesses,
)
from headrace_controller.plan.planning import plan

__all__ = [
    "Action",
    "Decision",
    "FetchLogTail",
    "NewWorkerId",
    "Place",
    "Policy",
    "RouteState",
    "ScaleToZero",
    "Seen",
    "StartError",
    "StartProcesses",
    "StopAll",
    "StopProcesses",
    "calls_for_plan",
    "plan",
]
