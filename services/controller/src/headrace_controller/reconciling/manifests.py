"""What is kept with a scheduler so that its cluster is found again with the store empty; sealed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import msgspec

from headrace_chassis.identity.seal import Seal
from headrace_controller.model import Cluster, ClusterId, Spec, UserId


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The essentials of a record. The spec's `stop` also tells of a cluster that ends because it cannot go on."""

    cluster: ClusterId
    owner: UserId
    created: float
    generation: int
    spec: Spec
    secrets: bytes


class Manifests:
    """Seals and opens manifests."""

    def __init__(self, seal: Seal) -> None:
        self._seal = seal

    def make(self, cluster: Cluster, secrets: bytes) -> bytes:
        """The manifest of a cluster, sealed."""
        manifest = Manifest(
            cluster=cluster.id,
            owner=cluster.owner,
            created=cluster.created,
            generation=cluster.generation,
            spec=replace(cluster.spec, stop=cluster.ending),
            secrets=secrets,
        )
        return self._seal.seal(msgspec.msgpack.encode(manifest))

    def open(self, sealed: bytes) -> Manifest:
        """Raises `ValueError` if it cannot be opened or read."""
        return msgspec.msgpack.decode(self._seal.open(sealed), type=Manifest)
