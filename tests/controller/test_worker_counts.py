"""The counts of workers are right whatever was changed, one by one or in copies."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from tests.controller.builders import worker

from headrace_controller.model import WorkerId, WorkerRecord, WorkerState
from headrace_controller.worker_counts import Workers, count_states

ids = st.integers(1, 5).map(lambda n: WorkerId(f"default-{n}"))


def _record(name: WorkerId, group: str, state: WorkerState) -> WorkerRecord:
    return replace(worker(name), group=group, state=state)


records = st.builds(_record, ids, st.sampled_from(["default", "gpu"]), st.sampled_from(list(WorkerState)))


@given(st.lists(records), st.lists(st.one_of(ids, records)))
def test_counts_follow_every_change(first: list[WorkerRecord], changes: list[WorkerId | WorkerRecord]) -> None:
    before = Workers({record.id: record for record in first})
    counted = dict(count_states(before))
    workers = Workers(before)
    for change in changes:
        if isinstance(change, WorkerRecord):
            workers[change.id] = change
        elif change in workers:
            del workers[change]
    assert +count_states(workers) == count_states(dict(workers))
    assert count_states(before) == counted == count_states(dict(before))
