"""One Envoy's side of delta ADS, without I/O: what it was told, what it has taken, what it refused."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

from google.protobuf.message import Message

from headrace_proxy.xds.messages import UPSTREAM_TYPE, DeltaResponse
from headrace_proxy.xds.snapshot import Resource, Snapshot

CHUNK = 1000  # resources in one response; larger ones hold up Envoy's main thread


@dataclass(frozen=True, slots=True)
class Published:
    """A snapshot and its place in the order of publishing.

    One that is `remembered` from an earlier run may be behind what Envoys have: it only adds what they lack.
    """

    serial: int
    snapshot: Snapshot
    remembered: bool = False


@dataclass(slots=True)
class NodeSession:
    """What one stream of an Envoy knows.

    One batch of responses is under way at a time: what changes meanwhile becomes one batch after it.

    Attributes
    ----------
    told
        Version of each resource that Envoy was sent last or said to have at the start.
    refused
        Version of each resource that Envoy has refused; not sent again until it changes.
    in_use
        Serial of the newest snapshot that Envoy has taken, 0 for none.
    """

    told: dict[str, str]
    refused: dict[str, str] = field(default_factory=dict[str, str])
    in_use: int = 0
    _greeted: bool = False
    _batch: int = 0
    _under_way: dict[str, Sequence[Resource]] = field(default_factory=dict[str, Sequence[Resource]])
    _again: list[Resource] = field(default_factory=list[Resource])
    _nonces: count[int] = field(default_factory=lambda: count(1))

    def respond(self, published: Published) -> list[Message]:
        """Returns what to send to bring Envoy to a snapshot; nothing while a batch is under way."""
        if self._again:
            again, self._again = self._again, []
            return [self._response([resource], (), "") for resource in again]
        if self._under_way or published.serial <= self.in_use:
            return []
        changed, removed = self._differences(published)
        self._tell(changed, removed)
        # The first answer is sent even if empty: until it has one, a starting Envoy does not listen.
        if not (changed or removed or not self._greeted):
            self.in_use = published.serial
            return []
        self._greeted, self._batch = True, published.serial
        chunks = [changed[i : i + CHUNK] for i in range(0, len(changed), CHUNK)] or [[]]
        version = published.snapshot.version
        return [self._response(chunk, removed if n == 0 else (), version) for n, chunk in enumerate(chunks)]

    def acknowledged(self, nonce: str) -> None:
        """Envoy has taken a response."""
        if self._under_way.pop(nonce, None) is not None:
            self._finish()

    def refuse(self, nonce: str, reason: str) -> list[str]:
        """Envoy has refused a response: sets the offenders aside and returns their names.

        A refusal is partial: Envoy has taken the response's good resources. Where the reason names none of them,
        each is sent again by itself.
        """
        resources = self._under_way.pop(nonce, None)
        if resources is None:
            return []
        offenders = resources if len(resources) == 1 else [r for r in resources if _names(reason, r.name)]
        self.refused.update((r.name, r.version) for r in offenders)
        if not offenders:
            self._again.extend(resources)
        self._finish()
        return [r.name for r in offenders]

    def _differences(self, published: Published) -> tuple[list[Resource], list[str]]:
        wanted = published.snapshot.resources
        if published.remembered:
            return [r for r in wanted.values() if r.name not in self.told], []
        changed = [r for r in wanted.values() if self.told.get(r.name) != r.version]
        return changed, [name for name in self.told if name not in wanted]

    def _tell(self, changed: Sequence[Resource], removed: Sequence[str]) -> None:
        for name in removed:
            del self.told[name]
            self.refused.pop(name, None)
        for resource in changed:
            self.told[resource.name] = resource.version
            self.refused.pop(resource.name, None)

    def _response(self, resources: Sequence[Resource], removed: Sequence[str], version: str) -> Message:
        nonce = str(next(self._nonces))
        self._under_way[nonce] = resources
        return DeltaResponse(
            type_url=UPSTREAM_TYPE,
            nonce=nonce,
            system_version_info=version,
            resources=[r.message for r in resources],
            removed_resources=removed,
        )

    def _finish(self) -> None:
        if not self._under_way and not self._again:
            self.in_use = self._batch


def _names(reason: str, name: str) -> bool:
    return re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w.-])", reason) is not None


def open_session(initial_resource_versions: Mapping[str, str]) -> NodeSession:
    """The session of an Envoy that has these resources already."""
    return NodeSession(dict(initial_resource_versions))
