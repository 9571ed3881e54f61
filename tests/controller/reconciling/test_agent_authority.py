"""Processes are launched with the certificate authority that is in the file then."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace_controller.reconciling.agent_authority import AgentAuthority


def test_a_successor_is_told_to_the_next_process(tmp_path: Path) -> None:
    file = tmp_path / "ca.crt"
    file.write_text("first")
    authority = AgentAuthority(file)
    assert authority.pem() == "first"
    file.write_text("first and second")
    assert authority.pem() == "first and second"


@pytest.mark.parametrize("content", [None, b"", b"\xff"])
def test_while_the_file_cannot_be_used_the_one_before_holds(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "ca.crt"
    file.write_text("first")
    authority = AgentAuthority(file)
    file.unlink() if content is None else file.write_bytes(content)
    assert authority.pem() == "first"


def test_there_may_be_none() -> None:
    assert AgentAuthority(None).pem() == ""


def test_a_file_that_does_not_exist_is_no_authority(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        AgentAuthority(tmp_path / "ca.crt")
