"""What became of the sessions of a former engine, in numbers."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

# IDs and names that are kept, so that any number of sessions takes bounded memory.
MOST_NAMED = 20


@dataclass
class Some:
    """How many sessions, and the IDs of the first."""

    number: int = 0
    ids: list[str] = field(default_factory=list)

    def add(self, id: str) -> None:
        self.number += 1
        if len(self.ids) < MOST_NAMED:
            self.ids.append(id)


class Counts:
    """
    How many sessions became what.

    ``adopted``: they moved. ``there``: they were in Redis already. ``refused``: they were ended
    here, or all sessions of their user were. ``expired`` and ``not decodable``: they are useless.
    ``partial``: they move without some entries. ``stayed``: they do not, because of such entries.
    ``left_out``: the names of these entries, and in how many sessions each was.
    """

    def __init__(self) -> None:
        self._by_kind: dict[str, Some] = {}
        self.left_out: Counter[str] = Counter()

    def add(self, kind: str, id: str) -> None:
        self._by_kind.setdefault(kind, Some()).add(id)

    def leave_out(self, names: Iterable[str], id: str, *, moves: bool) -> None:
        self.add("partial" if moves else "stayed", id)
        for name in names:
            if name in self.left_out or len(self.left_out) < MOST_NAMED:
                self.left_out[name] += 1

    def of(self, kind: str) -> Some:
        return self._by_kind.get(kind, Some())
