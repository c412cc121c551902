"""A figure with its goal and its plain tool, and the table of all of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from rich.markup import escape
from rich.table import Table


@dataclass(frozen=True)
class Figure:
    """One measured value.

    Attributes:
        name: What was measured.
        measured: The value.
        goal: The value must not be larger.
        unit: The unit of measured, goal and plain; empty for ratios and counts.
        plain: What the plain tool took in the same run; None if there is no plain tool, or the goal is the ratio.
        plain_tool: What the plain tool is.
        detail: Spread, sizes and conditions.
        load: The machine's load average over one minute, just after.
    """

    name: str
    measured: float
    goal: float
    unit: str
    plain: float | None = None
    plain_tool: str = ""
    detail: str = ""
    load: float = 0.0

    @property
    def reached(self) -> bool:
        """Whether the goal is reached."""
        return self.measured <= self.goal

    @property
    def ratio(self) -> float | None:
        """The value as a multiple of the plain tool's, or of the goal if there is none; None against zero."""
        against = self.goal if self.plain is None else self.plain
        return self.measured / against if against else None

    def document(self) -> dict[str, Any]:
        """Return the figure as JSON."""
        return {**asdict(self), "ratio": self.ratio, "reached": self.reached}


def table(figures: Iterable[Figure]) -> Table:
    """Return the table of all figures."""
    shown = Table(title="Benchmarks", title_justify="left", show_lines=True)
    for heading, justify in (
        ("figure", "left"), ("measured", "right"), ("goal", "right"), ("ratio", "right"), ("against", "left"),
        ("load", "right"), ("", "center"),
    ):  # fmt: skip
        shown.add_column(heading, justify=justify)  # type: ignore[arg-type]  # rich's literal type
    for figure in figures:
        shown.add_row(
            f"[bold]{escape(figure.name)}[/]\n[dim]{escape(figure.detail)}[/]",
            _value(figure.measured, figure.unit),
            f"≤ {_value(figure.goal, figure.unit)}",
            "-" if figure.ratio is None else f"{figure.ratio:.2f}",
            "the goal"
            if figure.plain is None
            else f"{escape(figure.plain_tool)}: {_value(figure.plain, figure.unit)}",
            f"{figure.load:.1f}",
            "[bold green]✓[/]" if figure.reached else "[bold red]✗[/]",
        )
    return shown


def _value(value: float, unit: str) -> str:
    digits = 0 if value == int(value) else 1 if unit else 2
    return f"{value:.{digits}f} {unit}".rstrip()
