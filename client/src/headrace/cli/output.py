"""Answers of commands: tables for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from google.protobuf import json_format
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp


def print_json(value: Message | Iterable[Message]) -> None:
    """Prints one message, or several as a list."""
    data = to_plain(value) if isinstance(value, Message) else [to_plain(one) for one in value]
    print(json.dumps(data, indent=2))


def print_json_line(value: Message) -> None:
    """Prints one message of a stream in one line."""
    print(json.dumps(to_plain(value)), flush=True)


def to_plain(message: Message) -> dict[str, object]:
    """Turns a message into what JSON knows, with the names of the contract."""
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], empty: str) -> None:
    """Prints a table, or a sentence when there is nothing in it."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    if not table.rows:
        print(empty)
        return
    # Without a terminal nothing is wrapped or cut: the output is somebody's input.
    console = Console(width=None if sys.stdout.isatty() else 1000, highlight=False, markup=False)
    console.print(table)


def tell(line: str) -> None:
    """Says something that is not the answer itself."""
    print(line, file=sys.stderr, flush=True)


def age(time: Timestamp) -> str:
    """How long ago that was, in a word."""
    seconds = max(0, int((datetime.now(UTC) - time.ToDatetime(tzinfo=UTC)).total_seconds()))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def local_time(time: Timestamp) -> str:
    """A time as people here write it; empty when it is not set."""
    return f"{time.ToDatetime(tzinfo=UTC).astimezone():%Y-%m-%d %H:%M:%S}" if time.seconds else ""
