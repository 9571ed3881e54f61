"""The audit log of auth: log-ins, tokens, links and dashboards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.auth.api_tokens import create
from tests.auth.authz.conftest import know, share
from tests.auth.authz.links import header, opened
from tests.auth.running import Metadata, RunningAuth, failure, route
from tests.conftest import Eventually
from tests.fake_routes import FakeRoutes

from headrace.v1 import auth_service_pb2 as pb
from headrace_auth.config import AuthSettings
from headrace_chassis.audit.log import AuditSettings


@pytest.fixture
def settings(settings: AuthSettings, directory: Path) -> AuthSettings:
    return settings.model_copy(update={"audit": AuditSettings(file=str(directory / "audit"))})


def records(auth: RunningAuth, method: str) -> list[dict[str, Any]]:
    file = Path(auth.settings.audit.file)
    lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    return [line for line in lines if line["method"].rpartition(".")[2] == method]


async def test_log_ins_and_tokens(auth: RunningAuth, ann: Metadata, eventually: Eventually) -> None:
    token = (await create(auth, ann)).api_token.name
    await failure(auth.login("ann", "hunter2"))
    root = await auth.login("root", "root's")
    await auth.stub.DeleteApiToken(pb.DeleteApiTokenRequest(name=token), metadata=root)
    await auth.stub.WhoAmI(pb.WhoAmIRequest(), metadata=ann)
    await eventually(lambda: records(auth, "DeleteApiToken"))
    outcomes = [(one["caller"], one.get("code")) for one in records(auth, "Login")]
    assert outcomes == [("users/ann", None), ("users/ann", "UNAUTHENTICATED"), ("users/root", None)]
    [made], [deleted] = records(auth, "CreateApiToken"), records(auth, "DeleteApiToken")
    assert (made["caller"], made["target"], made["role"]) == ("users/ann", token, "owner")
    assert made["token"] == records(auth, "Login")[0]["token"]  # the log-in that it was made with
    assert (deleted["caller"], deleted["target"], deleted["owner"], deleted["role"]) == (
        "users/root",
        token,
        "users/ann",
        "admin",
    )
    assert not records(auth, "WhoAmI")
    assert "hunter2" not in str(records(auth, "Login"))


async def test_dashboards(auth: RunningAuth, known: FakeRoutes, ann: Metadata, eventually: Eventually) -> None:
    known.send(route("c2", "bob", shares=(share("users/ann"),)), route("c3", "bob"))
    await know(auth, known, eventually)
    session = await opened(auth, await auth.link("c2", ann))
    assert (await auth.ask(session)).status == 200
    assert (await auth.ask("/clusters/c3/status", authorization=header(ann))).status == 403
    await eventually(lambda: len(records(auth, "Dashboard")) == 2)
    fields = ("caller", "target", "owner", "role", "code")
    assert [tuple(one.get(field) for field in fields) for one in records(auth, "Dashboard")] == [
        ("users/ann", "clusters/c2", "users/bob", "shared", None),
        ("users/ann", "clusters/c3", "users/bob", None, "PERMISSION_DENIED"),
    ]
    [link] = records(auth, "CreateDashboardLink")
    assert (link["target"], link["role"]) == ("clusters/c2", "shared")


async def test_a_websocket_is_sent_with_those_through_whom_it_is_open(
    auth: RunningAuth, known: FakeRoutes, ann: Metadata, eventually: Eventually
) -> None:
    known.send(route("c2", "bob", shares=(share("users/ann"), share("groups/astro"))))
    await know(auth, known, eventually)
    plain = await auth.ask("/clusters/c2/status", authorization=header(ann))
    upgrade = await auth.ask("/clusters/c2/status/ws", authorization=header(ann), upgrade="websocket")
    assert "x-headrace-guests" not in plain.headers
    assert upgrade.headers["x-headrace-guests"] == "users/ann,groups/astro"
