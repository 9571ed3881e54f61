"""`headrace limits`, and `Gateway.limits()`."""

from __future__ import annotations

import json

import pytest
from tests.client.fake_cluster import FakeCluster
from tests.client.fake_headrace import FakeHeadrace

from headrace import Gateway
from headrace.errors import PermissionDenied

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
