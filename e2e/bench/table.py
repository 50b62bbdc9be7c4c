"""The table: each figure beside its goal, and how far it is from it.

A goal is a ratio to what was measured beside it in the same run, since throughputs move with the load of a machine and
ratios stay. `away` is how many times better a figure would have to be; up to 1 the goal is reached, beyond 2 the figure
needs a named cause (docs/BENCHMARKS.md).
"""

from collections.abc import Iterable
from dataclasses import dataclass

NEAR = 2.0


@dataclass(frozen=True, slots=True)
class Row:
    """One figure."""

    work: str
    figure: str
    beside: str
    """What was measured beside it."""
    goal: str
    away: float | None
    """Times from the goal; None where there is none."""

    @property
    def verdict(self) -> str:
        """The distance in words."""
        if self.away is None:
            return ""
        if self.away <= 1:
            return "reached"
        return f"{self.away:.2f} times" + ("" if self.away <= NEAR else " (!)")


def at_least(work: str, unit: str, got: float, beside: dict[str, float], goals: dict[str, float]) -> Row:
    """A figure that should be `goals[name]` times what was measured for `name`, or more."""
    asked = {name: ratio for name, ratio in goals.items() if name in beside}
    return Row(
        work,
        f"{show(got)} {unit}",
        ", ".join(f"{name} {show(value)} ({got / value:.2f} times)" for name, value in beside.items()),
        ", ".join(f"{ratio:.2f} times {name}" for name, ratio in asked.items()),
        max((beside[name] * ratio / got for name, ratio in asked.items()), default=None),
    )


def at_most(work: str, unit: str, got: float, beside: dict[str, float], goals: dict[str, float]) -> Row:
    """A figure that should be `goals[name]` times what was measured for `name`, or less; "" is the goal itself."""
    asked = {name: ratio for name, ratio in goals.items() if not name or name in beside}
    return Row(
        work,
        f"{show(got)} {unit}",
        ", ".join(f"{name} {show(value)} ({got / value:.2f} times)" for name, value in beside.items()),
        ", ".join(f"{ratio:.2f} times {name}" if name else f"{show(ratio)} {unit}" for name, ratio in asked.items()),
        max((got / (beside[name] * ratio if name else ratio) for name, ratio in asked.items()), default=None),
    )


def missing(work: str, why: str) -> Row:
    """A figure that could not be had."""
    return Row(work, "none", why, "", None)


def show(value: float) -> str:
    """A number with three figures."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def markdown(rows: Iterable[Row]) -> str:
    """The rows as a table of Markdown."""
    lines = ["| work | s3d | beside it | goal | from the goal |", "|---|---|---|---|---|"]
    lines += [f"| {row.work} | {row.figure} | {row.beside} | {row.goal} | {row.verdict} |" for row in rows]
    return "\n".join(lines)
