"""The few messages of Envoy's API that the control plane reads and writes.

`xds-protos` has no types, and its service modules are slow to import: the classes are looked up here, once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, cast

from envoy.config.cluster.v3 import cluster_pb2
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

UPSTREAM_TYPE = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
DELTA_METHOD = ("envoy.service.discovery.v3.AggregatedDiscoveryService", "DeltaAggregatedResources")


class NodeFields(Protocol):
    """Fields of `envoy.config.core.v3.Node`."""

    id: str


class StatusFields(Protocol):
    """Fields of `google.rpc.Status`."""

    code: int
    message: str


class DeltaRequest(Protocol):
    """Fields of `DeltaDiscoveryRequest`."""

    type_url: str
    response_nonce: str

    @property
    def node(self) -> NodeFields: ...
    @property
    def error_detail(self) -> StatusFields: ...
    @property
    def initial_resource_versions(self) -> Mapping[str, str]: ...


def _message_class(file: FileDescriptor, name: str) -> type[Message]:
    return GetMessageClass(file.message_types_by_name[name])


Upstream: Callable[..., Message] = _message_class(cluster_pb2.DESCRIPTOR, "Cluster")
DeltaResource: Callable[..., Message] = _message_class(discovery_pb2.DESCRIPTOR, "Resource")
DeltaResponse: Callable[..., Message] = _message_class(discovery_pb2.DESCRIPTOR, "DeltaDiscoveryResponse")
_Request = _message_class(discovery_pb2.DESCRIPTOR, "DeltaDiscoveryRequest")


def parse_request(data: bytes) -> DeltaRequest:
    """Parse a `DeltaDiscoveryRequest`."""
    return cast("DeltaRequest", _Request.FromString(data))


def serialize(message: Message) -> bytes:
    return message.SerializeToString()
