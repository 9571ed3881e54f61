"""One Envoy's side of delta ADS, without I/O: what it was sent, what it uses, what it rejected."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count

from google.protobuf.message import Message

from headrace_proxy.xds.messages import UPSTREAM_TYPE, DeltaResponse
from headrace_proxy.xds.snapshot import Resource, Snapshot

CHUNK = 1000  # resources in one response; larger responses block Envoy's main thread


@dataclass(frozen=True, slots=True)
class Published:
    """A snapshot and its place in the order of publishing.

    One that was `restored` from an earlier run may be older than what Envoys have: it only adds what they lack.
    """

    serial: int
    snapshot: Snapshot
    restored: bool = False


@dataclass(slots=True)
class NodeSession:
    """State of one Envoy's stream.

    One batch of responses is in flight at a time; changes meanwhile become one batch after it.

    Attributes
    ----------
    sent
        Version of each resource that Envoy had at the start or was sent last.
    rejected
        Version of each resource that Envoy rejected; not sent again until it changes.
    in_use
        Serial of the newest snapshot that Envoy uses, 0 for none.
    """

    sent: dict[str, str]
    rejected: dict[str, str] = field(default_factory=dict[str, str])
    in_use: int = 0
    _answered: bool = False
    _batch: int = 0
    _in_flight: dict[str, Sequence[Resource]] = field(default_factory=dict[str, Sequence[Resource]])
    _to_resend: list[Resource] = field(default_factory=list[Resource])
    _nonces: count[int] = field(default_factory=lambda: count(1))

    def respond(self, published: Published) -> list[Message]:
        """Return what to send to bring Envoy to a snapshot; nothing while a batch is in flight."""
        if self._to_resend:
            resend, self._to_resend = self._to_resend, []
            return [self._response([resource], (), "") for resource in resend]
        if self._in_flight or published.serial <= self.in_use:
            return []
        changed, removed = self._differences(published)
        self._record(changed, removed)
        # The first answer is sent even if empty: a starting Envoy listens only once it has one.
        if not (changed or removed or not self._answered):
            self.in_use = published.serial
            return []
        self._answered, self._batch = True, published.serial
        chunks = [changed[i : i + CHUNK] for i in range(0, len(changed), CHUNK)] or [[]]
        version = published.snapshot.version
        return [self._response(chunk, removed if n == 0 else (), version) for n, chunk in enumerate(chunks)]

    def acknowledge(self, nonce: str) -> None:
        """Record that Envoy uses a response."""
        if self._in_flight.pop(nonce, None) is not None:
            self._finish()

    def reject(self, nonce: str, reason: str) -> list[str]:
        """Record that Envoy rejected a response; set the bad resources aside and return their names.

        A rejection is partial: Envoy uses the good resources of the response. Where the reason names none of them,
        each is sent again by itself.
        """
        resources = self._in_flight.pop(nonce, None)
        if resources is None:
            return []
        bad = resources if len(resources) == 1 else [r for r in resources if _mentions(reason, r.name)]
        self.rejected.update((r.name, r.version) for r in bad)
        if not bad:
            self._to_resend.extend(resources)
        self._finish()
        return [r.name for r in bad]

    def _differences(self, published: Published) -> tuple[list[Resource], list[str]]:
        target = published.snapshot.resources
        if published.restored:
            return [r for r in target.values() if r.name not in self.sent], []
        changed = [r for r in target.values() if self.sent.get(r.name) != r.version]
        return changed, [name for name in self.sent if name not in target]

    def _record(self, changed: Sequence[Resource], removed: Sequence[str]) -> None:
        for name in removed:
            del self.sent[name]
            self.rejected.pop(name, None)
        for resource in changed:
            self.sent[resource.name] = resource.version
            self.rejected.pop(resource.name, None)

    def _response(self, resources: Sequence[Resource], removed: Sequence[str], version: str) -> Message:
        nonce = str(next(self._nonces))
        self._in_flight[nonce] = resources
        return DeltaResponse(
            type_url=UPSTREAM_TYPE,
            nonce=nonce,
            system_version_info=version,
            resources=[r.message for r in resources],
            removed_resources=removed,
        )

    def _finish(self) -> None:
        if not self._in_flight and not self._to_resend:
            self.in_use = self._batch


def _mentions(reason: str, name: str) -> bool:
    return re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w.-])", reason) is not None
