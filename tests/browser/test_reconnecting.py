"""Pages that are open while the network goes away, and go on by themselves when it is back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.browser.chromium import chromium
from tests.browser.jupyterlab import READY, RUN_NEXT, choose_kernel, choose_theme, jupyterlab, program
from tests.browser.pages import BOKEH_WORKS, MAKE, PANEL, SAID
from tests.client.sni_proxy import SniProxy
from tests.connections.killing import find_envoy
from tests.e2e.running import Running

from headrace import Gateway
from headrace._target.local_gateway import LocalGateway

# Runs before the page's own scripts.
KEEP_SOCKET = (
    "window.WebSocket = class extends WebSocket { constructor(...all) { super(...all); window.socket = this } }"
)
# The connection ends within a message: of its four parts and more, the first has arrived.
CUT_WITHIN_A_MESSAGE = "socket.onmessage({data: '{}'}), socket.onmessage = null, true"
HEAR = """
for (const event of ["connection_lost", "client_reconnected"])
  Bokeh.documents[0].on_event(event, () => window[event] = true)
"""
HAS_TASK = "[...Bokeh.documents[0]._all_models.values()].some(model => model.data?.name?.includes({key!r}))"


async def _watch(profile: Path, headrace: Running, client: Any, link: str) -> None:
    async with chromium(profile) as page:
        await page.call("Page.enable")
        await page.call("Page.addScriptToEvaluateOnNewDocument", source=KEEP_SOCKET)
        await page.open(link)
        await page.until(BOKEH_WORKS)
        before = client.submit(sum, [1, 2], key="before")
        await page.until(HAS_TASK.format(key="before"))
        await page.evaluate(HEAR)
        assert await page.evaluate(CUT_WITHIN_A_MESSAGE)
        find_envoy(headrace).kill()
        await page.until("window.connection_lost && window.client_reconnected")  # they are gone if the page is reloaded
        after = client.submit(sum, [2, 3], key="after")
        await page.until(HAS_TASK.format(key="after"))
        assert client.gather([before, after]) == [3, 5]


def test_a_dashboard_goes_on_after_envoy_was_killed(headrace: Running, gateway: Gateway, tmp_path: Path) -> None:
    with gateway.new_cluster() as cluster, cluster.get_client() as client:
        cluster.scale(1)
        link = cluster.dashboard_link.replace("/status?", "/individual-task-stream?")
        asyncio.run(_watch(tmp_path, headrace, client, link))


@pytest.fixture
def network(headrace: Running) -> Iterator[SniProxy]:
    """A way to the running headrace that can go away. It leads all names to one port."""
    network = SniProxy({"": headrace.port})
    yield network
    network.close()


COMPUTE = """
import os, time

def square_later(number):
    while not os.path.exists({file!r}):
        time.sleep(0.01)
    return number ** 2

print("computing")
print("sum of squares:", sum(client.gather(client.map(square_later, range(100)))))
"""


async def _work(directory: Path, network: SniProxy) -> str:
    file = directory / "come-true"
    cells = program([MAKE, COMPUTE.format(file=str(file))])
    async with jupyterlab(directory, cells) as address, chromium(directory / "chromium") as page:
        await page.resize(800, 1600)
        await page.open(address)
        await page.until(READY)
        await page.evaluate(RUN_NEXT)
        await page.until(f"{PANEL}?.includes('Workers: 1')")  # while the kernel is busy, a panel may wait for it
        await page.evaluate(RUN_NEXT)
        await page.until(f"{SAID}.includes('computing')")
        network.go_away()
        file.touch()
        await page.until(f"{SAID}.includes('is interrupted; reconnecting')")
        await page.until(f"/Reconnecting \\([1-9]\\d* s\\)/.test({PANEL})")
        await page.picture(directory / "away.png")
        assert "sum of squares:" not in await page.evaluate(SAID)
        network.come_back()
        await page.until(f"{SAID}.includes('sum of squares:') && !{PANEL}.includes('Reconnecting')")
        await page.until(f"/connected to cluster .* again/.test({SAID})")
        await page.picture(directory / "back.png")
        return await page.evaluate(SAID)


@pytest.mark.usefixtures("gateway")
def test_a_notebook_goes_on_after_its_network_was_away(headrace: Running, network: SniProxy, tmp_path: Path) -> None:
    local = LocalGateway.read(headrace.data)
    assert local is not None
    replace(local, address=f"https://127.0.0.1:{network.port}").write(tmp_path / "data")
    choose_kernel(tmp_path, {"HEADRACE_DATA_DIR": str(tmp_path / "data"), "DASK_HEADRACE__CONNECT": "proxied"})
    choose_theme(tmp_path, "Light")
    said = asyncio.run(_work(tmp_path, network))
    assert "sum of squares: 328350" in said
