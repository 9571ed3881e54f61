"""Which rules of the policy hold for a cluster, since when, and what follows. Pure.

A rule goes by what was measured. What the scheduler's agent reports meanwhile can only say that a state does not hold.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from math import floor

from headrace_controller.culling.observed import Observed
from headrace_controller.model import Cluster, EndReason, Phase
from headrace_controller.plan.findings import CullAction, Finding, has_workers
from headrace_controller.plan.sentences import duration
from headrace_controller.policy.sections import Culling, CullRule, IdleRule, MetricRule
from headrace_controller.signals.measured import NotMeasured

_LIFETIME_WARNING_SECONDS = 600.0
_KEEP_HOURS = 2.0
_BUSY, _CLIENT, _QUERY = "work, results on its workers", "a client", "another answer to its query"
_NEW_ONE = "Save your results, then create a new one."


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
    """A state that a rule is about. `since` None: it is not known whether it holds, as `why` says.

    `speaks_against` says what would show that it does not.
    """

    rule: CullRule
    name: str
    speaks_against: str
    reason: EndReason = EndReason.IDLE
    since: float | None
    why: str = ""
    signal: str = ""
    sampled: float | None = None


def findings(
    cluster: Cluster, policy: Culling, observed: Observed, metrics: Mapping[str, float | str], now: float
) -> tuple[Finding, ...]:
    """What rules find about a cluster now; nothing of a rule whose state does not hold.

    `metrics` has, by name of an administrator's own rule, the time since which it holds, or why its query failed.
    """
    found = list(_lifetime(cluster, policy))
    if cluster.status.phase is Phase.RUNNING:
        for state in _states(cluster, policy, observed, metrics, now):
            found += _steps(cluster, state, _keep(cluster, policy))
    return tuple(found)


def _states(
    cluster: Cluster, policy: Culling, observed: Observed, metrics: Mapping[str, float | str], now: float
) -> Iterator[_State]:
    if policy.idle is not None:
        yield from _idle(cluster, policy.idle, observed, now)
    if policy.nobody_connected is not None:
        yield from _nobody_connected(cluster, policy.nobody_connected, observed, now)
    for rule in policy.rules:
        if rule.name in metrics:
            yield _metric(rule, metrics[rule.name], observed, now)


def _idle(cluster: Cluster, rule: IdleRule, observed: Observed, now: float) -> Iterator[_State]:
    sample = observed.sample
    if isinstance(sample, NotMeasured):
        yield _not_measured(rule, "idle", _BUSY, sample)
        return
    reported = cluster.report.idle_since
    if sample.idle_since is None or reported is None or (sample.held_tasks and not rule.drop_data):
        return
    empty = 0.0 if rule.drop_data or observed.empty_since is None else observed.empty_since
    since = _counted(cluster, observed, sample.idle_since, sample.active, reported, empty)
    yield _State(
        rule=rule,
        name="idle",
        speaks_against="work" if rule.drop_data else _BUSY,
        since=since,
        why=f"it has been idle for {_lasted(since, now)}",
        signal=f"idle since {_clock_time(sample.idle_since)}, {sample.held_tasks} results held",
        sampled=sample.time,
    )


def _nobody_connected(cluster: Cluster, rule: CullRule, observed: Observed, now: float) -> Iterator[_State]:
    sample = observed.sample
    if isinstance(sample, NotMeasured):
        yield _not_measured(rule, "nobody_connected", _CLIENT, sample)
        return
    if observed.abandoned_since is None or cluster.report.clients:
        return
    since = _counted(cluster, observed, observed.abandoned_since)
    yield _State(
        rule=rule,
        name="nobody_connected",
        speaks_against=_CLIENT,
        reason=EndReason.NO_CLIENT,
        since=since,
        why=f"no client has been connected for {_lasted(since, now)}",
        signal=f"{sample.clients} clients",
        sampled=sample.time,
    )


def _metric(rule: MetricRule, since: float | str, observed: Observed, now: float) -> _State:
    name = f"rules/{rule.name}"
    if isinstance(observed.sample, NotMeasured):  # an answer may be about series from minutes ago
        return _not_measured(rule, name, _QUERY, observed.sample)
    state = _State(rule=rule, name=name, speaks_against=_QUERY, since=None, signal=rule.query)
    if isinstance(since, str):
        return replace(state, why=f"its query failed: {since}")
    why = f"the rule {rule.name!r} of your administrator has held for {_lasted(since, now)}"
    return replace(state, since=since, why=why, sampled=now)


def _not_measured(rule: CullRule, name: str, speaks_against: str, sample: NotMeasured) -> _State:
    last = None if sample.last is None else sample.last.time
    why = f"its measurement is {sample.absence}"
    return _State(rule=rule, name=name, speaks_against=speaks_against, since=None, why=why, sampled=last)


def _counted(cluster: Cluster, observed: Observed, *begun: float) -> float:
    """Time from which a state counts that began at the last of these: the cluster ran, and its user changed nothing."""
    ran, touched = cluster.status.started or 0.0, cluster.spec.touched
    return observed.counting_from(max(observed.since, ran, touched, *begun))


def _steps(cluster: Cluster, state: _State, advice: str) -> Iterator[Finding]:
    """The action of a rule, and the stop that follows unless it was one."""
    rule, steps = state.rule, [(CullAction(state.rule.action), state.rule.after)]
    if rule.then_stop is not None:
        steps.append((CullAction.STOP, rule.after + rule.then_stop))
    for action, after in steps:
        if action is CullAction.SCALE_TO_ZERO and not has_workers(cluster):
            continue
        yield Finding(
            rule=state.name,
            reason=state.reason,
            action=action,
            due=None if state.since is None else max(state.since + after, cluster.spec.keep_until or 0.0),
            warn=rule.warn,
            why=state.why,
            advice=advice,
            held_back_by=_held_back_by(cluster, state, after),
            signal=state.signal,
            sampled=state.sampled,
        )


def _held_back_by(cluster: Cluster, state: _State, after: float) -> str:
    kept = cluster.spec.keep_until
    if kept is not None and state.since is not None and kept > state.since + after:
        return f"it is kept until {datetime.fromtimestamp(kept, UTC):%H:%M:%S UTC on %-d %b}"
    return f"{state.speaks_against}, or keeping it"


def _lifetime(cluster: Cluster, policy: Culling) -> Iterator[Finding]:
    own, most = cluster.spec.lifetime, policy.lifetime
    lifetimes = [lifetime for lifetime in (own, most) if lifetime is not None]
    if not lifetimes or cluster.begun is None:
        return
    lifetime = min(lifetimes)
    yield Finding(
        rule="lifetime",
        reason=EndReason.LIFETIME,
        due=cluster.begun + lifetime,
        warn=min(_LIFETIME_WARNING_SECONDS, lifetime / 10),
        why=f"its lifetime is limited to {duration(lifetime)}",
        advice=_keep(cluster, policy) if lifetime != most else _NEW_ONE,
        held_back_by="" if lifetime == most else "keeping it",
    )


def _lasted(since: float, now: float) -> str:
    return duration(round(max(0.0, now - since)))


def _keep(cluster: Cluster, policy: Culling) -> str:
    """How to keep it, for no longer than the policy allows at once."""
    hours = floor(min(_KEEP_HOURS, policy.keep / 3600) * 100) / 100
    if not hours:
        return _NEW_ONE
    return f"Keep it with cluster.keep(hours={hours:g}), or `headrace clusters keep {cluster.id} --hours {hours:g}`."


def _clock_time(time: float) -> str:
    return f"{datetime.fromtimestamp(time, UTC):%H:%M:%S} UTC"
