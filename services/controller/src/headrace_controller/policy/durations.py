"""Lengths of time as administrators write them."""

from __future__ import annotations

import re
from typing import Annotated

from dask.utils import parse_timedelta
from pydantic import BeforeValidator, Field


def _seconds(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        # Dask does not know "min", which our own sentences use.
        return float(parse_timedelta(re.sub(r"\s*min$", "m", value.strip())))
    except (KeyError, ValueError):
        raise ValueError(f"{value[:40]!r} is no length of time; write one such as '30 min', '2 h' or 90") from None


Seconds = Annotated[float, BeforeValidator(_seconds), Field(ge=0, le=10 * 365 * 86400, allow_inf_nan=False)]
"""Seconds, or text such as '30 min'."""
