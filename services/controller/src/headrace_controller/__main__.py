"""``python -m headrace_controller serve`` and ``check-config``."""

from __future__ import annotations

from headrace_chassis.command import service_command
from headrace_controller.app import build
from headrace_controller.config import Settings

app = service_command("controller", Settings, build)

if __name__ == "__main__":
    app(prog_name="python -m headrace_controller")
