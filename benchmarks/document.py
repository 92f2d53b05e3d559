"""
Put the measured tables into docs/benchmarks.md, between ``<!-- tables -->`` and ``<!-- end -->``.

    python -m benchmarks.document
"""

import argparse
import os
from pathlib import Path
from typing import Any

from benchmarks.bench import Table
from benchmarks.results import Results, text

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"

BEGIN, END = "<!-- tables -->", "<!-- end -->"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.strip().partition("\n")[0])
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args()
    before, begin, rest = options.page.read_text("utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        parser.error(f"{options.page} has no {BEGIN} with {END} after it.")
    tables = document(options.results, options.page.parent)
    options.page.write_text(f"{before}{BEGIN}\n\n{tables}\n{END}{after}", "utf-8")


def document(folder: Path, beside: Path) -> str:
    """All tables of ``folder`` in Markdown, with pictures as seen from the folder ``beside``."""
    results = Results(folder)
    parts, shown_origin = [], ""
    for table in results.tables:
        origin = _origin(*results.origin(table.name))
        if origin != shown_origin:
            parts.append(origin)
            shown_origin = origin
        parts.append(_section(table, folder, beside))
    return "\n".join(parts)


def _section(table: Table, folder: Path, beside: Path) -> str:
    picture = folder / f"{table.name}.svg"
    lines = [f"### {table.title}", "", *_grid(table), ""]
    if table.plot and picture.exists():
        lines += [f"![{table.title}]({os.path.relpath(picture, beside)})", ""]
    if table.note:
        lines += [table.note, ""]
    return "\n".join(lines)


def _grid(table: Table) -> list[str]:
    head = (table.unit, *table.columns)
    rule = ("---", *("---:" for _ in table.columns))
    body = ([text(cell) for cell in row] for row in table.rows)
    return [f"| {' | '.join(cells)} |" for cells in (head, rule, *body)]


def _origin(date: str, machine: dict[str, Any]) -> str:
    """The day is enough: tables of one run differ by minutes."""
    versions = ", ".join(
        f"{name} {machine[name]}"
        for name in machine
        if name not in {"cpu", "cores", "kernel", "server"} and machine[name]
    )
    return (
        f"Measured on {date[:10]}: {machine['cpu']}, {machine['cores']} cores, "
        f"{machine['kernel']}; {machine['server']}; {versions}.\n"
    )


if __name__ == "__main__":
    main()
