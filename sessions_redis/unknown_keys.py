"""Session keys that were looked up in the former engine in vain, for a short time."""

from collections import OrderedDict
from threading import Lock
from time import monotonic

# Seconds for which a key is remembered.
REMEMBERED = 60

# Keys that a process remembers: about 2 MB.
MOST = 10_000


class UnknownKeys:
    """
    The IDs of keys that neither Redis nor the former engine knew a short time ago.

    So a client that sends the same unknown key again and again costs the former engine one look-up
    a minute in each process. The oldest are forgotten first, so any number of keys takes bounded
    memory.
    """

    def __init__(self, most: int = MOST, seconds: float = REMEMBERED) -> None:
        self._most = most
        self._seconds = seconds
        self._until: OrderedDict[str, float] = OrderedDict()
        self._lock = Lock()

    def __contains__(self, id: str) -> bool:
        return self._until.get(id, 0.0) > monotonic()

    def __len__(self) -> int:
        return len(self._until)

    def add(self, id: str) -> None:
        with self._lock:
            self._until[id] = monotonic() + self._seconds
            self._until.move_to_end(id)
            if len(self._until) > self._most:
                self._until.popitem(last=False)

    def clear(self) -> None:
        with self._lock:
            self._until.clear()
