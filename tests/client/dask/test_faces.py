"""What an editor knows of results: values of a Gateway used plainly, awaitables of an asynchronous one.

The types are checked by pyright (`make check`); here the code only has to run.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Coroutine, Iterator
from datetime import datetime
from typing import Any, Literal, assert_type

import pytest

from headrace import ClusterReport, Gateway, GatewayCluster, Options, Worker
from headrace._dask.faces import TwoFaced


def test_plain_use_returns_values(gateway: Gateway) -> None:
    assert_type(gateway, Gateway[Literal[False]])
    assert_type(gateway.list_clusters(), list[ClusterReport])
    assert_type(gateway.cluster_options(), Options)
    name = assert_type(gateway.submit(), str)
    with gateway.connect(name, shutdown_on_close=True) as cluster:
        assert_type(cluster, GatewayCluster[Literal[False]])
        assert_type(cluster.report(), ClusterReport)
        assert_type(cluster.workers(), list[Worker])
        assert_type(cluster.scale(0), None)
        assert_type(cluster.keep(), datetime)
        assert_type(cluster.follow_logs("scheduler"), Iterator[tuple[str, str]])


async def test_asynchronous_use_returns_coroutines(configured: None) -> None:
    async with Gateway(asynchronous=True) as gateway:
        assert_type(gateway, Gateway[Literal[True]])
        listing = assert_type(gateway.list_clusters(), Coroutine[Any, Any, list[ClusterReport]])
        assert await listing == []
        async with gateway.new_cluster() as cluster:
            assert_type(cluster, GatewayCluster[Literal[True]])
            assert_type(await cluster.report(), ClusterReport)
            assert_type(await cluster.keep(), datetime)
            assert_type(cluster.follow_logs("scheduler"), AsyncIterator[tuple[str, str]])


def test_constructors_tell_the_face_too(configured: None) -> None:
    with GatewayCluster() as cluster:
        assert_type(cluster, GatewayCluster[Literal[False]])
        assert_type(cluster.gateway, Gateway[Literal[False]])
        with GatewayCluster.from_name(cluster.name) as same:
            assert_type(same, GatewayCluster[Literal[False]])


@pytest.mark.parametrize("cls", [Gateway, GatewayCluster])
def test_every_public_method_has_a_docstring_and_types(cls: type[Any]) -> None:
    parts = [base for base in cls.__mro__ if base.__module__.startswith("headrace.") and base is not TwoFaced]
    own = {
        name: member
        for base in parts
        for name, member in vars(base).items()
        if not name.startswith("_") and callable(member)
    }
    assert len(own) > 10
    for name, method in own.items():
        signature = inspect.signature(method)
        assert inspect.getdoc(method), name
        assert signature.return_annotation not in {inspect.Signature.empty, "Any"}, name
        annotations = [one.annotation for one in signature.parameters.values() if one.name not in {"self", "kwargs"}]
        assert not {inspect.Parameter.empty, "Any"} & set(annotations), name
