"""What a section of the benchmarks gets, and what it returns."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

Cell = str | float | None


@dataclass(frozen=True)
class Bench:
    """
    ``redis_url``: a server that sections may fill and clean (``redis://`` or ``unix://``).
    ``folder``: theirs to write in. ``rounds``: how often each is measured; medians are shown.
    ``progress``: called with a line that says what is being measured now. ``own_server``: whether
    the server was started for us, and may be configured. ``quick``: whether what takes long is
    left out.
    """

    redis_url: str
    folder: Path
    rounds: int
    progress: Callable[[str], None]
    own_server: bool = False
    quick: bool = False


@dataclass(frozen=True)
class Table:
    """
    Figures side by side. ``name``: its key in the JSON and its plot's file name. ``unit``: of the
    cells. ``rows``: a label first, then a cell for each of ``columns``; ``None`` shows as a dash.
    ``plot``: whether a picture helps. ``note``: what the figures don't say.
    """

    name: str
    title: str
    unit: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    plot: bool = True
    note: str = ""
    details: dict[str, object] = field(default_factory=dict)
