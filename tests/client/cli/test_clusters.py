from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time

import pytest
from tests.client.fake_cluster import FakeCluster
from tests.client.fake_headrace import FakeHeadrace

from headrace import errors
from headrace.v1 import cluster_pb2
from headrace.v1 import cluster_service_pb2 as pb
from headrace.v1.right_pb2 import RIGHT_CLUSTER_CONNECT, RIGHT_CLUSTER_SCALE

from .conftest import Cli


def test_list_shows_a_table(cli: Cli, cluster: FakeCluster):
    done = cli("clusters", "list")
    assert done.code == 0, done.err
    row = next(line.split() for line in done.out.splitlines() if cluster.id in line)
    assert row[1:4] == ["mine", "running", "3/4"]


def test_list_in_json_has_the_names_of_the_contract(cli: Cli, cluster: FakeCluster):
    [found] = json.loads(cli("clusters", "list", "--json").out)
    assert found["name"] == cluster.record.name
    assert found["status"]["phase"] == "PHASE_RUNNING"


def test_list_asks_for_owner_profile_tags_and_all_phases(cli: Cli, headrace: FakeHeadrace):
    cli("clusters", "list", "--owner", "-", "--all", "--profile", "gpu", "--tag", "team=x")
    [asked] = headrace.requests_of(pb.ListClustersRequest)
    assert (asked.filter.owner, asked.filter.profile, asked.filter.tags) == ("users/-", "gpu", {"team": "x"})
    assert cluster_pb2.PHASE_FAILED in asked.filter.phases
    assert asked.view == pb.CLUSTER_VIEW_BASIC


def test_list_of_somebody_else_names_the_owner(cli: Cli, cluster: FakeCluster):
    assert "ann" in cli("clusters", "list", "--owner", "ann").out


def test_nothing_to_list_says_what_to_do(cli: Cli, headrace: FakeHeadrace):
    assert cli("clusters", "list").out == "No clusters. Make one with `headrace clusters create`.\n"


def test_profiles_are_listed(cli: Cli, headrace: FakeHeadrace):
    assert "Workers with a GPU." in cli("clusters", "profiles").out
    assert json.loads(cli("clusters", "profiles", "--json").out)[0]["key"] == "standard"


def test_show_tells_everything(cli: Cli, cluster: FakeCluster):
    cluster.record.shares.add(member="users/bob", rights=[RIGHT_CLUSTER_CONNECT, RIGHT_CLUSTER_SCALE])
    cluster.record.spec.options["worker_cores"].int_value = 4
    cluster.record.spec.options["worker_memory"].int_value = 2**31
    cluster.record.spec.lifetime.seconds = 5400
    out = cli("clusters", "show", "mine").out
    for line in (
        f"cluster    {cluster.id}",
        "phase      running",
        "workers    3/4",
        "option     worker_cores = 4",
        "option     worker_memory = 2 GiB",
        "lifetime   1 h 30 min",
        "tag        team = x",
        "share      users/bob may connect, scale",
        "condition  Reachable is unknown: The scheduler's agent has not connected yet.",
    ):
        assert line in out
    assert json.loads(cli("clusters", "show", "mine", "--json").out)["name"] == cluster.record.name


def test_a_terminal_obeys_nothing_that_users_have_written(cli: Cli, cluster: FakeCluster):
    evil = "\x1b]0;evil\x07"
    status = cluster.record.status
    status.message, status.log_tail = f"one{evil}", f"two{evil}\nthree"
    cluster.record.spec.tags["team"] = f"four{evil}"
    status.versions["python"] = f"five{evil}"
    cluster.add_event(cluster_pb2.EVENT_TYPE_WORKERS_LOST, f"six{evil}", cluster_pb2.SEVERITY_WARNING)
    outs = [cli("clusters", *command).out for command in (["list"], ["show", "mine"], ["events", "mine"])]
    for out, words in zip(outs, (["one"], ["one", "two", "\nthree\n", "four", "five"], ["six"]), strict=True):
        assert all(word in out for word in words)
        assert "\x1b" not in out


def test_what_a_newer_headrace_reports_is_shown(cli: Cli, cluster: FakeCluster):
    cluster.record.status.phase = 77  # pyright: ignore[reportAttributeAccessIssue]
    cluster.record.status.conditions[0].type = 78  # pyright: ignore[reportAttributeAccessIssue]
    out = cli("clusters", "show", cluster.id).out
    assert "unknown_77" in out
    assert "Unknown78 is unknown" in out


def test_create_waits_and_tells_what_happens_beside_its_answer(cli: Cli, headrace: FakeHeadrace):
    headrace.starts = True
    arguments = ("--name", "mine", "--option", "worker_cores=2", "--option", "environment={}", "--tag", "team=x")
    done = cli("clusters", "create", *arguments)
    [made] = headrace.clusters.values()
    assert done.out.strip() == made.id
    assert "the scheduler is being started" in done.err
    [asked] = headrace.requests_of(pb.CreateClusterRequest)
    assert (asked.spec.alias, asked.spec.tags) == ("mine", {"team": "x"})
    assert asked.spec.options["worker_cores"].int_value == 2
    assert asked.request_id


def test_create_takes_profile_lifetime_shares_and_owner(cli: Cli, headrace: FakeHeadrace):
    arguments = ("--profile", "gpu", "--lifetime", "8h", "--share", "groups/physics=connect,scale", "--owner", "bob")
    assert cli("clusters", "create", *arguments, "--no-wait").code == 0
    [asked] = headrace.requests_of(pb.CreateClusterRequest)
    assert (asked.spec.profile, asked.spec.lifetime.seconds, asked.owner) == ("gpu", 8 * 3600, "users/bob")
    [share] = asked.shares
    assert (share.member, list(share.rights)) == ("groups/physics", [RIGHT_CLUSTER_CONNECT, RIGHT_CLUSTER_SCALE])


def test_create_takes_a_time_to_wait_for_room(cli: Cli, headrace: FakeHeadrace):
    assert cli("clusters", "create", "--queue-timeout", "10min", "--no-wait").code == 0
    [asked] = headrace.requests_of(pb.CreateClusterRequest)
    assert asked.queue_timeout.seconds == 600
    refused = cli("clusters", "create", "--queue-timeout", "soon")
    assert refused.code == 1
    assert "--queue-timeout" in refused.err


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 128 + 15), (signal.SIGHUP, 128 + 1)]
)
def test_a_signal_to_create_while_it_waits_stops_the_cluster(headrace: FakeHeadrace, number: int, code: int):
    command = [sys.executable, "-m", "headrace.cli", "clusters", "create"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as waiting:
        try:
            assert waiting.stderr is not None
            assert waiting.stderr.readline(), "the first event of the cluster"
            waiting.send_signal(number)
            _, err = waiting.communicate(timeout=30)
        finally:
            waiting.kill()
    [made] = headrace.clusters.values()
    assert [asked.name for asked in headrace.requests_of(pb.StopClusterRequest)] == [made.record.name]
    assert waiting.returncode == code
    assert "Traceback" not in err


def test_a_signal_to_create_does_not_stop_a_cluster_that_it_only_found(headrace: FakeHeadrace, cli: Cli):
    cli("clusters", "create", "--name", "mine", "--no-wait")
    command = [sys.executable, "-m", "headrace.cli", "clusters", "create", "--name", "mine"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as waiting:
        try:
            assert waiting.stderr is not None
            assert waiting.stderr.readline(), "the first event of the cluster"
            waiting.terminate()
            waiting.communicate(timeout=30)
        finally:
            waiting.kill()
    assert waiting.returncode == 128 + 15
    assert not headrace.requests_of(pb.StopClusterRequest)


def test_create_with_a_taken_name_prints_that_cluster(cli: Cli, cluster: FakeCluster):
    assert cli("clusters", "create", "--name", "mine").out.strip() == cluster.id


def test_create_with_a_taken_name_and_other_options_names_them(cli: Cli, cluster: FakeCluster):
    done = cli("clusters", "create", "--name", "mine", "--option", "worker_cores=8")
    assert done.code == 1
    assert "worker_cores is 2, not 8" in done.err


def test_an_admin_says_whose_cluster_it_is_and_their_groups(cli: Cli, headrace: FakeHeadrace) -> None:
    assert cli("clusters", "create", "--owner", "bob", "--owner-group", "lab", "--no-wait").code == 0
    [request] = headrace.requests_of(pb.CreateClusterRequest)
    assert (request.owner, list(request.owner_groups.groups)) == ("users/bob", ["groups/lab"])


def test_create_with_a_maximum_adapts(cli: Cli, headrace: FakeHeadrace):
    cli("clusters", "create", "--workers", "1", "--maximum", "8", "--no-wait")
    adapt = headrace.requests_of(pb.CreateClusterRequest)[0].spec.worker_groups[0].adapt
    assert (adapt.minimum, adapt.maximum) == (1, 8)


def test_create_of_a_cluster_that_fails_shows_reason_and_log(cli: Cli, headrace: FakeHeadrace):
    headrace.start_failure = errors.ClusterFailed(
        "the start command does not exist", {"reason": "BACKEND_ERROR"}, log_tail="No such file"
    )
    done = cli("clusters", "create")
    assert done.code == 1
    assert "the start command does not exist" in done.err
    assert "No such file" in done.err


@pytest.mark.parametrize("name", ["c" + "a2" * 9 + "b", "clusters/c" + "a2" * 9 + "b", "mine", "~mine"])
def test_a_cluster_is_named_by_id_or_by_the_name_it_was_given(
    cli: Cli, headrace: FakeHeadrace, cluster: FakeCluster, name: str
):
    done = cli("clusters", "scale", name, "7")
    assert done.code == 0, done.err
    assert done.out == f"{cluster.id}: 7/7 workers\n"
    [asked] = headrace.requests_of(pb.ScaleClusterRequest)
    assert (asked.name, asked.size, asked.group) == (cluster.record.name, 7, "default")


def test_an_unknown_cluster_is_told_in_one_line(cli: Cli, headrace: FakeHeadrace):
    done = cli("clusters", "scale", "nobodys", "7")
    assert done.code == 1
    assert done.err == "headrace: there is no cluster ~nobodys that you may see\n"


def test_adapt_sets_bounds_and_off_ends_it(cli: Cli, headrace: FakeHeadrace, cluster: FakeCluster):
    assert "(0 to 8)" in cli("clusters", "adapt", "mine", "0", "8").out
    assert "(1 to no fixed maximum)" in cli("clusters", "adapt", "mine", "1").out
    assert "to" not in cli("clusters", "adapt", "mine", "--off").out
    first, second, third = headrace.requests_of(pb.AdaptClusterRequest)
    assert first.adapt.maximum == 8
    assert not second.adapt.HasField("maximum")
    assert not third.HasField("adapt")


def test_update_replaces_only_what_is_given(cli: Cli, headrace: FakeHeadrace, cluster: FakeCluster):
    assert cli("clusters", "update", "mine", "--lifetime", "2h", "--share", "users/bob=view").code == 0
    [asked] = headrace.requests_of(pb.UpdateClusterRequest)
    assert list(asked.update_mask.paths) == ["spec.lifetime", "shares"]
    assert cluster.record.spec.tags == {"team": "x"}
    assert cluster.record.spec.lifetime.seconds == 7200


@pytest.mark.parametrize(
    "arguments",
    [
        ("adapt", "mine"),
        ("adapt", "mine", "5", "2"),
        ("adapt", "mine", "5", "--off"),
        ("scale", "mine", "-1"),
        ("scale", "mine", "many"),
        ("create", "--option", "nonsense"),
        ("create", "--tag", "=x"),
        ("create", "--share", "users/bob=everything"),
        ("update", "mine"),
        ("stop",),
        ("stop", "mine", "--all"),
        ("delete",),
        ("nonsense",),
    ],
)
def test_wrong_usage_ends_with_2_before_anything_is_asked(cli: Cli, headrace: FakeHeadrace, arguments: tuple[str, ...]):
    assert cli("clusters", *arguments).code == 2
    assert headrace.requests == []


def test_stop_waits_for_the_end(cli: Cli, cluster: FakeCluster):
    done = cli("clusters", "stop", "mine")
    assert done.code == 0, done.err
    assert "stopped" in done.out


def test_stop_names_those_that_could_not_be_stopped_and_stops_the_others(cli: Cli, cluster: FakeCluster):
    gone = "c" + "b" * 19
    done = cli("clusters", "stop", gone, cluster.id)
    assert done.code == 1
    assert f"1 of 2 clusters could not be stopped: {gone}: there is no cluster" in done.err
    assert cluster.record.spec.stop


def test_stop_all_stops_those_of_an_owner(cli: Cli, headrace: FakeHeadrace, cluster: FakeCluster):
    assert json.loads(cli("clusters", "stop", "--all", "--owner", "ann", "--json").out)[0]["owner"] == "users/ann"
    assert headrace.requests_of(pb.BatchStopClustersRequest)[0].filter.owner == "users/ann"
    assert cli("clusters", "stop", "--all").out == "No clusters to stop.\n"


def test_delete_removes_what_has_ended(cli: Cli, headrace: FakeHeadrace, cluster: FakeCluster):
    assert "has not ended: stop it first" in cli("clusters", "delete", cluster.id).err
    cli("clusters", "stop", "mine")
    assert cli("clusters", "delete", cluster.id).code == 0
    assert headrace.clusters == {}


def test_workers_are_listed_with_what_they_may_use(cli: Cli, cluster: FakeCluster):
    row = next(line.split() for line in cli("clusters", "workers", "mine").out.splitlines() if "default-0" in line)
    assert row[1:7] == ["default", "running", "2", "2", "GiB", "node-1"]


def test_logs_name_the_process_of_each_line(cli: Cli, headrace: FakeHeadrace, cluster: FakeCluster):
    assert cli("clusters", "logs", "mine").out.splitlines()[:2] == [
        "scheduler  scheduler line 0",
        "scheduler  scheduler line 1",
    ]
    assert cli("clusters", "logs", "mine", "--process", "scheduler", "-n", "1").out == "scheduler line 2\n"
    asked = headrace.requests_of(pb.ReadLogsRequest)[-1]
    assert (asked.process, asked.tail_lines) == ("scheduler", 1)


def test_logs_in_json_are_one_document_a_line(cli: Cli, cluster: FakeCluster):
    lines = cli("clusters", "logs", "mine", "--process", "scheduler", "--json").out.splitlines()
    assert [json.loads(line)["process"] for line in lines] == ["scheduler"] * 3


def test_logs_are_followed_through_a_drain(cli: Cli, headrace: FakeHeadrace, cluster: FakeCluster):
    headrace.break_off("ReadLogs", 2)
    out = cli("clusters", "logs", "mine", "--process", "scheduler", "--follow").out
    assert out.splitlines() == ["scheduler line 0", "scheduler line 1", "scheduler line 2", "later"]


def test_events_have_types_of_the_contract_and_mark_warnings(cli: Cli, headrace: FakeHeadrace, cluster: FakeCluster):
    cluster.add_event(cluster_pb2.EVENT_TYPE_WORKERS_LOST, "a worker died", cluster_pb2.SEVERITY_WARNING)
    out = cli("clusters", "events", "mine").out
    assert "SchedulerStarting" in out
    assert "WorkersLost           warning: a worker died" in out


def test_events_are_followed_to_the_end_of_the_cluster(cli: Cli, headrace: FakeHeadrace, cluster: FakeCluster):
    def stop() -> None:
        while len(headrace.requests_of(pb.WatchClustersRequest)) < 2:
            time.sleep(0.01)
        headrace.set_phase(cluster, cluster_pb2.PHASE_STOPPED)

    headrace.break_off("WatchClusters", 1)
    stopper = threading.Thread(target=stop, daemon=True)
    stopper.start()
    out = cli("clusters", "events", "mine", "--follow").out
    stopper.join()
    assert out.count("the scheduler runs") == 1


def test_open_prints_a_link_below_the_public_address(cli: Cli, headrace: FakeHeadrace, cluster: FakeCluster):
    done = cli("clusters", "open", "mine", "--print", "--page", "workers")
    assert done.out.strip() == f"{headrace.address}/clusters/{cluster.id}/workers?link=signed"
