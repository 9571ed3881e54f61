"""`headrace admin policy`: the policy in force, and what another one would change, for whom."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer
import yaml

from headrace._wire import policy_calls
from headrace.cli.calling import call
from headrace.cli.options import Address, CaFile, Json
from headrace.cli.output import local_time, print_json, print_note, print_table, printable
from headrace.errors import HeadraceError
from headrace.v1 import policy_service_pb2 as pb

MAX_BYTES = 1 << 20
"""What controllers read of a policy."""
_LONG_WORD = 12  # characters; PyYAML breaks a line behind the word that is too long for it

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
    print_changes(found.changes)
    if found.changes or found.effects:
        effects = [[one.subject, one.owner or "-", one.message, one.key] for one in found.effects]
        print_table(["WHO", "OWNER", "WHAT", "BECAUSE OF"], effects, empty="It affects nobody who has a cluster now.")
    if found.more_effects:
        print_note(f"and {found.more_effects} more effects")


def print_changes(changes: Sequence[pb.PolicyChange]) -> None:
    """Print each key that differs, with the lines that go (-) and those that come (+)."""
    if not changes:
        print("The policy in force says the same.")
    for one in changes:
        print(printable(one.key))
        if one.HasField("before"):
            print(*(f"  - {line}" for line in _lines(one.before)), sep="\n")
        if one.HasField("after"):
            print(*(f"  + {line}" for line in _lines(one.after)), sep="\n")


def _lines(value: str) -> Iterator[str]:
    """Yield a value, which is YAML in one line, as lines that fit the terminal."""
    width = shutil.get_terminal_size().columns - len("  + ") - _LONG_WORD
    text = yaml.safe_dump(yaml.safe_load(value), sort_keys=False, allow_unicode=True, width=width)
    return map(printable, text.removesuffix("...\n").splitlines())
