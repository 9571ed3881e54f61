"""The last routes on disk, to start without the controller."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from google.protobuf.message import DecodeError

from headrace.internal.v1 import route_service_pb2 as pb
from headrace_chassis.logs import get_logger
from headrace_proxy.model import Route, RouteStep
from headrace_proxy.routes import convert

log = get_logger()


class RouteFile:
    """Reads and writes all routes as one file, replaced as a whole."""

    def __init__(self, state_directory: Path) -> None:
        self.path = state_directory / "routes.binpb"

    def read(self) -> RouteStep | None:
        """Returns the routes written last; None without any, or if the file is not readable."""
        try:
            return convert.route_step(pb.WatchRoutesResponse.FromString(self.path.read_bytes()))
        except FileNotFoundError:
            return None
        except (OSError, DecodeError):
            log.exception("the last routes are not readable, waiting for the controller", file=str(self.path))
            return None

    def write(self, version: str, routes: Iterable[Route]) -> None:
        """Replaces the file."""
        temporary = self.path.with_suffix(".new")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(convert.snapshot_message(version, routes).SerializeToString())
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.path)
