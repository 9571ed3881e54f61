"""Writes the Grafana dashboards in deploy/grafana/ from this description; --check only reports drift.

The metrics and their labels: docs/metrics.md, docs/operating.md and deploy/prometheus/recording.yml.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from dashboard_panels import ALL, Column, Panel, choice, cost, dashboard, graph, lines, number, price
from grafana_foundation_sdk.builders.dashboard import Dashboard, Row
from grafana_foundation_sdk.cog.encoder import JSONEncoder

FOLDER = Path(__file__).resolve().parent.parent / "deploy" / "grafana"
GIB = 2**30
CHARGED = "A measurement, for people: what is charged is what clusters were promised, see `headrace usage`."
OWNERS = "What is promised to each needs the controller's setting metrics_owners."
DASK = "Dask's own metric: only where the users' environment has prometheus_client."


def main() -> int:
    """Write or check the files; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="change nothing, fail if they are not up to date")
    check = bool(parser.parse_args().check)
    code = 0
    for name, made in (("deployment", deployment()), ("owner", owner()), ("cluster", cluster())):
        file = FOLDER / f"{name}.json"
        new = json.dumps(made.build(), cls=JSONEncoder, indent=1, sort_keys=True) + "\n"
        if not check:
            file.write_text(new, encoding="utf-8")
        elif not file.exists() or file.read_text(encoding="utf-8") != new:
            print(f"{file.name} differs: run `python scripts/generate_dashboards.py` and commit", file=sys.stderr)
            code = 1
    return code


def deployment() -> Dashboard:
    """What runs and is promised, and whether the services do their work."""
    return dashboard(
        "deployment",
        "headrace: deployment",
        number("Services down", 'count(up{job=~"headrace|headrace-envoy"} == 0) or vector(0)', alarm=True),
        number("Alerts", 'count(ALERTS{alertstate="firing"}) or vector(0)', alarm=True),
        number("Clusters", "sum(max by (profile) (headrace_controller_promised_clusters))"),
        number("Workers promised", "sum(max by (profile) (headrace_controller_promised_workers))"),
        number("Cores promised", "sum(max by (profile) (headrace_controller_promised_cores))"),
        number("Memory promised", "sum(max by (profile) (headrace_controller_promised_memory_bytes))", "bytes"),
        *use(),
        *queue(),
        *given_back(),
        *starts(),
        *services(),
    )


def use() -> tuple[Panel, ...]:
    """What runs, and who has it."""
    return (
        Row("Use"),
        graph("Clusters by phase", ("max by (phase) (headrace_controller_clusters)", "{{phase}}")),
        graph("Cores promised by profile", ("max by (profile) (headrace_controller_promised_cores)", "{{profile}}")),
        graph(
            "Cores promised and used",
            ("sum(max by (profile) (headrace_controller_promised_cores))", "promised"),
            ("sum(headrace:owner_cores_used:rate5m)", "used"),
        ),
        graph(
            "Memory promised and used",
            ("sum(max by (profile) (headrace_controller_promised_memory_bytes))", "promised"),
            (f"sum(headrace_scheduler_worker_memory_bytes{ALL})", "used"),
            unit="bytes",
        ),
        graph(
            "Cores used by owner, the largest", ("topk(10, headrace:owner_cores_used:rate5m)", "{{owner}}"), by="owner"
        ),
        graph(
            "Memory used by owner, the largest",
            (f"topk(10, sum by (owner) (headrace_scheduler_worker_memory_bytes{ALL}))", "{{owner}}"),
            unit="bytes",
            by="owner",
        ),
        lines(
            "Users",
            "owner",
            Column("Clusters", f"count by (owner) (count by (owner, cluster) (headrace_scheduler_workers{ALL}))"),
            Column("Workers", f"sum by (owner) (headrace_scheduler_workers{ALL})"),
            Column("Cores promised", "max by (owner) (headrace_controller_owner_promised_cores)"),
            Column("Cores used", "sum by (owner) (headrace:owner_cores_used:rate5m)"),
            Column("Memory used", f"sum by (owner) (headrace_scheduler_worker_memory_bytes{ALL})", "bytes"),
            Column("Idle for, at least", f"min by (owner) (headrace_scheduler_idle_seconds{ALL})", "s"),
            sort="Cores used",
            says=OWNERS,
        ),
    )


def queue() -> tuple[Panel, ...]:
    """What waits for room."""
    return (
        Row("Queue"),
        graph(
            "Clusters that wait in the queue",
            ("max by (profile) (headrace_controller_queued_clusters)", "{{profile}}"),
        ),
        graph(
            "Time in the queue",
            ("max(headrace_controller_queue_oldest_seconds)", "of the one that waits longest"),
            (
                "headrace:queue_wait_seconds:p95_rate30m",
                "of those that were admitted, 95th percentile",
            ),
            unit="s",
        ),
    )


def given_back() -> tuple[Panel, ...]:
    """What ends, and why."""
    return (
        Row("What is given back"),
        graph(
            "Culling and budgets: what clusters were told in an hour",
            ('sum by (type) (increase(headrace_controller_events_total{type=~"(Cull|Budget).+"}[1h]))', "{{type}}"),
        ),
        graph(
            "Clusters that ended in an hour, by reason",
            ("sum by (reason) (increase(headrace_controller_ends_total[1h]))", "{{reason}}"),
        ),
    )


def starts() -> tuple[Panel, ...]:
    """How long clusters take to be usable."""
    phases = "headrace_controller_start_phase_seconds"
    return (
        Row("Starts"),
        graph("Starts, 95th percentile", ("headrace:start_seconds:p95_rate30m", "until usable"), unit="s"),
        graph(
            "Starts by phase, mean",
            (
                f"sum by (phase) (rate({phases}_sum[30m])) / sum by (phase) (rate({phases}_count[30m]))",
                "{{phase}}",
            ),
            unit="s",
        ),
    )


def services() -> tuple[Panel, ...]:
    """Whether the services do their work."""
    status = "envoy_response_code_class"
    return (
        Row("Services"),
        graph(
            "Calls",
            ("sum by (method) (rate(headrace_rpc_seconds_count[$__rate_interval]))", "{{method}}"),
            unit="reqps",
        ),
        graph("Calls, 99th percentile, without streams", ("headrace:rpc_seconds:p99_rate5m", "{{method}}"), unit="s"),
        graph("Calls that fail", ("headrace:rpc_errors:ratio_rate5m", "{{method}}"), unit="percentunit"),
        graph(
            "Redis, 99th percentile",
            (
                "histogram_quantile(0.99, sum by (script, le) (rate(headrace_redis_seconds_bucket[$__rate_interval])))",
                "{{script}}",
            ),
            unit="s",
        ),
        graph(
            "Steps of reconciling",
            ("sum by (outcome) (rate(headrace_controller_reconciles_total[$__rate_interval]))", "{{outcome}}"),
            unit="ops",
        ),
        graph("Clusters that wait for a step of reconciling", ("sum(headrace_controller_queue)", "clusters")),
        graph(
            "Clusters by the sample of their scheduler", ("sum by (state) (headrace_controller_signals)", "{{state}}")
        ),
        graph("Envoys connected", ("sum(headrace_proxy_nodes)", "Envoys")),
        graph(
            "Time until certificates end",
            ("min by (certificate) (headrace_certificate_end_timestamp_seconds) - time()", "{{certificate}}"),
            ("min(envoy_server_days_until_first_cert_expiring) * 86400", "the first one in Envoy, in whole days"),
            unit="s",
        ),
        graph(
            "Answers of Envoy, by class of status",
            (
                f"sum by ({status}) (rate(envoy_http_downstream_rq_xx{{job='headrace-envoy'}}[$__rate_interval]))",
                f"{{{{{status}}}}}xx",
            ),
            unit="reqps",
        ),
    )


def owner() -> Dashboard:
    """What one user's clusters use, and what that would cost."""
    this = '{owner="$owner"}'
    mine = '{job="headrace-schedulers", owner="$owner"}'
    core_hours = f"sum(increase(headrace_scheduler_worker_core_seconds_total{mine}[$__range])) / 3600"
    gib_hours = f"sum(increase(headrace_scheduler_worker_memory_byte_seconds_total{mine}[$__range])) / 3600 / {GIB}"
    promised_core_hours = f"sum_over_time(max(headrace_controller_owner_promised_cores{this})[$__range:15s]) / 240"
    promised_gib_hours = (
        f"sum_over_time(max(headrace_controller_owner_promised_memory_bytes{this})[$__range:15s]) / 240 / {GIB}"
    )
    cluster = "{{cluster}} {{alias}}"
    made = dashboard(
        "owner",
        "headrace: a user's use and cost",
        number("Clusters", f"count(count by (cluster) (headrace_scheduler_workers{mine}))", span=3),
        number("Workers", f"sum(headrace_scheduler_workers{mine})", span=3),
        number("Clients", f"sum(headrace_scheduler_clients{mine})", span=3),
        number("Core-hours promised", promised_core_hours, span=3, says=OWNERS),
        number("Cost as promised", cost(promised_core_hours, promised_gib_hours), span=3, says=OWNERS),
        number("Core-hours used", core_hours, span=3, says=CHARGED),
        number("GiB-hours used", gib_hours, span=3, says=CHARGED),
        number("Cost as used", cost(core_hours, gib_hours), span=3, says=CHARGED),
        graph(
            "Cores promised and used",
            (f"max(headrace_controller_owner_promised_cores{this})", "promised"),
            (f"sum(headrace:owner_cores_used:rate5m{this})", "used"),
            says=OWNERS,
        ),
        graph(
            "Memory promised and used",
            (f"max(headrace_controller_owner_promised_memory_bytes{this})", "promised"),
            (f"sum(headrace_scheduler_worker_memory_bytes{mine})", "used"),
            unit="bytes",
            says=OWNERS,
        ),
        graph(
            "Cores used by cluster",
            ('sum by (cluster, alias) (headrace:cluster_cores_used:rate5m{owner="$owner"})', cluster),
            by="cluster",
        ),
        graph(
            "Memory used by cluster",
            (f"sum by (cluster, alias) (headrace_scheduler_worker_memory_bytes{mine})", cluster),
            unit="bytes",
            by="cluster",
        ),
        graph("Workers by cluster", (f"headrace_scheduler_workers{mine}", cluster), by="cluster"),
        graph("Idle by cluster", (f"headrace_scheduler_idle_seconds{mine}", cluster), unit="s", by="cluster"),
    )
    return (
        made.with_variable(choice("owner"))
        .with_variable(price("core_hour", "Price of a core-hour"))
        .with_variable(price("memory_gib_hour", "Price of a GiB-hour"))
    )


def cluster() -> Dashboard:
    """One cluster."""
    this = '{job="headrace-schedulers", cluster="$cluster"}'
    dask = '{job="headrace-dask", cluster="$cluster"}'
    workers = '{job="headrace-workers", cluster="$cluster"}'
    made = dashboard(
        "cluster",
        "headrace: one cluster",
        number("Idle", f"headrace_scheduler_idle_seconds{this}", "s"),
        number("Without activity", f"headrace_scheduler_inactive_seconds{this}", "s"),
        number("Clients", f"headrace_scheduler_clients{this}"),
        number("Workers", f"headrace_scheduler_workers{this}"),
        number("Results held", f"headrace_scheduler_held_bytes{this}", "bytes"),
        number("Results on disk", f"headrace_scheduler_spilled_bytes{this}", "bytes"),
        graph(
            "Tasks",
            (f"headrace_scheduler_queued_tasks{this}", "wait for a worker"),
            (f"headrace_scheduler_processing_tasks{this}", "at a worker"),
        ),
        graph("Results that workers hold", (f"headrace_scheduler_held_tasks{this}", "results")),
        graph("Cores used", (f"headrace_scheduler_worker_cores{this}", "cores")),
        graph(
            "Memory",
            (f"headrace_scheduler_worker_memory_bytes{this}", "of the workers' processes"),
            (f"headrace_scheduler_held_bytes{this}", "results"),
            (f"headrace_scheduler_spilled_bytes{this}", "results on disk"),
            unit="bytes",
        ),
        graph(
            "Cores used by worker, the largest",
            (f"topk(10, headrace_worker_cores{workers})", "{{worker}}"),
        ),
        graph(
            "Memory used by worker, the largest",
            (f"topk(10, headrace_worker_memory_bytes{workers})", "{{worker}}"),
            unit="bytes",
        ),
        graph(
            "Results on disk by worker, the largest",
            (f"topk(10, headrace_worker_spilled_bytes{workers})", "{{worker}}"),
            unit="bytes",
        ),
        graph(
            "Tasks that run, by worker, the most",
            (f"topk(10, headrace_worker_executing_tasks{workers})", "{{worker}}"),
        ),
        graph("Tasks by state", (f"sum by (state) (dask_scheduler_tasks{dask})", "{{state}}"), says=DASK),
        graph("Workers by state", (f"sum by (state) (dask_scheduler_workers{dask})", "{{state}}"), says=DASK),
    )
    return made.with_variable(choice("cluster"))


if __name__ == "__main__":
    sys.exit(main())
