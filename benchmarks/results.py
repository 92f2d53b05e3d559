"""The figures on the terminal and in ``results.json``, with the machine they come from."""

import json
import os
import platform
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.bench import Cell, Table

FILE = "results.json"

PACKAGES = ("Django", "redis", "hiredis", "django-redis", "django-redis-sessions")


class Results:
    """
    What has been measured in ``folder``, run by run.

    A table takes the place of the one of its name; the others stay, each with its own date and
    machine.
    """

    def __init__(self, folder: Path) -> None:
        self.file = folder / FILE
        self._kept: dict[str, dict[str, Any]] = {}
        if self.file.exists():
            self._kept = json.loads(self.file.read_text("utf-8"))["tables"]

    def add(self, table: Table, machine: dict[str, Any]) -> None:
        # In the order of the last run.
        self._kept.pop(table.name, None)
        self._kept[table.name] = {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine,
            **_plain(asdict(table)),
        }

    def write(self) -> None:
        kept = json.dumps({"tables": self._kept}, indent=1, ensure_ascii=False)
        self.file.write_text(f"{kept}\n", "utf-8")

    @property
    def tables(self) -> list[Table]:
        return [_table(kept) for kept in self._kept.values()]

    def origin(self, name: str) -> tuple[str, dict[str, Any]]:
        """When the table was measured, and on what."""
        return self._kept[name]["date"], self._kept[name]["machine"]


def machine(server: str) -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "kernel": f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}",
        "Python": platform.python_version(),
        **{package: _version(package) for package in PACKAGES},
        "server": server,
    }


def shown(table: Table) -> str:
    """For the terminal."""
    from tabulate import tabulate

    lines = [[text(cell) for cell in row] for row in table.rows]
    grid = tabulate(
        lines,
        headers=("", *table.columns),
        disable_numparse=True,
        colalign=("left", *("right" for _ in table.columns)),
    )
    return "\n".join(part for part in (f"{table.title} [{table.unit}]", grid, table.note) if part)


def text(cell: Cell) -> str:
    """Three digits are what measuring gives."""
    if cell is None:
        return "-"
    if isinstance(cell, str):
        return cell
    if isinstance(cell, int) or abs(cell) >= 100:
        return f"{cell:,.0f}"
    return f"{cell:.2f}" if abs(cell) < 10 else f"{cell:.1f}"


def _table(kept: dict[str, Any]) -> Table:
    fields = {name: kept[name] for name in Table.__dataclass_fields__}
    fields["columns"] = tuple(fields["columns"])
    fields["rows"] = tuple(tuple(row) for row in fields["rows"])
    return Table(**fields)


def _plain(value: Any) -> Any:
    """As JSON takes it: sections may keep their details by tuples or paths."""
    if isinstance(value, dict):
        return {_key(key): _plain(kept) for key, kept in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value if isinstance(value, str | int | float | None) else str(value)


def _key(key: object) -> str:
    return " / ".join(map(str, key)) if isinstance(key, tuple) else str(key)


def _cpu() -> str:
    told = Path("/proc/cpuinfo")
    if told.exists():
        for line in told.read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
