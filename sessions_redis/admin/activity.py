"""Which sessions a list shows by when they were last active, and in which order."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from operator import attrgetter

from sessions_redis.registry import LiveSession
from sessions_redis.storage.listings import BATCH_SIZE

# No index has the sessions in the order in which they were last active. So a list by activity looks
# at this many sessions at most: those that expire last.
LOOKED_AT = BATCH_SIZE


@dataclass(frozen=True, slots=True)
class Activity:
    """
    ``within``: only sessions that were active within this many seconds.

    ``latest_first``: sorted by when they were active; ``None`` if they are not.
    """

    within: float | None = None
    latest_first: bool | None = None

    def __bool__(self) -> bool:
        return self != NO_MATTER

    def matches(self, live: LiveSession) -> bool:
        if self.within is None:
            return True
        return live.last_active >= datetime.now(UTC) - timedelta(seconds=self.within)

    def sorted(self, found: Iterable[LiveSession]) -> list[LiveSession]:
        if self.latest_first is None:
            return list(found)
        return sorted(found, key=attrgetter("last_active"), reverse=self.latest_first)


NO_MATTER = Activity()
