"""How a worker process died: its nanny tells the agent beside the scheduler, which sees a broken connection only.

It goes through the scheduler's list of events, where users may write too; what they say there concerns their own
cluster only.
"""

from __future__ import annotations

from collections.abc import Mapping

from headrace.agent.pending_reports import Departure

TOPIC = "headrace-worker-died"


def to_event(address: str, exit_code: int, memory_limit: int) -> dict[str, object]:
    """Makes the event; `memory_limit` is 0 unless the process was ended because it needed more."""
    return {"worker": address, "exit_code": exit_code, "memory_limit": memory_limit}


def from_event(event: Mapping[str, object]) -> Departure:
    """Reads an event; numbers that do not fit into the contract are left out."""
    return Departure(memory_limit=_number(event.get("memory_limit"), 63), exit_code=_number(event.get("exit_code"), 31))


def _number(value: object, bits: int) -> int:
    return value if isinstance(value, int) and abs(value) < 1 << bits else 0
