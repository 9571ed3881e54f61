"""`headrace admin audit`."""

from __future__ import annotations

import json

import pytest
from tests.client.cli.conftest import Cli
from tests.client.fake_headrace import FakeHeadrace

from headrace.v1 import audit_service_pb2 as pb


def test_the_newest_records_come_last(cli: Cli, headrace: FakeHeadrace) -> None:
    headrace.audit.records = [
        pb.AuditRecord(
            method=f"ClusterService.Stop{n}",
            caller="users/root",
            owner="users/ann",
            target=f"clusters/c{n}",
            role="admin",
            code="OK",
            token="apiTokens/t1",
            source="192.0.2.1",
        )
        for n in range(5)
    ]
    lines = [line for line in cli("admin", "audit", "-n", "3").out.splitlines() if "admin" in line]
    assert [line.split()[4] for line in lines] == ["Stop2", "Stop1", "Stop0"]
    for word in ("root", "ann", "c0", "admin", "t1", "192.0.2.1", "OK"):
        assert word in lines[-1].split()
    found = json.loads(cli("admin", "audit", "--json").out)
    assert len(found) == 5


def test_methods_are_left_out_of_what_is_counted(cli: Cli, headrace: FakeHeadrace) -> None:
    methods = ["Auth.Login", "ClusterService.StopCluster", "Auth.Login", "ClusterService.CreateCluster", "Auth.Login"]
    headrace.audit.records = [pb.AuditRecord(method=method) for method in methods]
    found = json.loads(cli("admin", "audit", "--without", "Login", "-n", "2", "--json").out)
    assert {one["method"] for one in found} == {"ClusterService.StopCluster", "ClusterService.CreateCluster"}


def test_filters_are_passed_on(cli: Cli, headrace: FakeHeadrace) -> None:
    arguments = ("--by", "bob", "--owner", "users/ann", "--cluster", "c1", "--method", "StopCluster", "--failed")
    arguments += ("--token", "t1", "--since", "2h", "--until", "1h")
    assert cli("admin", "audit", *arguments).out == "No records.\n"
    [asked] = headrace.requests_of(pb.ListAuditRecordsRequest)
    assert (asked.caller, asked.owner, asked.cluster) == ("users/bob", "users/ann", "clusters/c1")
    assert (asked.method, asked.failed, asked.token) == ("StopCluster", True, "t1")
    assert asked.until.seconds - asked.since.seconds == 3600


@pytest.mark.parametrize("option", ["since", "until"])
def test_a_wrong_age_is_told(cli: Cli, headrace: FakeHeadrace, option: str) -> None:
    done = cli("admin", "audit", f"--{option}", "soon")
    assert done.code == 1
    assert option in done.err
