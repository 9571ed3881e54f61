"""Keys in Redis that the chassis writes.

==================  ======  =============================  =============  =============
key                 type    content                        expiry         written by
==================  ======  =============================  =============  =============
``lease:<shard>``   hash    ``holder``, ``fence``          lease's ttl    ``leases.py``
``lease-fence``     string  newest fencing number          permanent      ``leases.py``
``lease-replicas``  zset    replica -> ms when it expires  lease's ttl    ``leases.py``
``audit``           stream  ``record``: JSON               its length     ``audit/log.py``
==================  ======  =============================  =============  =============
"""

from __future__ import annotations

from typing import Self


class Prefix(str):
    """Prefix of all keys of a deployment; in braces, so that they share a slot."""

    __slots__ = ()

    def __new__(cls, deployment: str) -> Self:
        return super().__new__(cls, f"{{{deployment}}}:")

    def key(self, *parts: object) -> str:
        return self + ":".join(map(str, parts))


def lease(prefix: Prefix, shard: int) -> str:
    """Key of a shard's lease. Scripts compare its field ``fence`` with the writer's."""
    return prefix.key("lease", shard)


def lease_fence(prefix: Prefix) -> str:
    """Key of the counter that fencing numbers come from."""
    return prefix.key("lease-fence")


def audit_log(prefix: Prefix) -> str:
    """Key of the newest records of the audit log."""
    return prefix.key("audit")


def lease_replicas(prefix: Prefix) -> str:
    """Key of the live replicas."""
    return prefix.key("lease-replicas")
