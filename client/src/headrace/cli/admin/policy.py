"""`headrace admin policy`: the policy in force, and what another one would change, for whom."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from headrace._wire import policy_calls
from headrace.cli.calling import call
from headrace.cli.options import Address, CaFile, Json
from headrace.cli.output import local_time, print_json, print_note, print_table
from headrace.errors import HeadraceError
from headrace.v1 import policy_service_pb2 as pb

MAX_BYTES = 1 << 20
"""What controllers read of a policy."""

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Show the policy in force, and what another one would change."
)


@app.command()
def show(*, address: Address = None, ca_file: CaFile = None, as_json: Json = False) -> None:
    """Print the policy in force as YAML, with all defaults. It can be read again as a policy file."""
    shown = call(address, ca_file, policy_calls.show_policy)
    if as_json:
        print_json(shown)
        return
    origin = shown.file or "the settings of the controller"
    print_note(f"In force in replica {shown.replica} since {local_time(shown.effective_time)}, from {origin}")
    if shown.refusal:
        print_note(f"The file was refused at {local_time(shown.refuse_time)}, because:\n{shown.refusal}")
    print(shown.policy, end="")


@app.command()
def diff(
    file: Annotated[Path, typer.Argument(help="The other policy file, YAML.")],
    *,
    address: Address = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """Show what another policy would change, and for whom. Nothing is changed.

    The exit code is 1 if the other policy would be refused.
    """
    found = call(address, ca_file, lambda connection: policy_calls.diff_policy(connection, _read(file)))
    if as_json:
        print_json(found)
    else:
        _print(found, file)
    if found.problems:
        raise typer.Exit(1)


def _read(file: Path) -> str:
    try:
        if (size := file.stat().st_size) > MAX_BYTES:
            raise HeadraceError(f"{file} has {size} bytes; a policy may have at most {MAX_BYTES}")
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise HeadraceError(f"{file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise HeadraceError(f"{file} is not text in UTF-8: {error.reason}") from None


def _print(found: pb.DiffPolicyResponse, file: Path) -> None:
    if found.problems:
        print_note(f"{file} would be refused:")
        print_table(
            ["LINE", "KEY", "REASON"], [[str(one.line), one.key, one.reason] for one in found.problems], empty=""
        )
        return
    rows = [
        [one.key, one.before if one.HasField("before") else "-", one.after if one.HasField("after") else "-"]
        for one in found.changes
    ]
    print_table(["KEY", "NOW", "THEN"], rows, empty="The policy in force says the same.")
    if found.changes or found.effects:
        effects = [[one.subject, one.owner or "-", one.message, one.key] for one in found.effects]
        print_table(["WHO", "OWNER", "WHAT", "BECAUSE OF"], effects, empty="It affects nobody who has a cluster now.")
    if found.more_effects:
        print_note(f"and {found.more_effects} more effects")
