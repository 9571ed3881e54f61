"""Time from a route's change in the controller to its acknowledgement, with few and many other routes.

Run: python -m benchmarks.proxy_routes
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
from datetime import timedelta
from pathlib import Path
from time import monotonic

from tests.fake_routes import FakeRoutes
from tests.proxy.running_proxy import RunningProxy, write_settings

from headrace_chassis.tls.certificates import Authority

ROUTES = (10, 1_000, 10_000)
SINGLE, BURST = 200, 500
NOWHERE = "127.0.0.1:9"


async def main() -> None:
    for count in ROUTES:
        with tempfile.TemporaryDirectory(prefix="hrb-") as directory:
            figures = await measure(count, Path(directory))
            print(f"{count} routes:", ", ".join(f"{name} {figure}" for name, figure in figures.items()))


async def measure(count: int, directory: Path) -> dict[str, str]:
    settings = write_settings(directory, Authority.create("benchmark", timedelta(hours=1)))
    controller = FakeRoutes(settings["route_address"])
    for number in range(count):
        controller.set(f"r{number}", NOWHERE)
    await controller.start()
    proxy = RunningProxy(settings)
    try:
        return await _figures(proxy, controller, count)
    finally:
        await proxy.end()
        await controller.stop()


async def _figures(proxy: RunningProxy, controller: FakeRoutes, count: int) -> dict[str, str]:
    started = monotonic()
    await proxy.start()
    ready = monotonic() - started
    everything = await controller.acknowledgement(count) - started
    single = sorted([await _add(controller, f"s{number}") for number in range(SINGLE)])
    started = monotonic()
    last = [controller.set(f"b{number}", NOWHERE) for number in range(BURST)][-1]
    burst = await controller.acknowledgement(last) - started
    memory = proxy.envoy.memory("VmRSS")
    await proxy.envoy.kill()
    started = monotonic()
    last = controller.set("after", NOWHERE)
    await proxy.start_envoy()
    # Nothing is acknowledged until the new Envoy has all routes.
    back = await controller.acknowledgement(last) - started
    return {
        "ready": f"{ready:.2f} s",
        "all in use": f"{everything:.2f} s",
        "one more p50": f"{statistics.median(single) * 1e3:.1f} ms",
        "p95": f"{single[int(SINGLE * 0.95)] * 1e3:.1f} ms",
        f"{BURST} more": f"{burst:.2f} s",
        "Envoy killed and started, all in use again": f"{back:.2f} s",
        "Envoy's memory": f"{memory >> 20} MB",
    }


async def _add(controller: FakeRoutes, cluster: str) -> float:
    started = monotonic()
    return await controller.acknowledgement(controller.set(cluster, NOWHERE)) - started


if __name__ == "__main__":
    asyncio.run(main())
