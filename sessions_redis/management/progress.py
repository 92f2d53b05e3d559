"""How far a long command has come: a bar in a terminal, or a line now and then."""

from importlib import import_module
from importlib.util import find_spec
from time import monotonic
from typing import Any

from django.core.management.base import OutputWrapper

# Seconds between two lines.
EVERY = 10.0


class Progress:
    """
    ``total``: how many there are, if that is known. ``shows``: print anything at all.

    The bar needs a terminal and the package tqdm, which the extra ``migrate`` installs.
    """

    def __init__(self, out: OutputWrapper, total: int | None, unit: str, *, shows: bool) -> None:
        self._out = out
        self._total = total
        self._unit = unit
        self._shows = shows
        self._done = 0
        self._began = self._said = monotonic()
        self._bar: Any = None
        if shows and out.isatty() and find_spec("tqdm"):
            tqdm = import_module("tqdm").tqdm
            self._bar = tqdm(total=total, unit=f" {unit}", unit_scale=True, file=_Terminal(out))

    def add(self, number: int) -> None:
        self._done += number
        if self._bar is not None:
            self._bar.update(number)
        elif self._shows and monotonic() - self._said >= EVERY:
            self._said = monotonic()
            self._out.write(self._line())

    def end(self) -> None:
        if self._bar is not None:
            self._bar.close()

    def _line(self) -> str:
        speed = self._done / (self._said - self._began)
        of_all = "" if self._total is None else f" of about {self._total:,}"
        line = f"{self._done:,}{of_all} {self._unit}, {speed:,.0f} per second"
        if self._total is None or self._done >= self._total:
            return line
        return f"{line}, {_duration((self._total - self._done) / speed)} left"


class _Terminal:
    """Writes what tqdm writes: parts of lines."""

    def __init__(self, out: OutputWrapper) -> None:
        self._out = out

    def write(self, text: str) -> None:
        self._out.write(text, ending="")

    def flush(self) -> None:
        self._out.flush()


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
