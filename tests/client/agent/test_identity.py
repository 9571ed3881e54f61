"""The identity of a process, in its environment."""

from __future__ import annotations

import pytest

from headrace.agent.identity import Identity, IdentityMissing


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
