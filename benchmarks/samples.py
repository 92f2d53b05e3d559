"""Figures of several rounds, and what is made of them."""

import gc
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from typing import TypeVar

from benchmarks.bench import Cell

T = TypeVar("T")


class Samples:
    """Seconds that one operation took, of each round, by row and column."""

    def __init__(self) -> None:
        self._taken: dict[tuple[str, str], list[float]] = defaultdict(list)

    def add(self, row: str, column: str, seconds: float) -> None:
        """Each round adds one for every row and column: ratios are taken within a round."""
        self._taken[row, column].append(seconds)

    def median(self, row: str, column: str) -> float | None:
        taken = self._taken.get((row, column))
        return median(taken) if taken else None

    def ratio(self, row: str, column: str, base: tuple[str, str]) -> float | None:
        """The median of the rounds' ratios to what ``base``, a row and a column, took in each."""
        taken, based = self._taken.get((row, column)), self._taken.get(base)
        if not taken or not based:
            return None
        return median(one / other for one, other in zip(taken, based, strict=True))

    def ratios(
        self, rows: Sequence[str], columns: Sequence[str], base: str
    ) -> tuple[tuple[Cell, ...], ...]:
        """Rows of a table: each cell in proportion to that of the column ``base``."""
        return tuple(
            (row, *(self.ratio(row, column, (row, base)) for column in columns)) for row in rows
        )

    def medians(
        self, rows: Sequence[str], columns: Sequence[str], per_second: float
    ) -> tuple[tuple[Cell, ...], ...]:
        """Rows of a table in a unit of which a second has so many."""
        return tuple(
            (row, *(_scaled(self.median(row, column), per_second) for column in columns))
            for row in rows
        )

    def details(self) -> dict[str, object]:
        """Every round's figure in microseconds, for whoever wants more than medians."""
        return {
            f"{row} / {column}": [round(seconds * 1e6, 2) for seconds in taken]
            for (row, column), taken in self._taken.items()
        }


@contextmanager
def stopwatch() -> Iterator[Callable[[], float]]:
    """Yields what returns the seconds since now. No garbage is collected meanwhile."""
    gc.collect()
    gc.disable()
    began = time.perf_counter()
    try:
        yield lambda: time.perf_counter() - began
    finally:
        gc.enable()


def in_turn(contestants: Sequence[T], round_number: int) -> list[T]:
    """All, each round in another order, so that none always comes first or after the same."""
    first = round_number // 2 % len(contestants)
    order = [*contestants[first:], *contestants[:first]]
    return order[::-1] if round_number % 2 else order


def _scaled(seconds: float | None, per_second: float) -> float | None:
    return None if seconds is None else seconds * per_second
