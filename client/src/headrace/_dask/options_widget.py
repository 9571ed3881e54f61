"""Options as a form in a notebook."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable
from typing import Any

from headrace._dask.option import Option
from headrace.errors import InvalidRequest
from headrace.option_types import BadValue, Bool, Bytes, Duration, Float, Int, Select, Text, TextList

# JupyterLab's colours, which follow its theme.
_QUIET = "var(--jp-content-font-color2, #757575)"
_WRONG = "var(--jp-error-color1, #d32f2f)"


def form(options: Iterable[Option]) -> Any:
    """Return the widget, or None if ipywidgets is not installed."""
    try:
        import ipywidgets
    except ImportError:
        return None
    title = ipywidgets.HTML("<h3>Cluster options</h3>")
    return ipywidgets.VBox([title, *(_row(ipywidgets, option) for option in options)])


def _row(ipywidgets: Any, option: Option) -> Any:
    """Return label, input and help of an option, in one line where there is room. Input and option are kept equal."""
    label = ipywidgets.HTML(f"<b>{html.escape(option.label)}</b>", layout=ipywidgets.Layout(width="13em"))
    remark = ipywidgets.HTML(_help(option), layout=ipywidgets.Layout(flex="1 1 16em", width="auto"))
    field = _field(ipywidgets, option)

    def user_changed(change: Any) -> None:
        try:
            option.set(_from_field(option, change.new))
            remark.value = _help(option)
        except InvalidRequest as error:
            remark.value = f"<span style='color:{_WRONG}'>&#9888; {html.escape(error.message)}</span>"

    def program_changed(value: object) -> None:
        if _parsed(option, field.value) != value:
            field.value = _to_field(option)

    # ipywidgets' own width reaches over the help.
    field.layout = ipywidgets.Layout(width="20em", max_width="100%", margin="2px 12px 2px 0")
    field.observe(user_changed, "value")
    option.listeners.append(program_changed)
    # A grid would count the icon that JupyterLab adds where the kernel is gone.
    layout = ipywidgets.Layout(flex_flow="row wrap", align_items="center")
    return ipywidgets.HBox([label, field, remark], layout=layout)


def _field(ipywidgets: Any, option: Option) -> Any:
    value = _to_field(option)
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
        case Text() | Bytes() | Duration():
            return ipywidgets.Text(value=value)
        case _:
            return ipywidgets.Textarea(value=value, placeholder="JSON", rows=2)


def _to_field(option: Option) -> object:
    match option.type:
        case Bool() | Select() | Int() | Float():
            return option.value
        case Text() | Bytes() | Duration():
            return "" if option.value is None else str(option)
        case _:
            return json.dumps(option.value) if option.value else ""


def _from_field(option: Option, value: Any) -> object:
    match option.type:
        case Bool() | Select() | Int() | Float() | Text() | Bytes() | Duration():
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
    return f"<span style='color:{_QUIET}'>{html.escape(option.help)}</span>"
