"""From routes to what Envoy is to have: one immutable snapshot, pure and consistent before it is served."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b

from google.protobuf.message import Message

from headrace_proxy.envoy.upstream import scheduler_upstream, upstream_defaults, upstream_name
from headrace_proxy.model import Route
from headrace_proxy.xds.messages import UPSTREAM_TYPE, DeltaResource


@dataclass(frozen=True, slots=True)
class Resource:
    """One upstream: its name, the hash of its content, and the message that carries both to Envoy."""

    name: str
    version: str
    message: Message = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Shape:
    """How routes become upstreams; the same for all."""

    sni_suffix: str
    defaults: Message = field(repr=False)

    @classmethod
    def of(cls, sni_suffix: str, cluster_connections: int) -> Shape:
        """The shape for a suffix and a cap on each cluster's connections."""
        return cls(sni_suffix, upstream_defaults(cluster_connections))

    def resource(self, route: Route) -> Resource:
        """The upstream of a route without fault."""
        upstream = scheduler_upstream(route, self.sni_suffix, self.defaults)
        content = upstream.SerializeToString(deterministic=True)
        name = upstream_name(route.cluster, self.sni_suffix)
        version = blake2b(content, digest_size=12).hexdigest()
        body = {"type_url": UPSTREAM_TYPE, "value": content}
        return Resource(name, version, DeltaResource(name=name, version=version, resource=body))


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All upstreams at one version of the routes.

    Attributes
    ----------
    version
        The controller's version of the routes.
    resources
        Upstreams by name.
    faulty
        Clusters whose route cannot be served, with the reason.
    """

    shape: Shape
    version: str = ""
    resources: Mapping[str, Resource] = field(default_factory=dict[str, Resource])
    faulty: Mapping[str, str] = field(default_factory=dict[str, str])

    def updated(self, version: str, changed: Iterable[Route], removed: Collection[str] = ()) -> Snapshot:
        """Returns the snapshot after some routes have changed and others went."""
        resources, faulty = dict(self.resources), dict(self.faulty)
        for cluster in removed:
            resources.pop(upstream_name(cluster, self.shape.sni_suffix), None)
            faulty.pop(cluster, None)
        for route in changed:
            resources.pop(upstream_name(route.cluster, self.shape.sni_suffix), None)
            faulty.pop(route.cluster, None)
            if fault := route.fault():
                faulty[route.cluster] = fault
            elif route.scheduler_address:
                resource = self.shape.resource(route)
                resources[resource.name] = resource
        return replace(self, version=version, resources=resources, faulty=faulty)

    def cluster_of(self, name: str) -> str:
        """The cluster whose upstream has this name."""
        return name.removesuffix(f".{self.shape.sni_suffix}")


def build(shape: Shape, version: str, routes: Iterable[Route]) -> Snapshot:
    """The snapshot of all routes."""
    return Snapshot(shape).updated(version, routes)
