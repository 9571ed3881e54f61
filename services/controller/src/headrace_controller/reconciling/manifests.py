"""What is kept with a scheduler so that its cluster is found again with the store empty; sealed."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import msgspec

from headrace_chassis.identity.seal import Seal
from headrace_controller.meter import Meter
from headrace_controller.model import Cluster, ClusterId, EndReason, Phase, Spec, UserId


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The essentials of a record. `ending` and `message` say why a cluster is stopping without a request to stop it.

    `meter` is what the cluster had used when this was written, and what it was promised from then on.
    """

    cluster: ClusterId
    owner: UserId
    groups: tuple[str, ...] = ()
    created: float
    generation: int
    spec: Spec
    ending: EndReason | None = None
    message: str = ""
    meter: Meter = field(default_factory=Meter)
    secrets: bytes


class ManifestSealer:
    """Makes and opens sealed manifests."""

    def __init__(self, seal: Seal) -> None:
        self._seal = seal

    def make(self, cluster: Cluster, secrets: bytes) -> bytes:
        """Returns the sealed manifest of a cluster."""
        ending = ending_of(cluster)
        manifest = Manifest(
            cluster=cluster.id,
            owner=cluster.owner,
            groups=cluster.groups,
            created=cluster.created,
            generation=cluster.generation,
            spec=granted_spec(cluster),
            ending=ending,
            message=cluster.status.message if ending else "",
            meter=cluster.meter,
            secrets=secrets,
        )
        return self._seal.seal(msgspec.msgpack.encode(manifest))

    def open(self, sealed: bytes) -> Manifest:
        """Opens a manifest; raises `ValueError` if it cannot be opened or read."""
        return msgspec.msgpack.decode(self._seal.open(sealed), type=Manifest)


def granted_spec(cluster: Cluster) -> Spec:
    """The spec without workers that wait for room: with the store, their place in the queue is lost."""
    if cluster.queued is None or not cluster.queued.granted:
        return cluster.spec
    groups = (group if group.adapt else replace(group, size=cluster.desired(group)) for group in cluster.spec.groups)
    return replace(cluster.spec, groups=tuple(groups))


def ending_of(cluster: Cluster) -> EndReason | None:
    """Why a cluster is stopping; None if it is not."""
    return cluster.status.reason if cluster.status.phase is Phase.STOPPING else None
