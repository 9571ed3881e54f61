"""Stubs with the types that they have over asynchronous channels."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import grpc.aio

from headrace.internal.v1 import agent_service_pb2_grpc, route_service_pb2_grpc
from headrace.v1 import cluster_service_pb2_grpc, limits_service_pb2_grpc, options_service_pb2_grpc

if TYPE_CHECKING:
    from headrace.internal.v1.agent_service_pb2_grpc import AgentServiceAsyncStub
    from headrace.internal.v1.route_service_pb2_grpc import RouteServiceAsyncStub
    from headrace.v1.cluster_service_pb2_grpc import ClusterServiceAsyncStub
    from headrace.v1.limits_service_pb2_grpc import LimitsServiceAsyncStub
    from headrace.v1.options_service_pb2_grpc import OptionsServiceAsyncStub


def agent_service(channel: grpc.aio.Channel) -> AgentServiceAsyncStub:
    return cast("AgentServiceAsyncStub", agent_service_pb2_grpc.AgentServiceStub(channel))


def route_service(channel: grpc.aio.Channel) -> RouteServiceAsyncStub:
    return cast("RouteServiceAsyncStub", route_service_pb2_grpc.RouteServiceStub(channel))


def cluster_service(channel: grpc.aio.Channel) -> ClusterServiceAsyncStub:
    return cast("ClusterServiceAsyncStub", cluster_service_pb2_grpc.ClusterServiceStub(channel))


def options_service(channel: grpc.aio.Channel) -> OptionsServiceAsyncStub:
    return cast("OptionsServiceAsyncStub", options_service_pb2_grpc.OptionsServiceStub(channel))


def limits_service(channel: grpc.aio.Channel) -> LimitsServiceAsyncStub:
    return cast("LimitsServiceAsyncStub", limits_service_pb2_grpc.LimitsServiceStub(channel))
