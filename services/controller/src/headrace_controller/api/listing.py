"""Lists of clusters, workers and events, a page at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from headrace.errors import InvalidRequest, Violation
from headrace.v1 import cluster_service_pb2 as pb
from headrace_chassis.identity.caller import Caller
from headrace_controller.api import convert, paging, requests
from headrace_controller.api.answers import Lists, Views, embedded
from headrace_controller.clusters.access import Access, check_owner
from headrace_controller.model import Cluster, Phase, UserId
from headrace_controller.store import Store

_CLUSTERS_FIELD = pb.ListClustersResponse.DESCRIPTOR.fields_by_name["clusters"].number


@dataclass(frozen=True, slots=True)
class _Filter:
    phases: frozenset[Phase]
    tags: Mapping[str, str]

    @property
    def living(self) -> bool | None:
        """Which of the store's indexes holds all that pass; None: both."""
        ended = {phase.ended for phase in self.phases}
        return None if len(ended) > 1 else not ended.pop()

    def passes(self, cluster: Cluster) -> bool:
        tags = cluster.spec.tags
        return cluster.status.phase in self.phases and all(tags.get(key) == tag for key, tag in self.tags.items())


class Listing:
    """Answers List calls."""

    def __init__(self, store: Store, access: Access, views: Views) -> None:
        self._store = store
        self._access = access
        self._views = views
        self._lists: Lists[tuple[str, bytes]] = Lists()

    async def clusters(self, request: pb.ListClustersRequest, caller: Caller) -> bytes:
        """A serialised page of clusters, newest first."""
        name = requests.owner(request.owner, caller.user)
        owner = None if name is None else UserId(name)
        check_owner(owner, caller)
        paging.page_size(request.page_size)
        version = await self._store.version(owner)
        key = (caller.user, request.SerializeToString(deterministic=True))
        return await self._lists.get(key, version, lambda: self._page(request, owner, caller))

    async def _page(self, request: pb.ListClustersRequest, owner: UserId | None, caller: Caller) -> bytes:
        wanted = _filter(request)
        size = paging.page_size(request.page_size)
        before = _before(paging.read_token(request, request.page_token, caller=caller.user))
        found: list[Cluster] = []
        while len(found) < size:
            page = await self._store.page(owner, living=wanted.living, before=before, count=size - len(found))
            found += [cluster for cluster in await self._views.get_many(page.ids) if wanted.passes(cluster)]
            if (before := page.next) is None:
                break
        token = "" if before is None else paging.make_token(request, str(before), caller=caller.user)
        rest = pb.ListClustersResponse(next_page_token=token).SerializeToString()
        return b"".join(embedded(_CLUSTERS_FIELD, self._views.of(cluster)) for cluster in found) + rest

    async def workers(self, request: pb.ListWorkersRequest, caller: Caller) -> pb.ListWorkersResponse:
        """A page of workers, by name."""
        size = paging.page_size(request.page_size)
        after = paging.read_token(request, request.page_token, caller=caller.user)
        cluster = await self._access.get(request.parent, caller, "parent")
        names = sorted(name for name in cluster.status.workers if name > after)
        page, more = names[:size], len(names) > size
        return pb.ListWorkersResponse(
            workers=[convert.worker(cluster.id, cluster.status.workers[name]) for name in page],
            next_page_token=paging.make_token(request, page[-1], caller=caller.user) if more else "",
        )

    async def events(self, request: pb.ListClusterEventsRequest, caller: Caller) -> pb.ListClusterEventsResponse:
        """A page of events, oldest first."""
        size = paging.page_size(request.page_size)
        after = paging.read_token(request, request.page_token, caller=caller.user)
        cluster = await self._access.checked_id(request.parent, caller, "parent")
        events = await self._store.events(cluster, after, size + 1)
        page, more = events[:size], len(events) > size
        return pb.ListClusterEventsResponse(
            events=[convert.event(cluster, event) for event in page],
            next_page_token=paging.make_token(request, page[-1].id, caller=caller.user) if more else "",
        )


def _filter(request: pb.ListClustersRequest) -> _Filter:
    wanted = {number: phase for phase, number in convert.PHASES.items()}
    if unknown := [phase for phase in request.phases if phase not in wanted]:
        raise InvalidRequest.of(Violation("phases", f"there is no phase {unknown[0]}"))
    phases = frozenset(wanted[phase] for phase in request.phases)
    return _Filter(phases or frozenset(phase for phase in Phase if not phase.ended), dict(request.tags))


def _before(cursor: str) -> int | None:
    return int(cursor) if cursor else None
