"""PolicyService: the policy in force, and what another one would change, for admins."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import grpc.aio
from typing_extensions import override

from headrace.errors import TooManyRequests
from headrace.resource_names import user_name
from headrace.v1 import policy_service_pb2 as pb
from headrace.v1.policy_service_pb2_grpc import PolicyServiceServicer, add_PolicyServiceServicer_to_server
from headrace_chassis.identity.caller import current_caller
from headrace_chassis.policy_document import BadPolicy
from headrace_controller.admission import ForNow
from headrace_controller.api import convert
from headrace_controller.api.access import require_admin
from headrace_controller.mirror import ClusterMirror
from headrace_controller.model import Cluster
from headrace_controller.policing.changes import changes
from headrace_controller.policing.effects import Effect, Offer, effects
from headrace_controller.policing.printed import print_policy
from headrace_controller.policing.prospects import Prospects
from headrace_controller.policy.current import CurrentPolicy
from headrace_controller.profiles import Profiles

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]

_MOST_EFFECTS = 1000


class PolicyService(PolicyServiceServicer):
    """Shows and compares policies. Neither changes anything: the file is changed where it is written."""

    def __init__(
        self,
        current: CurrentPolicy[Profiles],
        mirror: ClusterMirror,
        prospects: Prospects,
        for_now: ForNow,
        replica: str,
    ) -> None:
        self._current = current
        self._mirror = mirror
        self._prospects = prospects
        self._for_now = for_now
        self._replica = replica
        self._comparing = False

    @override
    async def ShowPolicy(self, request: pb.ShowPolicyRequest, context: Context) -> pb.ShowPolicyResponse:
        require_admin(current_caller(), "see the policy")
        current = self._current
        response = pb.ShowPolicyResponse(
            policy=print_policy(current.policy),
            file=str(current.file or ""),
            effective_time=convert.timestamp(current.since),
            replica=self._replica,
        )
        if current.refused is not None:
            response.refusal = current.refused.reason
            response.refuse_time.CopyFrom(convert.timestamp(current.refused.at))
        return response

    @override
    async def DiffPolicy(self, request: pb.DiffPolicyRequest, context: Context) -> pb.DiffPolicyResponse:
        require_admin(current_caller(), "compare policies")
        if self._comparing:
            raise TooManyRequests.of("another policy is being compared", 1)
        self._comparing = True
        try:
            await self._mirror.fresh()
            known = map(self._mirror.get, self._mirror.ids(living=True))
            clusters = [cluster for cluster in known if cluster is not None]
            # A large policy, or many clusters, take seconds.
            after, profiles = await self._current.check(request.policy)
            before = self._current.policy, self._current.fitted
            soon = await self._prospects.effects(clusters, after)
            now = self._for_now
            return await asyncio.to_thread(
                _compare, Offer.of(*before, now), Offer.of(after, profiles, now), clusters, soon
            )
        except BadPolicy as error:
            problems = [pb.PolicyProblem(line=one.line, key=one.key, reason=one.reason) for one in error.problems]
            return pb.DiffPolicyResponse(problems=problems)
        finally:
            self._comparing = False

    def register(self, server: grpc.aio.Server) -> str:
        """Add the service to a server; return its full name."""
        add_PolicyServiceServicer_to_server(self, server)
        return pb.DESCRIPTOR.services_by_name["PolicyService"].full_name


def _compare(before: Offer, after: Offer, clusters: Sequence[Cluster], soon: Sequence[Effect]) -> pb.DiffPolicyResponse:
    found = [*soon, *effects(clusters, before, after)]
    return pb.DiffPolicyResponse(
        changes=[
            pb.PolicyChange(key=one.key, before=one.before, after=one.after)
            for one in changes(before.policy, after.policy)
        ],
        effects=map(_effect, found[:_MOST_EFFECTS]),
        more_effects=max(0, len(found) - _MOST_EFFECTS),
    )


def _effect(effect: Effect) -> pb.PolicyEffect:
    owner = user_name(effect.owner) if effect.owner else ""
    return pb.PolicyEffect(key=effect.key, subject=effect.subject, message=effect.message, owner=owner)
