"""Slows the move down to a number of sessions per second."""

from time import monotonic, sleep


class Pace:
    """``per_second``: ``None`` for as fast as it goes."""

    def __init__(self, per_second: int | None = None) -> None:
        self._per_second = per_second
        self._next = monotonic()

    def wait(self, done: int) -> None:
        """Wait until more sessions may move, after ``done`` have."""
        if self._per_second is None:
            return
        now = monotonic()
        # What a delay has cost is made up for in one burst of a second at most.
        self._next = max(self._next, now - 1) + done / self._per_second
        sleep(max(self._next - now, 0))
