"""What Envoys should have at one version of the routes: an immutable value, computed without I/O."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b

from google.protobuf.message import Message

from headrace_chassis.routes import Route
from headrace_proxy.xds.messages import UPSTREAM_TYPE, DeltaResource
from headrace_proxy.xds.upstream import BadRoute, UpstreamTemplate


@dataclass(frozen=True, slots=True)
class Resource:
    """One upstream: its name, the hash of its content, and the message that carries both to Envoy."""

    name: str
    version: str
    message: Message = field(repr=False, compare=False)

    @classmethod
    def of(cls, name: str, upstream: Message) -> Resource:
        content = upstream.SerializeToString(deterministic=True)
        version = blake2b(content, digest_size=12).hexdigest()
        body = {"type_url": UPSTREAM_TYPE, "value": content}
        return cls(name, version, DeltaResource(name=name, version=version, resource=body))


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All upstreams at one version of the routes.

    Attributes
    ----------
    version
        The controller's version of the routes.
    resources
        Upstreams by name.
    faults
        Why the routes of some clusters cannot be served, by cluster.
    """

    template: UpstreamTemplate
    version: str = ""
    resources: Mapping[str, Resource] = field(default_factory=dict[str, Resource])
    faults: Mapping[str, str] = field(default_factory=dict[str, str])

    def updated(self, version: str, changed: Iterable[Route], removed: Collection[str] = ()) -> Snapshot:
        """Return the snapshot after some routes changed and those of other clusters were removed."""
        resources, faults = dict(self.resources), dict(self.faults)
        for cluster in removed:
            resources.pop(self.template.name(cluster), None)
            faults.pop(cluster, None)
        for route in changed:
            name = self.template.name(route.cluster)
            resources.pop(name, None)
            faults.pop(route.cluster, None)
            try:
                upstream = self.template.upstream(route)
            except BadRoute as error:
                faults[route.cluster] = str(error)
                continue
            if upstream is not None:
                resources[name] = Resource.of(name, upstream)
        return replace(self, version=version, resources=resources, faults=faults)
