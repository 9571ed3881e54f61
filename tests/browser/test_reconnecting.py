"""Pages that are open while the network goes away, and go on by themselves when it is back."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from tests.browser.chromium import chromium
from tests.browser.test_dashboards import BOKEH_WORKS
from tests.connections.killing import find_envoy
from tests.e2e.running import Running

from headrace import Gateway

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
