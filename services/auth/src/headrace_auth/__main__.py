"""``python -m headrace_auth``: serve, check-config, users."""

from __future__ import annotations

from headrace_auth.app import build
from headrace_auth.authenticators.users_command import users
from headrace_auth.config import AuthSettings
from headrace_chassis.command import service_command

app = service_command("auth", AuthSettings, build)
app.add_typer(users, name="users")

if __name__ == "__main__":
    app(prog_name="python -m headrace_auth")
