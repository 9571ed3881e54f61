"""What users do to clusters: create, scale, adapt, update, stop, delete."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from headrace.access import Access, role_for
from headrace.errors import (
    ClusterEnded,
    ClusterNotEnded,
    InternalError,
    InvalidRequest,
    QuotaExceeded,
    Violation,
)
from headrace.resource_names import cluster_name, last_part
from headrace.tracing import open_traceparent
from headrace.v1 import cluster_service_pb2 as pb
from headrace.v1.enums import EventType, Right
from headrace_chassis import logs
from headrace_chassis.audit.note import about, detail
from headrace_chassis.identity.caller import Caller
from headrace_controller.admission import Admission, largest_size
from headrace_controller.api.access import ClusterAccess
from headrace_controller.api.fields import check_owner_shares
from headrace_controller.api.owners import owner_of
from headrace_controller.api.requests import NewCluster, person
from headrace_controller.api.updates import Update
from headrace_controller.api.worker_groups import adapted, scaled
from headrace_controller.authorities import Authorities
from headrace_controller.backends.base import Backend, BackendError
from headrace_controller.culling.keeping import Keep
from headrace_controller.identifiers import new_cluster_id
from headrace_controller.mirror import ClusterMirror
from headrace_controller.model import (
    AdaptRange,
    Cluster,
    ClusterId,
    EndReason,
    Event,
    Phase,
    Spec,
    Status,
    UserId,
)
from headrace_controller.plan.sentences import duration
from headrace_controller.policy.sections import Culling
from headrace_controller.profiles import Person, Profiles, UnknownProfile
from headrace_controller.store import RecordUnreadable, Store
from headrace_controller.usage.budgets import BudgetWatch

log = logs.get_logger()
_MAX_TRIES = 4
_ARCHIVED = "Its record could not be read and is kept for the administrator. Its events and logs are removed."

_Request = tuple[Callable[[Cluster], Cluster], Event]


@dataclass(frozen=True, slots=True)
class Target:
    """A cluster to change, and the version of its spec that the caller has seen; "" means any."""

    name: str
    etag: str = ""


class ClusterCommands:
    """Changes what clients want of clusters. The mirror passes each change on to the rest of this replica at once."""

    def __init__(
        self,
        *,
        store: Store,
        mirror: ClusterMirror,
        access: ClusterAccess,
        admission: Admission,
        authorities: Authorities,
        profiles: Profiles,
        backend: Backend,
        fix: Callable[[Spec], Spec],
        culling: Callable[[], Culling] = Culling,
        budgets: BudgetWatch,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._mirror = mirror
        self._access = access
        self._admission = admission
        self._authorities = authorities
        self._profiles = profiles
        self._backend = backend
        self._fix = fix
        self._culling = culling
        self._budgets = budgets
        self._clock = clock

    def owner_of(self, request: pb.CreateClusterRequest, caller: Caller) -> Person:
        """Return the owner of a new cluster; raise `PermissionDenied` if the caller may not create it for them."""
        return owner_of(request, caller, self._mirror)

    async def create(self, request: NewCluster, whose: Person, caller: Caller) -> Cluster:
        """Record a cluster, or return the one that a call with the same request id has created."""
        owner = UserId(whose.user)
        cluster = Cluster(
            id=new_cluster_id(),
            owner=owner,
            groups=whose.groups,
            created=self._clock(),
            spec=self._fix(request.spec),
            status=Status(traceparent=open_traceparent()),
        )
        check_owner_shares(request.spec.shares, owner, "shares")
        creator = caller.user if owner == caller.user else f"admin {caller.user} for {owner}"
        try:
            self._admission.check(cluster)
            await self._budgets.known(owner, cluster.groups)
            demand = self._admission.demand(cluster)
        except (InvalidRequest, QuotaExceeded):  # since an earlier call, a limit may be new or a budget used up
            if (earlier := await self._store.records.created_by(owner, request.request_id)) is None:
                raise
            record = earlier
        else:
            record, created = await self._store.records.create(
                cluster,
                secrets=await self._authorities.create(cluster.id),
                demand=demand,
                limits=self._admission.limits(cluster),
                queue=self._admission.queue(cluster, request.queue_timeout),
                request_id=request.request_id,
                event=self._event(EventType.CREATED, f"Created by {creator}."),
            )
            if not created:
                self._authorities.discard(cluster.id)
        about(cluster_name(record.id), owner, role_for(caller, Right.CLUSTER_CREATE, Access(owner)))
        self._mirror.apply(record)
        return record

    async def scale(self, target: Target, group: str, size: int, caller: Caller) -> Cluster:
        """Set the number of workers of a group and end its adaptive scaling."""

        def request(number: int, why: str) -> _Request:
            gets = f", and gets {number}: {why}" if why else "."
            message = f"requested {_workers(size)} in group {group!r}{gets}"
            event = self._event(EventType.SCALE_REQUESTED, message)
            return partial(scaled, name=group, size=number), event

        number, why = size, ""
        if self._admission.lets_workers_wait:
            most, limiting = self._admission.most_workers(await self._access.get(target.name, caller), group)
            if most < size:
                number, why = most, _too_many(limiting, most)
        return await self._within_limits(target, caller, group, number, request, why=why)

    async def adapt(self, target: Target, group: str, adapt: AdaptRange | None, caller: Caller) -> Cluster:
        """Start, change or end adaptive scaling of a group."""
        if adapt is None:
            event = self._event(EventType.ADAPT_REQUESTED, f"ended adaptive scaling of group {group!r}.")
            return await self._change(target, caller, partial(adapted, name=group, adapt=None), event)
        most, limiting = self._most(await self._access.get(target.name, caller), group, adapt)

        def request(minimum: int, why: str) -> _Request:
            maximum = None if adapt.maximum is None else min(adapt.maximum, most)
            allowed = AdaptRange(minimum=min(minimum, most), maximum=maximum)
            gets = f", and gets {_range(allowed)}: {why or _too_many(limiting, most)}" if allowed != adapt else "."
            message = f"requested adaptive scaling of group {group!r}: {_range(adapt)}{gets}"
            event = self._event(EventType.ADAPT_REQUESTED, message)
            return partial(adapted, name=group, adapt=allowed), event

        return await self._within_limits(target, caller, group, adapt.minimum, request)

    async def update(self, target: Target, update: Update, caller: Caller) -> Cluster:
        """Change tags, lifetime, worker groups or shares."""
        if update.has_groups:
            update = await self._with_options(update, await self._access.get(target.name, caller), caller)
        event = self._event(EventType.UPDATED, f"changed {update.describe()}.")
        return await self._change(target, caller, update.apply, event)

    async def keep(self, name: str, seconds: float, caller: Caller) -> Cluster:
        """Put culling of a cluster off; raise `KeepRefused` for more than the policy allows."""
        cluster = await self._access.get(name, caller)
        keep = Keep(
            seconds=seconds,
            now=self._clock(),
            policy=self._culling(),
            extends_lifetime=self._access.may(cluster, caller, Right.CLUSTER_MANAGE),
        )
        event = self._event(EventType.KEPT, f"keeps the cluster for {duration(seconds)}.")
        return await self._change(Target(name), caller, keep.apply, event)

    async def cull(self, name: str, caller: Caller) -> Cluster:
        """Have culling do at once what it has warned of."""
        event = self._event(EventType.CULL_REQUESTED, "asked to do now what the warnings are about.")

        def approve(cluster: Cluster) -> Cluster:
            return replace(cluster, spec=replace(cluster.spec, cull_before=event.time))

        return await self._change(Target(name), caller, approve, event)

    async def stop(self, name: str, caller: Caller) -> Cluster:
        """Stop a cluster; return one that is stopping or has ended unchanged."""
        last_part(name, "clusters", "name")  # a malformed name costs no round trip
        await self._mirror.fresh()
        return await self.stop_known(name, caller)

    async def stop_known(self, name: str, caller: Caller, field: str = "name") -> Cluster:
        """As `stop`, for a mirror that is fresh already."""
        try:
            cluster = self._access.get_known(name, caller, field, Right.CLUSTER_STOP)
        except RecordUnreadable:
            if (unreadable := self._access.unreadable(name, caller, field)) is None:
                raise
            return await self._stop_unreadable(unreadable, caller)
        if cluster.stopping:
            return cluster
        who = self._access.named(cluster, caller, Right.CLUSTER_STOP)
        event = self._event(EventType.STOP_REQUESTED, f"Stop requested by {who}.")
        try:
            return await self._write(cluster, _stopped, event)
        except ClusterEnded:
            return await self._store.reads.get(cluster.id)

    async def delete(self, name: str, caller: Caller) -> None:
        """Delete the record, the events and the logs of an ended cluster."""
        cluster = await self._access.get(name, caller)
        if not cluster.status.phase.ended:
            raise ClusterNotEnded(f"cluster {cluster.id} is {cluster.status.phase}; stop it before you delete it")
        try:
            await self._backend.forget(cluster.id)
        except BackendError as error:
            raise InternalError(f"the logs of cluster {cluster.id} cannot be deleted: {error}. Try again.") from error
        await self._store.records.remove(cluster.id)

    async def _stop_unreadable(self, cluster: ClusterId, caller: Caller) -> Cluster:
        """End what runs of a cluster whose record cannot be read, and take the record out of use.

        Its processes come first: without a record, they would be adopted.
        """
        owner = self._mirror.set_aside(cluster) or UserId("")
        try:
            await self._backend.stop(cluster)
            await self._backend.forget(cluster)
        except BackendError as error:
            raise InternalError(f"cluster {cluster} cannot be stopped: {error}. Try again.") from error
        event = self._event(EventType.STOP_REQUESTED, f"Stop requested by {caller.user}. {_ARCHIVED}")
        await self._store.records.archive(cluster, owner, event)
        log.warning("a cluster was stopped whose record cannot be read", cluster=cluster, owner=owner, by=caller.user)
        now = self._clock()
        status = Status(phase=Phase.STOPPED, reason=EndReason.USER, message=event.message, ended=now)
        return Cluster(id=cluster, owner=owner, created=now, spec=Spec(groups=(), stop=True), status=status)

    def _most(self, cluster: Cluster, group: str, adapt: AdaptRange) -> tuple[int, str]:
        most, subject = self._admission.most_workers(cluster, group)
        asked = max(adapt.minimum, adapt.maximum or 0)
        if asked > most and not self._admission.clips:
            raise QuotaExceeded.of(subject=subject, what="workers", limit=most, used=0, asked=asked)
        return most, subject

    async def _within_limits(
        self,
        target: Target,
        caller: Caller,
        group: str,
        size: int,
        request: Callable[[int, str], _Request],
        *,
        why: str = "",
    ) -> Cluster:
        """Make a request for a number of workers; where the settings say so, for as many as limits allow."""
        for tries in range(_MAX_TRIES, 0, -1):
            change, event = request(size, why)
            try:
                return await self._change(target, caller, change, event)
            except QuotaExceeded as error:
                if not self._admission.clips or tries == 1:
                    raise
                cluster = await self._store.reads.newest(await self._access.get(target.name, caller))
                size, why = (
                    largest_size(cluster, group, size, error, self._admission.worker(cluster, group)),
                    error.message,
                )
        raise AssertionError("the last try returns or raises")

    async def _with_options(self, update: Update, cluster: Cluster, caller: Caller) -> Update:
        """Check the options of groups. They are offered as to the owner, whose profile the cluster keeps."""
        owner = person(caller) if caller.user == cluster.owner else Person(user=cluster.owner, groups=cluster.groups)
        try:
            profile = self._profiles.get(cluster.spec.profile)
        except UnknownProfile as error:
            raise InvalidRequest.of(Violation("cluster.spec.worker_groups", str(error))) from None
        return await profile.use(owner, partial(update.check_groups, cluster=cluster))

    async def _change(
        self, target: Target, caller: Caller, change: Callable[[Cluster], Cluster], event: Event
    ) -> Cluster:
        """Change a cluster; who did it begins the message of the event."""

        def checked(record: Cluster) -> Cluster:
            changed = change(record)
            if changed.spec.groups != record.spec.groups:
                self._admission.check(changed, record)
                changed = replace(changed, spec=replace(changed.spec, touched=event.time))
            return changed

        cluster = await self._access.get(target.name, caller)
        event = replace(event, message=f"{self._access.named(cluster, caller)} {event.message}")
        return await self._write(cluster, checked, event, target.etag)

    async def _write(
        self, cluster: Cluster, change: Callable[[Cluster], Cluster], event: Event, etag: str = ""
    ) -> Cluster:
        detail(event.message, cluster_name(cluster.id))
        record = await self._store.records.change(
            cluster,
            change,
            etag=etag,
            demand=self._admission.demand,
            limits=self._admission.limits(cluster),
            growth=self._admission.growth,
            event=event,
        )
        self._mirror.apply(record)
        return record

    def _event(self, type_: EventType, message: str) -> Event:
        return Event(type=type_, message=message, time=self._clock())


def _stopped(cluster: Cluster) -> Cluster:
    return replace(cluster, spec=replace(cluster.spec, stop=True))


def _too_many(limiting: str, most: int) -> str:
    return f"{limiting} may have at most {_workers(most)} of this size."


def _workers(number: int) -> str:
    return "1 worker" if number == 1 else f"{number} workers"


def _range(adapt: AdaptRange) -> str:
    if adapt.maximum is None:
        return f"{adapt.minimum} to no fixed maximum"
    return f"{adapt.minimum} to {_workers(adapt.maximum)}"
