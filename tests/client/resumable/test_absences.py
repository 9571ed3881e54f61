"""What users are told of an absence that several connections share."""

from __future__ import annotations

import asyncio
import logging

import pytest

from headrace._resumable import absences
from headrace._resumable.absences import Absences

AGAIN = "connected to cluster c1 again"


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Absences:
    monkeypatch.setattr(absences, "_QUIET_SECONDS", -1.0)
    caplog.set_level(logging.WARNING, "headrace.connection")
    return Absences(lambda: "c1", 60)


async def test_the_way_back_is_told_if_the_last_connection_that_is_away_ends(
    shared: Absences, caplog: pytest.LogCaptureFixture
) -> None:
    shared.begin("client")
    shared.begin("idle")
    await asyncio.sleep(0)
    shared.back("client")
    assert AGAIN not in caplog.text
    shared.end("idle")
    shared.end("idle")
    assert caplog.text.count(AGAIN) == 1


async def test_nothing_is_told_if_who_came_back_is_away_again(
    shared: Absences, caplog: pytest.LogCaptureFixture
) -> None:
    shared.begin("client")
    shared.begin("idle")
    shared.back("client")
    shared.begin("client")
    shared.end("idle")
    shared.end("client")
    assert AGAIN not in caplog.text


async def test_nothing_is_told_if_none_of_them_came_back(shared: Absences, caplog: pytest.LogCaptureFixture) -> None:
    shared.begin("before")
    shared.back("before")
    caplog.clear()
    shared.begin("client")
    shared.end("client")
    assert AGAIN not in caplog.text
