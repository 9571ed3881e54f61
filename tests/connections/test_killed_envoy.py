"""`make test` kills Envoy 5 times: tests/e2e/test_when_something_dies.py."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from tests.connections.killing import compute_while_envoy_is_killed
from tests.e2e.running import running

from headrace import Gateway


@pytest.mark.timeout(600)
def test_ten_thousand_futures_survive_a_hundred_kills_of_envoy(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(prefix="hr-kills-") as name, running(Path(name)) as headrace:
        monkeypatch.setenv("HEADRACE_DATA_DIR", str(headrace.data))
        with Gateway() as gateway:
            compute_while_envoy_is_killed(headrace, gateway, kills=100, count=10_000, seconds=0.03)
