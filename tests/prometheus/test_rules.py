"""Alerts and recording rules of deploy/prometheus, checked by promtool."""

from __future__ import annotations

import importlib
import re
import subprocess
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from tests.prometheus.running import CONFIGURATION, RULES

SERVICES = ("chassis", "auth", "controller", "proxy")
SCHEDULERS = re.compile(r"headrace_scheduler_\w+")  # of agents; `TestPrometheus` holds their names


def promtool(*arguments: str | Path) -> str:
    done = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_each_alert_fires_when_it_should() -> None:
    assert "SUCCESS" in promtool("test", "rules", Path(__file__).with_name("rules.yml"))


def test_the_configuration_is_valid_with_its_rules() -> None:
    assert "SUCCESS" in promtool("check", "config", "--syntax-only", CONFIGURATION)
    promtool("check", "rules", *RULES)


@pytest.mark.parametrize("rules", RULES, ids=lambda path: path.stem)
def test_they_name_metrics_that_exist(rules: Path) -> None:
    for service in SERVICES:
        importlib.import_module(f"headrace_{service}.metrics")
    # A counter or a histogram without labels yet has no samples: its names follow from its type.
    suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"]}
    known = {f"{metric.name}{suffix}" for metric in REGISTRY.collect() for suffix in suffixes.get(metric.type, [""])}
    expressions = "\n".join(line for line in rules.read_text().splitlines() if "description:" not in line)
    named = {name for name in re.findall(r"\bheadrace_[a-z0-9_]+", expressions) if not SCHEDULERS.match(name)}
    assert named
    assert named <= known


def test_each_alert_is_tested() -> None:
    tested = Path(__file__).with_name("rules.yml").read_text()
    alerts = re.findall(r"alert: (\w+)", RULES[1].read_text())
    assert [alert for alert in alerts if alert not in tested] == []
