"""Roles are read from the file of the policy within the same bounds as the whole of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace_chassis.policy_document import MAX_BYTES
from headrace_chassis.roles import Roles, read_roles


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[" * 100_000, "more than 32 values are within another"),
        ("a: &a [*a]", "has no anchor that ends before it"),
        ("#" * (MAX_BYTES + 1), "the file has 1048577 bytes; a policy may have at most 1048576"),
        ("é" * (MAX_BYTES // 2) + "#", "the file has 1048577 bytes"),
        ("[]\n- ", "this is not YAML"),
        ("[1]", "it is no mapping of keys to values"),
        ("roles: {admins: [ann]}", "roles: String should match pattern"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_and_harms_nobody(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(text)
    with pytest.raises(ValueError, match=told):
        read_roles(file)


@pytest.mark.parametrize("text", ["", "~", "roles:\n", "profiles: {a: {}}"])
def test_without_the_section_nobody_has_a_role(tmp_path: Path, text: str) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(text)
    assert read_roles(file) == Roles()
