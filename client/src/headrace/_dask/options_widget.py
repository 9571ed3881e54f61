"""Options as a form in a notebook."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from headrace.errors import InvalidRequest

if TYPE_CHECKING:
    from headrace._dask.options import Option


def form(options: Iterable[Option]) -> Any:
    """Returns the widget, or None where ipywidgets is missing."""
    try:
        import ipywidgets
    except ImportError:
        return None
    cells = [cell for option in options for cell in _row(ipywidgets, option)]
    layout = ipywidgets.Layout(grid_template_columns="max-content 20em auto", grid_gap="4px 12px", align_items="center")
    title = ipywidgets.HTML("<h3>Cluster options</h3>")
    return ipywidgets.VBox([title, ipywidgets.GridBox(cells, layout=layout)])


def _row(ipywidgets: Any, option: Option) -> tuple[Any, Any, Any]:
    """Label, input and help of an option; input and option follow one another."""
    remark = ipywidgets.HTML(_help(option))
    field = _field(ipywidgets, option)

    def user_changed(change: Any) -> None:
        try:
            option.set(_from_field(option, change.new))
            remark.value = _help(option)
        except InvalidRequest as error:
            remark.value = f"<span style='color:#b00020'>&#9888; {html.escape(error.message)}</span>"

    def program_changed(value: object) -> None:
        if _from_field_or_none(option, field.value) != value:
            field.value = _to_field(option, value)

    field.observe(user_changed, "value")
    option.listeners.append(program_changed)
    return ipywidgets.HTML(f"<b>{html.escape(option.label)}</b>"), field, remark


def _field(ipywidgets: Any, option: Option) -> Any:
    value = _to_field(option, option.value)
    match option.type:
        case "bool_type":
            return ipywidgets.Checkbox(value=value, indent=False)
        case "select_type":
            return ipywidgets.Dropdown(value=value, options=list(option.facts.select_type.choices))
        case "int_type":
            return ipywidgets.IntText(value=value)
        case "float_type":
            return ipywidgets.FloatText(value=value)
        case "string_type" | "bytes_type":
            return ipywidgets.Text(value=value, continuous_update=False)
        case _:
            return ipywidgets.Textarea(value=value, continuous_update=False, placeholder="JSON", rows=2)


def _to_field(option: Option, value: object) -> object:
    match option.type:
        case "bool_type" | "select_type" | "int_type" | "float_type":
            return value
        case "string_type" | "bytes_type":
            return "" if value is None else str(value)
        case _:
            return json.dumps(value) if value else ""


def _from_field(option: Option, value: Any) -> object:
    match option.type:
        case "bytes_type":
            return int(value) if value.strip().isdigit() else value
        case "bool_type" | "select_type" | "int_type" | "float_type" | "string_type":
            return value
        case _:
            return _from_json(option, value)


def _from_json(option: Option, text: str) -> object:
    if not text.strip():
        return [] if option.type == "list_type" else {}
    try:
        return json.loads(text)
    except ValueError as error:
        raise InvalidRequest(f"{option.key}: this is not JSON: {error}") from None


def _from_field_or_none(option: Option, value: object) -> object:
    try:
        return _from_field(option, value)
    except InvalidRequest:
        return None


def _help(option: Option) -> str:
    return f"<span style='color:gray'>{html.escape(option.description)}</span>"
