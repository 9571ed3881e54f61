"""Every key that the controller has in Redis, below the deployment's prefix; no other file makes one.

Users and request ids are percent-encoded in keys, so that no two of them meet in one key.

======================== ====== =========================================== ============================ ============
key                      type   content                                     until                        written by
======================== ====== =========================================== ============================ ============
``cluster:<id>``         hash   a record, `RECORD_FIELDS`                   removed after its retention  *
``events:<id>``          stream ``event`` (msgpack); the last 1000          as its record                *
``changes``              stream ``kind, cluster, owner, revision``, and of  permanent; the last 50 000   *, ack
                                events ``event, event_id``
``version``              string grows with each write of any record; starts permanent                    *
                                at the microseconds since the epoch
``version:<owner>``      string `version` at the owner's last write         30 days after that           *
``usage``                hash   what all clusters are promised, by resource permanent                    cr, sp, st
``usage:<owner>``        hash   what the owner's are promised               the owner's last end         cr, sp, st
``living``, ``ended``    zset   id -> place (its `version` when recorded)   permanent                    cr, st, rm
``living:<owner>``,      zset   the same of one owner                       empty                        cr, st, rm
``ended:<owner>``
``aliases:<owner>``      hash   alias -> id                                 the cluster is ending        cr, sp, st
``retention``            zset   id -> time of its end                       permanent                    st, rm
``request:<owner>:<id>`` string id of the cluster that it made              a day                        cr
``routes``               hash   id -> route (msgpack)                       permanent                    re, st
``route-log``            stream ``cluster, route`` ("": removed); its ids   permanent; the last 50 000   re, st
                                are the versions of routes
``readers``              zset   reader of routes -> time it counts until    permanent                    ack
``acknowledged``         hash   reader -> what it has in use (msgpack)      permanent                    ack
======================== ====== =========================================== ============================ ============

Scripts: cr create, sp change_spec, st save_status, re save_report, rm remove, ack acknowledge and acknowledged,
* all that stand on record.lua.

The shards' leases and who holds any are read, not written: see `headrace_chassis.redis.keys`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote

from headrace_chassis.redis.keys import Prefix, lease, lease_replicas
from headrace_controller.model import ClusterId, UserId

RECORD_FIELDS = (
    "owner",
    "created",
    "generation",
    "revision",
    "spec",  # msgpack, as are status and report
    "status",
    "report",
    "route_version",  # version of the route log at which its route was last written
    "secrets",  # sealed, opaque here
    "alias",
    "request",  # request id that made it
    "place",  # its score in `living` or `ended`
    "ended",  # time of its end, "" before
    "order",  # session and sequence of the report, padded so that they compare as text
    "status_revision",  # revision at which the status was last written
    "clusters",  # what it is promised, as are the three below; 0 after its end
    "workers",
    "cores_milli",
    "memory_bytes",
)

_PERMANENT = re.compile(
    r"changes|version|usage|living|ended|retention|routes|route-log|readers|acknowledged"
    r"|(cluster|events|usage|living|ended|aliases):.+"
)


@dataclass(frozen=True, slots=True)
class Keys:
    """Makes the keys of a deployment."""

    prefix: Prefix

    def record(self, cluster: ClusterId) -> str:
        return self.prefix.key("cluster", cluster)

    def events(self, cluster: ClusterId) -> str:
        return self.prefix.key("events", cluster)

    def changes(self) -> str:
        return self.prefix.key("changes")

    def version(self, owner: UserId | None) -> str:
        return self._of("version", owner)

    def usage(self, owner: UserId | None) -> str:
        return self._of("usage", owner)

    def living(self, owner: UserId | None) -> str:
        return self._of("living", owner)

    def ended(self, owner: UserId | None) -> str:
        return self._of("ended", owner)

    def aliases(self, owner: UserId) -> str:
        return self._of("aliases", owner)

    def retention(self) -> str:
        return self.prefix.key("retention")

    def request(self, owner: UserId, request_id: str) -> str:
        return self.prefix.key("request", _quoted(owner), _quoted(request_id))

    def routes(self) -> str:
        return self.prefix.key("routes")

    def route_log(self) -> str:
        return self.prefix.key("route-log")

    def readers(self) -> str:
        return self.prefix.key("readers")

    def acknowledged(self) -> str:
        return self.prefix.key("acknowledged")

    def lease(self, shard: int) -> str:
        return lease(self.prefix, shard)

    def replicas(self) -> str:
        return lease_replicas(self.prefix)

    def of_record(self, cluster: ClusterId, owner: UserId) -> list[str]:
        """The keys that `scripts/record.lua` names, in its order."""
        return [
            self.record(cluster),
            self.events(cluster),
            self.changes(),
            self.version(None),
            self.version(owner),
            self.usage(None),
            self.usage(owner),
            self.living(None),
            self.living(owner),
            self.ended(None),
            self.ended(owner),
            self.aliases(owner),
            self.retention(),
            self.routes(),
            self.route_log(),
        ]

    def permanent(self, key: str) -> bool:
        """Whether a key may be there without an expiry."""
        return key.startswith(self.prefix) and _PERMANENT.fullmatch(key.removeprefix(self.prefix)) is not None

    def _of(self, name: str, owner: UserId | None) -> str:
        return self.prefix.key(name) if owner is None else self.prefix.key(name, _quoted(owner))


@lru_cache(maxsize=4096)
def _quoted(text: str) -> str:
    return quote(text, safe="@")
