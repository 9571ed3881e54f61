"""An error shows the user's line and the sentence, not our inner code."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.client.fake_headrace import FakeHeadrace

import headrace
from headrace import Gateway, errors

_OURS = str(Path(headrace.__file__).parent)

CALLS: list[Callable[[Gateway], object]] = [
    lambda gateway: gateway.get_cluster("nowhere"),
    lambda gateway: gateway.connect("nowhere"),
    lambda gateway: gateway.scale_cluster("nowhere", -1),
    lambda gateway: list(gateway.list_clusters("gone")),
]


def _frames(gateway: Gateway, call: Callable[[Gateway], object]) -> list[str]:
    with pytest.raises(errors.HeadraceError) as raised:
        call(gateway)
    files = [frame.filename for frame in traceback.extract_tb(raised.value.__traceback__)]
    return [file for file in files if file.startswith(_OURS)]


@pytest.mark.parametrize("call", CALLS)
def test_at_most_one_frame_is_ours(fake: FakeHeadrace, gateway: Gateway, call: Callable[[Gateway], object]) -> None:
    assert len(_frames(gateway, call)) == 1


def test_nothing_is_hidden_for_debugging(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_DEBUG", "1")
    assert len(_frames(gateway, CALLS[0])) > 4
