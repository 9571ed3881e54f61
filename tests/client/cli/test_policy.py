"""`headrace admin policy`: what is refused before anything is sent."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.client.fake_headrace import FakeHeadrace

from headrace.cli.admin.policy import MAX_BYTES, print_changes
from headrace.v1.policy_service_pb2 import PolicyChange
from headrace_chassis import policy_document

from .conftest import Cli


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "policy.yaml cannot be read: No such file or directory"),
        (b"#" * (MAX_BYTES + 1), "policy.yaml has 1048577 bytes; a policy may have at most 1048576"),
        (b"\xff", "policy.yaml is not text in UTF-8: invalid start byte"),
    ],
)
def test_a_file_that_is_no_policy_is_named_with_the_reason(
    cli: Cli, headrace: FakeHeadrace, tmp_path: Path, content: bytes | None, told: str
) -> None:
    file = tmp_path / "policy.yaml"
    if content is not None:
        file.write_bytes(content)
    done = cli("admin", "policy", "diff", str(file))
    assert done.code == 1
    assert told in " ".join(done.err.split())


def test_a_policy_may_be_as_large_for_the_command_as_for_the_controller() -> None:
    assert MAX_BYTES == policy_document.MAX_BYTES


def test_changes_are_printed_in_lines_that_fit_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    profile = "{label: Tiny, description: For a first look and for what needs little, options: {cores: {maximum: 2}}}"
    print_changes(
        [
            PolicyChange(key="limits.user.cores", before="4", after="8"),
            PolicyChange(key="profiles.old", before="{label: Old}"),
            PolicyChange(key="profiles.tiny", after=profile),
        ]
    )
    out = capsys.readouterr().out
    assert out.splitlines() == [
        "limits.user.cores",
        "  - 4",
        "  + 8",
        "profiles.old",
        "  - label: Old",
        "profiles.tiny",
        "  + label: Tiny",
        "  + description: For a first look",
        "  +   and for what needs little",
        "  + options:",
        "  +   cores:",
        "  +     maximum: 2",
    ]
