"""The store as the controller uses it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from redis.asyncio import Redis

from headrace_controller.keys import Keys
from headrace_controller.model import Cluster, ClusterId, Demand, Event, Limits, Report, Spec, UserId
from headrace_controller.store.values import Acknowledgement, Change, Fence, Page, RouteChange, RouteRecord


class Store:
    """Every method raises `StoreUnavailable` while Redis is away; nothing is acknowledged that Redis has not."""

    def __init__(self, redis: Redis, keys: Keys) -> None: ...

    # Records

    async def create(
        self,
        cluster: Cluster,
        *,
        secrets: bytes,
        demand: Demand,
        limits: Mapping[str, Limits],
        request_id: str = "",
        must_create: bool = False,
        event: Event,
    ) -> tuple[Cluster, bool]:
        """Records a cluster; returns it and True, or the one of the same request id or alias and False.

        `limits` by subject: ``users/{user}``, ``clusters/{cluster}``, `DEPLOYMENT`. The first that binds is named.
        Raises `QuotaExceeded`, and `AliasTaken` with `must_create`.
        """
        raise NotImplementedError

    async def adopt(self, cluster: Cluster, secrets: bytes, *, demand: Demand) -> bool:
        """Records a cluster that was found running with the store empty; no limit binds. False: it is known."""
        raise NotImplementedError

    async def get(self, cluster: ClusterId) -> Cluster:
        """Returns a cluster. Raises `ClusterNotFound`."""
        raise NotImplementedError

    async def get_many(self, clusters: Sequence[ClusterId]) -> list[Cluster]:
        """Returns those of the clusters that there are, in the order asked."""
        raise NotImplementedError

    async def revision(self, cluster: ClusterId) -> tuple[int, UserId]:
        """Returns revision and owner. Raises `ClusterNotFound`."""
        raise NotImplementedError

    async def by_alias(self, owner: UserId, alias: str) -> ClusterId | None:
        """Returns the owner's living cluster of that alias."""
        raise NotImplementedError

    async def secrets(self, cluster: ClusterId) -> bytes:
        """Returns what was given at the creation. Raises `ClusterNotFound`."""
        raise NotImplementedError

    async def ids(self, owner: UserId | None = None, *, living: bool | None = None) -> list[ClusterId]:
        """Returns the ids of an owner's or all clusters, newest first; living or ended ones only, if said."""
        raise NotImplementedError

    async def page(
        self, owner: UserId | None = None, *, living: bool | None = None, before: int | None = None, count: int = 100
    ) -> Page:
        """As `ids`, a page at a time."""
        raise NotImplementedError

    async def ended_before(self, time: float, count: int = 100) -> list[ClusterId]:
        """Returns clusters that had ended by then, the longest ended first."""
        raise NotImplementedError

    async def version(self, owner: UserId | None = None) -> int:
        """Returns a number that grows with each write of an owner's (or any) record."""
        raise NotImplementedError

    async def usage(self, owner: UserId | None = None) -> Demand:
        """Returns what an owner (or everybody) is promised."""
        raise NotImplementedError

    # Writes

    async def change_spec(
        self,
        cluster: ClusterId,
        change: Callable[[Spec], Spec],
        *,
        etag: str = "",
        demand: Callable[[Spec], Demand],
        limits: Mapping[str, Limits],
        event: Event | None = None,
    ) -> Cluster:
        """Changes the spec, again from the start if somebody else was faster; a change that changes nothing writes nothing.

        Raises `ClusterNotFound`, `ClusterEnded` (also while stopping), `StaleEtag`, `QuotaExceeded`, and what `change` raises.
        """
        raise NotImplementedError

    async def save_status(self, cluster: Cluster, *, fence: Fence, events: Sequence[Event] = ()) -> Cluster:
        """Saves the cluster's status; its end frees usage, alias and route. Returns the cluster with what others wrote meanwhile.

        Raises `ClusterNotFound`, `FencedOff`, and `StaleEtag` when spec or status were written since it was read.
        """
        raise NotImplementedError

    async def save_report(self, cluster: ClusterId, report: Report, *, events: Sequence[Event] = ()) -> Cluster:
        """Saves what the agent reported, and its route when the addresses are new.

        Raises `ClusterNotFound`, `ClusterEnded`, `FencedOff` when a newer (session, sequence) is known.
        """
        raise NotImplementedError

    async def add_event(self, cluster: ClusterId, owner: UserId, event: Event) -> Event:
        """Adds an event; returns it with its id. Raises `ClusterNotFound`."""
        raise NotImplementedError

    async def remove(self, cluster: ClusterId) -> None:
        """Removes an ended cluster's record and events; one that lives is left alone."""
        raise NotImplementedError

    # Streams

    async def events(self, cluster: ClusterId, after: str = "", count: int = 100) -> list[Event]:
        """Returns events after that id, oldest first."""
        raise NotImplementedError

    async def changes_head(self) -> str:
        """Returns the resume token of now."""
        raise NotImplementedError

    async def changes(self, after: str, block: int = 0) -> list[Change]:
        """Returns changes after the token, waiting up to `block` milliseconds for one. Raises `ResumeTokenTooOld`."""
        raise NotImplementedError

    # Routes

    async def routes(self) -> tuple[str, list[RouteRecord]]:
        """Returns all routes and their version."""
        raise NotImplementedError

    async def route_changes(self, after: str, block: int = 0) -> list[RouteChange]:
        """Returns changes after that version, as `changes` does. Raises `ResumeTokenTooOld`."""
        raise NotImplementedError

    async def register(self, reader: str, ttl: float) -> None:
        """Makes clusters wait for this reader's acknowledgements until `ttl` seconds from now; keeps what it has acknowledged."""
        raise NotImplementedError

    async def acknowledge(self, reader: str, version: str, rejected: Sequence[ClusterId], ttl: float) -> None:
        """Notes what a reader has in use, for `ttl` seconds from now; a Change of kind ACKNOWLEDGED tells the others."""
        raise NotImplementedError

    async def acknowledged(self) -> Mapping[str, Acknowledgement]:
        """Returns what each live reader has in use."""
        raise NotImplementedError
