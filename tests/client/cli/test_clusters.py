from __future__ import annotations

import json

import pytest

from headrace.v1 import cluster_pb2
from headrace.v1 import cluster_service_pb2 as clusters

from .conftest import CLUSTER, Cli, FakeGateway


def test_list_shows_a_table(cli: Cli, gateway: FakeGateway):
    done = cli("clusters", "list")
    assert done.code == 0, done.err
    row = next(line.split() for line in done.out.splitlines() if CLUSTER in line)
    assert row[1:4] == ["mine", "running", "3/4"]


def test_list_in_json_has_the_names_of_the_contract(cli: Cli, gateway: FakeGateway):
    found = json.loads(cli("clusters", "list", "--json").out)
    assert found[0]["name"] == f"clusters/{CLUSTER}"
    assert found[0]["status"]["phase"] == "PHASE_RUNNING"


def test_list_of_somebody_else_names_the_owner(cli: Cli, gateway: FakeGateway):
    assert "ann" in cli("clusters", "list", "--owner", "-", "--all").out
    asked = gateway.last()
    assert isinstance(asked, clusters.ListClustersRequest)
    assert asked.owner == "users/-"
    assert cluster_pb2.PHASE_FAILED in asked.phases


def test_create_waits_and_tells_what_happens_beside_its_answer(cli: Cli, gateway: FakeGateway):
    done = cli("clusters", "create", "--alias", "mine", "--option", "worker_threads=2", "--tag", "team=x")
    assert done.out.strip() == CLUSTER
    assert "the scheduler runs" in done.err
    asked = gateway.asked[0]
    assert isinstance(asked, clusters.CreateClusterRequest)
    assert asked.spec.alias == "mine"
    assert asked.spec.options["worker_threads"] == 2
    assert asked.spec.tags == {"team": "x"}
    assert asked.request_id


def test_create_with_a_maximum_adapts(cli: Cli, gateway: FakeGateway):
    cli("clusters", "create", "--workers", "1", "--maximum", "8", "--no-wait")
    asked = gateway.last()
    assert isinstance(asked, clusters.CreateClusterRequest)
    adapt = asked.spec.worker_groups[0].adapt
    assert (adapt.minimum, adapt.maximum) == (1, 8)


def test_create_of_a_cluster_that_fails_shows_reason_and_log(cli: Cli, gateway: FakeGateway):
    gateway.cluster.status.phase = cluster_pb2.PHASE_FAILED
    gateway.cluster.status.message = "the start command does not exist"
    gateway.cluster.status.log_tail = "No such file"
    done = cli("clusters", "create")
    assert done.code == 1
    assert "the start command does not exist" in done.err
    assert "No such file" in done.err


@pytest.mark.parametrize("name", [CLUSTER, f"clusters/{CLUSTER}", "mine"])
def test_a_cluster_is_named_by_id_or_alias(cli: Cli, gateway: FakeGateway, name: str):
    done = cli("clusters", "scale", name, "7")
    assert done.code == 0, done.err
    asked = gateway.last()
    assert isinstance(asked, clusters.ScaleClusterRequest)
    assert (asked.name, asked.size, asked.group) == (f"clusters/{CLUSTER}", 7, "default")


def test_an_unknown_cluster_is_told_in_one_line(cli: Cli, gateway: FakeGateway):
    done = cli("clusters", "scale", "nobodys", "7")
    assert done.code == 1
    assert done.err == "headrace: there is no cluster nobodys\n"


def test_adapt_sets_bounds_and_off_ends_it(cli: Cli, gateway: FakeGateway):
    cli("clusters", "adapt", CLUSTER, "0", "8")
    asked = gateway.last()
    assert isinstance(asked, clusters.AdaptClusterRequest)
    assert asked.adapt.maximum == 8
    cli("clusters", "adapt", CLUSTER, "--off")
    asked = gateway.last()
    assert isinstance(asked, clusters.AdaptClusterRequest)
    assert not asked.HasField("adapt")


@pytest.mark.parametrize(
    "arguments",
    [
        ("adapt", CLUSTER),
        ("adapt", CLUSTER, "5", "2"),
        ("scale", CLUSTER, "-1"),
        ("scale", CLUSTER, "many"),
        ("create", "--option", "nonsense"),
        ("create", "--tag", "=x"),
        ("stop",),
        ("stop", CLUSTER, "--all"),
        ("nonsense",),
    ],
)
def test_wrong_usage_ends_with_2_before_anything_is_asked(cli: Cli, gateway: FakeGateway, arguments: tuple[str, ...]):
    assert cli("clusters", *arguments).code == 2
    assert gateway.asked == []


def test_stop_waits_for_the_end(cli: Cli, gateway: FakeGateway):
    done = cli("clusters", "stop", CLUSTER)
    assert done.code == 0, done.err
    assert "stopped" in done.out


def test_stop_all_stops_those_of_an_owner(cli: Cli, gateway: FakeGateway):
    assert json.loads(cli("clusters", "stop", "--all", "--owner", "bob", "--json").out)[0]["owner"] == "users/ann"
    asked = next(one for one in gateway.asked if isinstance(one, clusters.StopAllClustersRequest))
    assert asked.owner == "users/bob"


def test_logs_name_the_process_of_each_line(cli: Cli, gateway: FakeGateway):
    assert cli("clusters", "logs", CLUSTER).out == "scheduler  one\nscheduler  two\n"
    assert cli("clusters", "logs", CLUSTER, "--process", "scheduler", "-n", "5").out == "one\ntwo\n"
    asked = gateway.last()
    assert isinstance(asked, clusters.ReadLogsRequest)
    assert (asked.process, asked.tail_lines) == ("scheduler", 5)


def test_logs_in_json_are_one_document_a_line(cli: Cli, gateway: FakeGateway):
    assert [json.loads(line)["process"] for line in cli("clusters", "logs", CLUSTER, "--json").out.splitlines()] == [
        "scheduler"
    ]


def test_events_mark_what_is_worth_a_look(cli: Cli, gateway: FakeGateway):
    assert "warning: a worker died" in cli("clusters", "events", CLUSTER).out


def test_events_are_followed_to_the_end_of_the_cluster(cli: Cli, gateway: FakeGateway):
    gateway.cluster.status.phase = cluster_pb2.PHASE_STOPPED
    assert "the scheduler runs" in cli("clusters", "events", CLUSTER, "--follow").out


def test_open_prints_a_link_below_the_public_address(cli: Cli, gateway: FakeGateway):
    done = cli("clusters", "open", CLUSTER, "--print", "--page", "workers")
    assert done.out.strip() == f"{gateway.address}/clusters/{CLUSTER}/workers?link=x"
