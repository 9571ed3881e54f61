"""The certificate authorities of each cluster. Their keys are stored sealed, with the cluster's record."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import msgspec
from cachetools import LRUCache

from headrace_chassis.identity.certificate_names import name_in_certificate
from headrace_chassis.identity.seal import Seal
from headrace_chassis.tls.certificates import Authority, Leaf
from headrace_controller.model import ClusterId

_KEPT_OPEN = 2048
_MAX_UNITS = 65  # a cluster has at most 64 shares


@dataclass(frozen=True, slots=True)
class _OfCluster:
    """One for processes, the owner and admins, and one for guests, which workers do not trust.

    So nothing that a share has opened lies where nobody hears of its end. A cluster of an earlier release has no second
    one.
    """

    members: Authority
    guests: Authority | None = None


class Authorities:
    """Creates authorities and issues certificates, in threads. The last used authorities are kept open.

    Parameters
    ----------
    read
        Reads the sealed authorities of a cluster; raises `ClusterNotFound`.
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
        self._open: LRUCache[ClusterId, _OfCluster] = LRUCache(_KEPT_OPEN)

    async def create(self, cluster: ClusterId) -> bytes:
        """Create the authorities of a new cluster; return them sealed."""
        authorities, sealed = await asyncio.to_thread(self._create, cluster)
        self._open[cluster] = authorities
        return sealed

    async def issue_client(
        self, cluster: ClusterId, user: str, members: Sequence[str] = (), *, guest_seconds: float | None = None
    ) -> tuple[str, Leaf]:
        """Issue a certificate for a user's client, who connects through these members.

        Parameters
        ----------
        guest_seconds
            For one who connects through a share: the longest time for which it is good. Only schedulers take it.

        Returns
        -------
        str, Leaf
            The authority to trust, PEM, and the certificate.
        """
        authorities = await self._get(cluster)
        issuer, lifetime = authorities.members, self._certificate_lifetime
        if guest_seconds is not None:
            issuer, lifetime = authorities.guests or issuer, min(lifetime, timedelta(seconds=guest_seconds))
        units = [name_in_certificate(member) for member in members[:_MAX_UNITS]]
        leaf = await asyncio.to_thread(
            issuer.issue, name_in_certificate(user), lifetime, units=units, server=False, client=True
        )
        return authorities.members.cert_pem.decode(), leaf

    async def issue_process(
        self,
        cluster: ClusterId,
        process: str,
        *,
        dns_names: Sequence[str],
        ip_addresses: Sequence[str],
        takes_guests: bool,
    ) -> tuple[str, Leaf]:
        """Issue a certificate for the scheduler, which takes guests, or a worker.

        Returns
        -------
        str, Leaf
            The authorities to trust, PEM, and the certificate.
        """
        authorities = await self._get(cluster)
        leaf = await asyncio.to_thread(
            authorities.members.issue,
            name_in_certificate(process),
            self._certificate_lifetime,
            list(dns_names),
            list(ip_addresses),
        )
        trusted = [authorities.members, *([authorities.guests] if takes_guests and authorities.guests else [])]
        return b"".join(authority.cert_pem for authority in trusted).decode(), leaf

    def discard(self, cluster: ClusterId) -> None:
        """Discard the authorities of a cluster that exists no more."""
        self._open.pop(cluster, None)

    async def _get(self, cluster: ClusterId) -> _OfCluster:
        if (authorities := self._open.get(cluster)) is None:
            authorities = await asyncio.to_thread(self._load, await self._read(cluster))
            self._open[cluster] = authorities
        return authorities

    def _create(self, cluster: ClusterId) -> tuple[_OfCluster, bytes]:
        members = Authority.create(f"headrace {cluster}", self._lifetime)
        guests = Authority.create(f"headrace {cluster} guests", self._lifetime)
        pems = (members.cert_pem, members.key_pem, guests.cert_pem, guests.key_pem)
        return _OfCluster(members, guests), self._seal.seal(msgspec.msgpack.encode(pems))

    def _load(self, sealed: bytes) -> _OfCluster:
        pems = msgspec.msgpack.decode(self._seal.open(sealed), type=tuple[bytes, ...])
        return _OfCluster(*(Authority.load(*pair) for pair in zip(pems[::2], pems[1::2], strict=True)))
