"""LimitsService: what binds a user's clusters, and what is promised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc.aio
from typing_extensions import override

from headrace.resource_names import last_part
from headrace.v1 import limits_service_pb2 as pb
from headrace.v1.limits_service_pb2_grpc import LimitsServiceServicer, add_LimitsServiceServicer_to_server
from headrace_chassis.identity.caller import Caller, current_caller
from headrace_controller import resources
from headrace_controller.admission import EACH_CLUSTER, Admission
from headrace_controller.api.access import require_admin
from headrace_controller.api.owners import known_groups
from headrace_controller.mirror import ClusterMirror
from headrace_controller.model import Demand, UserId
from headrace_controller.profiles import Person, Profiles
from headrace_controller.store import Store

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True, kw_only=True)
class LimitsService(LimitsServiceServicer):
    """Answers users about themselves, and admins about everybody."""

    store: Store
    mirror: ClusterMirror
    admission: Admission
    profiles: Profiles

    @override
    async def GetLimits(self, request: pb.GetLimitsRequest, context: Context) -> pb.GetLimitsResponse:
        person = self._person(request, current_caller())
        keys = [profile.key for profile in self.profiles.of(person)]
        limits = {
            who: bounds for who, bounds in self.admission.bounds(person.user, person.groups, keys).items() if bounds
        }
        usage = await self.store.usages([subject for subject in limits if subject != EACH_CLUSTER])
        queued, length = await self.store.queue.lengths(UserId(person.user))
        response = pb.GetLimitsResponse(queued=queued, queue_length=length)
        for subject, bounds in limits.items():
            used = usage.get(subject, Demand())
            for resource, bound in bounds.items():
                what, limit = resources.shown(resource, bound)
                _, amount = resources.shown(resource, used[resource])
                response.limits.add(subject=subject, resource=what, limit=limit, used=amount)
        return response

    def _person(self, request: pb.GetLimitsRequest, caller: Caller) -> Person:
        """Whose limits are asked for."""
        user = UserId(last_part(request.user, "users", "user")) if request.user else UserId(caller.user)
        if user == caller.user:
            return Person(user=caller.user, groups=caller.groups, is_admin=caller.is_admin)
        require_admin(caller, "see the limits of others")
        return Person(user=user, groups=known_groups(user, self.mirror))

    def register(self, server: grpc.aio.Server) -> str:
        """Add the service to a server; return its full name."""
        add_LimitsServiceServicer_to_server(self, server)
        return pb.DESCRIPTOR.services_by_name["LimitsService"].full_name
