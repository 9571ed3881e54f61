"""Output of commands: tables for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice

from google.protobuf import json_format
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

_SHORT_WORD = 7  # characters; a table breaks longer words only
_GAP = 3  # characters between two columns


def print_json(value: Message | Iterable[Message]) -> None:
    """Print one message, or several as a list."""
    data = to_plain(value) if isinstance(value, Message) else [to_plain(one) for one in value]
    print(json.dumps(data, indent=2))


def print_json_line(value: Message) -> None:
    """Print one message of a stream as one line."""
    print(json.dumps(to_plain(value)), flush=True)


def to_plain(message: Message) -> dict[str, object]:
    """Return a message as JSON's types, with the field names of the contract."""
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


def printable(text: str) -> str:
    """Return a line without control characters: a terminal would obey those that users, or their code, have written."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], empty: str, *, numbers: Collection[str] = ()
) -> None:
    """Print a table, or the sentence `empty` if it has no rows; the columns `numbers` are aligned to the right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    lines = [[printable(cell) for cell in row] for row in rows]
    if not lines:
        print(empty)
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    widths = [_least_width(*cells) for cells in zip(columns, *lines, strict=True)]
    widths[0] = max(len(cells[0]) for cells in (columns, *lines))
    for place, (column, width) in enumerate(zip(columns, widths, strict=True)):
        # A name is copied: it stays in one line, and what does not fit is wrapped elsewhere. Nothing is cut.
        justify = "right" if column in numbers else "left"
        table.add_column(column, no_wrap=place == 0, overflow="fold", min_width=width, justify=justify)
    for line in lines:
        table.add_row(*line)
    # Without a terminal, nothing is wrapped or cut: another program reads the output.
    console = Console(width=None if sys.stdout.isatty() else 1000, highlight=False, markup=False)
    if sum(widths) + _GAP * len(widths) > console.width:
        _print_blocks(columns, lines)
    else:
        console.print(table)


def _least_width(head: str, *cells: str) -> int:
    words = (word for cell in cells for word in cell.split())
    return max(len(head), min(_SHORT_WORD, max(map(len, words), default=0)))


def _print_blocks(columns: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    """Print each row as lines of its own, for a terminal that is too narrow for the columns."""
    width = max(map(len, columns)) + 2
    for line in lines:
        print(*(f"{column:<{width}}{cell}" for column, cell in zip(columns, line, strict=True)), "", sep="\n")


def print_note(line: str) -> None:
    """Print a line that is not part of the answer, to standard error."""
    print(line, file=sys.stderr, flush=True)


def age(time: Timestamp) -> str:
    """Return how long ago it was, such as "5 min"."""
    seconds = max(0, int((datetime.now(UTC) - time.ToDatetime(tzinfo=UTC)).total_seconds()))
    return next(_units(seconds), "0 s")


def duration(seconds: int, units: int | None = None) -> str:
    """Return a time, such as "1 h 30 min": exactly, or in its largest units."""
    return " ".join(islice(_units(seconds), units)) or "0 s"


def _units(seconds: int) -> Iterator[str]:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        if count := seconds // size:
            yield f"{count} {unit}"
        seconds %= size


def local_time(time: Timestamp) -> str:
    """Return the time in this time zone; "" if it is not set."""
    return f"{time.ToDatetime(tzinfo=UTC).astimezone():%Y-%m-%d %H:%M:%S}" if time.seconds else ""
