"""Chooses where samples come from."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable, Sequence

from headrace_controller.signals.collection import Collection
from headrace_controller.signals.prometheus import Prometheus
from headrace_controller.signals.rounds import MeasuredSignals
from headrace_controller.signals.settings import SignalSettings
from headrace_controller.signals.source import Source, Target


def make_signals(
    settings: SignalSettings,
    targets: Callable[[], Sequence[Target]],
    key: Callable[[str], str],
    *,
    clock: Callable[[], float],
) -> MeasuredSignals:
    """Measure with a Prometheus if the settings name one, else by reading the schedulers' pages.

    Parameters
    ----------
    key
        Returns the key of a cluster's metrics.
    """
    return MeasuredSignals(
        _source(settings, key),
        targets,
        interval=settings.interval_seconds,
        stale=max(settings.stale_seconds, 2 * settings.interval_seconds),
        clock=clock,
    )


def _source(settings: SignalSettings, key: Callable[[str], str]) -> Source:
    if settings.prometheus_url:
        return Prometheus(
            settings.prometheus_url,
            settings.prometheus_job,
            timeout=settings.timeout_seconds,
            token_file=settings.prometheus_token_file,
            ca_file=settings.prometheus_ca_file,
        )
    return Collection(
        key,
        at_once=settings.at_once,
        most_kept=_most_kept(),
        timeout=settings.timeout_seconds,
        longest=settings.interval_seconds + settings.timeout_seconds,
    )


def _most_kept() -> int:
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if files == resource.RLIM_INFINITY else files // 4
