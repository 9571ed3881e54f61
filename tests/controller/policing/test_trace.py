"""What administrators set by the policy file is in the audit log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Eventually
from tests.controller.replaced import replace_file
from tests.controller.running import Site

from headrace_controller.policing import trace

BEFORE = "limits: {users: {ann: {cores: 8}}}"
AFTER = """
limits: {users: {ann: {cores: 64}}}
roles: {admins: [users/root]}
profiles: {default: {label: hush}}
"""


def told(file: Path) -> list[str]:
    lines: list[dict[str, Any]] = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    return [line["detail"] for line in lines if line["method"] == "Policy"]


@pytest.fixture
async def policy(site: Site, tmp_path: Path) -> Path:
    file = tmp_path / "policy.yaml"
    file.write_text(BEFORE)
    await site.replica(policy_file=file, audit={"file": str(tmp_path / "audit")})
    return file


async def test_limits_and_roles_are_told_with_their_values_and_no_others(
    policy: Path, tmp_path: Path, eventually: Eventually
) -> None:
    replace_file(policy, AFTER)
    await eventually(lambda: told(tmp_path / "audit"))
    found = told(tmp_path / "audit")
    assert {"limits.users.ann.cores: 8.0 -> 64.0", "roles.admins: [] -> [users/root]"} <= set(found)
    assert any(one.startswith("profiles") and one.endswith("changed") for one in found)
    assert "hush" not in str(found)


async def test_a_policy_that_changes_everything_does_not_fill_the_log(
    policy: Path, tmp_path: Path, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace, "_MOST", 2)
    users = ", ".join(f"u{n}: {{cores: 1}}" for n in range(10))
    replace_file(policy, f"limits: {{users: {{{users}}}}}")
    await eventually(lambda: told(tmp_path / "audit"))
    assert len(told(tmp_path / "audit")) == 3
    assert told(tmp_path / "audit")[-1] == "9 more keys changed"
