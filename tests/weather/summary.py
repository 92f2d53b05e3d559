"""
Put what each weather did on each topology into docs/weather.md, in a row each.

``python -m tests.weather.summary [report]``: ``report`` is what ``make weather`` has printed. Its
rows take the place of those in the page's table of figures, or are added to it.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.weather.places import SCHEMES
from tests.weather.report import HEADINGS, lines
from tests.weather.serving import KINDS

PAGE = Path(__file__).parents[2] / "docs" / "weather.md"

BEGIN, END = "<!-- topologies -->", "<!-- end -->"

HEAD = f"| {' | '.join(HEADINGS)} |"

Cells = dict[str, str]


def main() -> None:
    from tests.weather.__main__ import WEATHERS

    order = list(WEATHERS)
    text = PAGE.read_text("utf-8")
    before, head, rest = text.partition(f"{HEAD}\n")
    table, blank, after = rest.partition("\n\n")
    rows = {_key(row): row for row in _rows(f"{head}{table}")}
    if len(sys.argv) > 1:
        rows |= {_key(row): row for row in _rows(Path(sys.argv[1]).read_text("utf-8"))}
    figures = sorted(rows.values(), key=lambda row: (order.index(row["weather"]), *_place(row)))
    page = before + lines(HEADINGS, [list(row.values()) for row in figures], 3) + blank + after
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    columns = ("weather", *SCHEMES)
    summary = lines(columns, list(_summary(figures, order)), len(columns))
    PAGE.write_text(f"{before}{begin}\n\n{summary}\n\n{end}{after}", "utf-8")


def _rows(text: str) -> Iterator[Cells]:
    """Those with the engine's own figures."""
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == len(HEADINGS) and cells[1] in SCHEMES and not cells[2].endswith("-cache"):
            cells[2] = cells[2].removesuffix("-ours")
            yield dict(zip(HEADINGS, cells, strict=True))


def _key(row: Cells) -> tuple[str, str, str]:
    return row["weather"], row["topology"], row["site"]


def _place(row: Cells) -> tuple[int, int]:
    return list(SCHEMES).index(row["topology"]), list(KINDS).index(row["site"])


def _summary(rows: list[Cells], order: list[str]) -> Iterator[list[str]]:
    for weather in order:
        of_weather = [row for row in rows if row["weather"] == weather]
        if of_weather:
            yield [
                weather,
                *(
                    _cell([row for row in of_weather if row["topology"] == topology])
                    for topology in SCHEMES
                ),
            ]


def _cell(rows: list[Cells]) -> str:
    """What happened to all sites together. Of times, the longest."""
    if not rows:
        return ""
    before, after = (sum(int(row["signed in"].split(" → ")[at]) for row in rows) for at in (0, 1))
    parts = [f"{before - after} signed out"] if after < before else []
    for column, words in (("lost", "lost"), ("back", "back"), ("twice", "twice")):
        if count := sum(int(row[column]) for row in rows):
            parts.append(f"{count} {words}")
    answered = {status: sum(int(row[status]) for row in rows) for status in ("200", "503")}
    share = 100 * answered["503"] / sum(answered.values())
    parts.append(f"{share:.0f} % 503" if share >= 1 or not share else "under 1 % 503")
    parts.append(f"longest {_longest(rows, 'longest')}")
    parts.append(f"recovery {_longest(rows, 'recovery')}")
    return ", ".join(parts)


def _longest(rows: list[Cells], column: str) -> str:
    found = [re.match(r"[\d.]+", row[column]) for row in rows]
    return f"{max(float(one[0]) for one in found if one):.1f} s" if all(found) else "none"


if __name__ == "__main__":
    main()
