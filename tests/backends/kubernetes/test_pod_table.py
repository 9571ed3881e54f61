"""The table of pods says the same whatever order watches and answers come in."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.backends.kubernetes.pods import decoded, recorded

from headrace.v1.enums import ExitCause, WaitReason
from headrace_backend_kubernetes.objects import Event, Pod, decode_event
from headrace_backend_kubernetes.pod_table import PodTable
from headrace_controller.backends.process import ProcessKey, ProcessState

KEY = ProcessKey("c1", "w1")


def _pod(version: int, name: str = "runs", *, uid: str = "u1", pod_name: str = "p1", **annotations: str) -> Pod:
    pod: dict[str, Any] = recorded(name)
    metadata = pod["metadata"]
    metadata |= {"resourceVersion": str(version), "uid": uid, "name": pod_name}
    metadata["annotations"] |= {f"headrace.dev/{key}": value for key, value in annotations.items()}
    return decoded(pod)


PENDING, RUNNING, ENDED = _pod(1, "unschedulable"), _pod(2), _pod(3, "exit-3")


def _table() -> PodTable:
    return PodTable(remembered=3)


@given(st.permutations([PENDING, RUNNING, ENDED]))
def test_the_newest_version_counts(order: list[Pod]) -> None:
    table = _table()
    for pod in order:
        table.accept(pod)
    [status] = table.statuses()
    assert (status.state, status.exit_code) == (ProcessState.EXITED, 3)
    assert list(table.ended) == ["u1"]
    assert not table.hopeless


def _deleted(version: int, name: str, *, grace: int) -> Pod:
    pod = recorded(name)
    deleted = {"deletionTimestamp": "2100-01-01T00:00:30Z", "deletionGracePeriodSeconds": grace}
    pod["metadata"] |= {**deleted, "resourceVersion": str(version), "uid": "u1", "name": "p1"}
    return decoded(pod)


@pytest.mark.parametrize("known", ["unschedulable", "runs"])
def test_a_process_that_was_deleted_has_ended_so_to_the_last(known: str) -> None:
    table = _table()
    table.accept(_pod(3, known))
    for version, grace in ((4, 30), (5, 30), (6, 0)):
        table.accept(_deleted(version, "exit-3", grace=grace))
    table.delete(_deleted(7, "exit-3", grace=0))
    [status] = table.statuses()
    assert (status.exit_cause, status.exit_code) == (ExitCause.DELETED, 3)


def test_a_process_that_had_ended_before_its_pod_was_deleted_was_not() -> None:
    """Its phase says only later that it has ended, and so it is given a grace."""
    table = _table()
    for pod in (RUNNING, ENDED, _deleted(4, "exit-3", grace=30), _deleted(5, "exit-3", grace=30)):
        table.accept(pod)
    [status] = table.statuses()
    assert (status.exit_cause, status.exit_code) == (ExitCause.EXITED, 3)


def test_a_pod_that_cannot_be_understood_hides_no_other() -> None:
    table = _table()
    odd = _pod(1, uid="u0", pod_name="odd")
    odd.metadata.resource_version = "no number"
    table.replace("", [odd, RUNNING], 9, before={})
    assert [status.state for status in table.statuses()] == [ProcessState.RUNNING]


async def test_a_pod_that_a_lost_node_never_ends_counts_as_exited_after_its_grace() -> None:
    table = PodTable(remembered=3, late_seconds=0)
    changes = table.feed.stream()
    pod = recorded("runs")
    lost = {"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager", "message": "taint"}
    pod["status"]["conditions"].append(lost)
    pod["metadata"] |= {"uid": "u1", "deletionTimestamp": "2100-01-01T00:00:00Z"}
    table.accept(decoded(pod))
    leaving, exited = await anext(changes), await anext(changes)
    assert (leaving.state, leaving.leaving) == (ProcessState.RUNNING, ExitCause.NODE_LOST)
    assert (exited.state, exited.exit_cause) == (ProcessState.EXITED, ExitCause.NODE_LOST)
    assert list(table.hopeless) == ["u1"]


def test_a_process_stays_what_it_is_whatever_its_pod_says_later() -> None:
    """Answers to our own requests show what somebody else has written into a pod, as the watch does."""
    table = _table()
    table.accept(RUNNING)
    table.accept(_pod(3, cluster="c2", process="scheduler"))
    assert not table.statuses("c2")
    table.delete(_pod(4, cluster="c2", process="scheduler"))
    [status] = table.statuses()
    assert (status.key, status.state) == (KEY, ProcessState.EXITED)


@given(st.permutations([PENDING, RUNNING]))
def test_a_pod_that_was_deleted_does_not_come_back(order: list[Pod]) -> None:
    table = _table()
    table.accept(RUNNING)
    table.delete(_pod(9))
    for pod in order:
        table.accept(pod)
    [status] = table.statuses()
    assert (status.state, status.exit_cause) == (ProcessState.EXITED, ExitCause.DELETED)
    assert table.find(RUNNING.namespace, "p1") is None


def test_each_change_is_published_once() -> None:
    table = _table()
    stream = table.feed.stream()
    for pod in (PENDING, PENDING, RUNNING, _pod(3), ENDED, _pod(4, "exit-3")):
        table.accept(pod)
    table.close()

    async def read() -> list[ProcessState]:
        return [status.state async for status in stream]

    assert asyncio.run(read()) == [ProcessState.PENDING, ProcessState.RUNNING, ProcessState.EXITED]


def test_a_launch_after_an_end_is_another_pod() -> None:
    table = _table()
    table.accept(ENDED)
    again = _pod(7, uid="u2")
    table.accept(again)  # before the deletion of the first is seen
    table.delete(_pod(6, "exit-3"))
    assert table.runs(KEY)
    assert list(table.ended) == []


def test_an_older_launch_of_a_process_hides_no_newer_one() -> None:
    newer = _pod(5, uid="u2", pod_name="p2", generation="2")
    for order in itertools.permutations([ENDED, newer]):
        table = _table()
        for pod in order:
            table.accept(pod)
        [status] = table.statuses()
        assert (status.generation, status.state) == (2, ProcessState.RUNNING)
        table.delete(ENDED)
        assert table.runs(KEY)


def test_what_a_list_does_not_show_is_gone() -> None:
    table = _table()
    table.accept(RUNNING)
    table.replace("another", [], version=9, before={})
    assert table.runs(KEY)
    table.replace(RUNNING.namespace, [], version=1, before={})  # it was created after the list was made
    assert table.runs(KEY)
    table.replace(RUNNING.namespace, [], version=9, before={})
    assert not table.runs(KEY)


def test_what_a_list_shows_and_cannot_be_read_stays_as_it_was_known() -> None:
    table = _table()
    table.accept(RUNNING)
    table.replace(RUNNING.namespace, [], version=9, before={}, unread={"u1"})
    assert table.runs(KEY)


def test_what_a_list_shows_counts_once_the_api_server_has_gone_back_to_an_older_version_of_it() -> None:
    table = _table()
    for pod in (_pod(5, "exit-3"), _pod(6, uid="u2", pod_name="p2", process="w2")):
        table.accept(pod)
    table.accept(_pod(7, uid="u3", pod_name="p3", process="w3"))
    table.delete(_pod(8, uid="u3", pod_name="p3", process="w3"))
    back = _pod(3, uid="u3", pod_name="p3", process="w3")
    table.replace(RUNNING.namespace, [RUNNING, back], version=4, before=table.versions())
    states = {status.key.process: (status.state, status.exit_cause) for status in table.statuses()}
    runs, gone = (ProcessState.RUNNING, None), (ProcessState.EXITED, ExitCause.DELETED)
    assert states == {"w1": runs, "w2": gone, "w3": runs}
    assert not table.ended
    table.accept(ENDED)  # it grows from there again
    assert not table.runs(KEY)


def test_a_launch_that_the_api_server_has_gone_back_to_is_not_hidden_by_a_later_one_that_it_has_lost() -> None:
    table = _table()
    table.accept(RUNNING)
    table.delete(RUNNING)
    table.accept(_pod(5, uid="u2", pod_name="p2", generation="2"))
    table.replace(RUNNING.namespace, [RUNNING], version=3, before=table.versions())
    assert table.runs(KEY)
    assert [pod.uid for pod in table.running("c1")] == ["u1"]


def test_a_list_that_is_older_than_an_answer_brings_nothing_back() -> None:
    table = _table()
    table.accept(RUNNING)
    before = table.versions()
    table.accept(ENDED)
    table.replace(RUNNING.namespace, [RUNNING], version=2, before=before)
    assert not table.runs(KEY)
    table.delete(ENDED)
    table.replace(RUNNING.namespace, [RUNNING], version=2, before=before)
    going = _deleted(4, "exit-3", grace=5)
    table.replace(RUNNING.namespace, [going], version=9, before=table.versions())  # something holds it up
    assert table.find(RUNNING.namespace, "p1") is None


def test_nothing_is_kept_that_nobody_reads_and_no_text_that_is_long() -> None:
    pod, long = recorded("exit-3"), "y" * 100_000
    pod["metadata"]["annotations"]["of-a-tenant"] = pod["metadata"]["labels"]["theirs"] = long
    pod["status"]["message"] = long
    pod["status"]["conditions"].append({"type": "OfATenant", "message": long})
    for condition in pod["status"]["conditions"]:
        condition["message"] = long
    [main] = pod["status"]["containerStatuses"]
    main["state"]["terminated"]["message"] = f"{long}No module named 'distributed'"
    main["lastState"] = {"terminated": {"message": long}}
    kept = decoded(pod)
    assert len(msgspec.json.encode(kept)) < 15_000
    table = _table()
    table.accept(kept)
    [status] = table.statuses()
    assert status.exit_cause is ExitCause.START_FAILED
    assert "has no Dask" in status.message


def test_pods_that_never_start_are_to_be_deleted_and_ended_ones_are_kept() -> None:
    table = _table()
    table.accept(_pod(1, "invalid-image"))
    assert list(table.hopeless) == ["u1"]
    table.delete(_pod(2, "invalid-image"))
    [status] = table.statuses()
    assert status.exit_cause is ExitCause.IMAGE_UNAVAILABLE
    assert not table.hopeless


def test_an_end_is_remembered_of_a_pod_that_ended_while_it_was_deleted() -> None:
    ended = recorded("exit-3")
    ended["metadata"] |= {
        "resourceVersion": "3",
        "uid": "u1",
        "name": "p1",
        "deletionTimestamp": "2026-11-26T15:10:30Z",
    }
    table = _table()
    for pod in (RUNNING, decoded(ended)):
        table.accept(pod)
    table.delete(decoded(ended))
    [status] = table.statuses()
    assert (status.state, status.exit_code) == (ProcessState.EXITED, 3)


def test_what_was_kept_for_its_log_is_gone_with_its_pod() -> None:
    table = _table()
    table.accept(ENDED)
    deleting = recorded("exit-3")
    deleting["metadata"] |= {
        "resourceVersion": "8",
        "uid": "u1",
        "name": "p1",
        "deletionTimestamp": "2026-11-26T15:10:30Z",
    }
    table.accept(decoded(deleting))
    table.delete(_pod(9, "exit-3"))
    assert table.statuses() == []
    assert not table.ended


def test_what_ended_before_its_pod_was_deleted_is_gone_with_it_also_if_its_phase_never_said_so() -> None:
    """Another replica has forgotten its cluster sooner than its node has said that the whole pod has ended."""
    pod = recorded("exit-3")
    pod["metadata"] |= {"resourceVersion": "3", "uid": "u1", "name": "p1"}
    pod["status"]["phase"] = "Running"
    table = _table()
    for version in (RUNNING, decoded(pod)):
        table.accept(version)
    table.delete(decoded(pod))
    assert table.statuses() == []


def test_a_container_that_has_ended_is_not_deleted_before_its_pod_says_so() -> None:
    pod = recorded("exit-3")
    pod["status"]["phase"] = "Running"
    table = _table()
    table.accept(decoded(pod))
    assert not table.runs(KEY)
    assert not table.hopeless
    assert not table.ended


def test_memory_of_deleted_pods_is_bounded() -> None:
    table = _table()
    for n in range(10):
        pod = _pod(1, uid=f"u{n}", pod_name=f"p{n}", process=f"w{n}")
        table.accept(pod)
        table.delete(pod)
    assert [status.key.process for status in table.statuses()] == ["w7", "w8", "w9"]


def test_pods_in_standby_belong_to_nobody_until_they_are_given() -> None:
    table = _table()
    table.accept(_pod(1, cluster="", process=""))
    assert list(table.standby) == ["u1"]
    assert table.statuses() == []
    table.accept(_pod(2))
    assert not table.standby
    assert table.runs(KEY)


def test_a_pod_in_standby_that_somebody_has_changed_becomes_nothing_and_is_to_be_deleted() -> None:
    table, heard = _table(), list[Pod]()
    table.on_standby = heard.append
    table.accept(_pod(1, cluster="", process=""))
    changed = _pod(2)  # as the process of a cluster, without a seal
    table.disown(changed)
    assert not table.standby
    assert list(table.hopeless) == ["u1"]
    assert {pod.key for pod in heard} == {None}
    table.delete(changed)
    assert not table.hopeless


def test_a_process_whose_pod_somebody_has_changed_stays_what_it_was() -> None:
    table = _table()
    table.accept(RUNNING)
    table.disown(_pod(3, generation="9"))
    assert [status.generation for status in table.statuses()] == [RUNNING.generation]


def test_forgetting_a_cluster_discards_it_for_good() -> None:
    table = _table()
    table.accept(ENDED)
    table.forget("c1")
    table.accept(_pod(4, "exit-3"))  # still on its way
    assert table.statuses() == []
    assert not table.ended


# --- events ---


def _event(reason: str, message: str = "", uid: str = "u1", component: str = "kubelet") -> Event:
    about = {"name": "p1", "namespace": PENDING.namespace, "uid": uid}
    said = {"reason": reason, "message": message, "source": {"component": component}}
    return decode_event(json.dumps({"involvedObject": about, **said}))


FULL = 'Usage of EmptyDir volume "data" exceeds the limit "8Mi". '


def test_a_real_pod_over_the_limit_of_its_volume_says_only_by_its_event_why_it_ended() -> None:
    """It had handed its data over and ended by itself before its node could kill it; headrace had stopped it, too."""
    pod, said = recorded("over-volume"), recorded("over-volume-event")
    ended = decoded(pod)
    assert (ended.stopped, ended.status.phase, ended.status.reason) == (True, "Succeeded", "")
    pod["metadata"]["resourceVersion"] = said["metadata"]["resourceVersion"]
    del pod["metadata"]["annotations"]["headrace.dev/stopped"]
    pod["status"] = recorded("runs")["status"]
    table = _table()
    table.accept(decoded(pod))
    table.note(decode_event(json.dumps(said)))
    table.accept(ended)
    [status] = table.statuses()
    assert (status.state, status.exit_cause, status.exit_code) == (ProcessState.EXITED, ExitCause.EVICTED, 0)
    assert status.message.startswith('Usage of EmptyDir volume "headrace-scratch" exceeds the limit "16Mi": write less')


def test_a_pod_stays_evicted_whatever_comes_after_the_event_that_said_so() -> None:
    table = _table()
    table.accept(RUNNING)
    table.note(_event("Evicted", FULL))
    table.note(_event("Evicted", "said again, of something else"))
    table.note(_event("Failed", "an image"))
    [leaving] = table.statuses()
    assert (leaving.state, leaving.leaving) == (ProcessState.RUNNING, ExitCause.EVICTED)
    table.accept(_pod(3, stopped="true"))
    table.accept(_pod(4, "exit-3", stopped="true"))
    [ended] = table.statuses()
    assert (ended.state, ended.exit_cause, ended.exit_code) == (ProcessState.EXITED, ExitCause.EVICTED, 3)
    assert ended.message == leaving.message
    table.delete(_pod(5, "exit-3", stopped="true"))
    assert not table.statuses()


def test_a_pod_that_is_gone_before_it_has_ended_was_evicted() -> None:
    table = _table()
    table.accept(RUNNING)
    table.note(_event("Evicted", FULL))
    table.delete(_pod(4, stopped="true"))
    [gone] = table.statuses()
    assert (gone.state, gone.exit_cause) == (ProcessState.EXITED, ExitCause.EVICTED)


def test_an_event_of_others_than_the_node_evicts_nothing() -> None:
    table = _table()
    table.accept(RUNNING)
    table.note(_event("Evicted", "it would be", component="descheduler"))
    assert table.statuses()[0].leaving is None


def test_an_eviction_says_nothing_of_a_pod_that_has_ended_or_of_another_one_of_its_name() -> None:
    table = _table()
    table.accept(ENDED)
    table.note(_event("Evicted", FULL))
    assert table.statuses()[0].exit_cause is ExitCause.EXITED
    other = _table()
    other.accept(RUNNING)
    other.note(_event("Evicted", FULL, uid="u0"))
    assert other.statuses()[0].leaving is None


@pytest.mark.parametrize("early", [True, False], ids=["before its pod", "after its pod"])
def test_an_event_says_why_a_pod_waits(*, early: bool) -> None:
    table = _table()
    steps = [lambda: table.accept(PENDING), lambda: table.note(_event("TriggeredScaleUp", "adds one"))]
    for step in reversed(steps) if early else steps:
        step()
    [status] = table.statuses()
    assert (status.wait, status.message) == (WaitReason.NODE_COMING, "adds one")


def test_what_an_autoscaler_says_last_counts() -> None:
    table = _table()
    table.accept(PENDING)
    table.note(_event("TriggeredScaleUp", "adds one", component="cluster-autoscaler"))
    table.note(_event("FailedScaleUp", "GCE quota exceeded", component="cluster-autoscaler"))
    [status] = table.statuses()
    assert (status.wait, status.message) == (WaitReason.NO_NODE_COMING, "GCE quota exceeded")


@pytest.mark.parametrize("written", ["source", "reportingComponent"])
@pytest.mark.parametrize("component", ["karpenter", "default-scheduler"])
def test_karpenter_is_told_from_the_scheduler_of_kubernetes(component: str, written: str) -> None:
    table = _table()
    table.accept(PENDING)
    about = {"name": "p1", "namespace": PENDING.namespace, "uid": "u1"}
    by = {"source": {"component": component}} if written == "source" else {"source": {}, written: component}
    said = {"involvedObject": about, "reason": "FailedScheduling", "message": "no instance type fits", **by}
    table.note(decode_event(json.dumps(said)))
    [status] = table.statuses()
    assert (status.wait is WaitReason.NO_NODE_COMING) is (component == "karpenter")


def test_an_event_of_another_pod_of_the_same_name_says_nothing() -> None:
    table = _table()
    table.accept(PENDING)
    table.note(_event("TriggeredScaleUp", uid="u0"))
    table.note(_event("Scheduled"))
    [status] = table.statuses()
    assert status.wait is WaitReason.UNSCHEDULABLE


def test_events_of_unknown_pods_are_bounded() -> None:
    table = _table()
    for n in range(5000):
        table.note(_event("Pulling", uid=f"u{n}"))
    assert len(table._early_notes) <= 1000  # pyright: ignore[reportPrivateUsage]


async def test_whoever_waits_for_an_exit_is_woken_by_a_deletion_too() -> None:
    table = _table()
    table.accept(RUNNING)
    waiting = asyncio.ensure_future(table.exited(KEY))
    await asyncio.sleep(0)
    assert not waiting.done()
    table.delete(RUNNING)
    await waiting
    await table.exited(ProcessKey("c1", "unknown"))


async def test_whoever_waits_for_an_exit_is_woken_when_the_cluster_is_forgotten_before_its_deletion_is_seen() -> None:
    table = _table()
    table.accept(RUNNING)
    waiting = asyncio.ensure_future(table.exited(KEY))
    await asyncio.sleep(0)
    table.forget("c1")
    table.delete(RUNNING)
    await asyncio.wait([waiting], timeout=5)
    assert waiting.done()
