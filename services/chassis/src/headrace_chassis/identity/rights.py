"""The right that each RPC needs: the option `headrace.v1.right` of its method in the contract.

The interceptor `authenticate` checks what needs no cluster. Where a right is about one cluster, the service checks it
with `headrace.access.may`, the cluster's `Access` and `current_right()`.
"""

from __future__ import annotations

from contextvars import ContextVar

from google.protobuf import descriptor_pool

from headrace.v1 import right_pb2
from headrace.v1.enums import Right

# Contracts of others carry no option of ours. gRPC's own services reveal nothing about users or clusters.
FOREIGN_SERVICES = {
    "grpc.health.v1.Health": Right.ANYONE,
    "grpc.reflection.v1alpha.ServerReflection": Right.ANYONE,
    "envoy.service.auth.v3.Authorization": Right.SERVICE,
}

_right: ContextVar[Right] = ContextVar("headrace_right")


def right_of(path: str) -> Right | None:
    """Return the right that ``/package.Service/Method`` needs. None means that nobody may call it."""
    service, _, name = path.removeprefix("/").rpartition("/")
    if (foreign := FOREIGN_SERVICES.get(service)) is not None:
        return foreign
    try:
        method = descriptor_pool.Default().FindMethodByName(f"{service}.{name}")
    except KeyError:
        return None
    number = method.GetOptions().Extensions[right_pb2.right]
    return Right.__members__.get(right_pb2.Right.Name(number).removeprefix("RIGHT_"))


def set_right(right: Right) -> None:
    """Record the right that the call of this task needs."""
    _right.set(right)


def current_right() -> Right:
    """Return the right that the RPC needs that is being served."""
    return _right.get()
