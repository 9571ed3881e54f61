"""All metrics of the controller."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)

RECONCILES = Counter(
    "headrace_controller_reconciles",
    "Steps of reconciling, by outcome: done, stale, fenced, unknown, unobserved, unavailable (the store), failed.",
    ["outcome"],
)
RECONCILE_SECONDS = Histogram("headrace_controller_reconcile_seconds", "Duration of one step.", buckets=_SECONDS)
QUEUE = Gauge("headrace_controller_queue", "Clusters that wait for a step.")
SESSIONS = Gauge("headrace_controller_sessions", "Agents whose session this replica holds.")
STANDBYS = Gauge(
    "headrace_controller_standbys", "Processes in standby that wait with this replica until a cluster needs them."
)
UNKNOWN_WORKERS = Counter(
    "headrace_controller_unknown_workers", "Workers that agents reported although no record has them."
)
ADDRESSES_REFUSED = Counter(
    "headrace_controller_addresses_refused",
    "Addresses that agents reported and on which no scheduler of theirs listens.",
)
ENROLMENTS_REFUSED = Counter(
    "headrace_controller_enrolments_refused", "Enrolments with a token that another process had used."
)
AGENT_WAITS = Counter(
    "headrace_controller_agent_waits", "Times that an agent was made to wait because it reported too fast."
)
AGENT_EVENTS_LEFT_OUT = Counter(
    "headrace_controller_agent_events_left_out", "Events that agents caused and that were too many to keep."
)
WATCHES = Gauge("headrace_controller_watches", "Watches of clusters that this replica serves.")
ROUTE_READERS = Gauge("headrace_controller_route_readers", "Readers of routes that this replica serves.")
START_SECONDS = Histogram(
    "headrace_controller_start_seconds", "Time from the creation of a cluster until it is RUNNING.", buckets=_SECONDS
)
START_PHASE_SECONDS = Histogram(
    "headrace_controller_start_phase_seconds",
    "The same by what it was spent on: launch (until the scheduler's launch was decided), connect (until its agent "
    "connected), route (until it was usable).",
    ["phase"],
    buckets=_SECONDS,
)
CLUSTERS = Gauge(
    "headrace_controller_clusters", "Clusters of the deployment by phase; each replica says the same.", ["phase"]
)
QUEUED_CLUSTERS = Gauge(
    "headrace_controller_queued_clusters",
    "Clusters that wait for room, by profile; each replica says the same.",
    ["profile"],
)
QUEUE_OLDEST_SECONDS = Gauge(
    "headrace_controller_queue_oldest_seconds",
    "Time for which the cluster that has waited longest waits for room, to start or for more workers; 0 if none "
    "waits. Each replica says the same.",
)
QUEUE_WAIT_SECONDS = Histogram(
    "headrace_controller_queue_wait_seconds",
    "Time that clusters have waited in the queue for room to start, by outcome: admitted, or why they ended.",
    ["outcome"],
    buckets=(1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 12 * 3600, 24 * 3600, 72 * 3600),
)
ENDS = Counter("headrace_controller_ends", "Clusters that have ended, by reason, such as IDLE or BUDGET.", ["reason"])
EVENTS = Counter(
    "headrace_controller_events",
    "Events of clusters by type, such as CullingWarned, CullingWithdrawn, Culled, Queued, Admitted.",
    ["type"],
)
PROMISED_CLUSTERS = Gauge(
    "headrace_controller_promised_clusters",
    "Clusters that count in limits, by profile; each replica says the same.",
    ["profile"],
)
PROMISED_WORKERS = Gauge("headrace_controller_promised_workers", "Workers that are promised, by profile.", ["profile"])
PROMISED_CORES = Gauge("headrace_controller_promised_cores", "Cores that are promised, by profile.", ["profile"])
PROMISED_MEMORY = Gauge(
    "headrace_controller_promised_memory_bytes", "Memory that is promised, by profile.", ["profile"]
)
PROMISED_GPUS = Gauge("headrace_controller_promised_gpus", "GPUs that are promised, by profile.", ["profile"])
ADOPTED = Counter("headrace_controller_adopted", "Clusters whose record was rebuilt from what runs.")
ORPHANS = Counter("headrace_controller_orphans", "Clusters without a record whose processes were stopped.")
PROCESSES = Gauge("headrace_controller_processes", "Running processes of the backend, by role.", ["role"])
UNREADABLE_RECORDS = Gauge(
    "headrace_controller_unreadable_records", "Records that this replica cannot read and has set aside."
)
UNREADABLE_ENTRIES = Counter(
    "headrace_controller_unreadable_entries", "Entries of streams, events and routes that were left out as unreadable."
)
POLICY_REFUSED = Gauge(
    "headrace_controller_policy_refused", "1 while the policy file is refused and an older policy is in force."
)

SIGNALS = Gauge(
    "headrace_controller_signals",
    "Running clusters of this replica by the sample of their scheduler: fresh, stale (too old), missing (none was ever "
    "taken). Nothing is culled without a fresh one.",
    ["state"],
)
SIGNAL_ROUNDS = Counter(
    "headrace_controller_signal_rounds", "Rounds of measuring, by outcome: ok, failed.", ["outcome"]
)
SIGNAL_ROUND_SECONDS = Histogram(
    "headrace_controller_signal_round_seconds", "Duration of one round of measuring.", buckets=_SECONDS
)
SIGNALS_REFUSED = Counter(
    "headrace_controller_signals_refused",
    "Samples that were refused because they lacked a number or could not be true.",
)
CULLING_QUERIES_FAILED = Counter(
    "headrace_controller_culling_queries_failed",
    "Queries of the administrator's own culling rules that failed or were too slow, by rule.",
    ["rule"],
)
