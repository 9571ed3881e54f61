"""The controller's own collection: it reads the page of each scheduler where no Prometheus does.

It goes to the schedulers, as Prometheus does, rather than take samples from the agents' streams: what a stream says can
only hold a culling back. Where a controller cannot reach schedulers nothing is measured, so nothing is culled.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable, Mapping, Sequence

from headrace_chassis.addresses import host_port
from headrace_controller.model import ClusterId
from headrace_controller.signals.http import KEEP, Answer, BadAnswer, Connection, connect
from headrace_controller.signals.measured import QueryFailed
from headrace_controller.signals.reading import parse_page
from headrace_controller.signals.source import SourceFailed, Take, Target

METRICS_PATH = "/metrics/headrace"
_MOST_BYTES = 32 * 1024


class Collection:
    """Reads the pages of schedulers, some at a time. Connections stay open until the next round.

    Parameters
    ----------
    key
        Returns the key of a cluster's metrics.
    at_once
        Schedulers that are read at the same time.
    most_kept
        Connections that stay open; those beyond are opened again in each round, which costs twice as much.
    timeout
        Seconds that one has to answer.
    longest
        Seconds after which a round ends. Those that did not answer before come last, so that they delay no others.
    """

    def __init__(
        self, key: Callable[[str], str], *, at_once: int, most_kept: int, timeout: float, longest: float
    ) -> None:
        self._key = key
        self._at_once = at_once
        self._most_kept = most_kept
        self._timeout = timeout
        self._longest = longest
        self._failures: dict[ClusterId, int] = {}
        self._kept: dict[str, Connection] = {}  # by address

    async def read(self, targets: Sequence[Target], take: Take) -> None:
        """Read all pages; those that cannot be read bring nothing."""
        for address in self._kept.keys() - {target.address for target in targets}:
            self._kept.pop(address).close()
        before, self._failures = self._failures, {}
        waiting = iter(sorted(targets, key=lambda target: before.get(target.cluster, 0)))
        answered = 0

        async def read_next() -> None:
            nonlocal answered
            for target in waiting:
                if await self._read(target, take):
                    answered += 1
                else:
                    self._failures[target.cluster] = before.get(target.cluster, 0) + 1

        try:
            async with asyncio.timeout(self._longest), asyncio.TaskGroup() as group:
                for _ in range(min(self._at_once, len(targets))):
                    group.create_task(read_next())
        except TimeoutError:
            # Those that were not reached come first next time: others may be slow again without ever failing.
            self._failures |= {t.cluster: before.get(t.cluster, 0) or -1 for t in waiting}
        if targets and not answered:
            raise SourceFailed(f"none of {len(targets)} schedulers answered")

    async def query(self, promql: str) -> Mapping[ClusterId, float]:  # noqa: ARG002 there is nobody to ask
        """Fail: rules of an administrator's own need a Prometheus."""
        raise QueryFailed("queries need a Prometheus: set HEADRACE_CONTROLLER_SIGNALS__PROMETHEUS_URL")

    def close(self) -> None:
        """Close all connections."""
        while self._kept:
            self._kept.popitem()[1].close()

    async def _read(self, target: Target, take: Take) -> bool:
        try:
            async with asyncio.timeout(self._timeout):
                status, page = await self._get(target.address, f"{METRICS_PATH}?key={self._key(target.cluster)}")
            if status != 200:
                return False
            take(target.cluster, parse_page(page), 0.0)
        except (OSError, BadAnswer, ValueError):  # time-outs are OSErrors
            return False
        return True

    async def _get(self, address: str, path: str) -> Answer:
        connection = self._kept.pop(address, None)
        if connection is None or not connection.reusable:
            host, port = host_port(address)
            ipaddress.ip_address(host)  # a name could keep the resolver's threads busy
            connection = await connect(host, port)
        answer = await connection.get(path, headers=KEEP, most_bytes=_MOST_BYTES)
        # Nothing forbids two clusters to name one address.
        if connection.reusable and address not in self._kept and len(self._kept) < self._most_kept:
            self._kept[address] = connection
        else:
            connection.close()
        return answer
