"""What culling would do to clusters, when and why: the dry run of administrators."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from math import inf

from headrace.resource_names import cluster_name, user_name
from headrace.v1 import culling_service_pb2 as pb
from headrace.v1.enums import Right
from headrace_chassis.identity.caller import Caller
from headrace_controller.api.access import ClusterAccess
from headrace_controller.api.convert import timestamp
from headrace_controller.api.filters import Filter
from headrace_controller.culling.observed import Observed
from headrace_controller.loops import in_turns
from headrace_controller.mirror import ClusterMirror
from headrace_controller.model import Cluster, ClusterId
from headrace_controller.plan.findings import CullAction, Finding

_MAX_CULLINGS = 10_000
_ACTIONS = {
    CullAction.STOP: pb.CULLING_ACTION_STOP,
    CullAction.SCALE_TO_ZERO: pb.CULLING_ACTION_SCALE_TO_ZERO,
}


class Outlook:
    """Answers ListCulling.

    Only the replica that has a cluster measures it: of others' clusters this one knows the warnings, and what those
    have kept for it.

    Parameters
    ----------
    findings
        What rules find about a cluster, by what was observed of it; None: by what this replica has observed.
    of_others
        What the other replicas have kept.
    """

    def __init__(
        self,
        mirror: ClusterMirror,
        access: ClusterAccess,
        findings: Callable[[Cluster, Observed | None], tuple[Finding, ...]],
        *,
        of_others: Callable[[], Awaitable[Mapping[ClusterId, Observed]]],
        own: Callable[[ClusterId], bool],
        clock: Callable[[], float],
    ) -> None:
        self._mirror = mirror
        self._access = access
        self._findings = findings
        self._of_others = of_others
        self._own = own
        self._clock = clock

    async def list(self, request: pb.ListCullingRequest, caller: Caller) -> pb.ListCullingResponse:
        """Return what would happen, the earliest first."""
        wanted = Filter.read(request.filter, caller)
        await self._mirror.fresh()
        kept = await self._of_others()
        found: list[pb.Culling] = []
        async for cluster in in_turns(self._access.matching(wanted, caller, Right.CLUSTER_VIEW, living=True)):
            if cluster is not None and not cluster.stopping:
                findings = self._findings(cluster, kept.get(cluster.id))
                found += [self._culling(cluster, finding) for finding in findings]
        found.sort(key=lambda culling: culling.act_time.seconds if culling.HasField("act_time") else inf)
        return pb.ListCullingResponse(cullings=found[:_MAX_CULLINGS])

    def _culling(self, cluster: Cluster, finding: Finding) -> pb.Culling:
        warned = cluster.status.warnings.get(finding.key)
        culling = pb.Culling(
            cluster=cluster_name(cluster.id),
            owner=user_name(cluster.owner),
            rule=finding.rule,
            action=_ACTIONS[finding.action],
            message=finding.why,
            warned=warned is not None,
            held_back_by=finding.held_back_by,
            signal=finding.signal,
            sample_time=None if finding.sampled is None else timestamp(finding.sampled),
        )
        others = finding.due is None and not self._own(cluster.id)
        if others:
            culling.message = "another replica measures it"
        known = others or finding.due is not None
        if known and (times := finding.times(warned, self._clock())) is not None:
            warn, act = times
            culling.warn_time.CopyFrom(timestamp(warn))
            culling.act_time.CopyFrom(timestamp(act))
        return culling
