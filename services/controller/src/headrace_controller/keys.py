"""Every key that the controller has in Redis, below the deployment's prefix; no other file makes one.

========================= ====== ============================================ ========================= ================
key                       type   content                                      until                     written by
========================= ====== ============================================ ========================= ================
``cluster:<id>``          hash   a record, `RECORD_FIELDS`                    end of its retention      all but ev, ack
``workers:<id>``          hash   ``worker/<w>``: what the controller decided  as its record             cr, st, re
                                 of a worker; ``report/<w>``: what its agent
                                 reported (msgpack)
``touched:<id>``          zset   worker -> revision that last wrote it, also  as its record             cr, st, re
                                 for some time after its fields were removed
``events:<id>``           stream ``event`` (msgpack); the last 1000           as its record             all but ack
``changes``               stream what has changed, see `Change`               permanent; last 50 000    all
``version``               string revision of the latest write                 permanent                 all but ev, ack
``usage:<subject>``       hash   what the subject's clusters are promised,    the last of them ends     cr, ch, st, ad,
                                 by resource                                                            rc
``queue``                 zset   id of a cluster that waits -> its turn       it waits no more          cr, ch, st, ad
``queue-at:<subject>``    zset   the same of those that wait for room of the  it waits no more          cr, ch, st, ad
                                 subject
``queue-held:<subject>``  zset   the same of those for which room is kept     it waits no more          ad, ch, st
``queue-wants``           hash   id -> what it asks for (msgpack)             it waits no more          cr, ch, st, ad
``queue-each``            hash   owner -> number that wait                    none waits                cr, ch, st, ad
``queue-turns``           hash   owner -> turn of the last that began to wait none waits                cr, ch, st, ad
``queue-order``           hash   ``turn`` of the last that was admitted;      permanent                 cr, ch, ad
                                 ``number`` of all that ever waited
``queue-freed``           zset   subject that has got room -> time from       it was looked through     cr, ch, st, ad,
                                 which its queue may be looked through                                  rc, next_freed
``used:<day>``            hash   what was promised that day, times how long,  400 days                  cr, ch, st, ar,
                                 by measure and subject (``usage.lua``)                                 ad, rc, rp
``used-by:<day>:<owner>`` hash   the same of an owner's clusters, by row      62 days                   as ``used``
``limit-exceptions``      hash   ``<resource> <subject>`` -> a limit that an  its end, or removed;      set_limits
                                 admin set for a while (msgpack)              at most 1000
``noted:<id>:<note>``     string marks a warning about a budget or a lowered  the budget's period, or   `Notes`
                                 limit as given                               30 days
``living``                zset   id -> place                                  permanent                 cr, st
``ended``                 zset   id -> time of its end                        permanent                 st, rm
``aliases:<owner>``       hash   alias -> id                                  the cluster is stopping   cr, ch, st
``request:<owner>:<id>``  string id of the cluster that the request created   a day                     cr, rm
``observed:<shard>``      string since when its clusters are observed         a day                     `Kept-
                                 (msgpack)                                                              Observations`
``enrolled:<launch>``     string nonce of the process that has enrolled       after its token's end     `Enrolments`
``schedulers:<id>``       string number of schedulers that have enrolled       after its token's end     `Enrolments`
``archived:<id>``         hash   a record that could not be read when its     30 days                   ar
                                 owner stopped it
``archived-workers:<id>`` hash   its workers                                  30 days                   ar
``routes``                hash   id -> route (msgpack)                        permanent                 ch, st, re, ar
``route-log``             stream ``cluster``, ``route`` ("": removed); its    permanent; last 50 000    ch, st, re
                                 ids are the versions of the routes
``readers``               zset   reader of routes -> time until which it      permanent                 ack
                                 counts
``acknowledged``          hash   reader -> what it has in use (msgpack)       permanent                 ack
========================= ====== ============================================ ========================= ================

Scripts: cr create, ch change, ad admit, st save_status, re save_report, rc recharge, rp reprice, ev add_event, rm
remove, ar archive, ack acknowledge and readers.

The leases of the shards and the list of replicas are read, not written: see `headrace_chassis.redis.keys`.
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
    "groups",  # msgpack, as are spec, targets, status, report, charged_to and promised
    "created",
    "generation",
    "revision",
    "place",  # its first revision, which orders lists
    "spec",
    "targets",
    "spec_revision",  # revision that last wrote spec or targets
    "status",  # without the workers
    "status_revision",
    "report",  # without what is reported of single workers
    "report_revision",
    "order",  # session and sequence of the report, padded so that they compare as text
    "route_version",  # id in the route log at which its route was last written
    "secrets",  # sealed, opaque here
    "alias",
    "request",  # request id that created it
    "stopping",  # "1" once it may not change any more
    "ended",  # time of its end; "" while it lives
    "charged_to",  # subjects whose usage it counts towards
    "promised",  # by resource; empty after its end
    "meter",  # what it has used: see `scripts/usage.lua`
    "account",  # where that is added up
    "labels",  # what it is about: see `RowLabels`
    "queued",  # its wait in the queue (msgpack)
    "queued_at",  # subject for whose room it waits; "" if it does not
    "complete_from",  # `touched` has every removal of a worker since this revision
)

_PERMANENT = re.compile(
    r"changes|version|living|ended|routes|route-log|readers|acknowledged|limit-exceptions"
    r"|queue(-wants|-each|-turns|-order|-freed)?"
    r"|(cluster|workers|touched|events|usage|aliases|queue-at|queue-held):.+"
)


@dataclass(frozen=True, slots=True)
class Keys:
    """Makes the keys of a deployment."""

    prefix: Prefix

    def record(self, cluster: ClusterId) -> str:
        return self.prefix.key("cluster", cluster)

    def workers(self, cluster: ClusterId) -> str:
        return self.prefix.key("workers", cluster)

    def touched(self, cluster: ClusterId) -> str:
        return self.prefix.key("touched", cluster)

    def events(self, cluster: ClusterId) -> str:
        return self.prefix.key("events", cluster)

    def changes(self) -> str:
        return self.prefix.key("changes")

    def version(self) -> str:
        return self.prefix.key("version")

    def usage(self, subject: str) -> str:
        return self.prefix.key("usage", subject)

    def used(self, day: int | str) -> str:
        return self.prefix.key("used", str(day))

    def used_by(self, day: int | str, owner: str = "") -> str:
        return self.prefix.key("used-by", f"{day}:{owner}" if owner else str(day))

    def queue(self, part: str = "") -> str:
        return self.prefix.key(f"queue-{part}" if part else "queue")

    def queue_at(self, subject: str) -> str:
        return self.prefix.key("queue-at", subject)

    def queue_held(self, subject: str) -> str:
        return self.prefix.key("queue-held", subject)

    def limit_exceptions(self) -> str:
        return self.prefix.key("limit-exceptions")

    def noted(self, cluster: ClusterId, note: str) -> str:
        return self.prefix.key("noted", cluster, note)

    def living(self) -> str:
        return self.prefix.key("living")

    def ended(self) -> str:
        return self.prefix.key("ended")

    def aliases(self, owner: UserId) -> str:
        return self.prefix.key("aliases", owner)

    def request(self, owner: UserId, request_id: str) -> str:
        return self.prefix.key("request", _quoted(owner), _quoted(request_id))

    def observed(self, shard: int) -> str:
        return self.prefix.key("observed", str(shard))

    def enrolled(self, launch: str) -> str:
        return self.prefix.key("enrolled", launch)

    def schedulers(self, cluster: ClusterId) -> str:
        return self.prefix.key("schedulers", cluster)

    def archived(self, cluster: ClusterId) -> str:
        return self.prefix.key("archived", cluster)

    def archived_workers(self, cluster: ClusterId) -> str:
        return self.prefix.key("archived-workers", cluster)

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

    def of_record(self, cluster: ClusterId, owner: UserId) -> dict[str, str]:
        """The keys by the names that `scripts/record.lua` gives them."""
        return {
            "record": self.record(cluster),
            "workers": self.workers(cluster),
            "touched": self.touched(cluster),
            "events": self.events(cluster),
            "changes": self.changes(),
            "version": self.version(),
            "living": self.living(),
            "ended": self.ended(),
            "aliases": self.aliases(owner),
            "routes": self.routes(),
            "route_log": self.route_log(),
            "queue": self.queue(),
            **{f"queue_{part}": self.queue(part) for part in ("wants", "each", "turns", "order", "freed")},
        }

    def permanent(self, key: str) -> bool:
        """Whether a key may be there without an expiry."""
        return key.startswith(self.prefix) and _PERMANENT.fullmatch(key.removeprefix(self.prefix)) is not None


@lru_cache(maxsize=4096)
def _quoted(text: str) -> str:
    return quote(text, safe="@")
