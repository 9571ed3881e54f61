"""Lists of clusters, workers and events, a page at a time."""

from __future__ import annotations

import asyncio
import re

from headrace.errors import InvalidRequest, Violation
from headrace.v1 import cluster_service_pb2 as pb
from headrace.v1.enums import Right
from headrace_chassis import paging
from headrace_chassis.identity.caller import Caller
from headrace_controller.api import convert
from headrace_controller.api.access import ClusterAccess
from headrace_controller.api.filters import Filter
from headrace_controller.api.pages import Pages
from headrace_controller.api.views import Views
from headrace_controller.mirror import ClusterMirror
from headrace_controller.model import Cluster
from headrace_controller.store import Store

# Number of clusters after which other calls get their turn.
_AT_ONCE = 256
# Cursors of page tokens, which a client may have made up.
_PLACE = re.compile(r"[0-9]{1,19}", re.ASCII)
_EVENT = re.compile(r"[0-9]{1,19}-[0-9]{1,19}", re.ASCII)


class Listing:
    """Answers the List methods."""

    def __init__(self, store: Store, mirror: ClusterMirror, access: ClusterAccess, views: Views) -> None:
        self._events = store.events
        self._mirror = mirror
        self._access = access
        self._views = views
        self._pages = Pages()

    async def clusters(self, request: pb.ListClustersRequest, caller: Caller) -> bytes:
        """Return a page of clusters, newest first, as a serialised ListClustersResponse."""
        wanted = Filter.read(request.filter, caller)
        size = paging.page_size(request.page_size)
        before = _cursor(request, caller, _PLACE)
        await self._mirror.fresh()
        version = self._mirror.version(wanted.owner)
        # What is shared depends on more than the records: the time, the caller's groups, the policy.
        if not wanted.shared and (known := self._pages.get(request, caller.user, version)) is not None:
            return known
        found = await self._find(wanted, caller, int(before) if before else None, size + 1)
        page, more = found[:size], len(found) > size
        token = paging.make_token(request, str(page[-1][0]), caller=caller.user) if more else ""
        full = request.view == pb.CLUSTER_VIEW_FULL
        content = await self._views.join([cluster for _, cluster in page], token, full=full)
        if not wanted.shared:
            self._pages.put(request, caller.user, version, content)
        return content

    async def workers(self, request: pb.ListWorkersRequest, caller: Caller) -> pb.ListWorkersResponse:
        """Return a page of workers, by name."""
        size = paging.page_size(request.page_size)
        after = paging.read_token(request, request.page_token, caller=caller.user)
        cluster = await self._access.get(request.parent, caller, "parent")
        names = sorted(name for name in cluster.workers if name > after)
        page, more = names[:size], len(names) > size
        return pb.ListWorkersResponse(
            workers=[convert.worker(cluster, cluster.workers[name]) for name in page],
            next_page_token=paging.make_token(request, page[-1], caller=caller.user) if more else "",
        )

    async def events(self, request: pb.ListClusterEventsRequest, caller: Caller) -> pb.ListClusterEventsResponse:
        """Return a page of events, oldest first."""
        size = paging.page_size(request.page_size)
        after = _cursor(request, caller, _EVENT)
        cluster = await self._access.get(request.parent, caller, "parent")
        events = await self._events.list(cluster.id, after, size + 1)
        page, more = events[:size], len(events) > size
        return pb.ListClusterEventsResponse(
            cluster_events=[convert.event(cluster.id, event) for event in page],
            next_page_token=paging.make_token(request, page[-1].id, caller=caller.user) if more else "",
        )

    async def _find(self, wanted: Filter, caller: Caller, before: int | None, count: int) -> list[tuple[int, Cluster]]:
        """Return matching clusters with their places, after the place `before`."""
        found: list[tuple[int, Cluster]] = []
        matching = self._access.matching(wanted, caller, Right.CLUSTER_VIEW, living=wanted.living, before=before)
        for n, cluster in enumerate(matching):
            if cluster is not None:
                found.append((self._mirror.place(cluster.id), cluster))
                if len(found) == count:
                    break
            if n % _AT_ONCE == _AT_ONCE - 1:
                await asyncio.sleep(0)
        return found


def _cursor(
    request: pb.ListClustersRequest | pb.ListClusterEventsRequest, caller: Caller, form: re.Pattern[str]
) -> str:
    cursor = paging.read_token(request, request.page_token, caller=caller.user)
    if cursor and not form.fullmatch(cursor):
        raise InvalidRequest.of(Violation("page_token", "is not a page token of this service"))
    return cursor
