"""Grafana's dashboards of deploy/grafana: each query asks a real Prometheus beside a real `headrace up`, and is drawn.

The pictures, for people to look at, are in build/dashboards/.
"""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests.conftest import Eventually
from tests.held_port import held_ports
from tests.prometheus.processes import process
from tests.prometheus.running import Prometheus, running

FOLDER = Path(__file__).parents[2] / "deploy" / "grafana"
DASHBOARDS: dict[str, Any] = {file.stem: json.loads(file.read_text()) for file in FOLDER.glob("*.json")}
QUERIES: set[tuple[str, str]] = {
    (panel["title"], target["expr"])
    for dashboard in DASHBOARDS.values()
    for panel in dashboard["panels"]
    for target in panel.get("targets", ())
}
PICTURES = FOLDER.parents[1] / "build" / "dashboards"
GRID = (0x26, 0x29, 0x2F)  # which only Bokeh draws, within Chromium
SERVICES = ("controller", "auth", "proxy")
POLICY = """
limits:
  user: {clusters: 2}
  on_create: queue
culling:
  nobody_connected: {after: 2, warn: 1}
"""
# Once Prometheus has seen the first cluster, each further one waits in the queue until one that nobody uses is culled.
# It is done twice: what happens is seen by what grew between two samples.
USER = """
import headrace, sys
with headrace.Gateway() as gateway, gateway.new_cluster() as cluster, cluster.get_client() as client:
    cluster.scale(1)
    client.submit(sum, [1, 2]).result()
    print(cluster.name, flush=True)
    sys.stdin.readline()
    for _ in range(2):
        gateway.submit()
        gateway.new_cluster().close()
    sys.stdin.read()
"""


def choices(prometheus: Prometheus, dashboard: str, variable: str) -> set[str]:
    """Return what a variable offers."""
    [query] = [item["query"] for item in DASHBOARDS[dashboard]["templating"]["list"] if item["name"] == variable]
    found = re.fullmatch(r"label_values\((.+), (\w+)\)", query)
    assert found
    return {series["metric"][found[2]] for series in prometheus.query(found[1])}


def has_data(prometheus: Prometheus, query: str, values: dict[str, str]) -> bool:
    """Return whether a query returns a number."""
    series = prometheus.query(re.sub(r"\$(\w+)", lambda found: values[found[1]], query))
    return any(math.isfinite(float(one["value"][1])) for one in series)


@pytest.mark.timeout(400)
async def test_each_query_returns_data_and_each_panel_is_drawn(eventually: Eventually) -> None:
    with tempfile.TemporaryDirectory(prefix="hr-p-", ignore_cleanup_errors=True) as name, ExitStack() as stack:
        directory = Path(name)
        envoy, *others = (f"127.0.0.1:{port}" for port in stack.enter_context(held_ports(1 + len(SERVICES))))
        listen = dict(zip(SERVICES, others, strict=True))
        started = running(directory, controller=listen["controller"], services=list(listen.values()), envoy=envoy)
        prometheus = stack.enter_context(started)
        environment = {
            "HOME": name,
            "HEADRACE_DATA_DIR": f"{name}/d",
            "HEADRACE_CONTROLLER_METRICS_OWNERS": "5",
            "HEADRACE_PROXY_ENVOY_METRICS_LISTEN": envoy,
            "HEADRACE_CONTROLLER_SIGNALS__INTERVAL_SECONDS": "1",
            "HEADRACE_CONTROLLER_SIGNALS__PROMETHEUS_URL": prometheus.url,
        }
        for service, address in listen.items():
            environment[f"HEADRACE_{service.upper()}_METRICS_LISTEN"] = address
            environment[f"HEADRACE_{service.upper()}_METRICS_TOKEN_FILE"] = f"{name}/token"
        up_log = directory / "up.log"
        policy = directory / "policy.yaml"
        policy.write_text(POLICY)
        up = ["-m", "headrace.cli", "up", "--port", "0", "--policy", str(policy)]
        stack.enter_context(process(up, environment, up_log))
        await eventually(lambda: "Gateway()" in up_log.read_text(), within=60)
        user = stack.enter_context(process(["-c", USER], environment, directory / "user.log"))
        assert user.stdin is not None
        assert user.stdout is not None
        cluster = user.stdout.readline().strip()
        assert cluster, (directory / "user.log").read_text()

        await eventually(lambda: cluster in choices(prometheus, "cluster", "cluster"))
        await eventually(lambda: prometheus.query("sum(headrace_controller_start_phase_seconds_count) > 0"))
        user.stdin.write("\n")
        user.stdin.flush()
        await eventually(lambda: choices(prometheus, "owner", "owner"))
        [owner] = choices(prometheus, "owner", "owner")
        prices = {"core_hour": "1", "memory_gib_hour": "1"}
        values = {"owner": owner, "cluster": cluster, "__range": "5m", "__rate_interval": "1m", **prices}

        # What happens once has data for a minute, which on a slow machine need not be the same one for all.
        without_data = set(QUERIES)

        def all_had_data() -> bool:
            for title, query in tuple(without_data):
                if has_data(prometheus, query, values):
                    without_data.discard((title, query))
            return not without_data

        with suppress(AssertionError):
            await eventually(all_had_data, within=90)
        assert without_data == set()
        draw(prometheus, {"owner": owner, "cluster": cluster, **prices})


def draw(prometheus: Prometheus, variables: dict[str, str]) -> None:
    settings = [f"--set={name}={value}" for name, value in variables.items()]
    script = FOLDER.parents[1] / "scripts" / "picture_dashboards.py"
    command = [sys.executable, str(script), prometheus.url, f"--output={PICTURES}", "--seconds=60", *settings]
    shutil.rmtree(PICTURES, ignore_errors=True)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {file.stem for file in PICTURES.iterdir()} == set(DASHBOARDS)
    for file in PICTURES.iterdir():
        with Image.open(file) as picture:
            colours = picture.convert("RGB").getcolors(picture.width * picture.height)
        assert GRID in {colour for _, colour in colours or ()}
