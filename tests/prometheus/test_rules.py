"""Alerts and recording rules of deploy/prometheus, checked by promtool."""

from __future__ import annotations

import importlib
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from prometheus_client import REGISTRY
from tests.prometheus.running import CONFIGURATION, RULES

from headrace.internal.v1 import agent_service_pb2, route_service_pb2
from headrace.v1 import cluster_service_pb2

CASES = Path(__file__).with_name("rules.yml")
SERVICES = ("chassis", "auth", "controller", "proxy")
SCHEDULERS = re.compile(r"headrace_scheduler_\w+")  # of agents; `TestPrometheus` holds their names


def promtool(*arguments: str | Path) -> str:
    done = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_each_alert_fires_when_it_should() -> None:
    assert "SUCCESS" in promtool("test", "rules", CASES)


def test_the_configuration_is_valid_with_its_rules() -> None:
    assert "SUCCESS" in promtool("check", "config", "--syntax-only", CONFIGURATION)
    promtool("check", "rules", *RULES)


@pytest.mark.parametrize("file", RULES, ids=lambda path: path.stem)
def test_they_name_metrics_that_exist(file: Path) -> None:
    for service in SERVICES:
        importlib.import_module(f"headrace_{service}.metrics")
    # A counter or a histogram without labels yet has no samples: its names follow from its type.
    suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"]}
    known = {f"{metric.name}{suffix}" for metric in REGISTRY.collect() for suffix in suffixes.get(metric.type, [""])}
    expressions = "\n".join(line for line in file.read_text().splitlines() if "description:" not in line)
    named = {name for name in re.findall(r"\bheadrace_[a-z0-9_]+", expressions) if not SCHEDULERS.match(name)}
    assert named
    assert named <= known


def rules(kind: str) -> dict[str, str]:
    """The expressions of the rules of a kind, by their names."""
    groups = [group for file in RULES for group in yaml.safe_load(file.read_text())["groups"]]
    return {rule[kind]: rule["expr"] for group in groups for rule in group["rules"] if kind in rule}


def test_each_alert_has_a_case_in_which_it_fires_and_is_silent_in_the_healthy_deployment() -> None:
    healthy, *others = yaml.safe_load(CASES.read_text())["tests"]
    samples = [sample for test in others for case in test["promql_expr_test"] for sample in case["exp_samples"]]
    fires = set(re.findall(r'alertname="(\w+)"', str(samples)))
    recorded = rules("record")
    series = {re.split("[{]", given["series"])[0] for given in healthy["input_series"]}
    for alert, expression in rules("alert").items():
        assert alert in fires
        meant = re.sub(r"headrace:[\w:]+", lambda found: recorded[found[0]], expression)
        assert set(re.findall(r"\bheadrace_\w+", meant)) <= series, alert


def test_the_page_for_operators_says_what_to_do_at_each_alert() -> None:
    page = (CONFIGURATION.parents[2] / "docs" / "monitoring.md").read_text()
    assert set(re.findall(r"^\| `(Headrace\w+)` \|", page, re.MULTILINE)) == set(rules("alert"))


def test_each_recording_rule_has_a_case_with_its_value() -> None:
    cases = [case for test in yaml.safe_load(CASES.read_text())["tests"] for case in test["promql_expr_test"]]
    computed = {case["expr"] for case in cases if case["exp_samples"]}
    assert set(rules("record")) <= computed


def test_no_stream_counts_in_the_percentile_of_calls() -> None:
    [pattern] = re.findall(r'method!~"([^"]+)"', rules("record")["headrace:rpc_seconds:p99_rate5m"])
    services = [
        service
        for file in (cluster_service_pb2, agent_service_pb2, route_service_pb2)
        for service in file.DESCRIPTOR.services_by_name.values()
    ]
    for method in (method for service in services for method in service.methods):
        streams = method.client_streaming or method.server_streaming
        name = f"{method.containing_service.name}.{method.name}"
        assert bool(re.fullmatch(pattern.replace(r"\\", "\\"), name)) == streams, name
