"""Which changes of a record can change a plan. Most reports of agents tell nothing that a rule reads."""

from __future__ import annotations

from headrace_controller.model import Cluster, Report


def calls_for_plan(old: Cluster, new: Cluster) -> bool:
    """Whether the plan for a record may differ from the one for an earlier record, all else being as it was."""
    return (
        old.generation != new.generation
        or old.spec != new.spec
        or old.targets != new.targets
        or old.status != new.status
        or old.workers != new.workers
        or _read(old.report) != _read(new.report)
    )


def _read(report: Report) -> tuple[object, ...]:
    """What rules read of a report at any time.

    Left out: for how long the agent has had its session and whether the scheduler is idle. Rules read these only when
    a time has come or a process has exited, and then there is a plan anyway.
    """
    return (
        report.connected or report.changed,
        report.session == 0,
        report.scheduler_address,
        report.joined,
        report.retired,
        report.departures,
        report.closing,
        report.route_version,
    )
