"""Panels, tables and variables of our Grafana dashboards, for `generate_dashboards.py`."""

from __future__ import annotations

from string import ascii_uppercase
from typing import NamedTuple, TypeAlias

from grafana_foundation_sdk.builders import prometheus, stat, table, timeseries
from grafana_foundation_sdk.builders.common import TableSortByFieldState, VizLegendOptions, VizTooltipOptions
from grafana_foundation_sdk.builders.dashboard import (
    Dashboard,
    DashboardLink,
    DatasourceVariable,
    QueryVariable,
    Row,
    TextBoxVariable,
    ThresholdsConfig,
)
from grafana_foundation_sdk.models.common import BigValueGraphMode, SortOrder, TooltipDisplayMode
from grafana_foundation_sdk.models.dashboard import (
    DataSourceRef,
    DataTransformerConfig,
    DynamicConfigValue,
    Threshold,
    ThresholdsMode,
    VariableRefresh,
    VariableSort,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
ALL = '{job="headrace-schedulers"}'

Panel: TypeAlias = "Row | stat.Panel | table.Panel | timeseries.Panel"


def dashboard(name: str, title: str, *panels: Panel) -> Dashboard:
    """Return one whose queries go to the Prometheus that its reader chooses."""
    made = Dashboard(title).uid(f"headrace-{name}").tags(["headrace"]).time("now-6h", "now").refresh("30s")
    made.with_variable(DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
    for panel in panels:
        if isinstance(panel, Row):
            made.with_row(panel)
        else:
            made.with_panel(panel)
    return made


def cost(core_hours: str, gib_hours: str) -> str:
    """Return what these cost at the prices that the reader has written."""
    return f"{core_hours} * $core_hour + {gib_hours} * $memory_gib_hour"


def number(
    title: str, expression: str, unit: str = "short", *, alarm: bool = False, span: int = 4, says: str = ""
) -> stat.Panel:
    """Return a panel with the last value of a query; with `alarm` it is red unless it is 0."""
    query = prometheus.Dataquery().ref_id("A").expr(expression).instant()
    panel = stat.Panel().title(title).description(says).datasource(SOURCE).unit(unit)
    steps = [Threshold(color="green"), Threshold(color="red", value=1)]
    panel.thresholds(ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps if alarm else steps[:1]))
    return panel.graph_mode(BigValueGraphMode.NONE).span(span).height(4).with_target(query)


def graph(title: str, *lines: tuple[str, str], unit: str = "short", by: str = "", says: str = "") -> timeseries.Panel:
    """Return a panel with the course of queries, each with the legend of its lines.

    Lines lead to the dashboard `by` of what their label of that name names.
    """
    panel = timeseries.Panel().title(title).description(says).datasource(SOURCE).unit(unit).min(0)
    for letter, (expression, legend) in zip(ascii_uppercase, lines, strict=False):
        query = prometheus.Dataquery().ref_id(letter).expr(expression).range().legend_format(legend)
        panel.with_target(query)
    panel.legend(VizLegendOptions().show_legend(True))
    panel.tooltip(VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING))
    if by:
        panel.data_links([DashboardLink(f"This {by}").url(address(by, f"__field.labels.{by}"))])
    return panel.span(12).height(8)


class Column(NamedTuple):
    """A column of a table: its title, its query, and its unit."""

    title: str
    expression: str
    unit: str = "short"


def lines(title: str, label: str, *columns: Column, sort: str, says: str) -> table.Panel:
    """Return a table with a line for each value of a label, which leads to the dashboard of that one."""
    panel = table.Panel().title(title).description(says).datasource(SOURCE)
    names = {label: label.title()}
    for letter, column in zip(ascii_uppercase, columns, strict=False):
        query = prometheus.Dataquery().ref_id(letter).expr(column.expression).instant()
        panel.with_target(query.format(PromQueryFormat.TABLE))
        panel.override_by_name(column.title, [DynamicConfigValue("unit", column.unit)])
        names[f"Value #{letter}"] = column.title
    panel.with_transformation(DataTransformerConfig("merge", options={}))
    places = {name: place for place, name in enumerate(names)}
    shown = {"excludeByName": {"Time": True}, "indexByName": places, "renameByName": names}
    panel.with_transformation(DataTransformerConfig("organize", options=shown))
    link = {"title": f"This {label}", "url": address(label, "__value.raw")}
    panel.override_by_name(label.title(), [DynamicConfigValue("links", [link])])
    panel.sort_by([TableSortByFieldState().display_name(sort).desc(True)])
    return panel.span(24).height(8)


def address(name: str, value: str) -> str:
    """Return the address of the dashboard `name` for what a variable of Grafana says."""
    return (
        f"/d/headrace-{name}?var-{name}=${{{value}:percentencode}}&var-datasource=${{datasource}}&${{__url_time_range}}"
    )


def choice(label: str) -> QueryVariable:
    """Return a variable with the values that a label of the measured schedulers has."""
    query = f"label_values(headrace_scheduler_workers{ALL}, {label})"
    refresh = VariableRefresh.ON_TIME_RANGE_CHANGED
    return QueryVariable(label).datasource(SOURCE).query(query).refresh(refresh).sort(VariableSort.ALPHABETICAL_ASC)


def price(name: str, label: str) -> TextBoxVariable:
    """Return a variable for a price, which no metric has: it stands in the policy file."""
    return TextBoxVariable(name).label(label).default_value("0")
