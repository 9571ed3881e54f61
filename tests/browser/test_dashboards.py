"""Dashboards in a real browser: Dask's own pages work, and a hostile one does not reach another."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import cloudpickle
from tests.browser.chromium import Page, chromium
from tests.browser.pages import BOKEH_WORKS

from headrace import Gateway

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # clusters do not have this module

# Each attempt ends with "failed" or with what it has reached.
HOSTILE = """<html><body><iframe id="frame" src="{victim}"></iframe><script>
const other = "{victim}", results = {{}};
const attempts = {{
  cookies: () => "reached " + document.cookie,
  storage: () => "reached " + localStorage.length,
  fetch: () => fetch(other, {{credentials: "include"}}).then(answer => "reached " + answer.status),
  worker: () => navigator.serviceWorker.register(location.pathname.replace("evil", "evil.js"), {{scope: "/"}})
    .then(registration => "reached " + registration.scope),
  above: () => navigator.serviceWorker.register("evil.js", {{scope: "../"}}).then(() => "reached"),
  socket: () => new Promise((resolve, reject) => {{
    const socket = new WebSocket("wss://" + location.host + other + "/ws", ["bokeh", "x"]);
    socket.onopen = () => resolve("reached");
    socket.onerror = reject;
  }}),
  frame: () => new Promise(resolve => setTimeout(resolve, 500))
    .then(() => "reached " + document.getElementById("frame").contentDocument.body.innerText),
  popup: () => {{
    const popup = window.open(other);
    return new Promise(resolve => setTimeout(resolve, 500)).then(() => "reached " + popup.document.body.innerText);
  }},
}};
for (const [name, attempt] of Object.entries(attempts))
  Promise.resolve().then(attempt).catch(() => "failed").then(result => results[name] = result);
window.finished = () => Object.keys(results).length === {count} && JSON.stringify(results);
</script></body></html>"""
# Bokeh has its documents once its websocket has brought them.
ATTEMPTS = ("cookies", "storage", "fetch", "worker", "above", "socket", "frame", "popup")


def _serve_hostile_page(html: str, dask_scheduler: object = None) -> None:
    """What a tenant's code can do in its own scheduler."""
    from tornado import web

    class Hostile(web.RequestHandler):
        def get(self, name: str) -> None:
            self.set_header("service-worker-allowed", "/")
            self.set_header("access-control-allow-origin", "*")
            if name == ".js":
                self.set_header("content-type", "text/javascript")
            self.write("" if name else html)

    dask_scheduler.http_application.add_handlers(".*", [(r"/evil(|\.js)", Hostile)])  # type: ignore[attr-defined]


async def _own_pages_work(page: Page, link: str) -> None:
    for name in ("status", "individual-task-stream"):
        await page.open(link.replace("/status?", f"/{name}?"))
        assert await page.until(BOKEH_WORKS)
        assert await page.evaluate("self.origin") == "null"
    await page.open(link.replace("/status?", "/info/main/workers.html?"))
    assert "Workers" in await page.until("document.body.innerText.includes('Workers') && document.body.innerText")


async def _browse(profile: Path, victim: str, hostile: str) -> dict[str, str]:
    async with chromium(profile) as page:
        await _own_pages_work(page, victim)  # the browser has the victim's cookie now
        await page.open(hostile)
        return json.loads(await page.until("window.finished && window.finished()"))


def test_bokeh_works_and_a_hostile_dashboard_reaches_no_other(gateway: Gateway, tmp_path: Path) -> None:
    with gateway.new_cluster() as victim, gateway.new_cluster() as hostile:
        html = HOSTILE.format(victim=f"/clusters/{victim.name}/status", count=len(ATTEMPTS))
        with hostile.get_client() as client:
            client.run_on_scheduler(_serve_hostile_page, html)
        link = hostile.dashboard_link.replace("/status?", "/evil?")
        results = asyncio.run(_browse(tmp_path, victim.dashboard_link, link))
    assert results == dict.fromkeys(ATTEMPTS, "failed")
