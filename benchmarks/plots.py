"""Tables as pictures: grouped bars, in SVG."""

from pathlib import Path
from textwrap import fill
from typing import Any

from benchmarks.bench import Cell, Table
from benchmarks.engines import ENGINES

# The same for an engine in every picture; the palette of Okabe and Ito, which the colour-blind
# tell apart. Ours stands out.
COLORS = dict(
    zip(
        [engine.name for engine in ENGINES],
        ("#d55e00", "#0072b2", "#56b4e9", "#009e73", "#999999", "#555555"),
        strict=True,
    )
) | {"no sessions": "#bbbbbb"}
# Of columns that are no engines: none of the above.
OTHERS = ("#e69f00", "#cc79a7", "#7b5ea7", "#8c564b", "#b5b35c", "#f0e442")

# Bars that are so much higher than a typical one are shown on a logarithmic scale.
TOO_HIGH = 12

INCHES = (9.0, 4.2)

# That fit below the axis.
LETTERS = 100

STYLE = {
    # Text stays text: searchable, and in the reader's font.
    "svg.fonttype": "none",
    # The same figures make the same file.
    "svg.hashsalt": "benchmarks",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
}


def draw(table: Table, folder: Path) -> Path:
    """Write the picture of ``table`` into ``folder``, and return its path."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    path = folder / f"{table.name}.svg"
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=INCHES, layout="constrained")
        _bars(figure.subplots(), table)
        figure.legend(frameon=False, ncols=3, fontsize=9, loc="outside lower center")
        figure.savefig(path, metadata={"Date": None, "Creator": None})
    return path


def _bars(axes: Any, table: Table) -> None:
    letters = max(LETTERS // max(len(table.rows), 1), 8)
    labels = [
        fill(str(row[0]), letters, break_on_hyphens=False, break_long_words=False)
        for row in table.rows
    ]
    width = 0.8 / len(table.columns)
    for number, column in enumerate(table.columns):
        offset = (number - (len(table.columns) - 1) / 2) * width
        axes.bar(
            [position + offset for position in range(len(labels))],
            [_height(row[number + 1]) for row in table.rows],
            width * 0.92,
            label=column,
            color=color(column, number),
        )
    axes.set_xticks(range(len(labels)), labels)
    axes.tick_params(axis="x", length=0)
    axes.set_title(table.title, loc="left", fontweight="bold", fontsize=11)
    axes.set_ylabel(table.unit)
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    if table.unit.startswith("ratio to") or " / " in table.unit:
        axes.axhline(1, color="#333333", linewidth=0.8, linestyle="--")
    if _is_uneven(table):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")


def color(column: str, number: int) -> str:
    """An engine's own, also where the column says more than its name."""
    for name, own in COLORS.items():
        if column == name or column.startswith(f"{name},"):
            return own
    if column in {engine.slug for engine in ENGINES}:
        return COLORS[next(engine.name for engine in ENGINES if engine.slug == column)]
    return OTHERS[number % len(OTHERS)]


def _height(cell: Cell) -> float:
    return float(cell) if isinstance(cell, int | float) else float("nan")


def _is_uneven(table: Table) -> bool:
    heights = sorted(
        cell for row in table.rows for cell in row[1:] if isinstance(cell, int | float) and cell > 0
    )
    return bool(heights) and heights[-1] > TOO_HIGH * heights[len(heights) // 2]
