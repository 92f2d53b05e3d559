"""When a session expires, and when it ends at the latest, as far as a store knows it."""

from datetime import datetime
from math import ceil
from typing import Any, TypeVar

from sessions_redis import lifetimes
from sessions_redis.calls import Call, StoreSteps
from sessions_redis.clock import server_clock
from sessions_redis.expiring import ExpiringStore

T = TypeVar("T", int, float)


class AgingStore(ExpiringStore):
    """A session store that knows how long its session lives."""

    def _age(self) -> StoreSteps[int]:
        if self._is_overridden("get_expiry_age", "aget_expiry_age"):
            age: int = yield Call("get_expiry_age")
            return age
        # None of this needs a round trip once the session is loaded. get_expiry_age() looks at the
        # clock, which takes time, even if there is nothing to compare it with.
        expiry = self.get("_session_expiry")
        return super().get_expiry_age(expiry=expiry) if expiry else self.get_session_cookie_age()

    def get_expiry_age(self, **kwargs: Any) -> int:
        """As Django's, or the time until the end that ``ABSOLUTE_AGE`` gives the session."""
        age: int = super().get_expiry_age(**kwargs)
        return _age_until(self._known_end(), age, **kwargs)

    async def aget_expiry_age(self, **kwargs: Any) -> int:
        age: int = await super().aget_expiry_age(**kwargs)
        return _age_until(await self._aknown_end(), age, **kwargs)

    def get_expiry_date(self, **kwargs: Any) -> datetime:
        """As Django's, or the end that ``ABSOLUTE_AGE`` gives the session."""
        date: datetime = super().get_expiry_date(**kwargs)
        return _not_after(date, self._known_end())

    async def aget_expiry_date(self, **kwargs: Any) -> datetime:
        date: datetime = await super().aget_expiry_date(**kwargs)
        return _not_after(date, await self._aknown_end())

    def _capped(self, id: str, age: float) -> float:
        return _age_until(lifetimes.ends_at(self, id), age)

    # For an expiry that is given, nothing is loaded, and the session does not count as accessed.

    def _known_end(self) -> float | None:
        return self._perform(lifetimes.known_end(self)) if hasattr(self, "_entries") else None

    async def _aknown_end(self) -> float | None:
        steps = lifetimes.known_end(self)
        return await self._aperform(steps) if hasattr(self, "_entries") else None


def _age_until(
    end: float | None, age: T, modification: datetime | None = None, **_options: Any
) -> T | int:
    """
    The ``age`` of a session, or the seconds until its ``end``, which are never less than one here.

    This process may know the server's time badly, and only the server decides.
    """
    if end is None:
        return age
    now = server_clock.now() if modification is None else modification.timestamp()
    return min(age, max(1, ceil(end - now)))


def _not_after(date: datetime, end: float | None) -> datetime:
    return date if end is None else min(date, datetime.fromtimestamp(end, date.tzinfo))
