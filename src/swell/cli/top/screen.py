"""The live view of `swell top`, on Textual: keys, resizing, and only what has changed over a slow line such as ssh.

Looks at the instance from a thread, so that the screen never waits for it. What the numbers mean is `overview`'s.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from rich.text import Text
from textual import work
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.coordinate import Coordinate
from textual.screen import ModalScreen
from textual.widgets import DataTable, Footer, Input, Static

from swell.cli.stackprint import frame_lines, request_text
from swell.cli.tasks import tree
from swell.cli.top.overview import COLUMNS, Overview, Row, arranged
from swell.cli.top.plain import HEADS, cells, decision_line, header, printable
from swell.errors import SwellError

if TYPE_CHECKING:
    from swell.supervisor.control.client import Client

__all__ = ["TopApp"]

# A request that runs longer is set off, in seconds.
LONG = 1.0
# How long an instance may be silent before the view ends.
SILENCE_SECONDS = 15.0
DECISIONS = 200
_COLORS = {"ready": "green", "starting": "yellow", "draining": "cyan", "stopping": "cyan", "stuck": "bold red"}


class Reading(ModalScreen[None]):
    """A page of text over the table: a worker, or the decisions."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "dismiss", "Back"),
        Binding("r", "reload", "Look again"),
    ]

    def __init__(self, title: str) -> None:
        super().__init__()
        self.heading = title

    def compose(self) -> ComposeResult:
        with VerticalScroll():
            yield Static(Text(f"{self.heading}\n\nlooking …"), id="page")
        yield Footer()

    def on_mount(self) -> None:
        self.action_reload()

    def action_reload(self) -> None:
        self._look()

    @work(thread=True, exclusive=True)
    def _look(self) -> None:
        try:
            lines = self.lines()
        except SwellError as error:
            lines = [str(error)]
        text = Text("\n".join([self.heading, "", *map(printable, lines)]))
        self.app.call_from_thread(self.query_one("#page", Static).update, text)

    def lines(self) -> list[str]:
        """Called in a thread."""
        raise NotImplementedError


class WorkerPage(Reading):
    """One worker: its waiting requests and its tasks."""

    def __init__(self, client: Client, row: Row) -> None:
        super().__init__(f"worker {row.id} (pid {row.pid}) {row.state}" + (f": {row.cause}" if row.cause else ""))
        self._client = client
        self._worker = row.id

    def lines(self) -> list[str]:
        document = self._client.get(f"/v1/tasks?worker={self._worker}")
        lines = [f"{len(document['tasks'])} tasks"]
        if document["answered"]:
            return [*lines, *tree(document["tasks"])]
        lines = ["its event loop does not answer; it is here:", ""]
        for thread in self._client.get(f"/v1/dump?worker={self._worker}")["threads"]:
            if thread["is_loop"]:
                lines += [request_text(thread["request"]), *frame_lines(thread["stack"])]
        return [*lines, "", "its tasks:", *tree(document["tasks"])]


class DecisionsPage(Reading):
    """Why the number of workers was changed, the latest first."""

    def __init__(self, client: Client) -> None:
        super().__init__("decisions about the number of workers, the latest first")
        self._client = client

    def lines(self) -> list[str]:
        document = self._client.get(f"/v1/explain?last={DECISIONS}")
        lines = [document["now"], ""]
        for decision in reversed(document["decisions"]):
            lines.append(decision_line(decision, 10_000))
            if decision["guard"]:
                lines.append(f"          held back by {decision['guard']}")
        return lines if document["decisions"] else [*lines, "none yet"]


class TopApp(App[None]):
    """`ended` says why it ended, unless the user quit."""

    TITLE = "swell top"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #header { height: 3; padding: 0 1; background: $panel; }
    #workers { height: auto; max-height: 1fr; }
    #decisions { height: 1fr; min-height: 3; padding: 0 1; color: $text-muted; border-top: solid $panel; }
    #filter { display: none; height: 3; }
    #filter.shown { display: block; }
    Reading { background: $background; }
    Reading VerticalScroll { padding: 0 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "Quit"),
        Binding("s", "sort", "Sort"),
        Binding("r", "reverse", "Reverse"),
        Binding("slash", "filter", "Filter", key_display="/"),
        Binding("l", "decisions", "Log"),
        Binding("space", "pause", "Pause"),
    ]

    def __init__(self, client: Client, interval: float) -> None:
        super().__init__()
        self.ended = ""
        self._client = client
        self._interval = interval
        self._before: tuple[Mapping[str, Any], float] | None = None
        self._overview: Overview | None = None
        self._column, self._reversed, self._words, self._paused = "id", False, "", False
        self._shown: list[Row] = []
        self._heard = time.monotonic()

    def compose(self) -> ComposeResult:
        yield Static(id="header")
        yield DataTable(id="workers", cursor_type="row", cell_padding=0, zebra_stripes=True)
        yield Input(placeholder="part of a request, a state, a number; Enter keeps it, Escape drops it", id="filter")
        yield Static(id="decisions")
        yield Footer()

    def on_mount(self) -> None:
        self._table.focus()
        self.set_interval(self._interval, self._tick)
        self._look()

    @property
    def _table(self) -> DataTable[Text]:
        return self.query_one("#workers", DataTable)

    def _tick(self) -> None:
        if not self._paused:
            self._look()

    @work(thread=True, exclusive=True, group="looking")
    def _look(self) -> None:
        try:
            status, explanation = self._client.status(), self._client.get(f"/v1/explain?last={DECISIONS}")
        except SwellError as error:
            self.call_from_thread(self._silent, str(error))
            return
        now = time.monotonic()
        before, then = self._before or (None, now)
        overview = Overview.of(status, before, now - then, explanation)
        self._before = status, now
        self.call_from_thread(self._take, overview)

    def _silent(self, why: str) -> None:
        if not self.is_running:
            return  # the thread had asked before the end; nothing is left to show it on
        if time.monotonic() - self._heard > SILENCE_SECONDS:
            self.ended = why
            self.exit()
        else:
            self.query_one("#header", Static).update(Text(printable(why), "bold red"))

    def _take(self, overview: Overview) -> None:
        if not self.is_running:
            return
        self._overview = overview
        self._heard = time.monotonic()
        self._draw()

    def on_resize(self) -> None:
        self._draw()

    def _draw(self) -> None:
        overview = self._overview
        if overview is None:
            return
        width = self.size.width
        first, *rest = header(overview, width - 2)
        state = " (stopped: space goes on)" if self._paused else ""
        head = Text(first + state, "bold")
        self.query_one("#header", Static).update(Text("\n").join([head, *map(Text, rest)]))
        room = max(3, self.query_one("#decisions", Static).size.height)
        lines = [decision_line(one, width - 2) for one in reversed(overview.decisions[-room:])]
        self.query_one("#decisions", Static).update(Text("\n".join(lines or ["no decisions yet"])))
        self._fill(arranged(overview.rows, self._column, self._reversed, self._words), width)

    def _fill(self, rows: list[Row], width: int) -> None:
        """Anew: the order may be another one, and a worker's place is found again by its number."""
        table = self._table
        at = table.cursor_row
        chosen = self._shown[at].id if 0 <= at < len(self._shown) else None
        table.clear(columns=True)
        used = 0
        for name, label, size in HEADS:
            mark = ("▲" if self._reversed == COLUMNS[name] else "▼") if name == self._column else ""
            cell = f"{label}{mark}"
            table.add_column(Text(cell.ljust(-size) if size < 0 else cell.rjust(size)), width=abs(size) + 1)
            used += abs(size) + 1
        table.add_column("SERVES", width=max(8, width - used - 2))
        for row in rows:
            *fixed, serves = cells(row)
            texts = [
                Text(cell.ljust(-size) if size < 0 else cell.rjust(size), _COLORS.get(cell, "") if size < 0 else "")
                for cell, (_, _, size) in zip(fixed, HEADS, strict=True)
            ]
            long = row.serving_for is not None and row.serving_for > LONG
            table.add_row(*texts, Text(f" {serves or row.cause}", "yellow" if long else "" if serves else "dim"))
        self._shown = rows
        place = next((place for place, row in enumerate(rows) if row.id == chosen), 0)
        if rows:
            table.cursor_coordinate = Coordinate(place, 0)

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        if 0 <= event.cursor_row < len(self._shown):
            self.push_screen(WorkerPage(self._client, self._shown[event.cursor_row]))

    def action_decisions(self) -> None:
        self.push_screen(DecisionsPage(self._client))

    def action_sort(self) -> None:
        names = list(COLUMNS)
        self._column = names[(names.index(self._column) + 1) % len(names)]
        self._draw()

    def action_reverse(self) -> None:
        self._reversed = not self._reversed
        self._draw()

    def action_pause(self) -> None:
        self._paused = not self._paused
        self._draw()

    def action_filter(self) -> None:
        field = self.query_one("#filter", Input)
        field.add_class("shown")
        field.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        self._words = event.value
        self._draw()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self._leave_filter()

    def key_escape(self) -> None:
        self.query_one("#filter", Input).value = ""
        self._leave_filter()

    def _leave_filter(self) -> None:
        self.query_one("#filter", Input).remove_class("shown")
        self._table.focus()
