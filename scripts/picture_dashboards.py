"""Draws the dashboards of deploy/grafana/ as pictures, with the data of a Prometheus. Needs Chromium.

Grafana itself is not needed: what is drawn is each panel at its place, with its title, unit and legend. Exits with 1 if
panels have no data, and names them.
"""

from __future__ import annotations

import argparse
import html
import json
import math
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

from bokeh.embed import components
from bokeh.models import DatetimeTickFormatter, FixedTicker, Range1d
from bokeh.plotting import figure
from bokeh.resources import INLINE

FOLDER = Path(__file__).resolve().parent.parent / "deploy" / "grafana"
WIDTH = 1600
# Grafana's grid: 24 columns; a row has 30 pixels, and between panels are 8.
COLUMN, ROW, GAP = WIDTH / 24, 38, 8
HEAD, TITLE, LEGEND_LINE = 56, 30, 20
COLOURS = (
    "#73bf69",
    "#f2cc0c",
    "#5794f2",
    "#ff9830",
    "#f2495c",
    "#b877d9",
    "#37872d",
    "#fade2a",
    "#8ab8ff",
    "#fa6400",
    "#c4162a",
    "#8f3bb8",
    "#56a64b",
    "#e0b400",
    "#1f60c4",
    "#ffb357",
)
GRID = "#26292f"
STYLE = """
body { margin: 0; background: #111217; color: #ccccdc; font: 14px sans-serif; position: relative }
header { height: 56px; line-height: 56px; padding: 0 8px; font-size: 18px }
header small { color: #8e8e9e; margin-left: 24px }
section { position: absolute; box-sizing: border-box; background: #181b1f; border: 1px solid #2b2e34; overflow: hidden }
h2 { font-size: 14px; font-weight: 500; margin: 0; padding: 7px 8px 0; height: 23px;
     white-space: nowrap; overflow: hidden; text-overflow: ellipsis }
.stat { display: flex; justify-content: space-evenly; align-items: center; height: 100px }
.row-panel { border: none; background: none }
.none { text-align: center; padding-top: 30px; color: #8e8e9e }
.legend { position: absolute; bottom: 4px; left: 8px; right: 8px; font-size: 12px; line-height: 20px }
.legend span { margin-right: 14px; white-space: nowrap }
.legend i { display: inline-block; width: 14px; height: 4px; margin-right: 6px; vertical-align: middle }
table { width: 100%; border-collapse: collapse; font-size: 13px }
th, td { text-align: left; padding: 5px 8px; border-bottom: 1px solid #2b2e34 }
"""


@dataclass(frozen=True)
class Series:
    """A series of an answer: its labels, and its points."""

    labels: Mapping[str, str]
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Source:
    """A Prometheus, asked as Grafana would ask it for `seconds` until now."""

    url: str
    seconds: int
    now: float

    def ask(self, expression: str, *, instant: bool) -> list[Series]:
        """Return what a query answers, without the points that are no numbers."""
        if instant:
            what, when = "query", {"time": self.now}
        else:
            step = max(1, self.seconds // 300)
            what, when = "query_range", {"start": self.now - self.seconds, "end": self.now, "step": step}
        with urlopen(f"{self.url}/api/v1/{what}?{urlencode({'query': expression, **when})}", timeout=30) as answer:
            found = json.load(answer)["data"]["result"]
        points = [one["values"] if "values" in one else [one["value"]] for one in found]
        return [
            Series(one["metric"], [(at, float(value)) for at, value in some if math.isfinite(float(value))])
            for one, some in zip(found, points, strict=True)
        ]


def main() -> int:
    """Draw them; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("prometheus", help="such as http://127.0.0.1:9090")
    parser.add_argument("--output", type=Path, default=Path("build/dashboards"), help="folder of the pictures")
    parser.add_argument("--seconds", type=int, default=6 * 3600, help="time until now that is shown")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="value of a variable")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    source = Source(arguments.prometheus, arguments.seconds, time.time())
    given = dict(one.split("=", 1) for one in arguments.set)
    empty = list[str]()
    for file in sorted(FOLDER.glob("*.json")):
        dashboard = json.loads(file.read_text(encoding="utf-8"))
        variables = choose(source, dashboard, given)
        page, height, without = draw(source, dashboard, variables)
        photograph(page, height, arguments.output / f"{file.stem}.png")
        empty += [f"{file.stem}: {title}" for title in without]
    for one in empty:
        print(f"no data: {one}", file=sys.stderr)
    return 1 if empty else 0


def choose(source: Source, dashboard: Any, given: Mapping[str, str]) -> dict[str, str]:
    """Return a value for each variable: one that is given, else the first that is offered."""
    chosen = {"__range": f"{source.seconds}s", "__rate_interval": f"{max(10, source.seconds // 75)}s"}
    for variable in dashboard["templating"]["list"]:
        name, query = variable["name"], variable["query"]
        if name in given or variable["type"] != "query":
            chosen[name] = given.get(name, query)
        elif found := re.fullmatch(r"label_values\((.+), (\w+)\)", query):
            values = {one.labels[found[2]] for one in source.ask(found[1], instant=True)}
            chosen[name] = min(values, default="")
    return chosen


def draw(source: Source, dashboard: Any, variables: Mapping[str, str]) -> tuple[str, int, list[str]]:
    """Return a page, its height, and the titles of the panels without data."""
    sections, without, height = list[str](), list[str](), 0
    for panel in dashboard["panels"]:
        place, kind = panel["gridPos"], panel["type"]
        answers = [
            (target, source.ask(fill(target["expr"], variables), instant=bool(target.get("instant"))))
            for target in panel.get("targets", ())
        ]
        if kind != "row" and not any(series.points for _, answer in answers for series in answer):
            without.append(panel["title"])
        width, high = round(place["w"] * COLUMN) - GAP, place["h"] * ROW - GAP
        x, y = round(place["x"] * COLUMN) + GAP // 2, place["y"] * ROW + HEAD
        height = max(height, y + high + GAP)
        content = BODIES[kind](panel, answers, Frame(source.now - source.seconds, source.now, width, high - TITLE))
        sections.append(
            f'<section class="{kind}-panel" style="left:{x}px; top:{y}px; width:{width}px; height:{high}px">'
            f"<h2>{html.escape(panel['title'])}</h2>{content}</section>"
        )
    shown = ", ".join(f"{name}: {value}" for name, value in variables.items() if not name.startswith("__"))
    head = f"<header>{html.escape(dashboard['title'])}<small>{html.escape(shown)}</small></header>"
    page = f"<!doctype html><meta charset=utf-8>{INLINE.render()}<style>{STYLE}</style>{head}{''.join(sections)}"
    return page, height, without


def fill(text: str, variables: Mapping[str, str]) -> str:
    """Return a text with the values of its variables."""
    return re.sub(r"\$(\w+)", lambda found: variables[found[1]], text)


@dataclass(frozen=True)
class Frame:
    """The time that a panel shows, and its size in pixels."""

    start: float
    end: float
    width: int
    height: int


Answers = Sequence[tuple[Any, Sequence[Series]]]


def row_body(_panel: Any, _answers: Answers, _frame: Frame) -> str:
    """Return what a heading has besides its title."""
    return ""


def stat_body(panel: Any, answers: Answers, frame: Frame) -> str:
    """Return the last values of a query, as large as there is room for."""
    shown = panel["fieldConfig"]["defaults"]
    values = [series.points[-1][1] for _, answer in answers for series in answer if series.points]
    if not values:
        return NO_DATA
    texts = [text_of(value, shown["unit"]) for value in values]
    size = min(36, round(frame.width / (sum(len(text) for text in texts) + len(texts)) * 1.5))
    colours = [colour_of(value, shown["thresholds"]) for value in values]
    written = (f'<b style="color:{colour}">{text}</b>' for colour, text in zip(colours, texts, strict=True))
    return f'<div class="stat" style="font-size:{size}px">{"".join(written)}</div>'


def graph_body(panel: Any, answers: Answers, frame: Frame) -> str:
    """Return the course of queries, with a legend."""
    unit = panel["fieldConfig"]["defaults"]["unit"]
    lines = [
        (legend(target["legendFormat"], series.labels), series.points)
        for target, answer in answers
        for series in answer
        if series.points
    ]
    if not lines:
        return NO_DATA
    letters = sum(len(name) + 6 for name, _ in lines)
    below = LEGEND_LINE * math.ceil(letters * 7.5 / frame.width) + 6
    plot = figure(
        width=frame.width,
        height=frame.height - below,
        x_axis_type="datetime",
        x_range=Range1d(start=frame.start * 1000, end=frame.end * 1000),
        toolbar_location=None,
    )
    plot.xaxis.formatter = DatetimeTickFormatter(
        hours="%H:%M", minutes="%H:%M", minsec="%H:%M:%S", seconds="%H:%M:%S", days="%d %b"
    )
    plot.background_fill_color = plot.border_fill_color = "#181b1f"
    plot.outline_line_color = None
    plot.grid.grid_line_color = GRID
    plot.axis.axis_label_text_color = plot.axis.major_label_text_color = "#ccccdc"
    plot.axis.minor_tick_line_color = None
    marks = ticks(max(value for _, points in lines for _, value in points), unit)
    plot.y_range.start, plot.y_range.end = 0, marks[-1]  # pyright: ignore[reportAttributeAccessIssue]
    plot.yaxis.ticker = FixedTicker(ticks=marks)
    plot.yaxis.major_label_overrides = {mark: text_of(mark, unit) for mark in marks}
    entries = list[str]()
    for number, (name, points) in enumerate(lines):
        colour = COLOURS[number % len(COLOURS)]
        plot.line([at * 1000 for at, _ in points], [value for _, value in points], color=colour, line_width=1.5)
        entries.append(f'<span><i style="background:{colour}"></i>{html.escape(name)}</span>')
    script, division = components(plot)
    return f'{division}{script}<div class="legend">{"".join(entries)}</div>'


def table_body(panel: Any, answers: Answers, _frame: Frame) -> str:
    """Return the last values of queries, a line for each value of their one label."""
    [organized] = [step["options"] for step in panel["transformations"] if step["id"] == "organize"]
    renamed, places = organized["renameByName"], organized["indexByName"]
    names = [renamed[name] for name in sorted(places, key=places.get)]
    shown = {
        override["matcher"]["options"]: {one["id"]: one["value"] for one in override["properties"]}
        for override in panel["fieldConfig"]["overrides"]
    }
    lines = dict[str, dict[str, float]]()
    for target, answer in answers:
        for series in answer:
            [value] = series.labels.values()
            lines.setdefault(value, {})[renamed[f"Value #{target['refId']}"]] = series.points[-1][1]
    if not lines:
        return NO_DATA
    [order] = panel["options"]["sortBy"]
    sort = order["displayName"]
    found = [f"<tr>{''.join(f'<th>{html.escape(name)}</th>' for name in names)}</tr>"]
    for value, line in sorted(lines.items(), key=lambda one: one[1].get(sort, 0), reverse=order["desc"]):
        cells = [text_of(line[name], shown[name]["unit"]) if name in line else "" for name in names[1:]]
        found.append(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in (value, *cells))}</tr>")
    return f"<table>{''.join(found)}</table>"


NO_DATA = '<div class="none">No data</div>'
BODIES = {"row": row_body, "stat": stat_body, "timeseries": graph_body, "table": table_body}


def colour_of(value: float, thresholds: Any) -> str:
    """Return the colour of the highest threshold that a value has reached."""
    names = [step["color"] for step in thresholds["steps"] if step.get("value") is None or value >= step["value"]]
    return {"green": COLOURS[0], "red": COLOURS[4]}[names[-1]]


def legend(pattern: str, labels: Mapping[str, str]) -> str:
    """Return the name of a series."""
    return re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda found: labels.get(found[1], ""), pattern).strip()


def ticks(maximum: float, unit: str) -> list[float]:
    """Return about five marks of an axis from 0, the last one not below the maximum."""
    base = 1024.0 if unit == "bytes" else 1000.0
    maximum = maximum or 1.0
    power = base ** math.floor(math.log(maximum, base))
    steps = (factor * power for factor in rising())
    step = next(step for step in steps if step * 5 >= maximum)
    return [step * number for number in range(math.ceil(maximum / step) + 1)]


def rising() -> Iterable[float]:
    """Yield round numbers."""
    power = 0.1
    while True:
        yield from (power, 2 * power, 5 * power)
        power *= 10


SHORT = ("", " K", " Mil", " Bil")
BYTES = (" B", " KiB", " MiB", " GiB", " TiB", " PiB")
TIMES = ((86400.0, "day"), (3600.0, "hour"), (60.0, "min"), (1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))


def text_of(value: float, unit: str) -> str:
    """Return a number as Grafana writes it in a unit."""
    match unit:
        case "s":
            size, name = next((one for one in TIMES if abs(value) >= one[0]), TIMES[3])
            return f"{value / size:.3g} {name}"
        case "percentunit":
            return f"{value * 100:.3g}%"
        case "bytes":
            return scaled(value, 1024, BYTES)
        case "reqps":
            return f"{scaled(value, 1000, SHORT)} req/s"
        case "ops":
            return f"{scaled(value, 1000, SHORT)} ops/s"
        case "short":
            return scaled(value, 1000, SHORT)
        case _:
            raise ValueError(f"how is the unit {unit!r} written?")


def scaled(value: float, base: int, names: Sequence[str]) -> str:
    """Return a number of at most three digits, with the name of its size."""
    size = 0
    while abs(value) >= base and size < len(names) - 1:
        value, size = value / base, size + 1
    return f"{value:.3g}{names[size]}"


def photograph(page: str, height: int, file: Path) -> None:
    """Write a picture of a page."""
    with tempfile.TemporaryDirectory() as name:
        source = Path(name) / "page.html"
        source.write_text(page, encoding="utf-8")
        flags = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars")
        options = (f"--user-data-dir={name}/profile", f"--window-size={WIDTH},{height}", "--virtual-time-budget=2000")
        command = ["chromium", *flags, *options, f"--screenshot={file.resolve()}", source.as_uri()]
        subprocess.run(command, check=True, capture_output=True, timeout=60)


if __name__ == "__main__":
    sys.exit(main())
