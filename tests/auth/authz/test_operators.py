"""Dashboards of clusters whose owner is in a group that the visitor operates, by the policy of now."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.auth.authz.conftest import know
from tests.auth.authz.links import header, opened
from tests.auth.running import Metadata, RunningAuth, failure, route
from tests.conftest import Eventually
from tests.fake_routes import FakeRoutes

from headrace.errors import ClusterNotFound
from headrace_auth import policy_roles
from headrace_auth.config import AuthSettings
from headrace_chassis.audit.log import AuditSettings

MEMBERS, STRANGERS = "/clusters/c2/status", "/clusters/c3/status"


@pytest.fixture
def policy(directory: Path) -> Path:
    """Ann is in the group that operates physics."""
    file = directory / "policy.yaml"
    file.write_text("roles: {operators: {physics: [users/olga, groups/astro], art: [users/olga]}}")
    return file


@pytest.fixture
def settings(settings: AuthSettings, directory: Path, policy: Path, monkeypatch: pytest.MonkeyPatch) -> AuthSettings:
    monkeypatch.setattr(policy_roles, "POLL_SECONDS", 0.02)
    audit = AuditSettings(file=str(directory / "audit"))
    return settings.model_copy(update={"policy_file": policy, "audit": audit})


@pytest.fixture
async def operated(known: FakeRoutes, auth: RunningAuth, eventually: Eventually) -> None:
    known.send(route("c2", "bob", groups=("physics",)), route("c3", "bob", groups=("art",)))
    await know(auth, known, eventually)


@pytest.mark.usefixtures("operated")
async def test_an_operator_opens_those_of_members_and_of_nobody_else(auth: RunningAuth, ann: Metadata) -> None:
    assert (await auth.ask(MEMBERS, authorization=header(ann))).status == 200
    assert (await auth.ask(await opened(auth, await auth.link("c2", ann)))).status == 200
    assert (await auth.ask(STRANGERS, authorization=header(ann))).status == 403
    assert isinstance(await failure(auth.link("c3", ann)), ClusterNotFound)
    upgrade = await auth.ask(f"{MEMBERS}/ws", authorization=header(ann), upgrade="websocket")
    assert upgrade.headers["x-headrace-guests"] == "roles/operator"


@pytest.mark.usefixtures("operated")
async def test_a_session_ends_with_the_role(
    auth: RunningAuth, ann: Metadata, directory: Path, eventually: Eventually
) -> None:
    page = await opened(auth, await auth.link("c2", ann))
    (directory / "policy.yaml").write_text("roles: {operators: {physics: [users/olga]}}")

    async def is_refused() -> bool:
        return (await auth.ask(page)).status == 403

    await eventually(is_refused)


@pytest.mark.usefixtures("operated")
async def test_the_audit_log_says_as_what(auth: RunningAuth, ann: Metadata, eventually: Eventually) -> None:
    await opened(auth, await auth.link("c2", ann))

    def records() -> list[dict[str, Any]]:
        file = Path(auth.settings.audit.file)
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    await eventually(lambda: any(one["method"] == "Dashboard" for one in records()))
    about = [one for one in records() if one.get("target") == "clusters/c2"]
    assert [(one["caller"], one["owner"], one["role"]) for one in about] == [("users/ann", "users/bob", "operator")] * 2
