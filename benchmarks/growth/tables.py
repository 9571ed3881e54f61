"""Markdown tables of figures."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Row:
    """Figures of one size, or of what a name says, by column."""

    size: int | str
    of: str
    figures: dict[str, float] = field(default_factory=dict[str, float])


def table(rows: list[Row]) -> str:
    columns = list(rows[0].figures)
    lines = [f"| {rows[0].of} | {' | '.join(columns)} |", "|---:" * (len(columns) + 1) + "|"]
    lines += [f"| {_name(row)} | {' | '.join(_show(row.figures[c]) for c in columns)} |" for row in rows]
    return "\n".join(lines) + "\n"


def _name(row: Row) -> str:
    return row.size if isinstance(row.size, str) else f"{row.size:,}"


def _show(figure: float) -> str:
    return f"{figure:,.0f}" if abs(figure) >= 100 else f"{figure:.3g}"
