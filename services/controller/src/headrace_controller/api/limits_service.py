"""LimitsService: what binds a user's clusters, and what is promised."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import grpc.aio
from typing_extensions import override

from headrace.access import Role
from headrace.resource_names import last_part
from headrace.sizes import describe_amount
from headrace.v1 import limits_service_pb2 as pb
from headrace.v1.limits_service_pb2_grpc import LimitsServiceServicer, add_LimitsServiceServicer_to_server
from headrace_chassis.audit.note import about, detail
from headrace_chassis.identity.caller import Caller, current_caller
from headrace_controller import resources
from headrace_controller.admission import EACH_CLUSTER, Admission
from headrace_controller.api import limit_exceptions as reading
from headrace_controller.api.access import require_admin
from headrace_controller.api.fields import raise_violations
from headrace_controller.api.owners import known_groups
from headrace_controller.mirror import ClusterMirror
from headrace_controller.model import Demand, LimitException, UserId
from headrace_controller.profiles import Person, Profiles
from headrace_controller.queueing.limit_exceptions import LimitExceptions
from headrace_controller.store import Store

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True, kw_only=True)
class LimitsService(LimitsServiceServicer):
    """Answers users about themselves, and admins about everybody; admins set limits for a while."""

    store: Store
    mirror: ClusterMirror
    admission: Admission
    profiles: Profiles
    exceptions: LimitExceptions
    clock: Callable[[], float]

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
            exceptions = self.exceptions.of(subject)
            used = usage.get(subject, Demand())
            for resource, bound in bounds.items():
                what, limit = resources.shown(resource, bound)
                _, amount = resources.shown(resource, used[resource])
                exception = exceptions.get(resource)
                response.limits.add(
                    subject=subject,
                    resource=what,
                    limit=limit,
                    used=amount,
                    exception=None if exception is None else reading.message(exception),
                )
        return response

    @override
    async def SetLimitExceptions(
        self, request: pb.SetLimitExceptionsRequest, context: Context
    ) -> pb.SetLimitExceptionsResponse:
        caller = current_caller()
        require_admin(caller, "set limits")
        subject = _subject(request.subject)
        limits = reading.read_limits(request.limits, self.admission.resource_names)
        seconds, reason = reading.read_seconds(request), reading.read_reason(request)
        now = self.clock()
        exceptions = [
            LimitException(
                subject=subject,
                resource=resource,
                bound=bound,
                begun=now,
                ends=now + seconds,
                by=UserId(caller.user),
                reason=reason,
            )
            for resource, bound in limits.items()
        ]
        until = f"until {datetime.fromtimestamp(now + seconds, UTC):%Y-%m-%d %H:%M} UTC"
        values = ", ".join(
            f"{self._now(subject, one.resource)} -> {_amount(one.resource, one.bound)}" for one in exceptions
        )
        detail(f"{subject} {until}: {values}{reason and f' ({reason})'}")
        await self.exceptions.add(exceptions)
        return pb.SetLimitExceptionsResponse(exceptions=_messages(exceptions))

    @override
    async def ListLimitExceptions(
        self, request: pb.ListLimitExceptionsRequest, context: Context
    ) -> pb.ListLimitExceptionsResponse:
        require_admin(current_caller(), "see the limits of others")
        await self.exceptions.load()
        return pb.ListLimitExceptionsResponse(exceptions=_messages(self.exceptions.all()))

    @override
    async def RemoveLimitExceptions(
        self, request: pb.RemoveLimitExceptionsRequest, context: Context
    ) -> pb.RemoveLimitExceptionsResponse:
        require_admin(current_caller(), "set limits")
        subject = _subject(request.subject)
        await self.exceptions.load()
        known = {reading.resource(one): one for one in self.exceptions.of(subject).values()}
        names = {*self.admission.resource_names, *known}
        raise_violations(reading.unknown(request.resources, names, "resources."))
        ended = [one for name, one in known.items() if not request.resources or name in request.resources]
        if ended:
            await self.exceptions.remove(ended)
        values = ", ".join(f"{_amount(one.resource, one.bound)} -> {self._now(subject, one.resource)}" for one in ended)
        detail(f"{subject}: {values or 'nothing'}")
        return pb.RemoveLimitExceptionsResponse(exceptions=_messages(ended))

    def _now(self, subject: str, resource: str) -> str:
        """What binds a user or a group now, for the audit log."""
        kind, _, name = subject.partition("/")
        user, groups = (name, []) if kind == "users" else ("", [name])
        bound = self.admission.shared_limits(user, groups, "")[subject].get(resource)
        return f"{resources.shown(resource, 0)[0]} without a limit" if bound is None else _amount(resource, bound)

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


def _subject(text: str) -> str:
    """Whose limits an admin sets; the audit log has it."""
    subject = reading.read_subject(text)
    about("", subject.removeprefix("users/") if subject.startswith("users/") else "", Role.ADMIN)
    return subject


def _amount(resource: str, bound: int) -> str:
    what, limit = resources.shown(resource, bound)
    return f"{what} {describe_amount(what, limit)}"


def _messages(exceptions: Iterable[LimitException]) -> list[pb.LimitException]:
    return [reading.message(one) for one in exceptions]
