"""Options as a form in a notebook."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable
from typing import Any

from headrace._dask.option import Option
from headrace.errors import InvalidRequest
from headrace.option_types import BadValue, Bool, Bytes, Float, Int, Select, Text, TextList
from headrace.sizes import format_bytes


def form(options: Iterable[Option]) -> Any:
    """Return the widget, or None if ipywidgets is not installed."""
    try:
        import ipywidgets
    except ImportError:
        return None
    cells = [cell for option in options for cell in _row(ipywidgets, option)]
    layout = ipywidgets.Layout(grid_template_columns="max-content 20em auto", grid_gap="4px 12px", align_items="center")
    title = ipywidgets.HTML("<h3>Cluster options</h3>")
    return ipywidgets.VBox([title, ipywidgets.GridBox(cells, layout=layout)])


def _row(ipywidgets: Any, option: Option) -> tuple[Any, Any, Any]:
    """Return label, input and help of an option. Input and option are kept equal."""
    remark = ipywidgets.HTML(_help(option))
    field = _field(ipywidgets, option)

    def user_changed(change: Any) -> None:
        try:
            option.set(_from_field(option, change.new))
            remark.value = _help(option)
        except InvalidRequest as error:
            remark.value = f"<span style='color:#b00020'>&#9888; {html.escape(error.message)}</span>"

    def program_changed(value: object) -> None:
        if _parsed(option, field.value) != value:
            field.value = _to_field(option, value)

    field.layout.width = "auto"  # as wide as its column: ipywidgets' own width reaches over the help
    field.observe(user_changed, "value")
    option.listeners.append(program_changed)
    return ipywidgets.HTML(f"<b>{html.escape(option.label)}</b>"), field, remark


def _field(ipywidgets: Any, option: Option) -> Any:
    value = _to_field(option, option.value)
    match option.type:
        case Bool():
            return ipywidgets.Checkbox(value=value, indent=False)
        case Select(choices):
            labels = [(choice.label or str(choice.value), choice.value) for choice in choices]
            return ipywidgets.Dropdown(value=value, options=labels)
        case Int():
            return ipywidgets.IntText(value=value)
        case Float():
            return ipywidgets.FloatText(value=value)
        case Text() | Bytes():
            return ipywidgets.Text(value=value, continuous_update=False)
        case _:
            return ipywidgets.Textarea(value=value, continuous_update=False, placeholder="JSON", rows=2)


def _to_field(option: Option, value: object) -> object:
    match option.type:
        case Bool() | Select() | Int() | Float():
            return value
        case Bytes() if isinstance(value, int):
            return format_bytes(value)
        case Text() | Bytes():
            return "" if value is None else str(value)
        case _:
            return json.dumps(value) if value else ""


def _from_field(option: Option, value: Any) -> object:
    match option.type:
        case Bool() | Select() | Int() | Float() | Text() | Bytes():
            return value
        case _:
            return _from_json(option, value)


def _from_json(option: Option, text: str) -> object:
    if not text.strip():
        return [] if isinstance(option.type, TextList) else {}
    try:
        return json.loads(text)
    except ValueError as error:
        raise InvalidRequest(f"{option.key}: this is not JSON: {error}") from None


def _parsed(option: Option, value: object) -> object:
    """Return the value of a field, or None if it is wrong."""
    try:
        value = _from_field(option, value)
        return value if option.type is None else option.type.check(value)
    except (InvalidRequest, BadValue):
        return None


def _help(option: Option) -> str:
    return f"<span style='color:gray'>{html.escape(option.description)}</span>"
