"""Logs: event name first, facts as fields; one JSON object per line, or coloured for a console."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from contextvars import ContextVar
from typing import Any, Literal, cast

import structlog
from structlog.typing import FilteringBoundLogger, Processor

# Set once per call by the interceptors. structlog's own context variables cost several per call.
request_id: ContextVar[str] = ContextVar("headrace_request_id", default="")


def get_logger(**facts: object) -> FilteringBoundLogger:
    """Return a logger that adds these facts to each line."""
    return cast("FilteringBoundLogger", structlog.get_logger(**facts))


def configure(style: Literal["console", "json"], level: str, service: str = "") -> None:
    """Send the lines of structlog and of stdlib logging to stderr."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        _add_request_id,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if style == "json":
        shared += [_service_adder(service), structlog.processors.format_exc_info]
        renderer: Processor = structlog.processors.JSONRenderer(default=str)
    else:
        # Plain tracebacks: the rich ones show local variables, and with them secrets.
        plain = structlog.dev.plain_traceback
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())


def _add_request_id(
    _logger: object,
    _method: str,
    event: MutableMapping[str, Any],  # structlog's own type
) -> MutableMapping[str, Any]:
    if current := request_id.get():
        event.setdefault("request_id", current)
    return event


def _service_adder(service: str) -> Processor:
    def add(
        _logger: object,
        _method: str,
        event: MutableMapping[str, Any],  # structlog's own type
    ) -> MutableMapping[str, Any]:
        event["service"] = service
        return event

    return add
