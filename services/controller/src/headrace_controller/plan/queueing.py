"""Rules for what waits for room: what a cluster or its workers wait for, when it ends, how it starts once admitted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from headrace.sizes import describe_amount, describe_quantity
from headrace.v1.enums import EventType
from headrace_controller.model import EndReason, Phase, Queued
from headrace_controller.plan.decision import Place
from headrace_controller.plan.draft import Draft
from headrace_controller.plan.ending import Ending
from headrace_controller.plan.sentences import count, duration
from headrace_controller.resources import shown

_GRACE_SECONDS = 10.0  # for room that became free while no controller was there


def begin_start(draft: Draft) -> None:
    """Turns a cluster that was admitted to STARTING."""
    queued = draft.cluster.queued
    if draft.status.phase is Phase.QUEUED and queued is not None and queued.admitted is not None:
        draft.status = replace(draft.status, phase=Phase.STARTING, message="")


def budget_used_up(draft: Draft) -> Ending | None:
    """Ends the cluster when a budget of its owner would refuse it, if it were created now."""
    for finding in draft.seen.findings:
        if finding.reason is EndReason.BUDGET and finding.due is not None and draft.reached(finding.due):
            message = f"The cluster waited for room, and meanwhile {finding.why}. {finding.advice}"
            return Ending(EndReason.BUDGET, message)
    return None


def wait_for_room(draft: Draft) -> Ending | None:
    """Says what the cluster waits for, and ends it when it cannot be admitted or has waited for too long."""
    queued = draft.cluster.queued
    if queued is None or queued.admitted is not None:
        return None
    if queued.never:
        asked = _quantity(queued.resource, queued.asked)
        message = f"The cluster asks for {asked}, and {_limit(queued)}. Create a smaller one."
        return Ending(EndReason.LIMIT, message)
    if queued.timeout is not None:
        end = max(queued.since + queued.timeout, draft.seen.watching_since + _GRACE_SECONDS)
        if draft.reached(end):
            message = f"The cluster waited for room for {duration(queued.timeout)}: {_why(queued)}. Try again later."
            return Ending(EndReason.QUEUE_TIMEOUT, message)
    message = f"Waiting for room: {_why(queued)}. {_place(draft.seen.place, 'it', 'it starts')}".rstrip()
    if message != draft.status.message:
        draft.record_event(EventType.QUEUED, message)
        draft.set_message(message)
    return None


def tell_of_waiting_workers(draft: Draft) -> None:
    """Says for what workers wait; by an event when that, or their place, is another."""
    queued = draft.cluster.queued
    if queued is None or not queued.granted or draft.status.phase is not Phase.RUNNING or not draft.report.connected:
        return
    waiting = sum(draft.cluster.wanted(group) - draft.cluster.desired(group) for group in draft.spec.groups)
    workers = count(waiting, "more worker")
    if queued.never:
        end = "Scale the cluster down, or ask your administrator for more."
        message = f"{workers} cannot start: {_limit(queued)}, which would not be enough. {end}"
    else:
        end = _place(draft.seen.place, "them", "some start")
        message = f"{workers} {'waits' if waiting == 1 else 'wait'} for room: {_why(queued)}. {end}".rstrip()
    told = draft.cluster.status.message
    if f": {_limit(queued)}," not in told or not told.endswith(end):
        draft.record_event(EventType.QUEUED, message)
    draft.set_message(message)


def rounded(number: int) -> int:
    """Return a number as people are told, so that they are told seldom: 1, 2, 3, 4, 5, 10, 20, 50, 100, ..."""
    if number <= 5:
        return number
    magnitude = 10 ** (len(str(number)) - 1)
    steps = (step * magnitude for step in (1, 2, 5, 10))
    return next(step for step in steps if step >= number)


def steps(most: int) -> Iterator[int]:
    """Return the numbers up to `most` that people are told otherwise than the one before: 1, ..., 6, 11, 21, 51, ..."""
    yield from range(1, min(most, 6) + 1)
    magnitude = 10
    while magnitude < most:
        yield from (step * magnitude + 1 for step in (1, 2, 5) if step * magnitude < most)
        magnitude *= 10


def _place(place: Place | None, whom: str, starts: str) -> str:
    if place is None:
        return ""
    if place.before == 0:
        return "It is the next." if whom == "it" else "They are the next."
    exact = place.before == rounded(place.before)
    verb = "is" if place.before == 1 else "are"
    sentence = f"{count(rounded(place.before), 'cluster')} {verb} before {whom}."
    sentence = sentence if exact and place.before <= 5 else f"About {sentence}"
    if place.seconds is None:
        return sentence
    return f"{sentence} At the recent rate, {starts} in about {duration(_coarse(place.seconds))}."


def _coarse(seconds: float) -> float:
    """A duration as an estimate deserves it."""
    return float(rounded(max(1, round(seconds)))) if seconds < 60 else 60.0 * rounded(max(1, round(seconds / 60)))


def _why(queued: Queued) -> str:
    return f"{_limit(queued)}, of which {describe_amount(*shown(queued.resource, queued.used))} {_verb(queued)} used"


def _verb(queued: Queued) -> str:
    return "is" if shown(queued.resource, queued.used)[1] == 1 or queued.resource == "memory_bytes" else "are"


def _limit(queued: Queued) -> str:
    return f"{queued.subject} may have {_quantity(queued.resource, queued.most)}"


def _quantity(resource: str, amount: int) -> str:
    return describe_quantity(*shown(resource, amount))
