"""An error shows the user's line and the sentence, not our inner code."""

from __future__ import annotations

import re
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.client.conftest import AsyncGateway
from tests.client.fake_headrace import FakeHeadrace

import headrace
from headrace import Gateway, errors

_OURS = str(Path(headrace.__file__).parent)

CALLS: list[Callable[[Gateway], object]] = [
    lambda gateway: gateway.get_cluster("nowhere"),
    lambda gateway: gateway.connect("nowhere"),
    lambda gateway: gateway.scale_cluster("nowhere", -1),
    lambda gateway: list(gateway.list_clusters("gone")),
    lambda gateway: list(gateway.follow_logs("nowhere")),
    lambda gateway: gateway.follow_logs(7),  # type: ignore[arg-type]
]


async def _follow(gateway: AsyncGateway) -> None:
    async for _ in gateway.follow_logs("nowhere"):
        pass


async def _enter(gateway: AsyncGateway) -> None:
    async with gateway.connect("nowhere"):
        pass


async def _connect(gateway: AsyncGateway) -> None:
    await gateway.connect("nowhere")


async def _get(gateway: AsyncGateway) -> None:
    await gateway.get_cluster("nowhere")


AWAITED: list[Callable[[AsyncGateway], Awaitable[object]]] = [_get, _connect, _enter, _follow]


def _files(error: BaseException) -> list[str]:
    return [frame.filename for frame in traceback.extract_tb(error.__traceback__)]


def _shown_by_ipython(error: BaseException) -> str:
    ultratb = pytest.importorskip("IPython.core.ultratb")
    formatter = ultratb.FormattedTB(mode="Context", theme_name="nocolor")
    text = formatter.stb2text(formatter.structured_traceback(type(error), error, error.__traceback__))
    return re.sub(r"\x1b\[[\d;]*m", "", text)


def _check(error: BaseException) -> None:
    *_, user, ours = _files(error)
    assert user == __file__
    assert ours.startswith(_OURS)
    shown = _shown_by_ipython(error)
    assert len(re.findall(rf"^File {re.escape(_OURS)}", shown, re.MULTILINE)) == 1
    assert shown.count("\nFile ") == len(_files(error))
    assert str(error).splitlines()[0] in shown


@pytest.mark.parametrize("call", CALLS)
def test_ones_own_line_and_the_sentence_are_all(
    fake: FakeHeadrace, gateway: Gateway, call: Callable[[Gateway], object]
) -> None:
    with pytest.raises(errors.HeadraceError) as raised:
        call(gateway)
    _check(raised.value)


@pytest.mark.parametrize("call", AWAITED)
async def test_it_is_the_same_where_one_awaits(
    agateway: AsyncGateway, call: Callable[[AsyncGateway], Awaitable[object]]
) -> None:
    with pytest.raises(errors.HeadraceError) as raised:
        await call(agateway)
    _check(raised.value)


async def test_nothing_is_hidden_for_debugging(
    gateway: Gateway, agateway: AsyncGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_DEBUG", "1")
    with pytest.raises(errors.ClusterNotFound) as awaited:
        await agateway.get_cluster("nowhere")
    with pytest.raises(errors.ClusterNotFound) as raised:
        gateway.get_cluster("nowhere")
    for error in (awaited.value, raised.value):
        ours = {file for file in _files(error) if file.startswith(_OURS)}
        assert len(ours) > 2
        assert all(file in _shown_by_ipython(error) for file in ours)
