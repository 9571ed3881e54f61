"""Leaves a trace in the audit log of what administrators set by the policy file."""

from __future__ import annotations

import time
from collections.abc import Callable

from headrace_chassis.audit.log import AuditLog
from headrace_chassis.audit.record import Record, bounded
from headrace_controller.policing.changes import Change, changes
from headrace_controller.policy.file import PolicyFile

_MOST = 50  # records of one change
_WITH_VALUES = ("limits", "roles", "budgets")


class PolicyTrace:
    """Records which keys a new policy changes. Only limits, roles and budgets are recorded with their values."""

    def __init__(self, log: AuditLog, policy: PolicyFile, *, clock: Callable[[], float] = time.time) -> None:
        self._log = log
        self._policy = policy
        self._clock = clock

    def follow(self, policy: PolicyFile) -> None:
        """Note that another policy is in force."""
        found, self._policy = changes(self._policy, policy), policy
        details = [_told(change) for change in found[:_MOST]]
        if len(found) > _MOST:
            details.append(f"{len(found) - _MOST} more keys changed")
        for detail in details:
            record = Record(time=self._clock(), service=self._log.service, method="Policy", detail=bounded(detail))
            self._log.add(record, by="policy", trusted=True)


def _told(change: Change) -> str:
    if change.key.partition(".")[0] not in _WITH_VALUES:
        return f"{change.key} changed"
    before, after = ("nothing" if value is None else value for value in (change.before, change.after))
    return f"{change.key}: {before} -> {after}"
