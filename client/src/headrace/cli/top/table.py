"""One table of `headrace top`: sorted, filtered, and refreshed without losing the cursor."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from rich.cells import cell_len
from rich.text import Text
from textual.binding import Binding, BindingType
from textual.widgets import DataTable

from headrace.cli.top.rows import Row, View, select
from headrace.v1 import cluster_pb2

MOST_LETTERS = 100
MOST_ROWS = 500
"""Rows that are shown of those that match: a terminal that draws thousands each second does nothing else."""


class Table(DataTable[Text]):
    """The rows of a view."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("less_than_sign", "sort(-1)", "Sort", key_display="< >"),
        Binding("greater_than_sign", "sort(1)", "Sort", show=False),
        Binding("r", "reverse", "Reverse"),
    ]

    def __init__(self, view: View) -> None:
        super().__init__(id=view.name, cursor_type="row", zebra_stripes=True, fixed_columns=1)
        self._view = view
        self._column = view.columns.index(view.sort)
        self._descending = view.descending
        self._clusters: Sequence[cluster_pb2.Cluster] = ()
        self._filter = ""
        self.matching = 0

    def on_mount(self) -> None:
        for column in self._view.columns:
            self.add_column(f"{column}  ", width=len(column) + 2, key=column)
        self._mark_column()

    @property
    def selected(self) -> str:
        """Key of the row that the cursor is at; "" if there is none."""
        return self._keys()[self.cursor_row] if self.row_count else ""

    def show(self, clusters: Iterable[cluster_pb2.Cluster], filter_: str) -> None:
        """Show these clusters as they are now."""
        self._clusters, self._filter = list(clusters), filter_
        rows = select(self._view.rows(self._clusters), filter_, self._column, descending=self._descending)
        self.matching = len(rows)
        rows = rows[:MOST_ROWS]
        self._fit_columns(rows)
        if [row.key for row in rows] == self._keys():
            self._update(rows)
        else:
            self._replace(rows)

    def action_sort(self, step: int) -> None:
        """Sort by the column beside."""
        self._sort_by((self._column + step) % len(self._view.columns))

    def action_reverse(self) -> None:
        """Turn the order round."""
        self._descending = not self._descending
        self._sort_by(self._column)

    def on_data_table_header_selected(self, event: DataTable.HeaderSelected) -> None:
        if event.column_index == self._column:
            self._descending = not self._descending
        self._sort_by(event.column_index)

    def _sort_by(self, column: int) -> None:
        self._column = column
        self._mark_column()
        self.show(self._clusters, self._filter)

    def _mark_column(self) -> None:
        for place, column in enumerate(self.ordered_columns):
            mark = f" {'▼' if self._descending else '▲'}" if place == self._column else "  "
            column.label = Text(f"{self._view.columns[place]}{mark}")
        self._clear_caches()
        self.refresh()

    def _fit_columns(self, rows: Sequence[Row]) -> None:
        """Make columns as wide as their texts. Left to itself, the table measures a whole column for each change."""
        for place, column in enumerate(self.ordered_columns):
            texts = (cell_len(row.cells[place].text) for row in rows)
            width = min(MOST_LETTERS, max(texts, default=0))
            width = max(width, len(self._view.columns[place]) + 2)
            if width != column.width:
                column.width = width
                self._require_update_dimensions = True
                self._clear_caches()

    def _update(self, rows: Sequence[Row]) -> None:
        for row in rows:
            before = self.get_row(row.key)
            for column, cell, shown in zip(self._view.columns, row.cells, before, strict=True):
                if shown.plain != cell.text:
                    self.update_cell(row.key, column, Text(cell.text))

    def _replace(self, rows: Sequence[Row]) -> None:
        selected, place, top = self.selected, self.cursor_row, self.scroll_offset.y
        self.clear()
        for row in rows:
            # Never as plain strings: what users have written would be read as markup.
            self.add_row(*(Text(cell.text) for cell in row.cells), key=row.key)
        keys = [row.key for row in rows]
        self.move_cursor(row=keys.index(selected) if selected in keys else place, scroll=False)
        self.scroll_to(y=top, animate=False)

    def _keys(self) -> list[str]:
        return [row.key.value or "" for row in self.ordered_rows]
