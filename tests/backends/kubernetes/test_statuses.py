"""What pods say of their processes. Pods are as a real API server sent them."""

from __future__ import annotations

import pytest
from tests.backends.kubernetes.pods import changed, decoded, recorded

from headrace.v1.enums import ExitCause, WaitReason
from headrace_backend_kubernetes.endings import is_permanent_pull_error
from headrace_backend_kubernetes.objects import Pod
from headrace_backend_kubernetes.statuses import deleted, status_of
from headrace_backend_kubernetes.waiting import Note
from headrace_controller.backends.process import ProcessKey, ProcessState, ProcessStatus, Role

KEY = ProcessKey("c1", "w1")
DELETED_AT = "2026-11-26T15:10:30Z"


def _status(pod: Pod, note: Note | None = None) -> ProcessStatus:
    return status_of(KEY, pod, note)


@pytest.mark.parametrize(
    ("name", "cause", "code", "message"),
    [
        ("exit-3", ExitCause.EXITED, 3, ""),
        ("oom", ExitCause.OUT_OF_MEMORY, 137, ""),
        ("no-headrace", ExitCause.START_FAILED, 1, "plain-dask:test has no headrace: build one with `pip install"),
        ("no-python", ExitCause.START_FAILED, 128, "image localhost/envoy:test has no Python in its PATH: "),
        ("no-command", ExitCause.START_FAILED, 128, 'exec: "no-such-command": executable file not found in $PATH'),
        ("init-fails", ExitCause.START_FAILED, 4, "init container prepare ended with exit code 4: cannot prepare"),
        ("never-pulled", ExitCause.IMAGE_UNAVAILABLE, None, '"localhost/no-such:1" is not present with pull policy'),
        ("invalid-image", ExitCause.IMAGE_UNAVAILABLE, None, 'couldn\'t parse image name "Not A Name"'),
        ("no-configmap", ExitCause.START_FAILED, None, 'container dask: configmap "none" not found'),
        ("root", ExitCause.START_FAILED, None, "runAsUser breaks non-root policy"),
    ],
)
def test_what_cannot_run_has_exited_and_says_why(name: str, cause: ExitCause, code: int | None, message: str) -> None:
    status = _status(decoded(recorded(name)))
    assert (status.state, status.exit_cause, status.exit_code) == (ProcessState.EXITED, cause, code)
    assert message in status.message
    assert "\n" not in status.message


def test_a_running_pod_says_where_and_since_when() -> None:
    status = _status(decoded(recorded("runs")))
    assert (status.state, status.role, status.generation, status.host) == (
        ProcessState.RUNNING,
        Role.WORKER,
        1,
        "node-1",
    )
    assert status.started > 1_700_000_000
    assert status.leaving is None


def test_a_container_that_a_webhook_has_put_before_dask_is_not_taken_for_it() -> None:
    """Service meshes put their sidecars first, so that they start before."""
    pod = recorded("exit-3")
    pod["spec"]["containers"].insert(0, {"name": "linkerd-proxy", "image": "proxy:1"})
    runs = {"name": "linkerd-proxy", "state": {"running": {"startedAt": DELETED_AT}}}
    pod["status"] |= {"phase": "Running", "containerStatuses": [runs, *pod["status"]["containerStatuses"]]}
    seen = decoded(pod)
    assert (_status(seen).state, _status(seen).exit_code) == (ProcessState.EXITED, 3)
    assert (seen.image, [each.name for each in seen.spec.containers]) == ("localhost/headrace-dask:test", ["dask"])


# --- waiting ---


def test_a_pod_without_room_says_what_the_scheduler_of_kubernetes_says() -> None:
    status = _status(decoded(recorded("unschedulable")))
    assert (status.state, status.wait) == (ProcessState.PENDING, WaitReason.UNSCHEDULABLE)
    assert status.message.startswith("0/4 nodes are available: 1 Insufficient cpu")


@pytest.mark.parametrize("reason", ["TriggeredScaleUp", "Nominated"])
def test_an_autoscaler_that_adds_a_node_is_named(reason: str) -> None:
    note = Note(reason=reason, message="pod triggered scale-up: [{pool-1 3->4 (max: 10)}]")
    status = _status(decoded(recorded("unschedulable")), note)
    assert (status.wait, status.message) == (
        WaitReason.NODE_COMING,
        "pod triggered scale-up: [{pool-1 3->4 (max: 10)}]",
    )


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("NotTriggerScaleUp", "pod didn't trigger scale-up: 2 max node group size reached"),
        ("FailedScaleUp", "Node scale up in zones z associated with this pod failed: GCE quota exceeded."),
        ("FailedScheduling", 'Failed to schedule pod, incompatible with nodepool "gpu"'),
    ],
)
def test_an_autoscaler_that_adds_no_node_says_why(reason: str, said: str) -> None:
    note = Note(reason=reason, message=said)
    status = _status(decoded(recorded("unschedulable")), note)
    assert (status.wait, status.message) == (WaitReason.NO_NODE_COMING, said)
    placed = _status(changed("runs", status={"phase": "Pending", "containerStatuses": []}), note)
    assert (placed.wait, placed.message) == (WaitReason.STARTING, "")


def test_an_autoscaler_that_has_no_words_leaves_those_of_the_scheduler_of_kubernetes() -> None:
    status = _status(decoded(recorded("unschedulable")), Note(reason="NotTriggerScaleUp", message=""))
    assert status.wait is WaitReason.NO_NODE_COMING
    assert status.message.startswith("0/4 nodes are available: 1 Insufficient cpu")


def test_an_image_that_is_pulled_is_named_with_its_time() -> None:
    starting = changed("runs", status={"phase": "Pending", "containerStatuses": []})
    status = _status(starting, Note(reason="Pulling", message='Pulling image "x"', since=1_795_705_461))
    assert status.wait is WaitReason.IMAGE_PULL
    assert status.message == "image localhost/headrace-dask:test, since 15:04:21 UTC"
    pulled = _status(starting, Note(reason="Pulled", message="Successfully pulled image"))
    assert (pulled.wait, pulled.message) == (WaitReason.STARTING, "")


@pytest.mark.parametrize(
    ("reason", "message", "shown"),
    [
        ("Failed", "Error: ErrImagePull", "image localhost/headrace-dask:test"),
        ("Failed", 'Failed to pull image "x": connection refused', 'Failed to pull image "x": connection refused'),
        ("BackOff", 'Back-off pulling image "x"', 'Back-off pulling image "x"'),
    ],
)
def test_whatever_event_tells_of_an_image_it_is_waited_for(reason: str, message: str, shown: str) -> None:
    starting = changed("runs", status={"phase": "Pending", "containerStatuses": []})
    status = _status(starting, Note(reason=reason, message=message))
    assert (status.wait, status.message) == (WaitReason.IMAGE_PULL, shown)


def test_a_registry_that_is_away_is_waited_for() -> None:
    status = _status(decoded(recorded("registry-away")))
    assert (status.state, status.wait) == (ProcessState.PENDING, WaitReason.IMAGE_PULL)
    assert "connection refused" in status.message


@pytest.mark.parametrize(
    ("message", "permanent"),
    [
        ('failed to resolve reference "docker.io/library/nothing:1": docker.io/library/nothing:1: not found', True),
        ("pull access denied, repository does not exist or may require authorization: insufficient_scope", True),
        ("unexpected status from HEAD request to https://r/v2/x/manifests/1: 401 Unauthorized", True),
        ("unexpected status from HEAD request to https://r/v2/x/manifests/1: 403 Forbidden", True),
        ("no match for platform in manifest: not found", True),
        ("unexpected status from HEAD request to https://r/v2/x/manifests/1: 503 Service Unavailable", False),
        ("toomanyrequests: You have reached your pull rate limit. 429 Too Many Requests", False),
        ("dial tcp: lookup registry.example.org: no such host", False),
        ("dial tcp 10.0.0.1:443: i/o timeout", False),
        ("net/http: TLS handshake timeout", False),
        ("something that nobody has seen before", False),
    ],
)
def test_an_image_that_does_not_exist_is_told_from_a_registry_that_is_away(message: str, permanent: bool) -> None:
    assert is_permanent_pull_error(message) is permanent
    for reason in ("ErrImagePull", "ImagePullBackOff"):
        waiting = [{"name": "dask", "state": {"waiting": {"reason": reason, "message": message}}}]
        status = _status(changed("registry-away", status={"containerStatuses": waiting}))
        assert (status.state is ProcessState.EXITED) is permanent
        assert status.exit_cause is (ExitCause.IMAGE_UNAVAILABLE if permanent else None)
        assert status.message == message


@pytest.mark.parametrize(
    ("restarts", "initialized", "fails"), [(1, "False", False), (2, "False", True), (9, "True", False)]
)
def test_a_sidecar_that_keeps_dask_from_starting_says_so(restarts: int, initialized: str, fails: bool) -> None:
    sidecar = {
        "name": "vault",
        "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s restarting failed container"}},
        "lastState": {"terminated": {"exitCode": 3, "reason": "Error", "message": "no such role\n"}},
        "restartCount": restarts,
    }
    waiting = [{"name": "dask", "state": {"waiting": {"reason": "PodInitializing"}}}]
    pod = changed(
        "runs",
        status={"phase": "Pending", "containerStatuses": waiting, "initContainerStatuses": [sidecar]},
        condition={"type": "Initialized", "status": initialized},
    )
    status = _status(pod)
    assert (status.state is ProcessState.EXITED) is fails
    if fails:
        said = "sidecar vault ends again and again, the last time with exit code 3: no such role"
        assert (status.exit_cause, status.message) == (ExitCause.START_FAILED, said)


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        ("CreateContainerConfigError", "failed to sync configmap cache: timed out waiting for the condition"),
        ("CreateContainerConfigError", "failed to sync secret cache: timed out waiting for the condition"),
        ("CreateContainerConfigError", 'object "ns"/"settings" not registered'),
        ("CreateContainerError", "context deadline exceeded"),
        ("CreateContainerError", 'failed to reserve container name "dask_w1": name "dask_w1" is reserved for "4f0c"'),
        ("RunContainerError", "rpc error: code = DeadlineExceeded desc = context deadline exceeded"),
        ("CreateContainerError", "rpc error: code = Unavailable desc = connection error: connect: connection refused"),
    ],
)
def test_a_kubelet_or_a_runtime_that_is_late_is_waited_for(reason: str, message: str) -> None:
    """A kubelet tries these again by itself, and a busy node or one whose runtime restarts says them."""
    waiting = [{"name": "dask", "state": {"waiting": {"reason": reason, "message": message}}}]
    status = _status(changed("no-configmap", status={"containerStatuses": waiting}))
    assert (status.state, status.wait) == (ProcessState.PENDING, WaitReason.STARTING)


# --- ended by others ---


@pytest.mark.parametrize(
    ("reason", "cause"),
    [
        ("PreemptionByScheduler", ExitCause.PREEMPTED),
        ("EvictionByEvictionAPI", ExitCause.EVICTED),
        ("TerminationByKubelet", ExitCause.EVICTED),
        ("DeletionByTaintManager", ExitCause.NODE_LOST),
        ("DeletionByPodGC", ExitCause.NODE_LOST),
        ("SomethingNew", ExitCause.EVICTED),
    ],
)
def test_a_pod_that_others_end_is_leaving_and_then_gone(reason: str, cause: ExitCause) -> None:
    disruption = {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": "said so"}
    pod = changed("runs", condition=disruption, deletionTimestamp=DELETED_AT)
    status = _status(pod)
    assert (status.state, status.leaving, status.message) == (ProcessState.RUNNING, cause, "said so")
    gone = deleted(status, pod)
    assert (gone.state, gone.exit_cause, gone.message) == (ProcessState.EXITED, cause, "said so")


def test_a_real_eviction_is_announced() -> None:
    status = _status(decoded(recorded("evicting")))
    assert (status.state, status.leaving) == (ProcessState.RUNNING, ExitCause.EVICTED)


@pytest.mark.parametrize("reason", ["Evicted", "Preempting", "NodeShutdown"])
def test_a_pod_that_its_node_ends_says_why(reason: str) -> None:
    status = _status(changed("exit-3", status={"phase": "Failed", "reason": reason, "message": "Said so. "}))
    assert status.exit_cause is (ExitCause.PREEMPTED if reason == "Preempting" else ExitCause.EVICTED)
    assert (status.exit_code, status.message) == (3, "Said so.")


STOPPED = {"headrace.dev/stopped": "true"}
DEADLINE = {"phase": "Failed", "reason": "DeadlineExceeded", "message": "Pod was active on the node longer than"}
"""What a kubelet writes over everything else once headrace has stopped a pod."""


@pytest.mark.parametrize("stopped", [False, True])
def test_a_pod_whose_node_has_no_memory_left_says_what_to_do_even_if_it_was_stopped_meanwhile(stopped: bool) -> None:
    said = "The node was low on resource: memory. Container dask was using 3Gi. "
    disruption = {"type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet", "message": said}
    status = DEADLINE if stopped else {"phase": "Failed", "reason": "Evicted", "message": said}
    seen = _status(changed("exit-3", status=status, condition=disruption, annotations=STOPPED if stopped else {}))
    assert seen.exit_cause is ExitCause.EVICTED
    assert seen.message.startswith(f"{said.rstrip('. ')}: raise worker_memory")


FULL = 'Usage of EmptyDir volume "headrace-scratch" exceeds the limit "16Mi". '


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        (FULL, "write less to /tmp and spill less, or ask an administrator to raise scratch_size of the profile"),
        (
            'Usage of EmptyDir volume "data" exceeds the limit "8Mi". ',
            "write less to it, or ask an administrator to raise its sizeLimit in the profile",
        ),
        (
            'Container dask exceeded its local ephemeral storage limit "1Gi". ',
            "write less to disk, or ask an administrator to raise the limit in the profile",
        ),
        (
            "Pod ephemeral local storage usage exceeds the total limit of containers 1Gi. ",
            "write less to disk, or ask an administrator to raise the limit in the profile",
        ),
        (
            "The node was low on resource: ephemeral-storage. Threshold quantity: 1Gi, available: 9Mi. ",
            "write less to disk, or raise worker_memory so that less is spilled",
        ),
    ],
)
def test_a_pod_that_has_written_too_much_says_where_and_what_to_do(said: str, advice: str) -> None:
    status = _status(changed("exit-3", status={"phase": "Failed", "reason": "Evicted", "message": said}))
    assert (status.exit_cause, status.message) == (ExitCause.EVICTED, f"{said.rstrip('. ')}: {advice}")


def test_an_eviction_is_known_from_its_event_on_whoever_else_ends_the_pod_meanwhile() -> None:
    note = Note(reason="Evicted", message=FULL)
    running = _status(decoded(recorded("runs")), note)
    assert (running.state, running.leaving) == (ProcessState.RUNNING, ExitCause.EVICTED)
    assert running.message.startswith(f"{FULL.rstrip('. ')}: write less to /tmp")
    stopped = _status(changed("runs", annotations=STOPPED), note)
    assert (stopped.state, stopped.leaving) == (ProcessState.RUNNING, ExitCause.EVICTED)
    ended = _status(changed("exit-3", annotations=STOPPED, status=DEADLINE), note)
    assert (ended.state, ended.exit_cause, ended.message) == (ProcessState.EXITED, ExitCause.EVICTED, running.message)
    pod = changed("runs", annotations=STOPPED, deletionTimestamp=DELETED_AT)
    assert deleted(stopped, pod, note).exit_cause is ExitCause.EVICTED


@pytest.mark.parametrize(
    ("reason", "cause"),
    [("EvictionByEvictionAPI", ExitCause.EVICTED), ("PreemptionByScheduler", ExitCause.PREEMPTED)],
)
def test_a_pod_that_others_end_says_so_even_if_headrace_had_stopped_it_before_it_heard_of_that(
    reason: str, cause: ExitCause
) -> None:
    disruption = {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": "Said so."}
    running = changed("runs", annotations=STOPPED, condition=disruption, deletionTimestamp=DELETED_AT)
    assert (_status(running).state, _status(running).leaving) == (ProcessState.RUNNING, cause)
    assert deleted(_status(running), running).exit_cause is cause
    ended = _status(changed("exit-3", annotations=STOPPED, condition=disruption, status=DEADLINE))
    assert (ended.state, ended.exit_cause, ended.message) == (ProcessState.EXITED, cause, "Said so.")


def test_a_pod_of_a_lost_node_counts_as_exited_before_it_is_gone() -> None:
    disruption = {"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager", "message": "taint"}
    not_ready = {"type": "Ready", "status": "False"}
    pod = recorded("runs")
    pod["status"]["conditions"] = [disruption, not_ready]
    pod["metadata"]["deletionTimestamp"] = DELETED_AT
    status = _status(decoded(pod))
    assert (status.state, status.exit_cause) == (ProcessState.EXITED, ExitCause.NODE_LOST)


def test_a_pod_that_somebody_deletes_says_so() -> None:
    pod = changed("runs", deletionTimestamp=DELETED_AT)
    status = _status(pod)
    assert (status.state, status.leaving) == (ProcessState.RUNNING, ExitCause.DELETED)
    assert deleted(status, pod).exit_cause is ExitCause.DELETED


@pytest.mark.parametrize("clock", ["2000-01-01T00:00:00Z", "2100-01-01T00:00:00Z"])
@pytest.mark.parametrize(("grace", "cause"), [(30, ExitCause.DELETED), (1, ExitCause.DELETED), (0, ExitCause.EXITED)])
def test_a_pod_that_had_not_ended_when_it_was_to_be_deleted_was_deleted_whatever_clocks_say(
    clock: str, grace: int, cause: ExitCause
) -> None:
    """Kubernetes gives one that has ended no grace."""
    status = _status(changed("exit-3", deletionTimestamp=clock, deletionGracePeriodSeconds=grace))
    assert (status.state, status.exit_cause, status.exit_code) == (ProcessState.EXITED, cause, 3)


def test_who_deletes_a_pod_that_headrace_stops_is_known_since_headrace_deletes_only_what_has_not_begun() -> None:
    def seen(name: str, **deadline: int) -> ProcessStatus:
        pod = recorded(name)
        pod["spec"] |= deadline
        pod["metadata"]["annotations"] |= STOPPED
        pod["metadata"] |= {"deletionTimestamp": DELETED_AT, "deletionGracePeriodSeconds": 5}
        return _status(decoded(pod))

    assert seen("runs", activeDeadlineSeconds=1).leaving is ExitCause.DELETED
    assert seen("exit-3", activeDeadlineSeconds=1).exit_cause is ExitCause.DELETED
    assert seen("runs").leaving is None
    assert seen("exit-3").exit_cause is ExitCause.STOPPED


# --- ended by headrace ---


@pytest.mark.parametrize("phase", ["Running", "Failed"])
def test_what_headrace_stops_was_stopped_however_it_ends(phase: str) -> None:
    stopped = {"headrace.dev/stopped": "true"}
    status = _status(changed("exit-3", annotations=stopped, status={"phase": phase, "reason": "DeadlineExceeded"}))
    assert (status.state, status.exit_cause, status.exit_code) == (ProcessState.EXITED, ExitCause.STOPPED, 3)
    running = changed("runs", annotations=stopped, deletionTimestamp=DELETED_AT)
    assert _status(running).leaving is None
    assert deleted(_status(running), running).exit_cause is ExitCause.STOPPED


def test_an_exit_stays_what_it_was_when_its_pod_is_deleted() -> None:
    for name in ("exit-3", "never-pulled"):
        pod = decoded(recorded(name))
        assert deleted(_status(pod), pod) == _status(pod)


# --- hostile ---


def test_a_huge_message_is_one_line_of_bounded_length() -> None:
    message = "no such thing: not found\n" * 10_000
    waiting = [{"name": "dask", "state": {"waiting": {"reason": "ErrImagePull", "message": message}}}]
    status = _status(changed("registry-away", status={"containerStatuses": waiting}))
    assert len(status.message) == 1000
    assert "\n" not in status.message


@pytest.mark.parametrize("generation", ["", "x", "-1", "9" * 400, "٣"])
def test_a_generation_that_is_no_number_is_none(generation: str) -> None:
    assert _status(changed("runs", annotations={"headrace.dev/generation": generation})).generation == 0
