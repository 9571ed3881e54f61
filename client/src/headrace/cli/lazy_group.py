"""Commands that are loaded when they are used. Help and the completion of names load none."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import typer.core
import typer.main

if TYPE_CHECKING:
    from typer._click import Command, Context  # older typers take these from click itself

COMMANDS = {
    "up": "Run the whole system on this machine until Ctrl-C.",
    "login": "Log in at an address and remember it.",
    "logout": "Remove the saved login at an address.",
    "whoami": "Show who you are for headrace.",
    "clusters": "List, create, scale, watch and stop clusters.",
    "tokens": "List, create and revoke API tokens, for programs.",
    "top": "Show your clusters as they change, in the terminal.",
    "limits": "Show the limits that bind your clusters, what is used and what is left.",
    "usage": "Show what was used and what it cost; what runs counts up to now.",
    "admin": "For administrators: the policy, the audit log, culling.",
    "doctor": "Find out which part of the way to your clusters fails.",
    "version": "Show the versions of headrace and of the packages that it uses.",
}


class LazyGroup(typer.core.TyperGroup):
    """Has names and help of all commands, and loads the one that is used.

    Attributes
    ----------
    lines
        Help by name of the command.
    package
        Its module of that name has the command as `app`.
    """

    lines: ClassVar[Mapping[str, str]] = COMMANDS
    package: ClassVar[str] = "headrace.cli"

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for name, line in self.lines.items():
            self.commands[name] = typer.core.TyperCommand(name, help=line)

    def resolve_command(self, ctx: Context, args: list[str]) -> tuple[str | None, Command | None, list[str]]:
        """Load the command before it is looked up."""
        if args and args[0] in self.lines:
            module = importlib.import_module(f"{self.package}.{args[0]}")
            self.commands[args[0]] = command = typer.main.get_command(module.app)
            _hide_variables(command)
        return super().resolve_command(ctx, args)


def _hide_variables(command: Command) -> None:
    """Leave environment variables out of help: their names are longer than its columns. docs/cli.md tells the rule."""
    for parameter in command.params:
        if isinstance(parameter, typer.core.TyperOption | typer.core.TyperArgument):
            parameter.show_envvar = False
    if isinstance(command, typer.core.TyperGroup):
        for subcommand in command.commands.values():
            _hide_variables(subcommand)
