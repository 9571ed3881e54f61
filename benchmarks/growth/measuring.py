"""What a process costs: processor time, memory, and bytes that Valkey received."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path

from redis.asyncio import Redis

from headrace_chassis.procfs import cpu_seconds

# Shares of a processor: a process is quiet when it uses less over some seconds, and busy when it uses more in a sample.
_QUIET_SHARE, _BUSY_SHARE = 0.02, 0.05
_SAMPLE_SECONDS = 0.1
# One operation has settled when the process used no more than this in a sample.
_SETTLED_SECONDS, _SETTLED_SAMPLE = 0.0004, 0.02


@dataclass(frozen=True)
class Cost:
    """Milliseconds of the controller's processor time, and kilobytes that it sent to Valkey."""

    cpu_ms: float
    redis_kb: float


class Meter:
    """Measures one controller process."""

    def __init__(self, pid: int, redis: Redis) -> None:
        self._pid, self._redis = pid, redis

    @property
    def cpu(self) -> float:
        """Seconds of processor time since its start."""
        return cpu_seconds(self._pid)

    async def received(self) -> int:
        """Bytes that Valkey received, from anybody."""
        stats: dict[str, int] = await self._redis.info("stats")
        return stats["total_net_input_bytes"]

    def memory(self) -> dict[str, float]:
        """PSS and RSS in MiB."""
        lines = Path(f"/proc/{self._pid}/smaps_rollup").read_text().splitlines()[1:]
        sizes = {name: int(size.split()[0]) / 1024 for name, _, size in (line.partition(":") for line in lines)}
        return {"PSS": sizes["Pss"], "RSS": sizes["Rss"]}

    async def until_quiet(self, for_seconds: float = 1, *, within: float = 600) -> float:
        """Waits until the process was quiet for a while; returns the time (`time.monotonic`) when it was last busy."""
        end = time.monotonic() + within
        samples = round(for_seconds / _SAMPLE_SECONDS)
        used, busy = [self.cpu], time.monotonic()
        while time.monotonic() < end:
            await asyncio.sleep(_SAMPLE_SECONDS)
            used.append(self.cpu)
            if used[-1] - used[-2] > _BUSY_SHARE * _SAMPLE_SECONDS:
                busy = time.monotonic()
            if len(used) > samples and used[-1] - used[-1 - samples] < _QUIET_SHARE * for_seconds:
                return busy
        raise TimeoutError(f"the controller is not quiet after {within:.0f} s")

    async def settle(self) -> None:
        """Waits until nothing is left to do of what was asked."""
        before, calm = self.cpu, 0
        while calm < 2:
            await asyncio.sleep(_SETTLED_SAMPLE)
            now = self.cpu
            calm = calm + 1 if now - before < _SETTLED_SECONDS else 0
            before = now

    async def start(self) -> Measurement:
        return Measurement(self, self.cpu, await self.received())


@dataclass(frozen=True)
class Measurement:
    """A measurement under way."""

    meter: Meter
    cpu: float
    bytes_received: int

    async def cost(self) -> Cost:
        """Returns the cost since the start, when all that was asked is done."""
        await self.meter.settle()
        cpu, received = self.meter.cpu, await self.meter.received()
        return Cost((cpu - self.cpu) * 1e3, (received - self.bytes_received) / 1e3)
