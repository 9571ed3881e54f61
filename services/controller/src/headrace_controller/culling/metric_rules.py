"""The administrator's own rules: queries in PromQL, asked again and again, and since when each holds for a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from headrace_chassis import logs
from headrace_controller import metrics
from headrace_controller.model import ClusterId
from headrace_controller.policy.file import PolicyFile, UnfitPolicy
from headrace_controller.policy.sections import MetricRule
from headrace_controller.signals.measured import QueryFailed, Signals
from headrace_controller.signals.settings import SignalSettings

log = logs.get_logger()
_PAUSE_SECONDS = 15.0
# Time between two rounds after which it is not known what held between them.
_GAP_SECONDS = 120.0

_Holding = dict[ClusterId, float] | None
"""The clusters for which a rule holds, and since when. None: its query failed."""


def check_rules(policy: PolicyFile, settings: SignalSettings) -> None:
    """Raise `UnfitPolicy` for rules that nobody can answer."""
    if policy.culling.rules and not settings.prometheus_url:
        reason = "rules of your own need a Prometheus: set HEADRACE_CONTROLLER_SIGNALS__PROMETHEUS_URL, or remove them"
        raise UnfitPolicy([(("culling", "rules"), reason)])


class MetricRules:
    """Asks the queries of all rules. Where one fails or is slow, nothing is known, and its states begin again.

    Parameters
    ----------
    rules
        Returns the rules in force.
    """

    def __init__(
        self,
        signals: Signals,
        rules: Callable[[], Sequence[MetricRule]],
        *,
        clock: Callable[[], float],
        query_seconds: float = 10.0,
    ) -> None:
        self._signals = signals
        self._rules = rules
        self._clock = clock
        self._query_seconds = query_seconds
        self._holding: dict[tuple[str, str], _Holding] = {}  # by name and query
        self._asked = clock()
        self._callbacks: list[Callable[[ClusterId], None]] = []

    def on_change(self, callback: Callable[[ClusterId], None]) -> None:
        """Call this with each cluster for which a rule begins or ceases to hold."""
        self._callbacks.append(callback)

    def of(self, cluster: ClusterId) -> Mapping[str, float | None]:
        """Return the rules that hold for a cluster, since when, and with None those whose query failed."""
        return {
            name: None if holding is None else holding[cluster]
            for (name, _), holding in self._holding.items()
            if holding is None or cluster in holding
        }

    async def run(self) -> None:
        """Ask until cancelled."""
        while True:
            try:
                await self.refresh()
            except Exception:  # logged in full
                log.exception("asking the queries of culling rules failed; will ask again")
            await asyncio.sleep(_PAUSE_SECONDS)

    async def refresh(self) -> None:
        """Ask each query once."""
        rules = list(self._rules())
        answers = await asyncio.gather(*map(self._ask, rules))
        before, now = self._holding, self._clock()
        continued = before if 0 <= now - self._asked < _GAP_SECONDS else {}
        self._holding, self._asked = {}, now
        for rule, answer in zip(rules, answers, strict=True):
            key = rule.name, rule.query
            self._holding[key] = _held(continued.get(key) or {}, answer, now)
        self._report(before)

    async def _ask(self, rule: MetricRule) -> Mapping[ClusterId, float] | None:
        try:
            async with asyncio.timeout(self._query_seconds):
                return await self._signals.query(rule.query)
        except (QueryFailed, TimeoutError) as error:
            why = str(error) or f"it took longer than {self._query_seconds:g} s"
            metrics.CULLING_QUERIES_FAILED.labels(rule.name).inc()
            log.warning("the query of a culling rule failed; nothing is done on its account", rule=rule.name, error=why)
            return None

    def _report(self, before: Mapping[tuple[str, str], _Holding]) -> None:
        for key in before.keys() | self._holding.keys():
            for cluster in (before.get(key) or {}).keys() ^ (self._holding.get(key) or {}).keys():
                for callback in self._callbacks:
                    callback(cluster)


def _held(before: Mapping[ClusterId, float], answer: Mapping[ClusterId, float] | None, now: float) -> _Holding:
    if answer is None:
        return None
    # Neither 0 nor "not a number".
    return {cluster: before.get(cluster, now) for cluster, value in answer.items() if value > 0 or value < 0}
