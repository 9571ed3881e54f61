"""The certificate authority of each cluster. Its key is stored sealed, with the cluster's record."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

import msgspec
from cachetools import LRUCache

from headrace_chassis.identity.certificate_names import name_in_certificate
from headrace_chassis.identity.seal import Seal
from headrace_chassis.tls.certificates import Authority, Leaf
from headrace_controller.model import ClusterId

_KEPT_OPEN = 2048
_MAX_UNITS = 65  # a cluster has at most 64 shares


class Authorities:
    """Creates authorities and issues certificates, in threads. The last used authorities are kept open.

    Parameters
    ----------
    read
        Reads the sealed authority of a cluster; raises `ClusterNotFound`.
    """

    def __init__(
        self,
        read: Callable[[ClusterId], Awaitable[bytes]],
        seal: Seal,
        *,
        lifetime: timedelta,
        certificate_lifetime: timedelta,
    ) -> None:
        self._read = read
        self._seal = seal
        self._lifetime = lifetime
        self._certificate_lifetime = certificate_lifetime
        self._open: LRUCache[ClusterId, Authority] = LRUCache(_KEPT_OPEN)

    async def create(self, cluster: ClusterId) -> bytes:
        """Create the authority of a new cluster; return it sealed."""
        authority, sealed = await asyncio.to_thread(self._create, cluster)
        self._open[cluster] = authority
        return sealed

    async def issue_client(
        self, cluster: ClusterId, user: str, members: Sequence[str] = (), *, at_most: float | None = None
    ) -> tuple[Authority, Leaf]:
        """Issue a certificate for a user's client, who connects through these members, for at most so many seconds."""
        authority = await self._get(cluster)
        lifetime = self._certificate_lifetime
        if at_most is not None:
            lifetime = min(lifetime, timedelta(seconds=at_most))
        units = [name_in_certificate(member) for member in members[:_MAX_UNITS]]
        leaf = await asyncio.to_thread(
            authority.issue, name_in_certificate(user), lifetime, units=units, server=False, client=True
        )
        return authority, leaf

    async def issue_process(
        self, cluster: ClusterId, process: str, *, dns_names: Sequence[str], ip_addresses: Sequence[str]
    ) -> tuple[Authority, Leaf]:
        """Issue a certificate for the scheduler or a worker."""
        authority = await self._get(cluster)
        leaf = await asyncio.to_thread(
            authority.issue,
            name_in_certificate(process),
            self._certificate_lifetime,
            list(dns_names),
            list(ip_addresses),
        )
        return authority, leaf

    def discard(self, cluster: ClusterId) -> None:
        """Discard the authority of a cluster that exists no more."""
        self._open.pop(cluster, None)

    async def _get(self, cluster: ClusterId) -> Authority:
        if (authority := self._open.get(cluster)) is None:
            authority = await asyncio.to_thread(self._load, await self._read(cluster))
            self._open[cluster] = authority
        return authority

    def _create(self, cluster: ClusterId) -> tuple[Authority, bytes]:
        authority = Authority.create(f"headrace {cluster}", self._lifetime)
        return authority, self._seal.seal(msgspec.msgpack.encode((authority.cert_pem, authority.key_pem)))

    def _load(self, sealed: bytes) -> Authority:
        return Authority.load(*msgspec.msgpack.decode(self._seal.open(sealed), type=tuple[bytes, bytes]))
