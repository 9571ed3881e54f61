"""Ids of the clusters in the order of their places, by owner, by whom they are shared with, and by alias."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence

from headrace_controller.model import Cluster, ClusterId, UserId

# Whose: the owner's (None: everybody's), "users/..." or "groups/..." of a share, or "owners/..." for a group of the
# owner's; no user id has a slash. And whether they live.
_Scope = tuple[str | None, bool]


class Index:
    """Finds clusters."""

    def __init__(self) -> None:
        self._orders: dict[_Scope, _Order] = {}
        self._places: dict[ClusterId, int] = {}
        self._aliases: dict[tuple[UserId, str], set[ClusterId]] = {}

    def put(self, old: Cluster | None, new: Cluster, place: int) -> None:
        """Adds a cluster, or notes what has changed of it."""
        if old is not None and self._places[new.id] == place and _same(old, new):
            return
        if old is not None:
            self.discard(old)
        self._places[new.id] = place
        for scope in _scopes(new):
            self._orders.setdefault(scope, _Order()).insert(place, new.id)
        if alias := _alias(new):
            self._aliases.setdefault(alias, set()).add(new.id)

    def discard(self, cluster: Cluster) -> None:
        """Removes a cluster that is in the index."""
        place = self._places.pop(cluster.id)
        for scope in _scopes(cluster):
            order = self._orders[scope]
            order.remove(place)
            if not order:
                del self._orders[scope]
        if (alias := _alias(cluster)) and (found := self._aliases[alias]):
            found.discard(cluster.id)
            if not found:
                del self._aliases[alias]

    def place(self, cluster: ClusterId) -> int:
        """Returns the place of a cluster; 0 if it is unknown."""
        return self._places.get(cluster, 0)

    def by_alias(self, owner: UserId, alias: str) -> ClusterId | None:
        """Returns the owner's cluster of that alias, unless it is stopping; of several, the first one."""
        found = self._aliases.get((owner, alias))
        return min(found, key=self.place) if found else None

    def ids(self, owner: UserId | None, living: bool | None, before: int | None) -> Sequence[ClusterId]:
        """Returns ids, newest first; `before` leaves out those from that place on."""
        return self._ids([owner], living, before)

    def ids_of(
        self, owner: UserId, members: Iterable[str], groups: Iterable[str], living: bool | None, before: int | None
    ) -> Sequence[ClusterId]:
        """Returns, newest first, what is the owner's, shared with one of the members, or of an owner in the groups."""
        return self._ids([owner, *members, *map(_of_group, groups)], living, before)

    def _ids(self, whose: Iterable[str | None], living: bool | None, before: int | None) -> Sequence[ClusterId]:
        scopes = [(one, alive) for one in whose for alive in (True, False) if living in {None, alive}]
        found = [order.newest_first(before) for scope in scopes if (order := self._orders.get(scope))]
        if len(found) == 1:
            return found[0]
        return sorted({cluster for ids in found for cluster in ids}, key=self._places.__getitem__, reverse=True)


class _Order:
    """Ids sorted by their place."""

    def __init__(self) -> None:
        self._places: list[int] = []
        self._ids: list[ClusterId] = []

    def __len__(self) -> int:
        return len(self._places)

    def insert(self, place: int, cluster: ClusterId) -> None:
        at = bisect_left(self._places, place)
        self._places.insert(at, place)
        self._ids.insert(at, cluster)

    def remove(self, place: int) -> None:
        at = bisect_left(self._places, place)
        del self._places[at]
        del self._ids[at]

    def newest_first(self, before: int | None) -> list[ClusterId]:
        end = len(self._ids) if before is None else bisect_left(self._places, before)
        return self._ids[:end][::-1]


def _scopes(cluster: Cluster) -> set[_Scope]:
    living = not cluster.status.phase.ended
    members = [share.member for share in cluster.spec.shares]
    return {(whose, living) for whose in (None, cluster.owner, *members, *map(_of_group, cluster.groups))}


def _of_group(group: str) -> str:
    return f"owners/{group}"


def _alias(cluster: Cluster) -> tuple[UserId, str] | None:
    return None if cluster.stopping or not cluster.spec.alias else (cluster.owner, cluster.spec.alias)


def _same(old: Cluster, new: Cluster) -> bool:
    if old.spec is new.spec and old.status.phase is new.status.phase:  # nearly all changes are like this
        return True
    return _scopes(old) == _scopes(new) and _alias(old) == _alias(new)
