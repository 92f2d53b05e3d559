"""What the project wants to reach, and whether it does."""

from collections.abc import Iterable
from dataclasses import dataclass

from benchmarks.bench import Cell, Table
from benchmarks.engines import OURS

SMALL, LARGE = "operations-sync-small", "operations-sync-large"


@dataclass(frozen=True)
class Target:
    """At most ``limit`` in this cell; or ``at_least``."""

    what: str
    limit: float
    table: str
    row: str
    column: str = OURS.name
    at_least: bool = False

    def figure(self, tables: Iterable[Table]) -> float | None:
        """The cell; ``None`` where it was not measured."""
        for table in tables:
            if table.name == self.table and self.column in table.columns:
                for label, *cells in table.rows:
                    cell = cells[table.columns.index(self.column)]
                    if label == self.row and isinstance(cell, float):
                        return cell
        return None

    def is_reached(self, figure: float) -> bool:
        return figure >= self.limit if self.at_least else figure <= self.limit


TARGETS = (
    *(
        Target(f"{row}, to django-redis", limit, SMALL, row)
        for row, limit in (
            ("read", 0.95),
            ("load and write", 0.75),
            ("touch", 0.65),
            ("create", 0.5),
            ("login", 0.5),
        )
    ),
    Target("read, large session, to django-redis", 1.6, LARGE, "read"),
    Target("load and write, large session, to django-redis", 0.7, LARGE, "load and write"),
    Target("create, large session, to django-redis", 2.0, LARGE, "create"),
    Target("read, to bare HGETALL", 1.2, "operations-bare-small", "read", "ratio"),
    Target(
        "memory without index, to django-redis",
        1.0,
        "memory",
        f"{OURS.name}, without index, listpack 256",
        "ratio to cache, django-redis",
    ),
    *(
        Target(
            f"ASGI, {view} view, to {theirs}",
            limit,
            "serving-asgi",
            f"{view}, 32 connections",
            theirs,
            at_least=True,
        )
        for view, by_engine in (
            ("untouched", {"cache, RedisCache": 1.15, "cache, django-redis": 1.15}),
            ("reading", {"cache, RedisCache": 3.0, "cache, django-redis": 2.0}),
            ("writing", {"cache, RedisCache": 3.0, "cache, django-redis": 2.0}),
        )
        for theirs, limit in by_engine.items()
    ),
    *(
        Target(
            f"server's processor, {row}, {words} sessions, to django-redis",
            limit,
            "server",
            f"{row}, {words} sessions",
        )
        for words in ("1 k", "1 M")
        for row, limit in (
            ("load and write", 1.2),
            ("load and touch", 1.2),
            ("create", 1.8),
            ("load and cycle", 1.4),
            ("delete", 1.8),
        )
    ),
    *(
        Target(f"{row}: 1 M sessions, to 1 k", 1.1, "scale", row, "1 M")
        for row in (
            "read",
            "write",
            "touch",
            "create",
            "login",
            "logout",
            "registry: count",
            "registry: first 100",
            "admin: first page",
        )
    ),
)


def table(tables: Iterable[Table]) -> Table:
    """Each target beside its figure."""
    tables = list(tables)
    return Table(
        "targets",
        "Targets",
        "ratio",
        ("target", "figure", "reached"),
        tuple(_row(target, target.figure(tables)) for target in TARGETS),
        plot=False,
        note="A dash: not measured.",
    )


def _row(target: Target, figure: float | None) -> tuple[Cell, ...]:
    limit = f"{'≥' if target.at_least else '≤'} {target.limit:g}"
    if figure is None:
        return target.what, limit, None, None
    return target.what, limit, figure, "yes" if target.is_reached(figure) else "no"
