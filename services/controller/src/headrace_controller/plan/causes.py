"""Which changes of a record can change a plan. Most reports of agents tell nothing that a rule reads."""

from __future__ import annotations

from headrace_controller.model import Cluster


def calls_for_plan(old: Cluster, new: Cluster) -> bool:
    """Whether the plan for a record may differ from the one for an earlier record, all else being as it was."""
    return _read(old) != _read(new)


def _read(cluster: Cluster) -> tuple[object, ...]:
    """What rules read of a record at any time.

    Left out: for how long the agent has had its session and whether the scheduler is idle. Rules read these only when
    a time has come or a process has exited, and then there is a plan anyway.
    """
    report = cluster.report
    return (
        cluster.generation,
        cluster.spec,
        cluster.targets,
        cluster.status,
        cluster.workers,
        cluster.queued,
        report.connected or report.changed,
        report.session == 0,
        report.scheduler_address,
        report.joined,
        report.retired,
        report.departures,
        report.closing,
        report.silent_since is None,
        report.route_version,
    )
