"""The span of a scheduler's start, from its enrolment until it serves, if the controller asked for it."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager

from headrace.agent.channel import ControllerChannel
from headrace.agent.identity import Identity
from headrace.errors import HeadraceError
from headrace.internal.v1 import agent_service_pb2 as pb
from headrace.tracing import Tracing, traceparent

logger = logging.getLogger("headrace.agent")


@contextmanager
def start_span(
    identity: Identity, channel: ControllerChannel, enrollment: pb.EnrollResponse, began: int
) -> Generator[None]:
    """Make a span of what happens within and of what has happened since `began`, in nanoseconds since the epoch."""
    if not enrollment.tracing_endpoint:
        yield
        return
    try:
        tracing = Tracing(enrollment.tracing_endpoint, "headrace-agent")
    except HeadraceError as error:  # it is the user's image
        logger.warning("%s", error)
        yield
        return
    attributes = {"headrace.cluster": identity.cluster}
    span = tracing.start("start of a scheduler", "INTERNAL", enrollment.traceparent, attributes, began)
    channel.trace(traceparent(span))
    with tracing.within(span):
        yield
    tracing.close()  # no other span follows
