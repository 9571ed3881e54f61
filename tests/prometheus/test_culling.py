"""Rules of the administrator's in PromQL, in a real headrace that decides by a real Prometheus."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from tests.e2e.running import Running, wait_until
from tests.e2e.running import running as headrace_up
from tests.held_port import held_ports
from tests.prometheus.running import TOKEN, Prometheus, running

from headrace import Gateway, GatewayCluster

MEASURED = 'max by (cluster) (headrace_scheduler_idle_seconds{job="headrace-schedulers",alias="%s"} >= bool 0)'
SLOW = "sum_over_time(vector(1)[10d:1s])" + " + sum_over_time(vector(1)[10d:1s])" * 20
AT_ONCE = "after: 0, warn: 0"
WARNED_SECONDS = 10  # more than it takes to hear of a warning and to suspend Prometheus
STRANGERS = 'label_replace(vector(1), "cluster", "nobody", "", "")'
FAILING = {
    "wrong": ("max by (", "parse error"),
    "slow": (f"label_replace({SLOW}, 'cluster', 'c1', '', '')", "answer|timed out"),
    "unlabelled": ("sum(headrace_scheduler_clients)", "no label `cluster`"),
    "several": ('{job="headrace-schedulers"}', "several series"),
}


@dataclass
class Site:
    """A deployment whose policy a test may replace."""

    headrace: Running
    prometheus: Prometheus
    policy: Path
    metrics: str

    def set_rules(self, *rules: str) -> None:
        """Write a policy with these rules and no others, and wait until it is in force."""
        taken_up = self.log().count("a new policy is in force")
        lines = "".join(f"\n    - {{{rule}}}" for rule in rules)
        self.policy.with_suffix(".new").write_text(f"culling:\n  idle: null\n  rules:{lines or ' []'}\n")
        self.policy.with_suffix(".new").replace(self.policy)
        wait_until(lambda: self.log().count("a new policy is in force") > taken_up)

    def log(self) -> str:
        """What the controller has said."""
        return (self.headrace.data / "logs/controller.log").read_text()

    def value(self, series: str) -> float:
        """The value of one of the controller's own metrics."""
        request = Request(f"http://{self.metrics}/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
        with urlopen(request, timeout=10) as page:
            lines = page.read().decode().splitlines()
        return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{series} ")), 0)

    def told(self, rule: str) -> list[str]:
        """What the controller has logged of the query of a rule: why it fails, and that it is answered again."""
        lines = [line.partition("the query of a culling rule ")[2] for line in self.log().splitlines()]
        return [line for line in lines if line.endswith(f" rule={rule}")]

    def failed(self, rule: str) -> float:
        """How often the query of a rule has failed."""
        return self.value(f'headrace_controller_culling_queries_failed_total{{rule="{rule}"}}')

    def dry_run(self) -> str:
        """What `headrace admin cull --dry-run` prints."""
        command = [sys.executable, "-m", "headrace.cli", "admin", "cull", "--dry-run"]
        environment = {**os.environ, "HEADRACE_DATA_DIR": str(self.headrace.data)}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with tempfile.TemporaryDirectory(prefix="hr-p-", ignore_cleanup_errors=True) as name, held_ports(1) as (port,):
        metrics = f"127.0.0.1:{port}"
        directory = Path(name)
        policy = directory / "policy.yaml"
        policy.write_text("culling: {idle: null}\n")
        with running(directory, controller=metrics, services=[metrics]) as prometheus:
            environment = {
                "HEADRACE_CONTROLLER_METRICS_LISTEN": metrics,
                "HEADRACE_CONTROLLER_METRICS_TOKEN_FILE": str(directory / "token"),
                "HEADRACE_CONTROLLER_SIGNALS__INTERVAL_SECONDS": "0.5",
                "HEADRACE_CONTROLLER_SIGNALS__TIMEOUT_SECONDS": "2",
                "HEADRACE_CONTROLLER_SIGNALS__STALE_SECONDS": "4",
                "HEADRACE_CONTROLLER_SIGNALS__PROMETHEUS_URL": prometheus.url,
            }
            up = directory / "up"
            up.mkdir()
            with headrace_up(up, "--policy", str(policy), environment=environment) as headrace:
                yield Site(headrace, prometheus, policy, metrics)


@pytest.fixture
def gateway(site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    monkeypatch.setenv("HEADRACE_DATA_DIR", str(site.headrace.data))
    with Gateway() as gateway:
        yield gateway
        gateway.stop_all()


@contextmanager
def measured(site: Site, gateway: Gateway, name: str) -> Generator[GatewayCluster]:
    """A cluster with a worker that Prometheus has scraped."""
    with gateway.new_cluster(name=name) as cluster:
        cluster.scale(1)
        cluster.wait_for_workers(1)
        wait_until(lambda: site.prometheus.query(MEASURED % name))
        yield cluster


def happened(gateway: Gateway, cluster: GatewayCluster) -> list[str]:
    return [event.type for event in gateway.events(cluster.name)]


def test_a_rule_warns_scales_to_zero_and_stops_the_clusters_that_it_names(site: Site, gateway: Gateway) -> None:
    rule = f"name: waste, query: '{MEASURED % 'waste'}', after: 3 s, warn: 1 s, action: scale_to_zero, then_stop: 3 s"
    with measured(site, gateway, "waste") as waste, measured(site, gateway, "other") as other:
        site.set_rules(rule)
        wait_until(lambda: gateway.get_cluster(waste.name).status.name == "STOPPED")
        report = gateway.get_cluster(waste.name)
        assert report.reason == "IDLE"
        assert "the rule 'waste' of your administrator has held for" in report.message
        events = happened(gateway, waste)
        steps = ["CullingWarned", "Culled", "CullingWarned", "Stopping"]
        # A warning is given again if measurements were late meanwhile.
        assert [event for event, _ in groupby(event for event in events if event in steps)] == steps
        assert gateway.get_cluster(other.name).status.name == "RUNNING"
        assert "CullingWarned" not in happened(gateway, other)


def test_rules_that_are_wrong_or_slow_do_nothing_and_the_administrator_hears_it(site: Site, gateway: Gateway) -> None:
    queries = {name: query for name, (query, _) in FAILING.items()} | {"strangers": STRANGERS}
    with measured(site, gateway, "kept") as cluster:
        site.set_rules(*(f'name: {name}, {AT_ONCE}, query: "{_quoted(query)}"' for name, query in queries.items()))
        for name in FAILING:
            wait_until(lambda name=name: site.failed(name) >= 3)
        # On a slow machine a query may fail for being slow as well, now and then.
        wait_until(lambda: _explained(site.dry_run()))
        for name in FAILING:
            # When it changes, and not in each round.
            assert site.told(name)
            assert all(before != after for before, after in pairwise(site.told(name))), site.told(name)
        assert [line for line in site.told("strangers") if not re.search(FAILING["slow"][1], line)] == []
        wait_until(lambda: "rules/strangers" not in site.dry_run())
        assert gateway.get_cluster(cluster.name).status.name == "RUNNING"
        assert "CullingWarned" not in happened(gateway, cluster)


def test_nothing_follows_a_warning_while_prometheus_is_away(site: Site, gateway: Gateway) -> None:
    with measured(site, gateway, "warned") as cluster:
        site.set_rules(f"name: waste, query: '{MEASURED % 'warned'}', after: 11 s, warn: {WARNED_SECONDS} s")
        wait_until(lambda: "CullingWarned" in happened(gateway, cluster))
        with site.prometheus.suspended():
            due = time.time() + WARNED_SECONDS
            wait_until(lambda: site.value('headrace_controller_signals{state="stale"}') == 1)
            wait_until(lambda: site.failed("waste"))
            wait_until(lambda: time.time() > due)
            assert "cannot be known now" in site.dry_run()
            assert gateway.get_cluster(cluster.name).status.name == "RUNNING"
            assert happened(gateway, cluster)[-1] == "CullingWarned"
        # Its states begin again: the warning holds, and the whole time must pass once more.
        wait_until(lambda: gateway.get_cluster(cluster.name).status.name == "STOPPED")


def _explained(listed: str) -> bool:
    """Whether each rule that fails is listed with the reason."""
    lines = {name: [line for line in listed.splitlines() if f"rules/{name} " in line] for name in FAILING}
    return all(
        "cannot be known now" in line and any(reason in line for reason in why.split("|"))
        for name, (_, why) in FAILING.items()
        for line in lines[name] or [""]
    )


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
