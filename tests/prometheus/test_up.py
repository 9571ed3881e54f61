"""`headrace up` with a real Prometheus that it decides by: from a user's cluster to the controller's own metrics."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from urllib.request import Request, urlopen

from tests.conftest import Eventually
from tests.held_port import held_ports
from tests.prometheus.processes import process
from tests.prometheus.running import TOKEN, running

USER = """
import headrace, sys
with headrace.Gateway().new_cluster() as cluster, cluster.get_client() as client:
    cluster.scale(1)
    client.wait_for_workers(1)
    print(cluster.name, flush=True)
    sys.stdin.read()
"""


async def test_a_users_cluster_is_measured_through_prometheus(eventually: Eventually) -> None:
    with tempfile.TemporaryDirectory(prefix="hr-p-", ignore_cleanup_errors=True) as name, ExitStack() as stack:
        directory = Path(name)
        controller, auth, proxy, envoy = (f"127.0.0.1:{port}" for port in stack.enter_context(held_ports(4)))
        prometheus = stack.enter_context(
            running(directory, controller=controller, services=[controller, auth, proxy], envoy=envoy)
        )
        environment = {
            "HOME": name,
            "HEADRACE_DATA_DIR": f"{name}/d",
            "HEADRACE_CONTROLLER_METRICS_LISTEN": controller,
            "HEADRACE_AUTH_METRICS_LISTEN": auth,
            "HEADRACE_PROXY_METRICS_LISTEN": proxy,
            **{f"HEADRACE_{each}_METRICS_TOKEN_FILE": f"{name}/token" for each in ("CONTROLLER", "AUTH", "PROXY")},
            "HEADRACE_CONTROLLER_METRICS_OWNERS": "5",
            "HEADRACE_PROXY_ENVOY_METRICS_LISTEN": envoy,
            "HEADRACE_CONTROLLER_SIGNALS__INTERVAL_SECONDS": "1",
            "HEADRACE_CONTROLLER_SIGNALS__PROMETHEUS_URL": prometheus.url,
        }
        up_log = directory / "up.log"
        up = ["-m", "headrace.cli", "up", "--port", "0"]
        stack.enter_context(process(up, environment, up_log))
        await eventually(lambda: "Gateway()" in up_log.read_text(), within=60)
        user = stack.enter_context(process(["-c", USER], environment, directory / "user.log"))
        assert user.stdout is not None
        cluster = user.stdout.readline().strip()
        assert cluster, (directory / "user.log").read_text()

        def page() -> str:
            request = Request(f"http://{controller}/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
            with urlopen(request, timeout=10) as answer:
                return answer.read().decode()

        await eventually(lambda: 'headrace_controller_signals{state="fresh"} 1.0' in page())
        # The first sample may be from before the client was there.
        clients = 'headrace_scheduler_clients{job="headrace-schedulers"}'

        def profiles() -> list[str]:
            return [series["metric"]["profile"] for series in prometheus.query(f"{clients} == 1")]

        await eventually(lambda: profiles() == ["default"])
        await eventually(lambda: prometheus.query('headrace_controller_clusters{phase="RUNNING"} == 1'))
        await eventually(lambda: prometheus.query('sum(up{job="headrace"}) == 3'))
        await eventually(lambda: prometheus.query("headrace_proxy_nodes == 1"))
        await eventually(lambda: prometheus.query("sum(headrace_auth_logins_total) > 0"))
        await eventually(lambda: prometheus.query('headrace_controller_owner_promised_clusters{owner!=""} == 1'))
        await eventually(lambda: prometheus.query('headrace_controller_events_total{type="Created"} == 1'))
        await eventually(lambda: prometheus.query("headrace_controller_queue_oldest_seconds == 0"))
        await eventually(lambda: prometheus.query('dask_scheduler_clients{job="headrace-dask"} >= 1'))
        for metric in ("headrace_worker_memory_bytes", "dask_worker_threads"):
            await eventually(
                lambda metric=metric: prometheus.query(f'{metric}{{job="headrace-workers", worker!=""}} > 0')
            )
        await eventually(lambda: prometheus.query('envoy_server_live{job="headrace-envoy"} == 1'))
