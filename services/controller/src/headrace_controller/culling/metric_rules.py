"""The administrator's own rules: queries in PromQL, asked again and again, and since when each holds for a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import isnan

from headrace_chassis import logs
from headrace_controller import metrics
from headrace_controller.loops import faults_logged
from headrace_controller.model import ClusterId
from headrace_controller.plan.sentences import count
from headrace_controller.policy.file import PolicyFile, UnfitPolicy
from headrace_controller.policy.sections import MetricRule
from headrace_controller.signals.measured import QueryFailed, Signals
from headrace_controller.signals.settings import SignalSettings

log = logs.get_logger()
# Time between two rounds after which it is not known what held between them; at least two intervals count.
_GAP_SECONDS = 120.0

_Holding = dict[ClusterId, float | None] | str
"""The clusters for which a rule holds, and since when; None: that is not known. A text: why its query failed."""
_SEVERAL = "it has several series of this cluster: write `... by (cluster)`"

Foreseen = tuple[Callable[[ClusterId], Mapping[str, float | str]], Mapping[str, str]]


def check_rules(policy: PolicyFile, settings: SignalSettings) -> None:
    """Raise `UnfitPolicy` for rules that nobody can answer."""
    if policy.culling.rules and not settings.prometheus_url:
        reason = "rules of your own need a Prometheus: set HEADRACE_CONTROLLER_SIGNALS__PROMETHEUS_URL, or remove them"
        raise UnfitPolicy([(("culling", "rules"), reason)])


class MetricRules:
    """Asks the queries of all rules. Where one fails, nothing is known, and its states begin again.

    Parameters
    ----------
    rules
        Returns the rules in force.
    interval
        Seconds between two rounds.
    """

    def __init__(
        self,
        signals: Signals,
        rules: Callable[[], Sequence[MetricRule]],
        *,
        interval: float,
        clock: Callable[[], float],
    ) -> None:
        self._signals = signals
        self._rules = rules
        self._interval = interval
        self._clock = clock
        self._holding: dict[tuple[str, str], _Holding] = {}  # by name and query
        self._asked = clock()
        self._callbacks: list[Callable[[ClusterId], None]] = []

    def on_change(self, callback: Callable[[ClusterId], None]) -> None:
        """Call this with each cluster for which a rule begins or ceases to hold."""
        self._callbacks.append(callback)

    def of(self, cluster: ClusterId) -> Mapping[str, float | str]:
        """Return the rules that hold for a cluster, and since when; of those whose query failed, why."""
        return _of(self._holding, cluster)

    async def foresee(self, rules: Sequence[MetricRule]) -> Foreseen:
        """Return `of` as it would be with other rules, and by name what the queries say that are asked only now."""
        known = {(rule.name, rule.query): self._holding.get((rule.name, rule.query)) for rule in rules}
        new = [rule for rule in rules if known[rule.name, rule.query] is None]
        holding = {key: state for key, state in known.items() if state is not None}
        news: dict[str, str] = {}
        for rule, answer in zip(new, await asyncio.gather(*map(self._answer, new)), strict=True):
            state = holding[rule.name, rule.query] = _held({}, answer, self._clock())
            held = f"it holds for {count(len(_known(state)), 'cluster')} now"
            news[rule.name] = f"its query failed: {state}" if isinstance(state, str) else held
        return partial(_of, holding), news

    async def run(self) -> None:
        """Ask until cancelled."""
        while True:
            with faults_logged("cannot ask the queries of culling rules; will ask again"):
                await self.refresh()
            await asyncio.sleep(self._interval)

    async def refresh(self) -> None:
        """Ask each query once."""
        rules = list(self._rules())
        answers = await asyncio.gather(*map(self._answer, rules))
        before, now = self._holding, self._clock()
        continued = before if 0 <= now - self._asked < max(_GAP_SECONDS, 2 * self._interval) else {}
        self._holding, self._asked = {}, now
        for rule, answer in zip(rules, answers, strict=True):
            key = rule.name, rule.query
            self._holding[key] = _held(_known(continued.get(key)), answer, now)
            _note(rule, before.get(key), self._holding[key])
        self._report(before)

    async def _answer(self, rule: MetricRule) -> Mapping[ClusterId, float] | str:
        """Ask a rule's query; return the values, or why it failed."""
        try:
            return await self._signals.query(rule.query)
        except QueryFailed as error:
            return str(error)
        except Exception:  # a fault of ours decides nothing; logged in full
            log.exception("asking the query of a culling rule failed", rule=rule.name)
            return "see the controller's log"

    def _report(self, before: Mapping[tuple[str, str], _Holding]) -> None:
        for key in before.keys() | self._holding.keys():
            for cluster in _known(before.get(key)).keys() ^ _known(self._holding.get(key)).keys():
                for callback in self._callbacks:
                    callback(cluster)


def _of(holding: Mapping[tuple[str, str], _Holding], cluster: ClusterId) -> Mapping[str, float | str]:
    return {
        name: state if isinstance(state, str) else _SEVERAL if (since := state[cluster]) is None else since
        for (name, _), state in holding.items()
        if isinstance(state, str) or cluster in state
    }


def _known(holding: _Holding | None) -> Mapping[ClusterId, float]:
    return {} if not isinstance(holding, dict) else {c: since for c, since in holding.items() if since is not None}


def _held(before: Mapping[ClusterId, float], answer: Mapping[ClusterId, float] | str, now: float) -> _Holding:
    if isinstance(answer, str):
        return answer
    return {cluster: None if isnan(value) else before.get(cluster, now) for cluster, value in answer.items() if value}


def _note(rule: MetricRule, before: _Holding | None, now: _Holding) -> None:
    """Count a query that failed; log it unless it failed in this way before, and when it is answered again."""
    if isinstance(now, str):
        metrics.CULLING_QUERIES_FAILED.labels(rule.name).inc()
        if now != before:
            log.warning("the query of a culling rule fails; the rule does nothing", rule=rule.name, error=now)
    elif isinstance(before, str):
        log.info("the query of a culling rule is answered again", rule=rule.name)
