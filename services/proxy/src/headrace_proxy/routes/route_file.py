"""The last routes on disk, to start without the controller."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from google.protobuf.message import DecodeError

from headrace.internal.v1 import route_service_pb2 as pb
from headrace.private_files import write_private
from headrace_chassis.logs import get_logger
from headrace_chassis.routes import Route, RouteChange

log = get_logger()


class RouteFile:
    """Reads and writes all routes as one file."""

    def __init__(self, state_directory: Path) -> None:
        self.path = state_directory / "routes.binpb"

    def read(self) -> RouteChange | None:
        """Return the routes written last as a snapshot; None if there are none or the file is damaged."""
        try:
            message = pb.WatchRoutesResponse.FromString(self.path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, DecodeError):
            log.exception("the last routes cannot be read; waiting for the controller", file=str(self.path))
            return None
        return RouteChange.from_message(message)

    def write(self, version: str, routes: Iterable[Route]) -> None:
        snapshot = RouteChange(version=version, snapshot=True, routes=tuple(routes))
        write_private(self.path, snapshot.to_message().SerializeToString())
