"""What the chart makes for the Prometheus Operator, the Gateway API and Istio, as their definitions allow it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.kubernetes.network.pods import Kubectl

CHART = Path(__file__).parents[3] / "deploy" / "helm" / "headrace"
PARENT: list[dict[str, Any]] = [{"name": "edge", "namespace": "gateways", "sectionName": "tls"}]
VALUES: dict[str, dict[str, Any]] = {
    "monitoring": {
        "monitoring": {
            "podMonitor": {"enabled": True, "labels": {"release": "prometheus"}, "workers": True},
            "rules": {"enabled": True},
            "dashboards": {"enabled": True},
        }
    },
    "tls routes": {
        "publicHostnames": ["headrace.example.org"],
        "gatewayApi": {"enabled": True, "parentRefs": PARENT},
    },
    "tls and http routes": {
        "publicHostnames": ["headrace.example.org"],
        "gatewayApi": {"enabled": True, "parentRefs": PARENT, "http": {"enabled": True, "parentRefs": PARENT}},
    },
    "mesh": {"mesh": {"enabled": True, "prometheus": ["cluster.local/ns/monitoring/sa/prometheus"]}},
}
KINDS = {
    "monitoring": {"PodMonitor": 2, "ScrapeConfig": 3, "PrometheusRule": 1},
    "tls routes": {"TLSRoute": 1},
    "tls and http routes": {"TLSRoute": 1, "HTTPRoute": 1, "BackendTLSPolicy": 1},
    "mesh": {"PeerAuthentication": 4, "AuthorizationPolicy": 4},
}


def _rendered(helm: Callable[..., str], tmp_path: Path, values: dict[str, Any]) -> list[dict[str, Any]]:
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump(values))
    text = helm("template", "headrace", str(CHART), "-n", "default", "-f", str(file))
    return [document for document in yaml.safe_load_all(text) if document]


@pytest.mark.usefixtures("custom_resources")
@pytest.mark.parametrize("values", VALUES)
def test_the_api_server_accepts_them_strictly(
    kubectl: Kubectl, helm: Callable[..., str], tmp_path: Path, values: str
) -> None:
    made = _rendered(helm, tmp_path, VALUES[values])
    counted = {kind: sum(each["kind"] == kind for each in made) for kind in KINDS[values]}
    assert counted == KINDS[values]
    custom = [each for each in made if each["kind"] in KINDS[values]]
    listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": custom})
    kubectl("apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-", stdin=listed)


def test_alerts_and_dashboards_are_those_of_deploy(helm: Callable[..., str], tmp_path: Path) -> None:
    made = _rendered(helm, tmp_path, VALUES["monitoring"])
    (rules,) = [each for each in made if each["kind"] == "PrometheusRule"]
    deploy = CHART.parents[1]
    files = [deploy / "prometheus" / name for name in ("recording.yml", "alerts.yml")]
    assert rules["spec"]["groups"] == [group for file in files for group in yaml.safe_load(file.read_text())["groups"]]
    dashboards = {
        name: json.loads(text)
        for each in made
        if each["kind"] == "ConfigMap" and each["metadata"]["labels"].get("grafana_dashboard") == "1"
        for name, text in each["data"].items()
    }
    assert dashboards == {
        f"headrace-{file.name}": json.loads(file.read_text()) for file in (deploy / "grafana").glob("*.json")
    }


def test_schedulers_are_scraped_as_the_example_for_a_plain_prometheus_says(
    helm: Callable[..., str], tmp_path: Path
) -> None:
    example = yaml.safe_load((CHART.parents[1] / "prometheus" / "prometheus.yml").read_text())
    jobs = {job["job_name"]: job for job in example["scrape_configs"]}
    scraped = [
        each["spec"] for each in _rendered(helm, tmp_path, VALUES["monitoring"]) if each["kind"] == "ScrapeConfig"
    ]
    assert {each["jobName"] for each in scraped} == {"headrace-schedulers", "headrace-dask", "headrace-workers"}
    for each in scraped:
        job = jobs[each["jobName"]]
        assert each["sampleLimit"] == job["sample_limit"]
        assert each["labelValueLengthLimit"] == job["label_value_length_limit"]
        assert (each["honorLabels"], each["honorTimestamps"]) == (False, False)
        assert each["metricRelabelings"][0]["regex"] == job["metric_relabel_configs"][0]["regex"]
        assert each["httpSDConfigs"][0]["url"].endswith(job["http_sd_configs"][0]["url"].partition(":9100")[2])


def test_whoever_may_reach_a_port_of_the_services_may_in_ambient_mode(helm: Callable[..., str], tmp_path: Path) -> None:
    """A pod receives everything on port 15008 there."""
    policies = [each for each in _rendered(helm, tmp_path, VALUES["mesh"]) if each["kind"] == "NetworkPolicy"]
    of_services = [each for each in policies if "-dask" not in each["metadata"]["name"]]
    rules = [rule for each in of_services for rule in each["spec"].get("ingress", ())]
    assert len(rules) >= 5
    assert all(15008 in {port["port"] for port in rule["ports"]} for rule in rules)


def test_a_mesh_admits_whom_the_network_policies_admit(helm: Callable[..., str], tmp_path: Path) -> None:
    made = _rendered(helm, tmp_path, VALUES["mesh"])
    allowed = {
        (source.rpartition("/sa/")[2], policy["metadata"]["name"], port)
        for policy in made
        if policy["kind"] == "AuthorizationPolicy"
        for rule in policy["spec"]["rules"]
        for sources in rule.get("from", ())
        for source in sources["source"]["principals"]
        for operation in rule["to"]
        for port in operation["operation"]["ports"]
    }
    assert {each for each in allowed if each[0] != "prometheus"} == {
        ("headrace-proxy", "headrace-auth", "50051"),
        ("headrace-proxy", "headrace-auth", "50052"),
        ("headrace-controller", "headrace-auth", "50051"),
        ("headrace-proxy", "headrace-controller", "50051"),
        ("headrace-proxy", "headrace-controller", "50052"),
        ("headrace-auth", "headrace-controller", "50052"),
        ("headrace-auth", "headrace-valkey", "6379"),
        ("headrace-controller", "headrace-valkey", "6379"),
    }
    accounts = {each["metadata"]["name"] for each in made if each["kind"] == "ServiceAccount"}
    assert {source for source, _, _ in allowed if source != "prometheus"} <= accounts
