"""Dashboards with a host each (`dashboard_domain`) in a real browser."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import cloudpickle
import pytest
from tests.browser.chromium import Page, chromium
from tests.browser.pages import BOKEH_WORKS
from tests.e2e.running import running

from headrace import Gateway

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # clusters do not have this module

DOMAIN = "dashboards.test"
# All names of the domain are this machine, as a wildcard in DNS would say.
RESOLVER = f"--host-resolver-rules=MAP *.{DOMAIN} 127.0.0.1"

# Each attempt ends with "failed" or "reached". `own` is for comparison.
HOSTILE = """<html><body><iframe id="frame" src="{victim}"></iframe><script>
const other = "{victim}", results = {{}};
const read = address => fetch(address, {{credentials: "include"}}).then(answer => answer.ok ? "reached" : "failed");
// A window has an empty page, which is the opener's own, until the other's page comes.
const shown = async opened => {{
  while (opened.location.href === "about:blank") await new Promise(resolve => setTimeout(resolve, 50));
  return opened.document.body && "reached";
}};
const attempts = {{
  own: () => read(location.href),
  fetch: () => read(other),
  here: () => read(new URL(other).pathname),
  frame: () => shown(document.getElementById("frame").contentWindow),
  popup: () => shown(window.open(other)),
  socket: () => new Promise((resolve, reject) => {{
    const socket = new WebSocket(other.replace("https", "wss") + "/ws", ["bokeh", "x"]);
    socket.onopen = () => resolve("reached");
    socket.onerror = reject;
  }}),
}};
for (const [name, attempt] of Object.entries(attempts))
  Promise.resolve().then(attempt).catch(() => "failed").then(result => results[name] = result || "failed");
window.finished = () => Object.keys(results).length === Object.keys(attempts).length && JSON.stringify(results);
</script></body></html>"""


@pytest.fixture
def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    """A headrace of its own, with the domain."""
    domain = {f"HEADRACE_{service}_DASHBOARD_DOMAIN": DOMAIN for service in ("AUTH", "PROXY")}
    with running(tmp_path, environment=domain) as headrace:
        monkeypatch.setenv("HEADRACE_DATA_DIR", str(headrace.data))
        with Gateway() as gateway:
            yield gateway


def _serve_hostile_page(html: str, dask_scheduler: object = None) -> None:
    """What a tenant's code can do in its own scheduler."""
    from tornado import web

    class Hostile(web.RequestHandler):
        def get(self) -> None:
            self.set_header("access-control-allow-origin", "*")
            self.write(html)

    dask_scheduler.http_application.add_handlers(".*", [("/evil", Hostile)])  # type: ignore[attr-defined]


async def _origin_of_bokehs_page(page: Page, link: str) -> str:
    await page.open(link)
    assert await page.until(BOKEH_WORKS)
    return await page.evaluate("self.origin")


async def _browse(profile: Path, victim: str, hostile: str) -> tuple[str, dict[str, str]]:
    async with chromium(profile, RESOLVER) as page:
        origin = await _origin_of_bokehs_page(page, victim)
        await page.open(hostile)
        return origin, json.loads(await page.until("window.finished && window.finished()"))


def test_each_dashboard_has_an_origin_that_another_does_not_reach(gateway: Gateway, tmp_path: Path) -> None:
    with gateway.new_cluster() as victim, gateway.new_cluster() as hostile:
        host = f"https://{victim.name}.{DOMAIN}:{urlsplit(victim.dashboard_link).port}"
        with hostile.get_client() as client:
            client.run_on_scheduler(_serve_hostile_page, HOSTILE.format(victim=f"{host}/clusters/{victim.name}/status"))
        link = hostile.dashboard_link.replace("/status?", "/evil?")
        origin, results = asyncio.run(_browse(tmp_path / "chromium", victim.dashboard_link, link))
    assert origin == host
    assert results.pop("own") == "reached"
    assert results == dict.fromkeys(["fetch", "here", "frame", "popup", "socket"], "failed")
