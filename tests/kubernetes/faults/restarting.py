"""The controller with other settings for a while."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager

from tests.e2e.two_controllers import Service


@contextmanager
def restarted(controller: Service, environment: Mapping[str, str]) -> Generator[None]:
    """Restarts the controller with this besides its environment; with its own again afterwards."""
    controller.end()
    controller.environment.update(environment)
    try:
        controller.start()
        yield
    finally:
        controller.end()
        for name in environment:
            del controller.environment[name]
        controller.start()


def patience(seconds: float) -> Mapping[str, str]:
    """Settings with which a scheduler and a worker have this time to start."""
    names = ("START_TIMEOUT_SECONDS", "WORKER_START_TIMEOUT_SECONDS")
    return {f"HEADRACE_CONTROLLER_{name}": str(seconds) for name in names}
