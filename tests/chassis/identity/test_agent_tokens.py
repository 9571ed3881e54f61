"""Tokens of agents."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import TokenInvalid
from headrace_chassis.identity.agent_tokens import AgentTokens

OLD, NEW = b"o" * 32, b"n" * 32


def test_an_agents_token_is_good_for_its_cluster_in_its_deployment() -> None:
    token = AgentTokens([OLD], "prod").issue("c17")
    assert AgentTokens([OLD], "prod").verify(token) == "c17"
    assert AgentTokens([NEW, OLD], "prod").verify(token) == "c17"
    for other in (AgentTokens([NEW], "prod"), AgentTokens([OLD], "test")):
        with pytest.raises(TokenInvalid):
            other.verify(token)


@given(st.text())
def test_no_text_is_taken_for_an_agents_token(text: str) -> None:
    with pytest.raises(TokenInvalid):
        AgentTokens([OLD], "prod").verify(text)
