"""The certificate authority of each cluster: made and used in threads, kept sealed with its record."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from datetime import timedelta

import msgspec

from headrace_chassis.identity.seal import Seal
from headrace_chassis.tls.certificates import Authority, Leaf
from headrace_controller.model import ClusterId
from headrace_controller.store import Store

_KEPT = 2048


class Authorities:
    """Makes authorities and lets them issue; the last used ones stay opened."""

    def __init__(self, store: Store, seal: Seal, *, lifetime: timedelta, certificate_lifetime: timedelta) -> None:
        self._store = store
        self._seal = seal
        self._lifetime = lifetime
        self._certificate_lifetime = certificate_lifetime
        self._opened: OrderedDict[ClusterId, Authority] = OrderedDict()

    async def create(self, cluster: ClusterId) -> bytes:
        """Makes the authority of a new cluster; returns it sealed."""
        authority, sealed = await asyncio.to_thread(self._create, cluster)
        self._keep(cluster, authority)
        return sealed

    async def issue_client(self, cluster: ClusterId, user: str) -> tuple[Authority, Leaf]:
        """A certificate that a user connects with."""
        authority = await self._open(cluster)
        leaf = await asyncio.to_thread(
            authority.issue, _common_name(user), self._certificate_lifetime, server=False, client=True
        )
        return authority, leaf

    async def issue_process(
        self, cluster: ClusterId, process: str, *, dns_names: list[str], ip_addresses: list[str]
    ) -> tuple[Authority, Leaf]:
        """A certificate of the scheduler or of a worker."""
        authority = await self._open(cluster)
        leaf = await asyncio.to_thread(
            authority.issue, _common_name(process), self._certificate_lifetime, dns_names, ip_addresses
        )
        return authority, leaf

    def forget(self, cluster: ClusterId) -> None:
        """Drops what is kept opened."""
        self._opened.pop(cluster, None)

    async def _open(self, cluster: ClusterId) -> Authority:
        if authority := self._opened.get(cluster):
            self._opened.move_to_end(cluster)
            return authority
        sealed = await self._store.secrets(cluster)
        authority = await asyncio.to_thread(self._load, sealed)
        self._keep(cluster, authority)
        return authority

    def _keep(self, cluster: ClusterId, authority: Authority) -> None:
        self._opened[cluster] = authority
        while len(self._opened) > _KEPT:
            self._opened.popitem(last=False)

    def _create(self, cluster: ClusterId) -> tuple[Authority, bytes]:
        authority = Authority.create(f"headrace {cluster}", self._lifetime)
        return authority, self._seal.seal(msgspec.msgpack.encode((authority.cert_pem, authority.key_pem)))

    def _load(self, sealed: bytes) -> Authority:
        return Authority.load(*msgspec.msgpack.decode(self._seal.open(sealed), type=tuple[bytes, bytes]))


def _common_name(name: str) -> str:
    # X.509 allows 64 characters; the name is for people who look at a certificate, nothing is decided by it.
    return name[:64] or "-"
