"""Tokens of agents."""

from __future__ import annotations

import base64
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import TokenExpired, TokenInvalid
from headrace_chassis.identity.agent_tokens import AgentTokens
from headrace_chassis.identity.caller import AgentCaller
from headrace_chassis.identity.seal import derive

OLD, NEW = b"o" * 32, b"n" * 32


def test_an_agents_token_is_good_for_its_process_in_its_deployment() -> None:
    token = AgentTokens([OLD], "prod").credential("c17", "scheduler", 60)
    assert AgentTokens([OLD], "prod").verify(token) == AgentCaller("c17", "scheduler")
    assert AgentTokens([NEW, OLD], "prod").verify(token) == AgentCaller("c17", "scheduler")
    for other in (AgentTokens([NEW], "prod"), AgentTokens([OLD], "test")):
        with pytest.raises(TokenInvalid):
            other.verify(token)


def test_each_launch_has_a_token_of_its_own_that_expires() -> None:
    now = 1000.0
    tokens = AgentTokens([OLD], "prod", clock=lambda: now)
    one, other = tokens.launch("c17", "w-1", 60), tokens.launch("c17", "w-1", 60)
    first = tokens.verify(one)
    assert (first.cluster, first.process) == ("c17", "w-1")
    assert first.launch not in ("", tokens.verify(other).launch)
    now = 1060.0
    with pytest.raises(TokenExpired):
        tokens.verify(one)


def test_what_an_earlier_version_signed_is_refused() -> None:
    key = derive(OLD, "agent-token/prod")
    signature = base64.urlsafe_b64encode(hmac.digest(key, b"c17", "sha256")).decode().rstrip("=")
    with pytest.raises(TokenInvalid):
        AgentTokens([OLD], "prod").verify(f"c17.{signature}")


@given(st.text())
def test_no_text_is_taken_for_an_agents_token(text: str) -> None:
    with pytest.raises(TokenInvalid):
        AgentTokens([OLD], "prod").verify(text)
