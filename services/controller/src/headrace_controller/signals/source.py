"""Where samples come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from headrace_controller.model import ClusterId


@dataclass(frozen=True, slots=True)
class Target:
    """A cluster that runs, and so can be measured.

    Attributes
    ----------
    created, started
        Times at which it was created, and since which it runs.
    address
        Host and port of its scheduler's HTTP server.
    """

    cluster: ClusterId
    created: float
    started: float
    address: str


class SourceFailed(Exception):
    """Nothing was measured; the message says why."""


Take = Callable[[ClusterId, Mapping[str, float], float], None]
"""Called with a cluster, its numbers by name, and the age of them in seconds."""


class Source(Protocol):
    """What `MeasuredSignals` reads from."""

    async def read(self, targets: Sequence[Target], take: Take) -> None:
        """Read samples once, of some or all of these. Raises `SourceFailed`."""
        ...

    async def query(self, promql: str) -> Mapping[ClusterId, float]:
        """Answer a query of an administrator's own. Raises `QueryFailed`."""
        ...

    def close(self) -> None:
        """Release what is kept between two rounds."""
        ...
