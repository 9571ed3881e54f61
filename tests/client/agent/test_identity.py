"""The identity of a process, in its environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.agent.identity import Identity, IdentityMissing, move_token_to_file, remove_token


def _environment(**changes: str) -> dict[str, str]:
    identity = Identity(
        deployment="d", cluster="c", process="p", role="worker", generation=3, endpoint="unix:/s", ca_pem="", token="t"
    )
    return identity.to_environment() | changes


def test_an_identity_travels_through_the_environment() -> None:
    identity = Identity.from_environment(_environment())
    assert identity.generation == 3
    assert identity.to_environment() == _environment()
    assert "'t'" not in repr(identity)


def test_the_token_can_travel_in_a_file_which_is_removed_with_it(tmp_path: Path) -> None:
    environment, file = _environment(), tmp_path / "token"
    file.write_text("of a process before")
    move_token_to_file(environment, file)
    assert "t" not in environment.values()
    assert file.stat().st_mode & 0o777 == 0o600
    assert Identity.from_environment(environment).token == "t"
    remove_token(environment)
    assert not file.exists()
    with pytest.raises(IdentityMissing, match="HEADRACE_AGENT_TOKEN is not set"):
        Identity.from_environment(environment)


def test_a_token_file_that_is_gone_is_named(tmp_path: Path) -> None:
    environment, file = _environment(), tmp_path / "token"
    move_token_to_file(environment, file)
    file.unlink()
    with pytest.raises(IdentityMissing, match=str(file)):
        Identity.from_environment(environment)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"HEADRACE_ROLE": "boss"}, "not 'boss'"), ({"HEADRACE_GENERATION": "x"}, "not a number")],
)
def test_a_wrong_identity_is_refused(changes: dict[str, str], message: str) -> None:
    with pytest.raises(IdentityMissing, match=message):
        Identity.from_environment(_environment(**changes))


def test_a_missing_variable_is_named() -> None:
    environment = _environment()
    del environment["HEADRACE_CLUSTER"]
    with pytest.raises(IdentityMissing, match="HEADRACE_CLUSTER is not set"):
        Identity.from_environment(environment)
