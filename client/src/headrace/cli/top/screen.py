"""The application of `headrace top`."""

from __future__ import annotations

import time
from collections.abc import Awaitable
from contextlib import suppress
from typing import ClassVar

from textual import events, work
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.css.query import NoMatches
from textual.widgets import Footer, Input, Static, TabbedContent, TabPane

from headrace._target import config
from headrace._wire import calls, culling_calls
from headrace._wire.calls import cluster_id
from headrace._wire.connection import Connection
from headrace.cli.output import printable
from headrace.cli.top.dialogs import Ask, Confirm
from headrace.cli.top.following import Following
from headrace.cli.top.rows import VIEWS, detail, summary
from headrace.cli.top.table import MOST_ROWS, Table
from headrace.errors import HeadraceError

REFRESH_SECONDS = 1.0
ERROR_SECONDS = 15.0
SILENCE_SECONDS = 60.0  # a watch gives a sign of life every 30 s at least


class Top(App[HeadraceError]):
    """Tables of clusters, users and what waits. Returns the error that ended it, if one did."""

    TITLE = "headrace top"
    CSS_PATH = "screen.tcss"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(str(number), f"show('{name}')", name.title(), show=False) for number, name in enumerate(VIEWS, 1)),
        ("slash", "filter", "Filter"),
        ("s", "stop", "Stop"),
        ("e", "extend", "Extend"),
        ("q", "quit", "Quit"),
    ]

    def __init__(self, connection: Connection, owner: str) -> None:
        super().__init__()
        self.following = Following(connection, owner, self._note_change)
        self._connection = connection
        self._heard = time.monotonic()

    def compose(self) -> ComposeResult:
        with Horizontal(id="head"):
            yield Static(id="summary", markup=False)
            yield Static(self._connection.target.address, id="address", markup=False)
        yield Static(id="trouble", markup=False)
        with TabbedContent():
            for number, (name, view) in enumerate(VIEWS.items(), 1):
                with TabPane(f"{number} {name.title()}", id=f"pane-{name}"):
                    yield Table(view)
        yield Static(id="detail", markup=False)
        yield Input(placeholder="part of a name, an owner, a phase, ...", id="filter")
        yield Footer()

    def on_mount(self) -> None:
        self.query_one("#filter").display = False
        self.table.focus()
        self._follow()
        self.set_interval(REFRESH_SECONDS, self._tick)

    @property
    def table(self) -> Table:
        """The table that is shown."""
        pane = self.query_one(TabbedContent).active.removeprefix("pane-") or next(iter(VIEWS))
        return self.query_one(f"#{pane}", Table)

    def action_show(self, view: str) -> None:
        """Show another table."""
        self.query_one(TabbedContent).active = f"pane-{view}"

    def on_tabbed_content_tab_activated(self) -> None:
        self._refresh_tables()
        self.table.focus()

    def action_filter(self) -> None:
        """Ask what the rows must contain."""
        box = self.query_one("#filter", Input)
        box.display = True
        box.focus()

    def on_data_table_row_highlighted(self, event: Table.RowHighlighted) -> None:
        with suppress(NoMatches):  # as in _tick
            self._show_detail(event.row_key.value or "")

    def on_input_changed(self) -> None:
        self._refresh_tables()

    def on_input_submitted(self) -> None:
        self._leave_filter()

    def on_key(self, event: events.Key) -> None:
        if event.key == "escape" and self.query_one("#filter").display:
            self.query_one("#filter", Input).value = ""
            self._leave_filter()

    def action_stop(self) -> None:
        """Stop the cluster that the cursor is at."""
        if name := self._selected():
            self._stop(name)

    def action_extend(self) -> None:
        """Put culling of the cluster off that the cursor is at."""
        if name := self._selected():
            self._extend(name)

    @work(exclusive=True, group="follow")
    async def _follow(self) -> None:
        try:
            await self.following.run()
        except HeadraceError as error:
            self.exit(error)

    @work(group="stop")
    async def _stop(self, name: str) -> None:
        if await self.push_screen_wait(Confirm(f"Stop cluster {self._described(name)}?")):
            await self._change(calls.stop(self._connection, name), f"Stopping {cluster_id(name)}")

    @work(group="extend")
    async def _extend(self, name: str) -> None:
        question = f"Keep cluster {self._described(name)}, although it is idle, for"
        if time_ := await self.push_screen_wait(Ask(question, "2h")):
            await self._change(self._keep(name, time_), f"Keeping {cluster_id(name)} for {time_}")

    async def _keep(self, name: str, time_: str) -> None:
        await culling_calls.keep(self._connection, name, config.seconds(time_, "the time"))

    async def _change(self, change: Awaitable[object], done: str) -> None:
        """Say whether a change was made; the server decides who may make it."""
        try:
            await change
        except HeadraceError as error:
            self.notify(str(error), severity="error", timeout=ERROR_SECONDS, markup=False)
        else:
            self.notify(done, markup=False)

    def _selected(self) -> str:
        """Name of the cluster that the cursor is at; "" where rows are not clusters."""
        return name if (name := self.table.selected) in self.following.clusters else ""

    def _described(self, name: str) -> str:
        cluster = self.following.clusters[name]
        alias = f" ({cluster.spec.alias})" if cluster.spec.alias else ""
        return f"{cluster_id(name)}{alias} of {cluster.owner.removeprefix('users/')}"

    def _leave_filter(self) -> None:
        box = self.query_one("#filter", Input)
        box.display = bool(box.value)
        self.table.focus()

    def _note_change(self) -> None:
        self._heard = time.monotonic()

    def _tick(self) -> None:
        with suppress(NoMatches):  # the application ends: some of its parts are gone
            self._refresh_tables()

    def _refresh_tables(self) -> None:
        """Show what has changed; ages change always. Changes in between are shown together."""
        clusters = list(self.following.clusters.values())
        text = self.query_one("#filter", Input).value
        self.table.show(clusters, text)
        self.query_one("#summary", Static).update(self._summary_line(summary(clusters)))
        self._show_detail(self.table.selected)
        trouble = self.query_one("#trouble", Static)
        trouble.update(printable(self._trouble()))
        trouble.display = bool(self._trouble())

    def _show_detail(self, name: str) -> None:
        cluster = self.following.clusters.get(name)
        self.query_one("#detail", Static).update(detail(cluster) if cluster else "")

    def _summary_line(self, line: str) -> str:
        if not self.following.complete:
            return "reading the clusters ..."
        if self.table.matching > MOST_ROWS:
            line += f"   (the first {MOST_ROWS} of {self.table.matching} rows; / filters)"
        return line

    def _trouble(self) -> str:
        """Return why what is shown may be old; "" if it is not."""
        silent = time.monotonic() - self._heard
        return self.following.trouble or (f"no answer for {silent:.0f} s" if silent > SILENCE_SECONDS else "")
