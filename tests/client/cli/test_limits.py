"""`headrace limits`, and `Gateway.limits()`."""

from __future__ import annotations

import json

import pytest
from tests.client.fake_cluster import FakeCluster
from tests.client.fake_headrace import FakeHeadrace

from headrace import Gateway
from headrace.errors import PermissionDenied
from headrace.v1 import limits_service_pb2 as pb

from .conftest import Cli


def test_each_limit_is_a_row_with_what_is_left(cli: Cli, headrace: FakeHeadrace, cluster: FakeCluster) -> None:
    done = cli("limits")
    assert done.code == 0, done.err
    heading, *rows = [line.split() for line in done.out.splitlines() if line.strip()]
    assert heading == ["OF", "RESOURCE", "LIMIT", "USED", "LEFT"]
    assert ["users/ann", "clusters", "100", "1", "99"] in rows
    assert "queue" not in done.out
    headrace.limits.queue = (2, 5)
    assert "2 of your clusters wait in the queue, 5 of all." in cli("limits").out
    found = json.loads(cli("limits", "--json").out)
    assert {"subject": "users/ann", "resource": "clusters", "limit": 100.0, "used": 1.0} in found["limits"]


def test_only_admins_see_those_of_others(cli: Cli, headrace: FakeHeadrace) -> None:
    refused = cli("limits", "--user", "bob")
    assert refused.code == 1
    assert "only admins may" in refused.err
    headrace.admins.add("users/ann")
    assert "users/bob" in cli("limits", "--user", "bob").out


def test_a_gateway_reports_what_is_left(gateway: Gateway) -> None:
    found = {(limit["subject"], limit["resource"]): limit for limit in gateway.limits()}
    assert found["users/ann", "workers"] == {
        "subject": "users/ann",
        "resource": "workers",
        "limit": 1000,
        "used": 0,
        "left": 1000,
    }
    with pytest.raises(PermissionDenied):
        gateway.limits("bob")


def test_admins_set_limits_for_a_while(cli: Cli, headrace: FakeHeadrace) -> None:
    assert "only admins may" in cli("admin", "limits", "set", "ann", "workers=2000").err
    headrace.admins.add("users/ann")
    assert cli("admin", "limits", "list").out.strip() == "No limits are set."
    done = cli("admin", "limits", "set", "ann", "workers=2000", "clusters = 3", "--for", "2h", "--reason", "a deadline")
    assert done.code == 0, done.err
    request = headrace.requests_of(pb.SetLimitExceptionsRequest)[-1]
    assert (request.subject, dict(request.limits)) == ("users/ann", {"workers": "2000", "clusters": "3"})
    assert (request.duration.seconds, request.reason) == (7200, "a deadline")
    assert "users/ann may have 2000 workers until 20" in cli("limits").out
    assert "set by ann: a deadline" in cli("limits").out
    assert cli("admin", "limits", "unset", "ann", "clusters").code == 0
    left = json.loads(cli("admin", "limits", "list", "--json").out)
    assert [(one["subject"], one["resource"], one["limit"]) for one in left] == [("users/ann", "workers", 2000)]
    done = cli("admin", "limits", "unset", "ann")
    assert "These limits have ended" in done.err
    assert "a deadline" in done.out
    assert cli("admin", "limits", "unset", "groups/lab").out.strip() == "Nothing is set for groups/lab."
    assert "until" not in cli("limits").out


@pytest.mark.parametrize("limits", [["cores"], ["=3"], ["cores=3", "--for", "soon"]])
def test_what_is_no_limit_is_not_sent(cli: Cli, headrace: FakeHeadrace, limits: list[str]) -> None:
    assert cli("admin", "limits", "set", "ann", *limits).code != 0
    assert not headrace.requests_of(pb.SetLimitExceptionsRequest)
